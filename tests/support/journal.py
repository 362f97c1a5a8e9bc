"""A journal that lets the reconciler die at any chosen point of it."""

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from reconciler.ports.store import Store

WRITES = frozenset(
    {
        "begin_run",
        "record_intent",
        "record_outcomes",
        "finish_run",
        "store_facts",
        "record_pass",
        "forget_members",
        "store_progress",
        "reject",
        "use_approval",
    }
)


class Breaking:
    """A store whose user dies at the given write: before it, or right after it is on disk."""

    def __init__(self, store: Store, at: int, *, after: bool, die: Callable[[], None]) -> None:
        self._store = store
        self._left = at
        self._after = after
        self._die = die

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._counted(found) if name in WRITES else found

    async def enter_fleet(self, *args: Any) -> "Breaking":
        """The same store for one fleet, whose writes count too."""
        self._store = await self._store.enter_fleet(*args)
        return self

    def _counted(self, write: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                self._die()
            result = await write(*args, **kwargs)
            if self._left == 0 and self._after:
                self._die()
            return result

        return counted


def kill() -> None:
    """End this process at once, as kill -9 does."""
    os.kill(os.getpid(), signal.SIGKILL)
