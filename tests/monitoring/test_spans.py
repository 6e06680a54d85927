"""Traces for OpenTelemetry. tests/end_to_end/test_traces.py has a gateway send them to a collector."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import responses
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id
from requests import exceptions as network

from config import PROJECT_DIR, Config, ConfigError
from route_api.monitoring import spans

from ..support.fake_dify import FakeDify
from ..support.patience import PATIENCE_S

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def ended() -> Iterator[InMemorySpanExporter]:
    """The spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider)
    yield exporter
    spans.use(None)


def request_and_calls(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    (server,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    calls = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert {span.parent.span_id for span in calls if span.parent} == ({server.context.span_id} if calls else set())
    return server, calls


def test_a_request_is_a_span_of_the_callers_trace_and_dify_gets_ours(
    client: FlaskClient, any_dify: FakeDify, mock: responses.RequestsMock, ended: InMemorySpanExporter
) -> None:
    any_dify.play("datasets/list-default")
    headers = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-Id": "the-request"}
    client.get("/v1/kb/list", query_string={"page": 1, "page_size": 20, "keywords": ""}, headers=headers).close()
    server, (call,) = request_and_calls(ended)
    assert server.name == "GET /kb/list" and server.status.is_unset
    assert server.parent and format_span_id(server.parent.span_id) == SPAN_ID
    assert format_trace_id(server.context.trace_id) == format_trace_id(call.context.trace_id) == TRACE_ID
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/kb/list",
        "route_api.request_id": "the-request",
        "http.response.status_code": 200,
    }
    assert call.attributes and "?" not in str(call.attributes["url.full"])
    sent = mock.calls[0].request.headers["traceparent"]
    assert sent == f"00-{TRACE_ID}-{format_span_id(call.context.span_id)}-01"


def test_a_failed_call_is_an_error_of_both_spans(
    client: FlaskClient, mock: responses.RequestsMock, any_dify: FakeDify, ended: InMemorySpanExporter
) -> None:
    mock.add("GET", "http://dify.test/v1/datasets", body=network.ReadTimeout("silent"))
    client.get("/kb/list").close()
    server, calls = request_and_calls(ended)
    assert not server.status.is_ok and server.attributes and server.attributes["error.type"] == "dify_timeout"
    assert [call.attributes["error.type"] for call in calls if call.attributes] == ["timeout"] * len(calls) != []


def test_a_refused_request_is_no_error_of_the_gateway(client: FlaskClient, ended: InMemorySpanExporter) -> None:
    client.get("/kb/detail").close()
    server, calls = request_and_calls(ended)
    assert calls == [] and server.status.is_unset and server.attributes
    assert server.attributes["error.type"] == "validation_failed"


def test_without_the_packages_the_setting_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.OTLP_PACKAGE", "no-such-package")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT is wrong: needs further packages: `pip install"):
        Config.load(AUTH="open")


@pytest.mark.parametrize("address", ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://:4318"])
def test_what_is_no_address_of_a_collector_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT is wrong: must be an address"):
        Config.load(AUTH="open")


def test_without_the_setting_nothing_of_opentelemetry_is_imported() -> None:
    code = (
        "import sys, redis; before = set(sys.modules)\n"  # It imports OpenTelemetry where that is installed.
        "from config import Config; from route_api.app import create_app\n"
        "create_app(Config.load(DATABASE_URL='sqlite://', AUTH='open'))\n"
        "assert not [name for name in set(sys.modules) - before if name.startswith(('opentelemetry', 'google'))]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, check=True, timeout=PATIENCE_S)
