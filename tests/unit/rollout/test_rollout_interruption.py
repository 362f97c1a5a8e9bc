"""What a stop cancels at once, and what does not begin after it."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.driver import NOWHERE, FakeDriver, FakeNode, Wish, World, cluster

from reconciler.core.arguments import RawArguments
from reconciler.core.observation import Observed, Present
from reconciler.core.outcome import State
from reconciler.host.aio import run_unless_stopped
from reconciler.rollout.step_executor import STOPPED, ExecutionContext, run_step, run_step_masked


class Hung:
    """Work that never ends by itself and notes how it was ended."""

    def __init__(self):
        self.begun, self.ended = asyncio.Event(), False

    async def __call__(self):
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # closing a connection takes a moment, too
            self.ended = True


async def answer(value):
    return value


async def fails():
    raise OSError("no route")


async def test_completed_work_gives_its_result_or_its_error():
    assert await run_unless_stopped(asyncio.Event(), answer(7)) == 7
    with pytest.raises(OSError, match="no route"):
        await run_unless_stopped(asyncio.Event(), fails())


async def test_a_stop_waits_until_cancelled_work_has_ended():
    stop, hung = asyncio.Event(), Hung()
    waiting = asyncio.create_task(run_unless_stopped(stop, hung()))
    await hung.begun.wait()
    stop.set()
    async with asyncio.timeout(10):
        assert await waiting is None
    assert hung.ended


async def test_after_a_stop_no_work_begins():
    stop, hung = asyncio.Event(), Hung()
    stop.set()
    assert await run_unless_stopped(stop, hung()) is None
    assert not hung.begun.is_set()


async def test_cancelling_the_caller_cancels_the_work():
    hung = Hung()
    waiting = asyncio.create_task(run_unless_stopped(asyncio.Event(), hung()))
    await hung.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert hung.ended


async def test_an_error_of_cancelled_work_is_ignored():
    stop, begun = asyncio.Event(), asyncio.Event()

    async def stubborn():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the connection was lost while closing")

    waiting = asyncio.create_task(run_unless_stopped(stop, stubborn()))
    await begun.wait()
    stop.set()
    assert await waiting is None


class Silent(FakeDriver):
    """A product whose nodes accept a question and never answer."""

    async def observe_step(self, step, transports):
        self.world.entered.set()
        await asyncio.Event().wait()


async def test_a_stop_during_the_first_reading_sends_nothing():
    world, stop, intents = World({"n": "old"}), asyncio.Event(), []
    driver = Silent(world)
    entry = cluster("c", {"n": FakeNode(name="n", value="new")})
    plan = driver.plan(Wish(entry), Observed({"n": Present("old")}))

    async def intend(step, *_, **__):
        intents.append(step.id)

    bench = ExecutionContext(
        driver, NOWHERE, plan.payloads, SimpleNamespace(record_intent=intend, hold_for=lambda *_: None), stop
    )
    performing = asyncio.create_task(run_step_masked(plan.steps[0], bench))
    async with asyncio.timeout(10):
        await world.entered.wait()
        stop.set()
        outcome = (await performing).outcome
    assert (outcome.state, outcome.reason) == (State.SKIPPED, STOPPED)
    assert (intents, world.acts) == ([], [])


class Closing(RawArguments):
    """Of a step that has to follow the one before it."""

    runs_after_stop = True


@pytest.mark.parametrize(("arguments", "state"), [(Closing(), State.DONE), (None, State.SKIPPED)])
async def test_a_stop_does_not_reach_a_step_that_has_to_follow_at_once(arguments, state):
    world, stop, endings = World({"n": "old"}), asyncio.Event(), []
    driver = FakeDriver(world)
    entry = cluster("c", {"n": FakeNode(name="n", value="new")})
    plan = driver.plan(Wish(entry), Observed({"n": Present("old")}))
    (step,) = plan.steps

    async def noted(what, *_, **__):
        endings.append(what)

    log = SimpleNamespace(
        record_intent=noted, hold_for=lambda *_: None, record_outcomes=noted, announce_start=lambda _: None
    )
    bench = ExecutionContext(driver, NOWHERE, plan.payloads, log, stop)
    stop.set()
    plain = RawArguments(step.arguments.plain())
    typed = type(arguments)(plain.values) if arguments is not None else plain
    assert await run_step(replace(step, arguments=typed), bench) is state
