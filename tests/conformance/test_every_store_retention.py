"""The history of any store keeps the chosen number of runs, and whatever is still needed beside them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, REVISION, FakeDriver, Wish, World, cluster

from reconciler.core import retention
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan
from reconciler.ports.store import OutboxMessage, RunStart, StepEnd
from reconciler.store.factory import open_store

WINDOW = timedelta(days=31)


class Host:
    """A store whose clock stands until it is moved, and runs of one step each."""

    def __init__(self, url, keep, first=0):
        self.now, names = NOON, iter(range(first, 10_000))
        self.store = open_store(url, clock=lambda: self.now, name=lambda: f"run-{next(names):04}", keep=keep)
        entry, world = cluster("edge", {"a": "1"}), World({"a": "old"})
        seen = Observed({"a": world.answer("a")})
        self.plan = Plan(REVISION, "0.1.0", (FakeDriver(world).plan(Wish(entry), seen),))
        (self.step,) = self.plan.steps()

    async def run(self, state=State.DONE, *, acts=True, outbox_message=False, until=None, ends=True) -> str:
        name = await self.store.begin_run(RunStart("command", self.plan))
        step = replace(self.step, id=self.step.id)
        if acts:
            await self.store.record_intent(name, step)
        if ends:
            words = OutboxMessage(name, b"{}") if outbox_message else None
            await self.store.record_outcomes(
                name, [StepEnd(Outcome(step, state), outbox_message=words, until=until)]
            )
            await self.store.finish_run(name, 0)
        self.now += timedelta(seconds=1)
        return name

    async def kept(self) -> set[str]:
        return {line.id for line in await self.store.runs(10_000)}


@pytest.fixture
def host(url, monkeypatch):
    monkeypatch.setattr(retention, "COUNTED", 0)
    found = Host(url, keep=3)
    yield found
    found.store.close()


async def test_the_newest_runs_are_kept_as_many_as_asked_for(host):
    runs = [await host.run() for _ in range(9)]
    assert await host.kept() == set(runs[-3:])


async def test_runs_that_sent_nothing_go_first(host):
    acted = [await host.run() for _ in range(2)]
    idle = [await host.run(acts=False) for _ in range(5)]
    assert await host.kept() == {*acted, idle[-1]}


async def test_refusals_count_too(host):
    for number in range(9):
        await host.store.record_refused_run(RunStart("interval", host.plan), f"verdict {number}")
    assert len(await host.kept()) <= 2


async def test_what_a_smaller_number_leaves_out_is_forgotten_at_the_next_run(url, monkeypatch):
    monkeypatch.setattr(retention, "COUNTED", 0)
    with Host(url, keep=100).store:
        pass
    before = Host(url, keep=100)
    for _ in range(20):
        await before.run()
    before.store.close()
    after = Host(url, keep=2, first=90)
    await after.run()
    assert await after.kept() == {"run-0019", "run-0090"}
    after.store.close()


async def test_a_running_run_is_kept(host):
    open_one = await host.run(ends=False)
    for _ in range(9):
        await host.run()
    assert open_one in await host.kept()
    assert [record.summary.id for record in await host.store.list_open_runs()] == [open_one]


@pytest.mark.parametrize("acts", [False, True], ids=["before its first call", "after it"])
async def test_a_run_that_has_not_ended_stays_whatever_it_has_sent(host, acts):
    """The next pass settles it: without its record nobody would know that it was killed, and where."""
    killed = await host.run(acts=acts, ends=False)
    for _ in range(2):
        await host.run(acts=False)
        await host.store.record_refused_run(RunStart("interval", host.plan), f"verdict {host.now}")
    for _ in range(4):
        await host.run()
    assert killed in await host.kept()
    (left,) = await host.store.list_open_runs()
    assert left.summary.id == killed
    assert [entry.intended is not None for entry in left.entries] == [acts]
    await host.store.record_outcomes(
        killed, [StepEnd(Outcome(host.step, State.SKIPPED, "the run was killed"))]
    )
    await host.store.finish_run(killed, 1)
    runs = [await host.run() for _ in range(4)]
    assert await host.kept() == set(runs[-3:])


async def test_a_message_that_has_not_arrived_keeps_its_run(host):
    waiting = await host.run(outbox_message=True)
    runs = [await host.run() for _ in range(5)]
    assert await host.kept() == {waiting, *runs[-3:]}
    await host.store.mark_sent(waiting)
    assert waiting in await host.kept()
    runs.append(await host.run())
    assert await host.kept() == set(runs[-3:])


async def test_a_message_that_was_refused_for_good_keeps_nothing(host):
    refused = await host.run(outbox_message=True)
    for _ in range(5):
        await host.store.mark_failed(refused, "400", refused=True)
    runs = [await host.run() for _ in range(4)]
    assert await host.kept() == set(runs[-3:])


async def test_an_unsettled_step_keeps_its_run(host):
    lost = await host.run(State.UNKNOWN)
    idle = [await host.run(State.WAITING, acts=False) for _ in range(6)]
    assert lost in await host.kept()
    assert [record.summary.id for record in await host.store.list_open_runs()] == [lost]
    settled = [await host.run() for _ in range(4)]
    assert await host.kept() == set(settled[-3:])
    assert idle[0] not in await host.kept()


async def test_a_call_that_may_still_be_under_way_keeps_its_run(host):
    lost = await host.run(State.UNKNOWN, until=NOON + timedelta(hours=1))
    runs = [await host.run() for _ in range(5)]
    assert await host.kept() == {lost, *runs[-3:]}
    host.now += timedelta(hours=2)
    runs.append(await host.run())
    assert await host.kept() == set(runs[-3:])


async def test_changes_that_budgets_count_are_not_forgotten_early(url, monkeypatch):
    monkeypatch.setattr(retention, "COUNTED", 5)
    host = Host(url, keep=1)
    for _ in range(9):
        await host.run()
    assert len((await host.store.read_memory()).cluster_memory["edge"].recent_changes) == 5
    host.now += WINDOW + timedelta(minutes=1)
    last = await host.run(acts=False)
    assert await host.kept() == {last}
    host.store.close()
