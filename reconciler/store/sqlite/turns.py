"""Writers take turns, those of one process in the order in which they came, processes alternately.

SQLite's own wait is a sleep that doubles: beside a pass that writes again and again, a report of a node would
wait for a second.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from reconciler.host.locks import lock_byte, unlock_byte

PATIENCE: Final = 30.0
"""Seconds to wait for another process; then SQLite's own lock decides."""

_TURN, _NEXT = 1, 2
"""Bytes of the lock file: of the process that has the turn, and of the one that comes next."""


class Turns:
    """A lock that nobody can overtake.

    Args:
        file: where processes lock bytes; None if there is only this process.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()
        self._file = _open(file)
        if self._file is not None:
            weakref.finalize(self, os.close, self._file)

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
            with self._take_from_processes():
                yield
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().set()  # handed over: it stays taken
                else:
                    self._is_taken = False

    @contextmanager
    def _take_from_processes(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        # Whoever comes next holds the second byte while it waits for the first one. A process that has just
        # ended its turn must wait for the second byte, and so cannot take the next turn, too.
        try:
            if lock_byte(self._file, _NEXT, PATIENCE):
                lock_byte(self._file, _TURN, PATIENCE)
                unlock_byte(self._file, _NEXT)
            yield
        finally:
            unlock_byte(self._file, _TURN)


def _open(file: Path | None) -> int | None:
    """The descriptor of the lock file; None where there is none, as in a folder that cannot be written."""
    if file is None:
        return None
    try:
        return os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None


_TURNS: WeakValueDictionary[Path, Turns] = WeakValueDictionary()
_GUARD = threading.Lock()


def share_turns(path: Path) -> Turns:
    """The turns of all that write to one file."""
    with _GUARD:
        known = path.resolve()
        found = _TURNS.get(known)
        if found is None:
            found = _TURNS[known] = Turns(path.with_name(f"{path.name}.lock"))
        return found
