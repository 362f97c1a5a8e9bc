"""A collector that takes traces by OTLP over HTTP, and is strict about what the protocol demands."""

import gzip
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATH = "/v1/traces"


def read_value(value):
    """The plain value of an attribute."""
    kind = value.WhichOneof("value")
    assert kind in {"string_value", "int_value", "double_value", "bool_value"}, kind
    return getattr(value, kind)


def read_attributes(pairs):
    names = [pair.key for pair in pairs]
    assert len(set(names)) == len(names), names
    return {pair.key: read_value(pair.value) for pair in pairs}


class SentSpan:
    """A span as the collector has it."""

    def __init__(self, span):
        assert len(span.trace_id) == 16
        assert any(span.trace_id)
        assert len(span.span_id) == 8
        assert any(span.span_id)
        assert len(span.parent_span_id) in {0, 8}
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 600
        self.trace, self.id, self.parent = span.trace_id, span.span_id, span.parent_span_id
        self.name, self.kind = span.name, span.kind
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = read_attributes(span.attributes)
        self.status, self.said = span.status.code, span.status.message


class Collector:
    """What one collector was sent.

    Args:
        status: of each answer.
        delay: seconds before each answer.
    """

    def __init__(self, status=200, delay=0.0):
        self.status, self.delay = status, delay
        self.spans: list[SentSpan] = []
        self.resources: list[dict] = []
        self.headers: list[dict] = []
        self.bodies: list[bytes] = []
        self.faults: list[BaseException] = []
        self.url = ""
        self.awake = threading.Event()

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def the(self, name):
        (found,) = self.named(name)
        return found

    def parts(self, span, name=""):
        """The spans within a span, at any depth."""
        children = defaultdict(list)
        for one in self.spans:
            children[one.parent].append(one)
        found, todo = [], [span]
        while todo:
            own = children[todo.pop().id]
            found += own
            todo += own
        return [one for one in found if name in {"", one.name}]

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        assert (handler.command, handler.path) == ("POST", PATH)
        assert handler.headers["Content-Type"] == "application/x-protobuf"
        if handler.headers.get("Content-Encoding", "none") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        request = ExportTraceServiceRequest()
        assert request.ParseFromString(body) == len(body)
        for resource in request.resource_spans:
            self.resources.append(read_attributes(resource.resource.attributes))
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            assert spans
            if self.status == 200:
                self.spans += map(SentSpan, spans)


@contextmanager
def collecting(status=200, delay=0.0):
    """A collector on loopback; what it was sent is checked at the end."""
    collector = Collector(status, delay)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            try:
                collector.take(self)
            except BaseException as fault:
                collector.faults.append(fault)
                raise
            collector.awake.wait(collector.delay)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(OSError):  # whoever called may have gone
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}{PATH}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.awake.set()
        server.shutdown()
        server.server_close()
        thread.join()
    assert not collector.faults
    ids = [span.id for span in collector.spans]
    assert len(set(ids)) == len(ids)
