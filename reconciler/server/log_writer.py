"""Writes log lines in a thread, so that no slow reader and no full disk delays or ends the watch."""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LIMIT = 1024 * 1024
"""Bytes of lines that may wait for a slow reader; further lines are lost and counted.

Warnings and errors take the place of ordinary lines that wait.
"""

FLUSH_SECONDS = 2.0
"""Seconds that the stopping watch waits for lines to be written."""

READER_GONE = "the reader of the log has closed the pipe"
READER_SLOW = "the reader of the log is too slow"
CLOSED = "standard error is closed"
_REASONS = {
    errno.EPIPE: READER_GONE,
    errno.ENOSPC: "the disk of the log is full",
    errno.EDQUOT: "the disk quota of the log is exhausted",
    errno.EFBIG: "the log file has reached its size limit",
    errno.EBADF: CLOSED,
}


@dataclass(slots=True)
class LogState:
    """State of the log; written by the writer's thread, read by the endpoints.

    Args:
        lost: lines lost since the start.
        problem: why lines cannot be written now; empty if they can.
    """

    lost: int = 0
    problem: str = ""


def is_null_device(stream: TextIO) -> bool:
    """Whether a stream is the null device that replaces a standard error closed at the start."""
    # Standard error that an operator redirects to /dev/null keeps its name `<stderr>`, and loses nothing.
    return stream.name == os.devnull


class LogWriter:
    """A text stream for writing, over a file descriptor that may block or fail.

    Args:
        number: the descriptor; it stays open.
        state: updated with lost lines and problems.
        limit: bytes of lines that may wait.
        closed: whether the descriptor is closed: then every line counts as lost.
    """

    def __init__(self, number: int, state: LogState, *, limit: int = LIMIT, closed: bool = False) -> None:
        self._number, self._state, self._limit = number, state, limit
        self._lines: deque[tuple[bytes, bool]] = deque()
        self._size = self._ordinary = 0
        self._is_writing = False
        self._is_line_open = False
        self._changed = threading.Condition()
        if closed:
            self._number, state.problem = -1, CLOSED
        # A daemon thread: a reader that never reads must not delay the end of the process.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue a text, usually one line; never blocks and never raises."""
        return self._queue(text, is_urgent=False)

    def write_urgent(self, text: str) -> int:
        """Queue a line that needs somebody: if there is no room, ordinary lines are lost in its place."""
        return self._queue(text, is_urgent=True)

    def flush(self) -> None:
        """Does nothing: the thread writes as soon as it can."""

    def isatty(self) -> bool:
        """Whether the descriptor is a terminal."""
        try:
            return os.isatty(self._number)
        except OSError:
            return False

    def drain(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines are written or lost, for at most `seconds`; gives whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, seconds)

    def _queue(self, text: str, *, is_urgent: bool) -> int:
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if is_urgent and self._size + len(data) > self._limit:
                self._drop_ordinary(len(data))
            if self._size + len(data) > self._limit:
                self._count_lost(READER_SLOW)
            else:
                self._lines.append((data, is_urgent))
                self._size += len(data)
                self._ordinary += 0 if is_urgent else len(data)
                self._changed.notify_all()
        return len(text)

    def _drop_ordinary(self, room: int) -> None:
        """Lose the oldest ordinary lines, so that as many bytes are free."""
        # More than needed, since each time all lines that wait are gone through.
        wanted = min(self._ordinary, max(room, self._limit // 10))
        kept: deque[tuple[bytes, bool]] = deque()
        while self._lines:
            data, is_urgent = self._lines.popleft()
            if is_urgent or wanted <= 0:
                kept.append((data, is_urgent))
                continue
            wanted -= len(data)
            self._size -= len(data)
            self._ordinary -= len(data)
            self._count_lost(READER_SLOW)
        self._lines = kept

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                self._is_writing = True
                line, is_urgent = self._lines.popleft()
                self._ordinary -= 0 if is_urgent else len(line)
            problem = self._write_line(line)
            with self._changed:
                self._size -= len(line)
                if problem:
                    self._count_lost(problem)
                else:
                    self._state.problem = ""

    def _write_line(self, line: bytes) -> str:
        """Write one line; gives the reason if it was not written completely, else an empty text."""
        # After a partly written line, a newline first: else the next line would become part of it.
        rest = memoryview(b"\n" + line if self._is_line_open else line)
        try:
            while rest:
                try:
                    count = os.write(self._number, rest)
                except BlockingIOError:  # another process that shares the descriptor made it non-blocking
                    select.select((), (self._number,), (), 1.0)
                    continue
                rest = rest[count:]
                self._is_line_open = True
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else None
            return _REASONS.get(number or 0) or f"the log cannot be written: {error}"
        self._is_line_open = not line.endswith(b"\n")
        return ""

    def _count_lost(self, problem: str) -> None:
        self._state.lost += 1
        self._state.problem = problem


def find_open_file(number: int) -> Path | None:
    """The regular file behind a descriptor; None if it is not a regular file or its name is unknown."""
    try:
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
        return Path(f"/proc/self/fd/{number}").readlink() if is_file else None
    except OSError:
        return None
