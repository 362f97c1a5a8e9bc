"""What the watch says of its newest commit, and how it writes that to a forge."""

import asyncio
import io
import json
import threading
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import pytest
from support.forges import TOKEN, serving_forge

from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import ClusterBusy, UsageError
from reconciler.forges.connection import open_forge
from reconciler.forges.forge import ForgeKind, ForgeRepository, StatusState
from reconciler.host.commit_status_config import CommitStatusRules
from reconciler.server import commit_status_writer
from reconciler.server.commit_status_writer import MOST_WRITES, CommitStatusWriter
from reconciler.server.logs import open_log
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.revision_status import judge_newest_commit
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource, WatchState
from reconciler.sources.http_routes import make_http_transport

FIRST, SECOND = "a" * 40, "b" * 40


def refusal(*, hold):
    return Diagnostic(Severity.ERROR, "window", "outside the window", target="edge", hold=hold)


def state_of(commit=FIRST, **summaries):
    """A watch over clusters (name -> summary of the last pass, or None before the first)."""
    revision = Revision("git", commit, commit[:7])
    watch_state = WatchState(source=WatchedSource(SourceState.GOOD, revision))
    for name, summary in summaries.items():
        watch_state.clusters[name] = WatchedCluster(name, revision, revision, pass_summary=summary)
    return watch_state


GOOD = PassSummary(PassResult.CONVERGED)
CASES = {
    "good": (GOOD, StatusState.SUCCESS),
    "applied": (PassSummary(PassResult.APPLIED), StatusState.SUCCESS),
    "unread": (PassSummary(PassResult.APPLIED, unread_nodes=("n1",)), StatusState.PENDING),
    "waiting": (PassSummary(PassResult.WAITING), StatusState.PENDING),
    "held": (PassSummary(PassResult.REFUSED, violations=(refusal(hold=True),)), StatusState.PENDING),
    "refused": (PassSummary(PassResult.REFUSED, violations=(refusal(hold=False),)), StatusState.FAILURE),
    "partial": (PassSummary(PassResult.PARTIAL), StatusState.FAILURE),
    "stalled": (PassSummary(PassResult.STALLED), StatusState.FAILURE),
    "pinned": (PassSummary(PassResult.CONVERGED, pin=object()), StatusState.FAILURE),
    "unknown": (None, StatusState.PENDING),
}


@pytest.mark.parametrize("case", CASES)
def test_one_cluster_decides_beside_a_good_one(case):
    summary, state = CASES[case]
    status = judge_newest_commit(state_of(edge=summary, live=GOOD))
    assert (status.commit, status.state) == (FIRST, state)
    expected = {StatusState.SUCCESS: "2 of 2 clusters as desired"}
    expected[StatusState.PENDING] = "1 of 2 clusters as desired; pending: edge"
    expected[StatusState.FAILURE] = "1 of 2 clusters as desired; not applied: edge"
    assert status.description == expected[state]


def test_every_result_of_a_pass_has_a_state():
    for result in PassResult:
        assert judge_newest_commit(state_of(edge=PassSummary(result))) is not None


def test_a_commit_with_invalid_files_is_a_failure_and_folders_have_no_status():
    watch_state = state_of(edge=GOOD)
    watch_state.source = WatchedSource(SourceState.INVALID, watch_state.source.revision, rejected=SECOND)
    status = judge_newest_commit(watch_state)
    assert (status.commit, status.state) == (SECOND, StatusState.FAILURE)
    assert judge_newest_commit(state_of("sha256:1234", edge=GOOD)) is None
    assert judge_newest_commit(WatchState()) is None


class Bench:
    """A writer over a stand-in."""

    def __init__(self, stand_in, watch_state, *, lock=None, token=TOKEN):
        self.lines, self.watch_state = io.StringIO(), watch_state
        rules = {"forge": stand_in.kind, "api": stand_in.api, "repository": "operations/fleet"}
        if stand_in.kind == "gitlab":
            rules["repository"] = "3"
        self.rules = CommitStatusRules(source="https://git.example.com/fleet", token="/t", **rules)
        repository = ForgeRepository(ForgeKind(stand_in.kind), stand_in.api, self.rules.repository)
        self.stop, self.now = asyncio.Event(), 0.0

        @asynccontextmanager
        async def free():
            yield

        self.writer = CommitStatusWriter(
            self.rules,
            watch_state,
            open_log(self.lines, form="json"),
            open_forge=lambda: open_forge(repository, token, partial(make_http_transport, {})),
            lock=lock or free,
            clock=lambda: self.now,
        )

    def events(self):
        return [json.loads(line)["event"] for line in self.lines.getvalue().splitlines()]

    async def look(self, seconds=5.0):
        """One look at the state, some seconds after the last one."""
        self.now += seconds
        status = self.writer.choose_status()
        if status is not None and (self.now >= self.writer._due or self.writer._was_replaced(status)):
            await self.writer._write(status)


@pytest.fixture(params=["github", "gitlab", "gitea"])
def forge(request):
    with serving_forge(request.param) as stand_in:
        yield stand_in
        assert stand_in.faults == []


def states(forge):
    return [(one["commit"][0], one["state"].replace("failed", "failure")) for one in forge.statuses]


async def test_a_change_is_written_once_and_a_success_is_the_last_word(forge):
    watch_state = state_of(edge=None)
    bench = Bench(forge, watch_state)
    await bench.look()
    assert states(forge) == [], "after a start the commit may have been applied long ago"
    watch_state.note("edge", pass_summary=GOOD)
    for _ in range(3):
        await bench.look()
    watch_state.note("edge", pass_summary=PassSummary(PassResult.INCOMPLETE, unread_nodes=("n1",)))
    await bench.look()
    assert states(forge) == [("a", "success")]
    watch_state.source = WatchedSource(SourceState.GOOD, Revision("git", SECOND, "b"))
    watch_state.fleet = SimpleNamespace(name="north")
    for summary in (None, PassSummary(PassResult.PARTIAL), GOOD):
        watch_state.note("edge", pass_summary=summary)
        await bench.look()
    assert states(forge)[1:] == [("b", "pending"), ("b", "failure"), ("b", "success")]
    assert [one["name"] for one in forge.statuses] == ["reconcile"] + ["reconcile/north"] * 3


async def test_while_the_forge_is_away_only_the_newest_is_kept(forge):
    watch_state = state_of(edge=PassSummary(PassResult.WAITING))
    bench = Bench(forge, watch_state)
    forge.refuse_first(503, times=3)
    for _ in range(3):
        await bench.look(600.0)
    watch_state.source = WatchedSource(SourceState.GOOD, Revision("git", SECOND, "b"))
    watch_state.note("edge", pass_summary=GOOD)
    await bench.look(1.0)
    assert states(forge) == [], "not before the pause is over"
    await bench.look(600.0)
    assert states(forge) == [("b", "success")]
    assert bench.events() == ["commit status not written", "commit statuses are written again"]


async def test_a_refusal_is_logged_once_without_the_token_and_a_new_status_is_tried(forge):
    watch_state = state_of(edge=PassSummary(PassResult.WAITING))
    bench = Bench(forge, watch_state, token="wr0ng-token")
    for _ in range(5):
        await bench.look()
    calls = len(forge.requests)
    assert calls == 1
    watch_state.note("edge", pass_summary=GOOD)
    await bench.look()
    assert len(forge.requests) == 2
    assert bench.events() == ["commit status not written"]
    assert "wr0ng" not in bench.lines.getvalue()
    assert "401" in bench.lines.getvalue()


async def test_a_commit_that_comes_and_goes_has_a_bounded_number_of_statuses():
    with serving_forge("github") as forge:
        watch_state = state_of(edge=GOOD)
        bench = Bench(forge, watch_state)
        for number in range(2 * MOST_WRITES):
            result = PassResult.PARTIAL if number % 2 else PassResult.WAITING
            watch_state.note("edge", pass_summary=PassSummary(result))
            await bench.look()
        assert len(forge.statuses) == MOST_WRITES
        watch_state.note("edge", pass_summary=GOOD)
        await bench.look()
        assert states(forge)[-1] == ("a", "success")


async def test_of_two_hosts_one_writes_and_the_other_goes_on_after_it(monkeypatch):
    monkeypatch.setattr(commit_status_writer, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(commit_status_writer, "BUSY_SECONDS", 0.01)
    held = []

    def lock_of(host):
        @asynccontextmanager
        async def lock():
            if held:
                raise ClusterBusy("commit statuses are written by the other host")
            held.append(host)
            try:
                yield
            finally:
                held.clear()

        return lock

    with serving_forge("gitea") as forge:
        watch_state = state_of(edge=GOOD)
        hosts = [Bench(forge, watch_state, lock=lock_of(name)) for name in ("one", "two")]
        tasks = [asyncio.create_task(host.writer.run(host.stop)) for host in hosts]
        while not forge.statuses:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert states(forge) == [("a", "success")]
        hosts[held == ["two"]].stop.set()
        watch_state.source = WatchedSource(SourceState.GOOD, Revision("git", SECOND, "b"))
        while ("b", "success") not in states(forge):
            await asyncio.sleep(0.01)
        for host in hosts:
            host.stop.set()
        await asyncio.gather(*tasks)


async def test_a_stop_does_not_wait_for_a_forge_that_is_silent():
    released = threading.Event()
    with serving_forge("github") as forge:
        forge.before = lambda *_: released.wait(30)
        bench = Bench(forge, state_of(edge=GOOD))
        task = asyncio.create_task(bench.writer.run(bench.stop))
        while not forge.requests:
            await asyncio.sleep(0.01)
        bench.stop.set()
        try:
            async with asyncio.timeout(5):
                await task
        finally:
            released.set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"forge": "gitlab"},
        {"api": "http://git.example.com/api"},
        {"api": "https://kim:pw@git.example.com/api"},
        {"repository": "../x y"},
        {"token": "t0ken-itself"},
        {"forge": "svn"},
        {"target": "javascript:alert(1)"},
    ],
    ids="-".join,
)
def test_wrong_rules_are_refused(wrong):
    right = {"source": "s", "forge": "github", "repository": "a/b", "token": "/t"}
    CommitStatusRules(**right)
    with pytest.raises((ValueError, UsageError)):
        CommitStatusRules(**{**right, **wrong})
