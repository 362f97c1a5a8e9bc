"""Work that may take longer than a request: its answer is asked for again, with the id of the task."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from reconciler.server.access.identity import Identity
from reconciler.server.request_problems import RequestProblem

MOST_TASKS: Final = 64
"""Tasks that run or whose answer is kept."""

MOST_OF_ONE: Final = 8
"""Of them, tasks of one caller that still run."""

WAIT: Final = 20.0
"""Seconds that a request waits for the answer: less than a request may take."""

KEPT: Final = 600.0
"""Seconds that an answer is kept."""


ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Task(Generic[ResultT]):
    owner: tuple[str, str]
    work: asyncio.Task[ResultT]
    since: float
    is_fetched: bool = False


@dataclass(frozen=True, slots=True)
class TaskTable(Generic[ResultT]):
    """The tasks of one watch.

    Args:
        wait: seconds that a request waits.
        clock: monotonic time.
    """

    wait: float = WAIT
    clock: Callable[[], float] = time.monotonic
    _tasks: dict[str, _Task[ResultT]] = field(default_factory=dict)

    def start(self, identity: Identity, work: Coroutine[Any, Any, ResultT]) -> str:
        """Begin work; gives its id.

        Raises:
            RequestProblem: too much is going on.
        """
        self._forget()
        owner = (identity.method.value, identity.name)
        own = sum(1 for one in self._tasks.values() if one.owner == owner and not one.work.done())
        if len(self._tasks) >= MOST_TASKS or own >= MOST_OF_ONE:
            work.close()
            raise RequestProblem(
                503,
                "busy",
                "too many requests of this kind are running or have answers that nobody fetched",
                remedy="try again in a moment",
                headers={"retry-after": "10"},
            )
        name, task = secrets.token_urlsafe(16), asyncio.create_task(work)
        task.add_done_callback(_retrieve)
        self._tasks[name] = _Task(owner, task, self.clock())
        return name

    async def fetch(self, identity: Identity, name: str, *, is_kept: bool = False) -> ResultT | None:
        """The answer of a task; None if it is not over yet.

        Args:
            identity: who asks.
            name: id of the task.
            is_kept: whether the answer can be fetched again, as a page is that somebody loads again.

        Raises:
            RequestProblem: there is no such task of this caller.
            ReconcilerError: that is its answer.
        """
        self._forget()
        found = self._tasks.get(name)
        if found is None or found.owner != (identity.method.value, identity.name):
            raise RequestProblem(
                404, "unknown-task", "there is no such task", remedy="send the request again"
            )
        done, _ = await asyncio.wait({found.work}, timeout=self.wait)
        if not done:
            return None
        found.is_fetched = True
        if not is_kept:
            self._tasks.pop(name, None)
        return found.work.result()

    def _forget(self) -> None:
        """Drop answers that nobody fetched."""
        now = self.clock()
        for name, one in list(self._tasks.items()):
            if one.work.done() and now - one.since > KEPT:
                del self._tasks[name]
        # Answers that somebody has seen make room for new ones.
        seen = [name for name, one in self._tasks.items() if one.is_fetched]
        for name in seen[: max(0, len(self._tasks) - MOST_TASKS + 1)]:
            del self._tasks[name]


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # asyncio would log an error that nobody fetches
