"""Steps start in the plan's order, after their dependencies, and never more than allowed at once."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driver import FakeDriver, Wish, World, cluster
from support.waiting import wait_until

from reconciler.core.arguments import RawArguments
from reconciler.core.observation import Observed, Present
from reconciler.core.outcome import State
from reconciler.core.plan import Step
from reconciler.rollout.step_scheduler import OFFERS_AT_ONCE, StepScheduler, count_parallel

ENTRY = cluster("c", {"n": "new"})
(STEP,) = FakeDriver(World()).plan(Wish(ENTRY), Observed({"n": Present("old")})).steps


def step(name: str, *after: str) -> Step:
    return replace(STEP, id=name, after=after)


class Log:
    """Performs by looking up how each step ends, and notes everything."""

    def __init__(self, **ends: State | BaseException):
        self.ends = ends
        self.events: list[str] = []
        self.skipped: dict[str, str] = {}
        self.now = self.peak = 0
        self.stop = asyncio.Event()
        self.gates: dict[str, asyncio.Event] = {}

    async def perform(self, step: Step) -> State:
        self.events.append(f"+{step.id}")
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await (self.gates[step.id].wait() if step.id in self.gates else asyncio.sleep(0))
        finally:
            self.now -= 1
        self.events.append(f"-{step.id}")
        end = self.ends.get(step.id, State.DONE)
        if isinstance(end, BaseException):
            raise end
        return end

    async def skip(self, skipped):
        for step, why in skipped:
            assert step.id not in self.skipped
            self.skipped[step.id] = why

    async def run(self, *steps: Step, at_once: int = 10):
        await asyncio.wait_for(StepScheduler(steps, at_once, self.perform, self.skip, self.stop).run(), 5)
        return self


async def test_steps_without_order_run_at_the_same_time_up_to_the_limit():
    log = await Log().run(*(step(f"s{number}") for number in range(20)), at_once=3)
    assert log.peak == 3
    assert len(log.events) == 40


async def test_a_chain_runs_one_by_one_in_its_order():
    log = await Log().run(step("a"), step("b", "a"), step("c", "a", "b"))
    assert log.events == ["+a", "-a", "+b", "-b", "+c", "-c"]


async def test_a_step_late_in_the_plan_waits_for_its_turn_behind_earlier_ones():
    log = await Log().run(step("a"), step("b", "a"), step("c"), step("d"), at_once=1)
    assert [event for event in log.events if event[0] == "+"] == ["+a", "+b", "+c", "+d"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.FAILED, "it comes after a, which failed"),
        (State.UNKNOWN, "it comes after a, which may or may not have taken effect"),
        (State.WAITING, "it comes after a, which waits for an operator"),
        (State.CHANGED, "it comes after a, which was not performed because the nodes have changed"),
        (State.SKIPPED, "it comes after a, which was not performed"),
    ],
)
async def test_steps_after_one_without_success_are_skipped_and_name_it(state, words):
    log = await Log(a=state).run(step("a"), step("b", "a"), step("c", "b"), step("other"))
    assert log.skipped == {"b": words, "c": "it comes after b, which was not performed"}
    assert "-other" in log.events


async def test_a_step_after_an_unknown_one_is_skipped():
    log = await Log().run(step("b", "gone"), step("c", "b"), step("d"))
    assert log.skipped == {
        "b": "it comes after gone, which is not in this plan",
        "c": "it comes after b, which was not performed",
    }
    assert log.events == ["+d", "-d"]


async def test_steps_of_a_dependency_cycle_are_skipped():
    log = await Log().run(step("a", "b"), step("b", "a"), step("c"))
    assert set(log.skipped) == {"a", "b"}


async def test_a_chain_of_any_length_can_be_skipped():
    steps = [step("s0"), *(step(f"s{number}", f"s{number - 1}") for number in range(1, 3000))]
    log = await Log(s0=State.FAILED).run(*steps)
    assert len(log.skipped) == 2999


async def test_a_stop_lets_running_steps_end_and_starts_no_other():
    log = Log()
    log.gates["a"] = asyncio.Event()
    running = asyncio.create_task(log.run(step("a"), step("b", "a"), step("c"), step("d"), at_once=1))
    await wait_until(lambda: log.now == 1)
    log.stop.set()
    log.gates["a"].set()
    await running
    assert log.events == ["+a", "-a"]
    assert log.skipped == dict.fromkeys("bcd", "the run was asked to stop before this step")


class Closing(RawArguments):
    """Of a step that has to follow the one before it."""

    runs_after_stop = True


async def test_after_a_stop_only_steps_that_follow_at_once_run():
    log = Log()
    log.gates["a"] = asyncio.Event()
    closing = [replace(step(*names), arguments=Closing()) for names in (("b", "a"), ("e", "d"))]
    steps = (step("a"), *closing, step("c", "b"), step("d"))
    running = asyncio.create_task(log.run(*steps, at_once=1))
    await wait_until(lambda: log.now == 1)
    log.stop.set()
    log.gates["a"].set()
    await running
    assert log.events == ["+a", "-a", "+b", "-b"]
    assert log.skipped.keys() == {"c", "d", "e"}


async def test_an_unexpected_error_lets_running_steps_end_and_is_raised():
    log = Log(a=RuntimeError("the disk is full"))
    log.gates["b"] = asyncio.Event()
    running = asyncio.create_task(log.run(step("a"), step("b"), step("c"), at_once=2))
    await wait_until(lambda: "-a" in log.events)
    assert not running.done()
    log.gates["b"].set()
    with pytest.raises(RuntimeError, match="disk is full"):
        await running
    assert log.events == ["+a", "+b", "-a", "-b"]
    assert log.skipped == {}


async def test_a_cancelled_scheduler_leaves_nothing_running():
    log = Log()
    log.gates["a"] = asyncio.Event()
    running = asyncio.create_task(log.run(step("a")))
    await wait_until(lambda: log.now == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log.now == 0


@st.composite
def courses(draw):
    """Steps in an order that respects `after`, and how each ends."""
    count = draw(st.integers(1, 12))
    steps = [
        step(f"s{number}", *(f"s{other}" for other in sorted(draw(st.sets(st.integers(0, number - 1))))))
        if number
        else step("s0")
        for number in range(count)
    ]
    ends = {name.id: draw(st.sampled_from([State.DONE, State.FOUND, State.FAILED])) for name in steps}
    return steps, ends, draw(st.integers(1, 4))


@settings(max_examples=100, deadline=None)
@given(courses())
def test_every_step_ends_exactly_once_and_after_its_dependencies(course):
    steps, ends, at_once = course

    async def go():
        return await Log(**ends).run(*steps, at_once=at_once)

    log = asyncio.run(go())
    assert log.peak <= at_once
    performed = [event[1:] for event in log.events if event[0] == "+"]
    assert sorted([*performed, *log.skipped]) == sorted(ends)
    good = {State.DONE, State.FOUND}
    for one in steps:
        may = all(name in performed and ends[name] in good for name in one.after)
        assert (one.id in performed) is may
        if may:
            started = log.events.index(f"+{one.id}")
            assert [name for name in one.after if not log.events.index(f"-{name}") < started] == []


def test_offers_are_recorded_many_at_a_time_and_changes_as_the_fleet_file_says():
    offer = replace(STEP, arguments=Offered())
    assert count_parallel([STEP, STEP], 5) == 5
    assert count_parallel([offer, STEP], 5) == 5
    assert count_parallel([offer, offer], 5) == OFFERS_AT_ONCE
    assert count_parallel([offer], 1_000) == 1_000
    assert count_parallel([], 0) == 1


class Offered(RawArguments):
    is_offer = True
