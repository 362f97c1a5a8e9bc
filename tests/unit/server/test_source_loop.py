"""The loop of the source: the last good fleet stays in use after every kind of failure."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.inventories import NOW, inventory, unread
from support.watch_server import FOREVER, Rig, fleet, until

from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.errors import InputError, SourceError, SourceUnreachable
from reconciler.ports.inventory import NO_INVENTORY
from reconciler.ports.source import Source
from reconciler.server import source_loop
from reconciler.server.source_loop import SourceLoop
from reconciler.server.watch_state import SourceState

LATER = NOW + timedelta(minutes=1)
AWAY = SourceUnreachable("the repository does not answer", remedy="try again")
GONE = SourceError("there is no branch 'main'")
WRONG = InputError(
    [
        Diagnostic(
            Severity.ERROR,
            "unknown-key",
            "unknown key 'x'",
            position=Position("fleet.yaml", 3, 1),
            pointer="/x",
        )
    ]
)


class Fake(Source):
    """A source that gives, or raises, one thing after the other; the last one repeatedly."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.reads = 0
        self.inventories, self.known = [], NO_INVENTORY

    async def snapshot(self):
        self.reads += 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, BaseException):
            raise end
        found = self.inventories.pop(0) if self.inventories else self.known
        self.known = found
        return SimpleNamespace(revision=fleet(end[0]).revision, files=end, inventory=found)


def load(snapshot):
    if snapshot.files == "bad":
        raise WRONG
    return fleet(snapshot.files[0])


class Site:
    def __init__(self, *ends, poll=FOREVER):
        self.rig, self.source, self.published = Rig(), Fake(*ends), []
        self.stale, self.refreshed = [], []
        self.read(load, poll=poll)

    def read(self, load, source=None, poll=FOREVER):
        """Read the source, or another one, with a loop of its own."""
        self.source_loop = SourceLoop(
            self.rig.context,
            source or self.source,
            load=load,
            publish=self.publish,
            poll=poll,
            is_stale=lambda: bool(self.stale and self.stale.pop()),
            refresh=self.refreshed.append,
        )

    def publish(self, new, trigger):
        self.published.append((new.revision.id[0], trigger))

    @property
    def status(self):
        return self.rig.watch_state.source

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.source_loop.run())
        try:
            yield self
        finally:
            self.source_loop.stop()
            async with asyncio.timeout(10):
                await task


async def test_it_looks_at_the_start_and_publishes_once_for_each_revision():
    async with Site("a", "a", "b", poll=0.005).running() as site:
        await until(lambda: site.source.reads >= 4)
    assert site.published == [("a", "start"), ("b", "poll")]
    assert site.rig.sample("source_looks_total", result="new") == 2
    assert site.rig.sample("source_looks_total", result="same") >= 1
    assert site.status.state is SourceState.GOOD


async def test_secrets_that_changed_are_read_again_for_the_same_revision():
    async with Site("a", poll=0.005).running() as site:
        await until(lambda: site.source.reads >= 2)
        assert site.published == [("a", "start")]
        site.stale.append(True)
        await until(lambda: len(site.published) > 1)
        await until(lambda: site.source.reads >= 6)
    assert site.published == [("a", "start"), ("a", "poll")]
    assert site.rig.sample("source_looks_total", result="secrets") == 1
    assert len(site.rig.lines("secrets reloaded")) == 1


async def test_other_instances_are_other_nodes_of_the_same_revision():
    one, newer = inventory(i_1="10.0.0.1"), replace(inventory(i_1="10.0.0.1"), at=LATER)
    moved, away = inventory(i_1="10.0.0.2"), unread()
    site = Site("a", poll=0.005)
    site.source.inventories = [one, newer, newer, moved, away, away, one]
    async with site.running():
        await until(lambda: site.source.reads >= 9)
    # Not for a newer list of the same; but for another address, for no list that counts, and for one again.
    assert site.published == [("a", "start")] + [("a", "poll")] * 3
    assert site.refreshed[:2] == [newer, newer]
    assert site.rig.sample("source_looks_total", result="inventory") == 3
    assert len(site.rig.lines("other instances found")) == 3
    (line,) = site.rig.lines("inventory not read")
    assert line["message"] == "it does not answer"
    assert line["query"] == "aws:vm:tag=edge"
    assert len(site.rig.lines("inventory recovered")) == 1


async def test_a_burst_of_triggers_causes_one_read_which_names_the_webhook():
    site = Site("a", "b")
    async with site.running():
        await until(lambda: site.source.reads == 1)
        for _ in range(20):
            site.source_loop.request_read("files")
            site.source_loop.request_read("webhook")
        await until(lambda: len(site.published) == 2)
    assert site.source.reads == 2
    assert site.published[-1] == ("b", "webhook")
    assert site.rig.sample("triggers_total", trigger="webhook") == 20


@pytest.mark.parametrize(
    ("end", "state", "rejected"),
    [
        (AWAY, SourceState.UNREACHABLE, ""),
        (GONE, SourceState.INVALID, ""),
        ("bad", SourceState.INVALID, "b" * 40),
    ],
)
async def test_a_failure_keeps_the_last_good_fleet_and_is_logged_once(end, state, rejected):
    async with Site("a", end, end, end, "a", poll=0.005).running() as site:
        await until(lambda: site.status.state is state)
        assert site.status.revision.id[0] == "a"
        assert site.status.rejected == rejected
        await until(lambda: site.status.state is SourceState.GOOD)
        assert site.status.message == ""
    assert site.published == [("a", "start")]
    refused = [line for line in site.rig.lines() if line["level"] == "error"]
    assert len(refused) == 1
    assert refused[0]["revision_in_use"] == "aaaaaaa"
    assert len(site.rig.lines("source recovered")) == 1


@pytest.mark.parametrize(
    "error",
    [RecursionError("the-secret"), MemoryError(), ExceptionGroup("x", [ValueError()]), SystemExit(2)],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["snapshot", "load"])
async def test_an_unexpected_error_is_an_invalid_revision_and_the_last_good_one_stays(error, where):
    site = (
        Site("a", error, error, error, "c", poll=0.005)
        if where == "snapshot"
        else Site("a", "x", "x", "x", "c", poll=0.005)
    )

    def fragile(snapshot):
        if snapshot.files == "x":
            raise error
        return load(snapshot)

    site.read(fragile, poll=0.005)
    async with site.running():
        await until(lambda: site.status.state is SourceState.INVALID)
        assert site.status.revision.id[0] == "a"
        assert site.status.rejected == ("" if where == "snapshot" else "x" * 40)
        await until(lambda: site.status.state is SourceState.GOOD)
        await until(lambda: site.published[-1][0] == "c")
    assert site.rig.sample("unexpected_errors_total", loop="source") >= 1
    (logged,) = site.rig.lines("unexpected error while reading the source")
    assert logged["revision_in_use"] == "aaaaaaa"
    assert "the last good revision stays in use" in logged["remedy"]
    assert logged["trace"]
    assert "the-secret" not in site.rig.stream.getvalue()


async def test_an_error_of_this_host_does_not_reject_the_revision():
    full = OSError(24, "Too many open files")
    async with Site("a", full, "b", poll=0.005).running() as site:
        await until(lambda: site.status.state is SourceState.UNREACHABLE)
        assert "Too many open files" in site.status.message
        await until(lambda: site.published[-1][0] == "b")


async def test_a_read_that_never_ends_is_cancelled_and_a_later_revision_is_read(monkeypatch):
    monkeypatch.setattr(source_loop, "FETCH", 0.05)
    go_on, site = threading.Event(), Site("a", "x", "x", "x", "c", poll=0.005)

    def slow(snapshot):
        if snapshot.files == "x":
            go_on.wait(10)
        return load(snapshot)

    site.read(slow, poll=0.005)
    async with site.running():
        await until(lambda: site.status.state is SourceState.UNREACHABLE)
        assert "took longer than" in site.status.message
        await until(lambda: site.published[-1][0] == "c")
    assert [line["message"] for line in site.rig.lines("source failed")][1:] == [
        "reading the files of revision xxxxxxxxxxxx has not ended"
    ]
    go_on.set()


async def test_every_problem_of_a_bad_revision_is_logged_with_its_position():
    async with Site("bad").running() as site:
        await until(lambda: site.status.state is SourceState.INVALID)
    (line,) = site.rig.lines("desired state rejected")
    assert line["message"].startswith("fleet.yaml:3:1: error: unknown key 'x'")
    assert (line["file"], line["line"], line["pointer"]) == ("fleet.yaml", 3, "/x")
    assert site.published == []
    assert site.status.revision is None


async def test_a_source_that_does_not_answer_at_the_start_is_read_again():
    async with Site(AWAY, AWAY, "a", poll=0.005).running() as site:
        await until(lambda: site.published)
    assert site.published == [("a", "poll")]


class Hung(Source):
    """A source that never answers; it records that its read was cancelled."""

    def __init__(self):
        self.asked, self.given_up = asyncio.Event(), False

    async def snapshot(self):
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up = True


async def test_stopping_cancels_a_read_that_hangs():
    site = Site("a")
    hung = Hung()
    site.read(load, hung)
    async with site.running():
        await hung.asked.wait()
    assert hung.given_up
    assert site.published == []


async def test_a_revision_whose_files_are_still_being_read_is_not_published_after_the_stop():
    site, begun, go_on = Site("a"), threading.Event(), threading.Event()

    def slow(snapshot):
        begun.set()
        go_on.wait(10)
        return load(snapshot)

    site.read(slow)
    async with site.running():
        await asyncio.to_thread(begun.wait, 10)
    go_on.set()
    await asyncio.sleep(0)
    assert site.published == []


async def test_stopping_does_not_wait_for_the_poll():
    async with Site("a").running() as site:
        await until(lambda: site.source.reads == 1)


@pytest.mark.parametrize(("count", "last"), [(20, "doubt 20"), (21, "21 warnings in total: `rec")])
async def test_many_warnings_of_one_revision_are_counted(count, last):
    doubts = tuple(
        Diagnostic(Severity.WARNING, "lint", f"doubt {line}", position=Position("a.json", line, 1))
        for line in range(1, count + 1)
    )
    site = Site("a")

    def doubtful(snapshot):
        return SimpleNamespace(**{**vars(load(snapshot)), "warnings": doubts})

    site.read(doubtful)
    async with site.running():
        await until(lambda: site.published)
    logged = [line["message"] for line in site.rig.lines("warning in desired state")]
    assert len(logged) == count
    assert last in logged[-1]


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("a", "a", "b", "a"), SourceState.GOOD),
        ((AWAY, AWAY, AWAY, AWAY), SourceState.UNREACHABLE),
        ((GONE, WRONG, GONE, WRONG), SourceState.INVALID),
    ],
)
async def test_since_is_when_a_state_began_and_not_when_it_was_last_seen(ends, state):
    site, now = Site(*ends), [1_000.0]
    site.source_loop._context = replace(site.rig.context, wall=lambda: now[0])
    for number in range(4):
        now[0] = 1_000.0 + number
        await site.source_loop.read("poll")
        assert (site.status.state, site.status.since, site.status.read_at) == (state, 1_000.0, now[0])


async def test_since_begins_anew_with_each_other_state():
    site, now = Site("a", AWAY, "a", GONE, AWAY), [0.0]
    site.source_loop._context = replace(site.rig.context, wall=lambda: now[0])
    since = []
    for number in range(1, 6):
        now[0] = float(number)
        await site.source_loop.read("poll")
        since.append(site.status.since)
    assert since == [1.0, 2.0, 3.0, 4.0, 5.0]
