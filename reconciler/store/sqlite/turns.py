"""Writers of one process take turns, in the order in which they came.

SQLite's own wait is a sleep that doubles: beside a pass that writes again and again, a report of a node would
wait for a second.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary


class Turns:
    """A lock for threads that nobody can overtake."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and have it."""
        with self._guard:
            mine = threading.Event() if self._is_taken else None
            if mine is not None:
                self._waiting.append(mine)
            self._is_taken = True
        if mine is not None:
            mine.wait()
        try:
            yield
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().set()  # handed over: it stays taken
                else:
                    self._is_taken = False


_TURNS: WeakValueDictionary[Path, Turns] = WeakValueDictionary()
_GUARD = threading.Lock()


def share_turns(path: Path) -> Turns:
    """The turns of all that write to one file in this process."""
    with _GUARD:
        return _TURNS.setdefault(path.resolve(), Turns())
