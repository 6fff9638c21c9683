"""OpenTelemetry: a span for each request, with one for its retrieval and one for the engine's part inside.

The engine's own span (vLLM's) hangs below ours. Nothing is recorded where no collector is set; spans hold no prompts.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from serving.gateway.telemetry.record import RequestRecord

SERVICE = "tandem-gateway"
_tracer = trace.get_tracer("tandem.serving")


def start_tracing(endpoint: str | None) -> None:
    """Send spans to an OTLP collector over HTTP (`http://host:4318/v1/traces`) from now on."""
    if endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    trace.set_tracer_provider(provider)


def begin_span(record: RequestRecord) -> Span:
    """The span of a request, below the caller's own where it sent a `traceparent`."""
    parent = extract({"traceparent": record.incoming.traceparent}) if record.incoming.traceparent else None
    return _tracer.start_span(f"tandem {record.kind}", context=parent, kind=SpanKind.SERVER)


def end_span(span: Span, record: RequestRecord) -> None:
    """What the access log has of the request."""
    if span.is_recording():
        known: dict[str, AttributeValue] = {
            "tandem.request_id": record.incoming.id,
            "tandem.model": record.model,
            "tandem.collection": record.collection,
            "tandem.key": record.key.id if record.key else "",
            "http.response.status_code": record.status,
        }
        span.set_attributes(known)
    span.end()


@contextmanager
def inside_span(span: Span, name: str) -> Iterator[None]:
    """A part of a request."""
    with _tracer.start_as_current_span(name, context=trace.set_span_in_context(span)):
        yield


def enter_span(span: Span, name: str, held: ExitStack | AsyncExitStack) -> dict[str, str]:
    """A part that lasts until `held` is closed; the headers that carry it on."""
    part = _tracer.start_span(name, context=trace.set_span_in_context(span), kind=SpanKind.CLIENT)
    held.callback(part.end)
    headers: dict[str, str] = {}
    if part.is_recording():
        inject(headers, context=trace.set_span_in_context(part))
    return headers
