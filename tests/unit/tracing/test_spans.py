"""Spans of passes: each part is within the right other one, also across tasks, and what spans say."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.driver import NOWHERE, FakeDriver, FleetSource, Killed, World, cluster, fleet

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace
from reconciler.errors import NodeRefused, NodeUnreachable, SourceError
from reconciler.ports.listener import SILENT, PassListener
from reconciler.ports.transport import Commands, Files, Http, HttpAnswer, ReadingCall, Streams, Transports
from reconciler.secrets.redaction import Redactor
from reconciler.store.factory import open_store
from reconciler.tracing import spans as module
from reconciler.tracing.delivery import SpanDelivery
from reconciler.tracing.provider import make_provider
from reconciler.tracing.spans import MOST_CALLS, SpanTracer

TWO = fleet(cluster("edge", {"a": "new", "b": "new"}), cluster("lab", {"c": "new"}))
SECRET = "correct-horse-battery"


class Traces:
    """A tracer, and the spans that it made."""

    def __init__(self, parent="", ratio=1.0, environment=None):
        self.exporter = InMemorySpanExporter()
        provider = make_provider(ratio, environment or {})
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.delivery = SpanDelivery(lambda _: None)
        self.tracer = SpanTracer(provider.get_tracer("test"), self.delivery, Redactor([SECRET]), parent)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, name, **facts):
        wanted = {f"reconciler.{key}": fact for key, fact in facts.items()}.items()
        return [one for one in self.spans if one.name == name and wanted <= dict(one.attributes).items()]

    def the(self, name, **facts):
        (found,) = self.named(name, **facts)
        return found

    def way(self, span):
        """The names of a span and of those around it, the outermost first."""
        known = {one.context.span_id: one for one in self.spans}
        names = [span.name]
        while span.parent is not None and span.parent.span_id in known:
            span = known[span.parent.span_id]
            names.insert(0, span.name)
        return " > ".join(names)


class AskingDriver(FakeDriver):
    """Asks over HTTP for each node that it reads or changes."""

    reads = (ReadingCall("GET", "/api", query=f"token={SECRET}"),)

    async def observe(self, desired, transports):
        names = [node.name for node in desired.entry.nodes]
        await asyncio.gather(
            *(transports.http.send("GET", at(node, ""), node=node, timeout=1) for node in names)
        )
        return await super().observe(desired, transports)

    async def act(self, step, transports, payloads):
        await transports.http.send("POST", at(step.node), node=step.node, timeout=1, content=b"the setting")
        return await super().act(step, transports, payloads)


def at(node, user=f"user:{SECRET}@"):
    return f"http://{user}{node}.example.com:5000/api?token={SECRET}"


class Line(Http):
    """Answers after a moment, so that calls of several clusters are mixed."""

    def __init__(self, status=200, error=None):
        self.status, self.error, self.sent = status, error, []

    async def send(self, method, url, *, node, timeout, connect=0.0, headers=None, content=b""):
        self.sent.append(dict(headers or {}))
        await asyncio.sleep(0.001)
        if self.error:
            raise self.error
        return HttpAnswer(self.status, {}, SECRET.encode())

    def through(self, way, *, authority=""):
        return self


def make_connect(http):
    @asynccontextmanager
    async def connect(_):
        yield Transports(http=http, commands=NOWHERE.commands)

    return connect


def make_reconciler(traces, store, world, http=None, feedback=None):
    connect = traces.tracer.trace_calls(make_connect(http or Line()))
    source = FleetSource(TWO)
    reader = Reader(source, drivers={"fake": AskingDriver(world)}, connect=connect, tracer=traces.tracer)
    return Reconciler(reader, store)


@pytest.fixture
def traces():
    return Traces()


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path) as opened:
        yield opened


async def test_each_part_of_a_pass_is_within_the_right_one(traces, store):
    world = World({"a": "old", "b": "old", "c": "old"})
    with traces.tracer.open_span("pass", trigger="test"):
        await make_reconciler(traces, store, world).run(TWO)
    for name in ("edge", "lab"):
        observed = traces.the("observe nodes", cluster=name)
        assert traces.way(observed) == "pass > plan > observe nodes"
        assert traces.way(traces.the("plan cluster", cluster=name)) == "pass > plan > plan cluster"
    assert traces.way(traces.the("check guards")) == "pass > plan > check guards"
    assert traces.way(traces.the("settle")) == "pass > settle"
    for node in "abc":
        step = traces.the("step set", node=node)
        assert traces.way(step) == "pass > apply > run > step set"
        (call,) = [one for one in traces.named("POST") if one.attributes["reconciler.called"] == node]
        assert call.parent.span_id == step.context.span_id
        (read,) = [one for one in traces.named("GET") if one.attributes["reconciler.called"] == node]
        own = traces.the("observe nodes", cluster="lab" if node == "c" else "edge")
        assert read.parent.span_id == own.context.span_id
    assert len({span.context.trace_id for span in traces.spans}) == 1
    assert traces.delivery.ended == len(traces.spans)


async def test_the_spans_name_run_revision_and_counts(traces, store):
    world = World({"a": "old", "b": "new", "c": "new"})
    world.silent.add("c")
    done = await make_reconciler(traces, store, world).run(TWO)
    run = traces.the("run", run=done.report.run)
    assert run.attributes["reconciler.exit_status"] == done.report.exit_status
    assert traces.the("plan").attributes["reconciler.revision"] == TWO.revision.id
    edge = traces.the("observe nodes", cluster="edge").attributes
    assert (edge["reconciler.nodes"], edge["reconciler.nodes.present"]) == (2, 2)
    assert traces.the("observe nodes", cluster="lab").attributes["reconciler.nodes.unreachable"] == 1
    assert traces.the("plan cluster", cluster="edge").attributes["reconciler.steps"] == 1


async def test_a_failed_step_has_the_words_of_the_history(traces, store):
    world = World({"a": "old", "b": "new", "c": "new"})
    world.fault("a", "refused", "refused")
    done = await make_reconciler(traces, store, world).run(TWO)
    (outcome,) = done.report.outcomes
    step = traces.the("step set")
    assert step.status.status_code is StatusCode.ERROR
    assert step.status.description == step.attributes["reconciler.reason"] == outcome.reason
    assert step.attributes["reconciler.state"] == outcome.state.value == "failed"
    assert traces.the("apply").status.status_code is StatusCode.UNSET


async def test_nothing_secret_and_no_content_is_in_a_span(traces, store):
    world = World({"a": "old", "b": "old", "c": "old"})
    http = Line()
    await make_reconciler(traces, store, world, http).run(TWO)
    shown = " ".join(span.to_json() for span in traces.spans)
    assert SECRET not in shown
    assert "the setting" not in shown
    assert traces.named("GET")[0].attributes["url.full"].endswith(".example.com:5000/api")
    # The trace is not told to nodes either.
    assert all(headers == {} for headers in http.sent)


async def test_a_killed_pass_leaves_no_span_open(traces, store):
    world = World({"a": "old", "b": "old", "c": "new"})
    world.fault("a", "killed before")
    with suppress(Killed), traces.tracer.open_span("pass"):
        await make_reconciler(traces, store, world).run(TWO)
    step = traces.the("step set", node="a")
    assert step.attributes["reconciler.stopped"]
    assert traces.way(step) == "pass > apply > run > step set"
    ids = {span.context.span_id for span in traces.spans}
    assert all(span.parent is None or span.parent.span_id in ids for span in traces.spans)


@pytest.mark.parametrize(
    ("error", "said", "kind"),
    [
        (SourceError(f"no such ref {SECRET}"), "no such ref", "SourceError"),
        (ValueError(SECRET), "an unexpected error: ValueError", "ValueError"),
    ],
    ids=["expected", "defect"],
)
def test_an_error_ends_a_span_in_its_own_words_without_secrets(traces, error, said, kind):
    with pytest.raises(type(error)), traces.tracer.open_span("pass"):
        raise error
    span = traces.the("pass")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description.startswith(said)
    assert SECRET not in span.to_json()
    assert span.attributes["error.type"] == kind
    assert not span.events


async def test_a_request_to_stop_is_no_error(traces):
    async def work():
        with traces.tracer.open_span("pass"):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert traces.the("pass").status.status_code is StatusCode.UNSET
    assert traces.the("pass").attributes["reconciler.stopped"]


async def test_spans_of_tasks_side_by_side_do_not_mix(traces):
    async def work(name):
        with traces.tracer.open_span("pass", cluster=name):
            await asyncio.sleep(0)
            with traces.tracer.open_span("plan", cluster=name):
                await asyncio.sleep(0)

    await asyncio.gather(*(work(str(number)) for number in range(20)))
    for number in range(20):
        outer, inner = (traces.the(name, cluster=str(number)) for name in ("pass", "plan"))
        assert inner.parent.span_id == outer.context.span_id
        assert outer.parent is None


@pytest.mark.parametrize(
    ("http", "status", "kind"),
    [
        (Line(200), 200, None),
        (Line(404), 404, "404"),
        (Line(error=NodeRefused("a", SECRET, status=409, code="NO")), None, "NodeRefused"),
        (Line(error=NodeUnreachable("a", SECRET, status=302)), 302, "NodeUnreachable"),
    ],
    ids=["good", "status", "refused", "no product"],
)
async def test_a_call_says_where_and_how_it_ended(traces, http, status, kind):
    async with traces.tracer.trace_calls(make_connect(http))(None) as transports:
        with traces.tracer.open_span("pass"), suppress(NodeRefused, NodeUnreachable):
            through = transports.http.through("bastion")
            await through.send("PUT", "http://10.0.0.1:5000/x", node="a", timeout=1)
    call = traces.the("PUT")
    assert call.kind is SpanKind.CLIENT
    assert dict(call.attributes) == {
        "http.request.method": "PUT",
        "url.full": "http://10.0.0.1:5000/x",
        "server.address": "10.0.0.1",
        "server.port": 5000,
        "reconciler.called": "a",
        **({"http.response.status_code": status} if status else {}),
        **({"error.type": kind} if kind else {}),
    }
    assert (call.status.status_code is StatusCode.ERROR) == bool(kind)
    assert not call.status.description


class Others(Streams, Commands, Files):
    """Every other call to a node, good or refused."""

    def __init__(self, error=None):
        self.error = error

    async def answer(self, *_, **__):
        if self.error:
            raise self.error
        return b""

    ask = send = run = read = stage = switch = restore = discard = answer

    def through(self, way):
        return self


@pytest.mark.parametrize(
    "error", [None, NodeRefused("a", SECRET, status=0, code="FILE")], ids=["good", "refused"]
)
async def test_calls_of_every_kind_are_traced_without_what_they_say(traces, error):
    others = Others(error)

    @asynccontextmanager
    async def connect(_):
        yield Transports(http=Line(), commands=others, files=others, streams=others)

    place, address = FilePlace("conf", "a"), SocketAddress("10.0.0.1", 6379)
    asked = {"is_complete": bool, "node": "a", "timeout": 1, "limit": 9}
    async with traces.tracer.trace_calls(connect)(None) as transports:
        files, streams = transports.files, transports.streams.through("bastion")
        secret = {"password": SECRET}
        calls = {
            "ask": streams.ask(address, SECRET.encode(), **asked),
            "send": streams.send(address, SECRET.encode(), **asked),
            "run command": transports.commands.run("restart", secret, node="a"),
            "read by command": transports.commands.read("starts", secret, node="a"),
            "read file": files.read(place),
            "stage file": files.stage(place, SECRET.encode()),
            "switch file": files.switch(place, before="x", after="y"),
            "restore file": files.restore(place, before="x", after="y"),
            "discard file": files.discard(place),
        }
        with traces.tracer.open_span("pass"):
            for call in calls.values():
                with suppress(NodeRefused):
                    await call
    for name in calls:
        span = traces.the(name)
        assert traces.way(span) == f"pass > {name}"
        assert span.attributes["reconciler.called"] == "a"
        assert span.attributes.get("error.type") == (error and "NodeRefused")
        assert SECRET not in span.to_json()
    assert len(calls) == sum(len(kind.__abstractmethods__) for kind in (Streams, Commands, Files))


async def test_calls_of_a_pass_are_bounded_and_failed_ones_come_first(traces, monkeypatch):
    monkeypatch.setattr(module, "MOST_CALLS", 5)
    good, bad = Line(200), Line(500)
    with traces.tracer.open_span("pass"):
        for http, count in ((good, 8), (bad, 9)):
            async with traces.tracer.trace_calls(make_connect(http))(None) as transports:
                for _ in range(count):
                    await transports.http.send("GET", "http://10.0.0.1/", node="a", timeout=1)
    assert len(traces.named("GET")) == 10
    assert sum(call.status.status_code is StatusCode.ERROR for call in traces.named("GET")) == 5
    assert traces.the("pass").attributes["reconciler.calls_left_out"] == 7
    assert MOST_CALLS == 1000


async def test_a_call_outside_of_a_pass_is_no_trace(traces):
    async with traces.tracer.trace_calls(make_connect(Line()))(None) as transports:
        await transports.http.send("GET", "http://10.0.0.1/", node="a", timeout=1)
    assert traces.spans == ()


def test_a_long_text_is_cut(traces):
    with traces.tracer.open_span("pass", reason="x" * 100_000) as span:
        span.fail("y" * 100_000)
    made = traces.the("pass")
    assert len(made.attributes["reconciler.reason"]) <= 1024
    assert len(made.status.description) <= 1024


def test_a_given_trace_is_continued_and_another_text_is_not():
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    given = Traces(f"00-{trace}-{span}-01")
    with given.tracer.open_span("pass"):
        pass
    assert f"{given.the('pass').context.trace_id:032x}" == trace
    assert f"{given.the('pass').parent.span_id:016x}" == span
    for text in ("", "00-zz", f"00-{'0' * 32}-{span}-01", "x" * 100_000):
        other = Traces(text)
        with other.tracer.open_span("pass"):
            pass
        assert other.the("pass").parent is None
    unsampled = Traces(f"00-{trace}-{span}-00")
    with unsampled.tracer.open_span("pass"):
        pass
    assert unsampled.spans == ()
    assert unsampled.delivery.ended == 0


def test_the_resource_says_who_sends_and_the_environment_may_add_to_it():
    environment = {
        "OTEL_SERVICE_NAME": "fleet",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=prod%20eu,broken,=x",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere.example.com",
    }
    made = Traces(environment=environment)
    with made.tracer.open_span("pass"):
        pass
    found = made.the("pass").resource.attributes
    assert found["service.name"] == "fleet"
    assert found["deployment.environment"] == "prod eu"
    assert {"service.version", "host.name", "telemetry.sdk.name"} <= found.keys()
    assert "elsewhere" not in str(dict(found))


def test_every_event_is_passed_on(traces):
    """A new event that the tracing listener does not pass on would be lost for progress, metrics and log."""
    events = {name for name in vars(PassListener) if name.startswith("on_")}
    assert events == {name for name in vars(module.TracingListener) if name.startswith("on_")}
    with traces.tracer.trace_events(SILENT) as listener:
        assert isinstance(listener, PassListener)
