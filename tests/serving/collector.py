"""An OpenTelemetry collector in the test's process: keeps the spans that are sent to it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """`spans` are pairs of a service's name and a span."""

    url: str = ""
    spans: list[tuple[str, Span]] = field(default_factory=list)

    def of(self, trace: str) -> dict[str, tuple[str, Span]]:
        """The spans of a trace (its id in hex), by their names."""
        return {span.name: (service, span) for service, span in list(self.spans) if span.trace_id.hex() == trace}


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens until the block ends."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in sent.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    kept.spans.extend((names.get("service.name", ""), span) for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
