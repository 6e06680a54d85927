"""A collector gets the trace of one question from a running gateway."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from time import monotonic
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ..support.patience import PATIENCE_S
from ..support.running_gateway import Gateway, wait_for

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Keeps the spans that it gets, each with the name of the service that sent it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Receiver)

    def trace(self) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == TRACE_ID]


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            ]
            self.server.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("worker_class", ["gthread"], scope="session")
def test_a_gateway_does_not_wait_long_for_a_collector_that_is_silent(worker_class: str, tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        gateway = Gateway(tmp_path, WORKERS="1", WORKER_CLASS=worker_class, OTEL_EXPORTER_OTLP_ENDPOINT=address)
        gateway.start()
        for _ in range(20):
            gateway.get("kb/list")
        asked_at = monotonic()
        assert gateway.stop() == 0 and monotonic() - asked_at < 40


@pytest.mark.parametrize("worker_class", ["gevent"], scope="session")
def test_a_collector_gets_the_trace_of_a_question(collector: Collector, worker_class: str, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{collector.server_port}"
    gateway = Gateway(tmp_path, WORKERS="1", WORKER_CLASS=worker_class, OTEL_EXPORTER_OTLP_ENDPOINT=address)
    gateway.start()
    answer = gateway.http.post(
        f"{gateway.base}/chat/chat",
        json={"user_id": "u-traced", "query": "你好", "stream": True},
        headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 200 and answer.content
    assert gateway.stop() == 0  # What a worker has not sent yet it sends at its end.
    wait_for(lambda: any(span.parent_span_id.hex() == SPAN_ID for _, span in collector.trace()))
    ((service, request),) = [each for each in collector.trace() if each[1].parent_span_id.hex() == SPAN_ID]
    calls = [span for _, span in collector.trace() if span.parent_span_id == request.span_id]
    assert (service, request.name) == ("route-api", "POST /chat/chat")
    (chat,) = [call for call in calls if any("/chat-messages" in each.value.string_value for each in call.attributes)]
    assert request.start_time_unix_nano < chat.start_time_unix_nano < chat.end_time_unix_nano
    assert "你好".encode() not in b"".join(span.SerializeToString() for _, span in collector.spans)
