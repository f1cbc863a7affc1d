"""Sends spans with the exporters of the OpenTelemetry SDK for Python, over gRPC and over HTTP/protobuf.

Not run by `make test`, because it needs packages from PyPI. With a server running:

    python3 -m venv /tmp/exporters
    /tmp/exporters/bin/pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-grpc opentelemetry-exporter-otlp-proto-http
    /tmp/exporters/bin/python tests/exporters/python.py [HOST]

Prints how many spans each exporter sent and what its server said; exits with 1 if an export failed. Compare with
`select count(*) from spans`. Ids are the same in every run, so a second run must change no row.
"""

import random
import sys

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

TRACES = 40
CHILDREN = 9
# Any fixed recent day does: the same spans must be sent in every run.
START_NS = 1_700_000_000_000_000_000


class SameIds(IdGenerator):
    """Identifiers that are the same in every run."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def generate_span_id(self):
        return self.random.getrandbits(64) or 1

    def generate_trace_id(self):
        return self.random.getrandbits(128) or 1


class Counting(SpanExporter):
    """Counts what the exporter below says."""

    def __init__(self, exporter):
        self.exporter = exporter
        self.sent = 0
        self.failed = 0

    def export(self, spans):
        result = self.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
        else:
            self.failed += len(spans)
        return result

    def shutdown(self):
        self.exporter.shutdown()

    def force_flush(self, timeout_millis=30_000):
        return self.exporter.force_flush(timeout_millis)


def produce(name, exporter):
    counting = Counting(exporter)
    resource = Resource({"service.name": f"python-{name}", "deployment.environment.name": "test"})
    provider = TracerProvider(resource=resource, id_generator=SameIds(name))
    provider.add_span_processor(BatchSpanProcessor(counting))
    tracer = provider.get_tracer("exporters")
    for trace in range(TRACES):
        start = START_NS + trace * 1_000_000_000
        root = tracer.start_span("GET /", kind=SpanKind.SERVER, start_time=start)
        context = set_span_in_context(root)
        for number in range(CHILDREN):
            begin = start + number * 10_000_000
            child = tracer.start_span("SELECT item", context=context, kind=SpanKind.CLIENT, start_time=begin)
            child.set_attribute("db.system.name", "postgresql")
            child.set_attribute("list", ["a", "b"])
            child.set_attribute("number", number)
            child.add_event("row", {"n": number}, timestamp=begin + 1)
            if number == 0:
                child.set_status(Status(StatusCode.ERROR, "no"))
            child.end(begin + 5_000_000)
        root.end(start + 100_000_000)
    provider.shutdown()
    print(f"{name}: {counting.sent} sent, {counting.failed} failed")
    return counting.failed == 0 and counting.sent == TRACES * (1 + CHILDREN)


def main():
    host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    http = f"http://{host}:4318/v1/traces"
    results = [
        produce("grpc", GrpcExporter(endpoint=f"http://{host}:4317", insecure=True)),
        produce("http", HttpExporter(endpoint=http)),
        produce("http-gzip", HttpExporter(endpoint=http, compression=Compression.Gzip)),
        produce("http-deflate", HttpExporter(endpoint=http, compression=Compression.Deflate)),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
