"""The bundle of transports: a missing one is refused, and no code bypasses it."""

import ast
import asyncio
from dataclasses import fields
from pathlib import Path

import pytest
from support.driver import FakeDriver, World, cluster, fleet
from support.offers import make_draft

import reconciler
from reconciler.core.endpoint import SocketAddress
from reconciler.core.file_state import FilePlace, FileState
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import MissingTransport, WriteRefused
from reconciler.fault_trials.clock import SkippingLoop, count_calls, run_skipping_waits
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.read_only import restrict_to_reading
from reconciler.ports.driver import Capabilities
from reconciler.ports.transport import (
    Commands,
    Files,
    Http,
    HttpAnswer,
    Mailbox,
    NodeMail,
    ReadingRequest,
    Streams,
    TransportKind,
    Transports,
)
from reconciler.transports.bundle import open_transports

PLACE = FilePlace("conf", "n")

CARRIERS = {
    *("socket", "ssl", "http.client", "urllib.request", "httpx", "aiohttp", "subprocess", "os"),
    "reconciler.host.subprocesses",
}
"""Modules that can send data."""


class Recording(Http, Commands, Mailbox):
    """All ways; keeps what travels, and what was in flight meanwhile."""

    def __init__(self, loop: SkippingLoop | None = None) -> None:
        self.sent: list[str] = []
        self.loop = loop

    def note(self, words: str) -> None:
        self.sent.append(f"{words}, {self.loop._selector.calls if self.loop else 0} in flight")

    async def send(self, method, url, **_):
        self.note(f"{method} {url}")
        return HttpAnswer(200, {}, b"")

    async def resolve(self, host):
        self.note(f"resolve {host}")
        return ("192.0.2.1",)

    def local_address(self, url):
        return "198.51.100.1"

    async def run(self, command, values, *, node):
        self.note(f"run {command}")
        return "done"

    async def read(self, command, values, *, node):
        self.note(f"read {command}")
        return "done"

    async def offer(self, draft):
        self.note(f"offer {draft.node}")
        return "it lies ready"

    async def read_mail(self, cluster, node):
        self.note(f"read mail of {cluster}/{node}")
        return NodeMail()


class RecordingFiles(Files):
    """Files; keeps what travels, beside another recording."""

    def __init__(self, below: Recording) -> None:
        self.below = below

    async def read(self, place):
        self.below.note(f"read {place.entry}")
        return FileState(None)

    async def stage(self, place, content):
        self.below.note(f"stage {place.entry}")
        return "aside"

    async def switch(self, place, *, before, after):
        self.below.note(f"switch {place.entry}")
        return "in place"

    async def restore(self, place, *, before, after):
        self.below.note(f"restore {place.entry}")
        return "as before"

    async def discard(self, place):
        self.below.note(f"discard {place.entry}")
        return "gone"


class RecordingStreams(Streams):
    """Streams; keeps what travels, beside another recording."""

    def __init__(self, below: Recording) -> None:
        self.below = below

    async def ask(self, address, request, **_):
        self.below.note(f"ask {address} {request.decode()}")
        return b"pong"

    async def send(self, address, request, **_):
        self.below.note(f"send {address} {request.decode()}")
        return b"done"


def stream_calls(streams: Streams):
    """Both calls, as something to await."""
    options = {"is_complete": bool, "node": "n", "timeout": 1, "limit": 10}
    address = SocketAddress("192.0.2.9", 6379)
    return lambda: streams.ask(address, b"ping", **options), lambda: streams.send(address, b"set", **options)


def change_file(files: Files):
    """Every call that writes, by name, as something to await."""
    return {
        "stage": lambda: files.stage(PLACE, b"x"),
        "switch": lambda: files.switch(PLACE, before="a", after="b"),
        "restore": lambda: files.restore(PLACE, before="a", after="b"),
        "discard": lambda: files.discard(PLACE),
    }


def imported(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_a_product_reaches_its_nodes_through_the_transports_only():
    root = Path(reconciler.__file__).parent / "drivers"
    modules = [one for one in root.rglob("*.py") if "simulator" not in one.parts]
    assert len(modules) > 50
    assert {str(one): sorted(imported(one) & CARRIERS) for one in modules if imported(one) & CARRIERS} == {}
    opened = [
        f"{one}: {node.attr}"
        for one in modules
        for node in ast.walk(ast.parse(one.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith(
            (
                "open_connection",
                "open_unix",
                "create_",
                "subprocess_",
                "connect_acc",
                "connect_re",
                "connect_wr",
            )
        )
    ]
    assert opened == []


@pytest.mark.parametrize("way", list(TransportKind))
async def test_a_missing_transport_is_refused_before_anything_starts(way):
    world = World({"a": "old"})
    driver = FakeDriver(world)
    driver.capabilities = Capabilities(transports=frozenset({way}))
    with pytest.raises(MissingTransport) as caught:
        await run_plan_pass(
            fleet(cluster("hall", {"a": "new"})), drivers={"fake": driver}, transports=Transports()
        )
    assert caught.value.message == f"hall: this program has no transport '{way}' to reach it"
    assert caught.value.remedy
    assert (world.looks, world.acts) == ([], [])


async def test_this_host_has_the_transports_of_every_product():
    async with open_transports() as transports:
        for driver in DRIVERS.values():
            assert driver.capabilities.transports
            transports.refuse_missing(driver.capabilities.transports, "x")


async def test_a_way_that_is_missing_answers_as_a_node_that_was_not_asked():
    with pytest.raises(MissingTransport) as caught:
        await Transports().http.send("GET", "http://n/", node="n", timeout=1)
    assert not caught.value.sent
    with pytest.raises(MissingTransport):
        await Transports().commands.run("stop", {}, node="n")
    with pytest.raises(MissingTransport):
        await Transports().mailbox.offer(make_draft("n"))
    with pytest.raises(MissingTransport):
        await Transports().mailbox.read_mail("c", "n")
    for call in (lambda: Transports().files.read(PLACE), *change_file(Transports().files).values()):
        with pytest.raises(MissingTransport, match=r"n: .*'file'"):
            await call()
    for call in stream_calls(Transports().streams):
        with pytest.raises(MissingTransport, match=r"n: .*'stream'"):
            await call()
    with pytest.raises(MissingTransport):
        await restrict_to_reading(Transports(), ()).http.send("GET", "http://n/", node="n", timeout=1)


async def test_where_only_reading_is_possible_names_resolve_and_no_command_runs():
    below = Recording()
    found = Transports(below, below, below, RecordingFiles(below), RecordingStreams(below))
    transports = restrict_to_reading(found, ())
    assert transports.http.local_address("http://n/") == "198.51.100.1"
    assert await transports.http.resolve("n") == ("192.0.2.1",)
    with pytest.raises(WriteRefused, match="was not run"):
        await transports.commands.run("stop", {}, node="n")
    with pytest.raises(WriteRefused, match="nothing was offered"):
        await transports.mailbox.offer(make_draft("n"))
    assert await transports.mailbox.read_mail("c", "n") == NodeMail()
    assert await transports.files.read(PLACE) == FileState(None)
    for call in change_file(transports.files).values():
        with pytest.raises(WriteRefused, match="the file conf was not changed"):
            await call()
    for call in stream_calls(transports.streams):
        with pytest.raises(WriteRefused, match="sent"):
            await call()
    assert below.sent == [
        "resolve n, 0 in flight",
        "read mail of c/n, 0 in flight",
        "read conf, 0 in flight",
    ]


async def test_a_stream_carries_only_the_requests_that_the_product_documents_as_reading():
    below = Recording()
    reads = (ReadingRequest(lambda request: request == b"ping"),)
    for call, allowed in zip(
        stream_calls(restrict_to_reading(Transports(streams=RecordingStreams(below)), reads).streams),
        (True, False),
        strict=True,
    ):
        if allowed:
            assert await call() == b"pong"
        else:
            with pytest.raises(WriteRefused, match="only reading is allowed"):
                await call()
    other = (ReadingRequest(lambda request: request == b"other"),)
    asks, _ = stream_calls(restrict_to_reading(Transports(streams=RecordingStreams(below)), other).streams)
    with pytest.raises(WriteRefused) as caught:
        await asks()
    assert "ping" not in str(caught.value), "a request may have a password"
    assert below.sent == ["ask 192.0.2.9:6379 ping, 0 in flight"]


def test_every_call_of_every_transport_is_counted():
    async def work():
        loop = asyncio.get_running_loop()
        below = Recording(loop)
        transports = count_calls(
            Transports(below, below, below, RecordingFiles(below), RecordingStreams(below)), loop
        )
        await transports.http.send("GET", "http://n/", node="n", timeout=1)
        await transports.http.resolve("n")
        await transports.commands.run("stop", {}, node="n")
        await transports.mailbox.offer(make_draft("n"))
        await transports.mailbox.read_mail("c", "n")
        await transports.files.read(PLACE)
        for call in change_file(transports.files).values():
            await call()
        for call in stream_calls(transports.streams):
            await call()
        assert loop._selector.calls == 0
        return below.sent

    assert run_skipping_waits(work()) == [
        "GET http://n/, 1 in flight",
        "resolve n, 1 in flight",
        "run stop, 1 in flight",
        "offer n, 1 in flight",
        "read mail of c/n, 1 in flight",
        "read conf, 1 in flight",
        *(f"{call} conf, 1 in flight" for call in ("stage", "switch", "restore", "discard")),
        "ask 192.0.2.9:6379 ping, 1 in flight",
        "send 192.0.2.9:6379 set, 1 in flight",
    ]


def test_every_kind_of_transport_is_in_the_bundle():
    assert len(fields(Transports)) == len(TransportKind)
