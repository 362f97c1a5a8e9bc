"""Runs the steps of one cluster: as many at once as allowed, each after the steps that it depends on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from heapq import heappop, heappush

from reconciler.core.outcome import SUCCESSES, State
from reconciler.core.plan import Step
from reconciler.rollout.step_executor import STOPPED

_ENDED = {
    State.FAILED: "failed",
    State.UNKNOWN: "may or may not have taken effect",
    State.OFFERED: "is ready for its node, which has not taken it yet",
    State.CHANGED: "was not performed because the nodes have changed",
    State.WAITING: "waits for an operator",
    State.SKIPPED: "was not performed",
}

OFFERS_AT_ONCE = 64
"""Offers that are recorded at the same time: the disk takes most of their time, and is asked once for all."""


def count_parallel(steps: Sequence[Step], concurrency: int) -> int:
    """How many of these steps may run at the same time.

    Args:
        steps: of one cluster.
        concurrency: how many of its nodes may be changed at the same time.
    """
    # An offer changes no node: each takes it with a poll of its own, spread over the period of polling.
    if steps and all(step.arguments.is_offer for step in steps):
        return max(concurrency, OFFERS_AT_ONCE)
    return max(1, concurrency)


Skipped = tuple[Step, str]
"""A step that is not started, with the reason."""


@dataclass(slots=True)
class StepScheduler:
    """Runs steps through two functions that perform, record and skip them.

    Args:
        steps: in an order that respects `after`.
        concurrency: how many may run at the same time.
        perform: executes one step and records its outcome.
        skip: records steps that are not started.
        stop: once set, no further step starts; running steps are completed, and so are those that have to
            follow them at once.
        get_dependents: ids of steps that succeeded before; no step waits for them.
    """

    steps: tuple[Step, ...]
    concurrency: int
    perform: Callable[[Step], Awaitable[State]]
    skip: Callable[[Sequence[Skipped]], Awaitable[None]]
    stop: asyncio.Event
    get_dependents: AbstractSet[str] = frozenset()
    _waiting: dict[str, Step] = field(init=False, default_factory=dict)
    _missing: dict[str, int] = field(init=False, default_factory=dict)
    _followers: dict[str, list[Step]] = field(init=False, default_factory=dict)
    _index: dict[str, int] = field(init=False, default_factory=dict)
    _ready: list[int] = field(init=False, default_factory=list)
    _running: dict[asyncio.Task[State], Step] = field(init=False, default_factory=dict)
    _failure: BaseException | None = field(init=False, default=None)

    async def run(self) -> None:
        """Run every step that may run, and skip the others.

        If performing or recording fails, no further step starts, running steps are completed, and then the
        error is raised.
        """
        await self._drop(self._build_graph())
        try:
            while await self._advance():
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                # Several may end in one turn of the event loop; sorted, the journal's order is stable.
                for task in sorted(done, key=lambda task: self._running[task].id):
                    await self._collect(task)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def _build_graph(self) -> list[Skipped]:
        """Fill in which step waits for which; gives the steps that wait for one outside of the plan."""
        self._waiting = {step.id: step for step in self.steps}
        self._index = {step.id: index for index, step in enumerate(self.steps)}
        lost: list[Skipped] = []
        for step in self.steps:
            after = [name for name in step.after if name not in self.get_dependents]
            self._missing[step.id] = len(after)
            for name in after:
                self._followers.setdefault(name, []).append(step)
            lost += [
                (step, f"it comes after {name}, which is not in this plan")
                for name in after
                if name not in self._waiting
            ][:1]
            if not after:
                heappush(self._ready, self._index[step.id])
        return lost

    async def _advance(self) -> bool:
        """Start what may start, or skip what is left; whether any step is running then."""
        if self._failure is None:
            if self.stop.is_set():
                # A step that follows at once still runs if all before it have started: what they leave behind
                # must not last.
                await self._drop(
                    [
                        (step, STOPPED)
                        for step in self._waiting.values()
                        if not step.arguments.runs_after_stop
                        or any(name in self._waiting for name in step.after)
                    ]
                )
            while self._ready and len(self._running) < self.concurrency:
                step = self.steps[heappop(self._ready)]
                if self._waiting.pop(step.id, None):
                    self._running[asyncio.ensure_future(self.perform(step))] = step
            if not self._running:
                cycle = "it is part of a dependency cycle"
                await self._drop([(step, cycle) for step in self._waiting.values()])
        return bool(self._running)

    async def _collect(self, task: asyncio.Task[State]) -> None:
        step = self._running.pop(task)
        failure = task.exception()
        if failure is not None:
            self._failure = self._failure or failure
        elif self._failure is None:
            await self._release_followers(step, task.result())

    async def _release_followers(self, step: Step, state: State) -> None:
        followers = self._followers.get(step.id, [])
        if state not in SUCCESSES:
            why = f"it comes after {step.id}, which {_ENDED[state]}"
            await self._drop([(follower, why) for follower in followers])
            return
        for follower in followers:
            self._missing[follower.id] -= 1
            if not self._missing[follower.id]:
                heappush(self._ready, self._index[follower.id])

    async def _drop(self, skipped: Iterable[Skipped]) -> None:
        """Skip steps that still wait, and all steps that depend on them."""
        queue, fresh = deque(skipped), []
        while queue:
            step, why = queue.popleft()
            if self._waiting.pop(step.id, None):
                fresh.append((step, why))
                then = f"it comes after {step.id}, which {_ENDED[State.SKIPPED]}"
                queue.extend((follower, then) for follower in self._followers.get(step.id, []))
        if fresh:
            await self.skip(fresh)
