"""The outcome of one step under every fault: the reading decides, and nothing is sent twice."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.driver import NOWHERE, FakeDriver, FakeNode, Killed, Wish, World, cluster

from reconciler.core.observation import Observed, Present
from reconciler.core.outcome import State
from reconciler.errors import NodeRefused, SecretError, StateError
from reconciler.rollout import polling
from reconciler.rollout.step_executor import ExecutionContext, run_step_masked


class Table:
    """One node that holds `old` and is to hold `new`."""

    def __init__(self, *faults, person=False, **more):
        self.world = World({"n": "old"})
        self.world.fault("n", *faults)
        self.driver = FakeDriver(self.world)
        entry = cluster("c", {"n": FakeNode(name="n", value="new", person=person)}, **more)
        plan = self.driver.plan(Wish(entry), Observed({"n": Present("old")}))
        (self.step,) = plan.steps
        self.intents = []
        self.stop = asyncio.Event()
        self.bench = ExecutionContext(self.driver, NOWHERE, plan.payloads, self, self.stop)

    async def record_intent(self, step, reserved=None, *, despite_suspension=False):
        assert self.world.read("n") == "old", "the intent comes before the call"
        self.intents.append(step.id)

    async def hold_for(self, cluster, seconds):
        """The kernel takes no lock away."""

    async def outcome(self):
        ending = await run_step_masked(self.step, self.bench)
        return ending.outcome


async def test_a_step_is_done_when_its_effect_is_read():
    table = Table()
    ending = await run_step_masked(table.step, table.bench)
    assert ending.outcome.state is State.DONE
    assert ending.outcome.waiting_for_restart == ("port",)
    assert (ending.answer, ending.facts) == ("accepted", {"set_by_us": "new"})
    assert table.intents == ["c/n/set"]
    assert table.world.acts == ["n"]


async def test_an_existing_effect_is_found_and_nothing_is_sent():
    table = Table()
    table.world.values["n"] = "new"
    outcome = await table.outcome()
    assert (outcome.state, outcome.reason) == (State.FOUND, "n holds new")
    assert (table.intents, table.world.acts) == ([], [])


async def test_nodes_that_are_not_as_planned_are_not_changed():
    table = Table()
    table.world.values["n"] = "somebody else's"
    outcome = await table.outcome()
    assert outcome.state is State.CHANGED
    assert "somebody else's" in outcome.reason
    assert (table.intents, table.world.acts) == ([], [])


async def test_nothing_is_sent_to_a_node_without_a_conclusive_answer(monkeypatch):
    table = Table()
    table.world.silent.add("n")
    monkeypatch.setattr(polling.asyncio, "sleep", _quick(polling.asyncio.sleep))
    outcome = await table.outcome()
    assert (outcome.state, outcome.reason) == (State.SKIPPED, "nothing was sent: timed out")
    assert table.world.looks == ["n"] * 3
    assert (table.intents, table.world.acts) == ([], [])


async def test_one_failed_reading_before_a_step_does_not_stop_it(monkeypatch):
    table = Table()
    monkeypatch.setattr(polling.asyncio, "sleep", _quick(polling.asyncio.sleep))
    looks = iter([True, False])

    async def judged(step, transports):
        table.world.silent = {"n"} if next(looks, False) else set()
        return await FakeDriver.observe_step(table.driver, step, transports)

    table.driver.observe_step = judged
    assert (await table.outcome()).state is State.DONE


async def test_a_lost_answer_is_settled_by_reading_and_not_sent_again():
    table = Table("lost")
    outcome = await table.outcome()
    assert outcome.state is State.DONE
    assert (
        outcome.reason == "the call failed (the answer did not come), but the effect is visible; n holds new"
    )
    assert table.world.acts == ["n"]


async def test_no_answer_and_no_effect_is_a_failure_after_the_time_to_settle():
    table = Table("nothing")
    outcome = await table.outcome()
    assert outcome.state is State.FAILED
    assert outcome.reason == "connection refused; the effect is not visible: n still holds old"
    assert outcome.seconds >= table.step.settle
    assert table.world.acts == []


async def test_success_without_an_effect_is_a_failure():
    outcome = await Table("ignored").outcome()
    assert outcome.state is State.FAILED
    assert outcome.reason == "the node accepted the call; the effect is not visible: n still holds old"


async def test_a_late_effect_is_waited_for():
    table = Table("late", settle=5)
    assert (await table.outcome()).state is State.DONE
    assert len(table.world.looks) >= 3


async def test_a_refusal_is_final_after_one_reading():
    table = Table("refused", settle=600)
    outcome = await asyncio.wait_for(table.outcome(), 5)
    assert outcome.state is State.FAILED
    assert outcome.reason.startswith("it said no; the effect is not visible")
    assert table.world.looks == ["n", "n"]


@pytest.mark.parametrize(
    ("status", "code", "believed"), [(500, "E0004", True), (403, "", True), (502, "", False)]
)
async def test_only_an_answer_of_the_node_itself_ends_the_wait(status, code, believed):
    table = Table(settle=0.05)

    async def refuse(step, transports, payloads):
        raise NodeRefused("n", "no", status=status, code=code)

    table.driver.act = refuse
    assert (await table.outcome()).state is State.FAILED
    assert (len(table.world.looks) == 2) is believed


async def test_a_partial_effect_is_a_failure_that_is_named():
    outcome = await Table("half").outcome()
    assert outcome.state is State.FAILED
    assert outcome.reason.endswith("the effect is not visible: n holds halfway")


async def test_a_node_that_can_no_longer_be_read_is_unknown():
    table = Table("blind")
    outcome = await table.outcome()
    assert outcome.state is State.UNKNOWN
    assert "it is unknown whether it took effect" in outcome.reason


async def test_a_missing_secret_fails_the_step_at_once_and_not_the_run():
    table = Table(settle=600)

    async def lacking(step, transports, payloads):
        raise SecretError("${env:KEY} is not set")

    table.driver.act = lacking
    outcome = await asyncio.wait_for(table.outcome(), 5)
    assert outcome.state is State.FAILED
    assert outcome.reason.startswith("${env:KEY} is not set; the effect is not visible")


async def test_without_an_intent_on_disk_nothing_is_sent():
    table = Table()

    async def full(step, *_, **__):
        raise StateError("the disk is full")

    with pytest.raises(StateError):
        await run_step_masked(table.step, replace(table.bench, log=SimpleNamespace(record_intent=full)))
    assert table.world.acts == []


async def test_a_manual_step_is_read_once():
    table = Table(person=True)
    outcome = await table.outcome()
    assert (outcome.state, outcome.reason) == (State.WAITING, "n still holds old")
    assert (table.intents, table.world.acts, table.world.looks) == ([], [], ["n"])


async def test_a_completed_manual_step_is_found():
    table = Table(person=True)
    table.world.values["n"] = "new"
    assert (await table.outcome()).state is State.FOUND


async def test_a_stop_during_the_first_reading_prevents_the_call():
    table = Table()
    table.stop.set()
    outcome = await table.outcome()
    assert outcome.state is State.SKIPPED
    assert (table.intents, table.world.acts) == ([], [])


async def test_a_stop_shortens_a_long_wait_and_the_step_is_unknown(monkeypatch):
    monkeypatch.setattr(polling, "GRACE", 0.05)
    table = Table("ignored", settle=600)
    ending = asyncio.create_task(table.outcome())
    await asyncio.wait_for(table.world.entered.wait(), 5)
    table.stop.set()
    assert (await asyncio.wait_for(ending, 5)).state is State.UNKNOWN


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
async def test_an_exit_of_the_process_is_not_caught(fault):
    table = Table(fault)
    with pytest.raises(Killed):
        await table.outcome()
    assert table.intents == ["c/n/set"]


def _quick(sleep):
    async def shorter(seconds):
        await sleep(min(seconds, 0.01))

    return shorter
