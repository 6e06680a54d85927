"""Traces for OpenTelemetry: a span for each request, and below it one for each call to Dify.

They are off, and nothing of OpenTelemetry is imported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set. The spans go to that
address as OTLP over HTTP. OpenTelemetry itself reads its other standard variables from the environment.

No span contains a query string, a question or a key. A caller's `traceparent` is continued, and Dify gets ours.
"""

import os
from typing import TYPE_CHECKING

from werkzeug.datastructures import Headers

from config import Config

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

TRACES_PATH = "/v1/traces"
"""What OTLP over HTTP appends to the address of a collector."""

LAST_EXPORT_MS = 2000
"""For which a process that ends waits for the collector. OpenTelemetry would wait for 30 seconds: all of STOP_GRACE."""

_tracer: "Tracer | None" = None


def init_app(config: Config) -> None:
    """Send the spans of this process to the collector, if there is one."""
    if not config.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class SpanBatches(BatchSpanProcessor):
        """Relies on: the base class hands its shutdown to `_batch_processor`, and offers no limit of its own."""

        def shutdown(self) -> None:
            self._batch_processor.shutdown(LAST_EXPORT_MS)

    session = requests.Session()
    session.trust_env = False  # As for all servers that the settings name: without the proxy of the environment.
    address = config.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip("/") + TRACES_PATH
    os.environ.setdefault("OTEL_SERVICE_NAME", "route-api")
    provider = TracerProvider()
    provider.add_span_processor(SpanBatches(OTLPSpanExporter(endpoint=address, session=session)))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Make the spans of this process with a provider; None: make none."""
    global _tracer
    _tracer = provider.get_tracer("route_api") if provider else None


def begin_request(method: str, route: str | None, request_id: str, headers: Headers) -> "Span | None":
    """Begin the span of a request.

    :param route: its URL rule; None if no rule matches
    :param headers: of the request; its `traceparent` names the span to which this one belongs
    :returns: None if there are no traces
    """
    if _tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    given = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
    attributes = {"http.request.method": method, "http.route": route or "", "route_api.request_id": request_id}
    return _tracer.start_span(
        f"{method} {route}" if route else method,
        TraceContextTextMapPropagator().extract(given),
        SpanKind.SERVER,
        attributes,
    )


def begin_call(request: "Span | None", method: str, url: str, headers: dict[str, str]) -> "Span | None":
    """Begin the span of a call to Dify, and name it to Dify.

    :param request: the span of the request; None: there are no traces, or the call belongs to no request
    :param url: without a query
    :param headers: of the call; they get the `traceparent`
    """
    if _tracer is None or request is None:
        return None
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    attributes = {"http.request.method": method, "url.full": url}
    span = _tracer.start_span(f"Dify {method}", set_span_in_context(request), SpanKind.CLIENT, attributes)
    TraceContextTextMapPropagator().inject(headers, set_span_in_context(span))
    return span


def end(span: "Span | None", status: int | None, error: str | None, *, is_failure: bool) -> None:
    """End a span.

    :param status: the HTTP status of the answer; None without one
    :param error: what failed, such as `dify_timeout`; None if nothing did
    """
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if error is not None:
        span.set_attribute("error.type", error)
    if is_failure:
        span.set_status(StatusCode.ERROR)
    span.end()
