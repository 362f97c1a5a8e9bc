"""Questions about nodes: a crash at any moment leaves no yes behind that nobody can see, nor half of one."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from support.driver import NOON, NOWHERE, FakeDriver, FleetSource, Killed, World, cluster, fleet

from reconciler.api.reader import Reader
from reconciler.api.stop_gate import StopGate
from reconciler.core.actor import Actor
from reconciler.core.reservations import StopAnswer, StopDecision, StopRequest
from reconciler.errors import StateError, UsageError
from reconciler.store.factory import open_store

KIM = Actor("kim")


class Clock:
    now = NOON

    def __call__(self):
        return self.now


class Site:
    """A cluster of three nodes, its store, and questions about it."""

    def __init__(self, folder):
        self.clock = Clock()
        self.world = World(dict.fromkeys("abc", "old"))
        self.driver = FakeDriver(self.world)
        self.folder = folder
        self.store = open_store(folder, clock=self.clock)
        self.clusters = (cluster("edge", dict.fromkeys("abc", "old")),)

    @property
    def fleet(self):
        return fleet(*self.clusters)

    def gate(self, store=None):
        @asynccontextmanager
        async def connect(host):
            yield NOWHERE

        reader = Reader(FleetSource(), drivers={"fake": self.driver}, connect=connect)
        return StopGate(reader, store or self.store, self.clock)

    async def ask(self, node, **more):
        return await self.gate().ask(StopRequest(node, **more), KIM, self.fleet)

    async def answer(self, node, **more):
        return (await self.ask(node, **more)).decision.answer


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path / "state")
    yield site
    site.store.close()


async def reserved(site):
    (known, *_) = await site.store.fleets()
    return [one.node for one in await site.store.select_fleet(known.number).reservations()]


async def test_of_questions_at_once_one_gets_a_yes_in_one_process_and_in_two(site):
    with open_store(site.folder, clock=site.clock) as other:
        gates = [site.gate(), site.gate(other), site.gate()]
        replies = await asyncio.gather(
            *(gate.ask(StopRequest(node), KIM, site.fleet) for gate, node in zip(gates, "abc", strict=True))
        )
    answers = sorted(reply.decision.answer for reply in replies)
    assert answers == [StopAnswer.NO, StopAnswer.NO, StopAnswer.YES]
    assert len(await reserved(site)) == 1


async def test_without_its_lock_the_store_still_gives_one_yes(site, monkeypatch):
    """The file of the lock may be removed by somebody: then the transaction decides."""

    @asynccontextmanager
    async def unlocked(self, cluster, seconds):
        yield

    monkeypatch.setattr(type(site.store), "lock_questions", unlocked)
    answers = await asyncio.gather(*(site.answer(node) for node in "abc"))
    assert sorted(answers) == [StopAnswer.NO, StopAnswer.NO, StopAnswer.YES]


async def test_a_kill_between_decision_and_record_leaves_nothing(site, monkeypatch):
    await site.ask("a")
    await site.ask("a", release=True)

    async def killed(self, operation, reservation, seen):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(site.store), "record_answer", killed)
        with suppress(Killed):
            await site.ask("b")
    assert await reserved(site) == []
    assert await site.answer("c") is StopAnswer.YES


async def test_a_store_that_cannot_be_written_gives_no_answer(site, monkeypatch):
    async def full(self, operation, reservation, seen):
        raise StateError("the disk is full")

    monkeypatch.setattr(type(site.store), "record_answer", full)
    with pytest.raises(StateError):
        await site.ask("a")


async def test_a_cluster_that_changes_at_each_look_is_not_found_out(site, monkeypatch):
    record, calls = type(site.store).record_answer, []

    async def late(self, operation, reservation, seen):
        calls.append(reservation)
        return await record(self, operation, None, seen) if reservation is None else False

    monkeypatch.setattr(type(site.store), "record_answer", late)
    reply = await site.ask("a")
    assert (reply.decision.answer, len(calls)) == (StopAnswer.UNKNOWN, 4)
    assert await reserved(site) == []


async def test_a_defect_of_the_product_is_never_a_yes(site):
    def broken(question):
        raise ZeroDivisionError("secret-of-a-node")

    site.driver.decide_stop = broken
    reply = await site.ask("a")
    assert reply.decision.answer is StopAnswer.UNKNOWN
    assert "secret-of-a-node" not in reply.decision.reasons[0]


async def test_a_node_may_be_asked_about_by_cluster_and_name_and_others_are_refused(site):
    assert await site.answer("edge/a") is StopAnswer.YES
    for request in (
        StopRequest("z"),
        StopRequest(""),
        StopRequest("a" * 10_000),
        StopRequest("a", "other"),
        StopRequest("z", release=True),
    ):
        with pytest.raises(UsageError):
            await site.gate().ask(request, KIM, site.fleet)


async def test_a_node_of_two_clusters_needs_the_name_of_its_cluster(site):
    site.clusters = (*site.clusters, cluster("core", {"a": "old"}))
    with pytest.raises(UsageError, match="several clusters have a node"):
        await site.ask("a")
    assert await site.answer("a", cluster="core") is StopAnswer.YES
    assert await site.answer("b", cluster="edge") is StopAnswer.YES


async def test_a_reservation_of_a_node_that_left_the_fleet_can_be_released(site):
    await site.ask("a")
    site.clusters = (cluster("edge", dict.fromkeys("bc", "old")),)
    assert (await site.ask("a", release=True)).released == 1
    with pytest.raises(UsageError, match="names no node"):
        await site.ask("a", release=True)


async def test_a_silent_node_makes_the_answer_no_and_a_node_that_is_back_yes(site):
    site.world.silent.add("b")
    assert await site.answer("a") is StopAnswer.NO
    site.world.silent.clear()
    assert await site.answer("a") is StopAnswer.YES
    site.clock.now += timedelta(minutes=16)
    assert await site.answer("b") is StopAnswer.YES, "a was never stopped, and its time is over"


async def test_a_node_that_is_away_after_its_time_is_still_reserved(site):
    await site.ask("a")
    site.world.silent.add("a")
    site.clock.now += timedelta(days=1)
    reply = await site.ask("b")
    assert reply.decision.answer is StopAnswer.NO
    assert "a is reserved until" in reply.decision.reasons[0]
    assert (await site.ask("a")).decision.answer is StopAnswer.NO


async def test_a_clock_that_is_set_back_frees_nothing(site):
    await site.ask("a")
    site.clock.now -= timedelta(days=3)
    assert await site.answer("b") is StopAnswer.NO


async def test_a_yes_of_a_product_is_not_asked_for_where_the_node_is_reserved(site):
    site.driver.decide_stop = lambda question: StopDecision(StopAnswer.YES)
    assert await site.answer("a") is StopAnswer.YES
    assert await site.answer("a") is StopAnswer.NO
