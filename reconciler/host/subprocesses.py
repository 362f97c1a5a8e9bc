"""The one way to run another program: no shell, exact environment, bounded in time and output.

    ended = await run_process(
        ["git", "-C", folder, "cat-file", "commit", commit],
        environment=child_environment(host.environment) | {"GIT_DIR": folder},
        seconds=60,
    )

`start_program` is the one place that starts a process; the rest are ways to wait for it: `run_program_async`
for asynchronous callers, `run_program` for blocking ones, `run_at_terminal` for a program that a person uses.
Blocking
work that runs several programs goes into `run_blocking`, so that whoever waits for it can give it up.

A program gets a session of its own and is killed as a group, with all that it started, when its time is
over, its output is too large, or the caller is cancelled. It inherits no file descriptor. The caller turns
the errors below into its own words.
"""

from __future__ import annotations

import asyncio
import os
import resource
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import IO, Final, TypeVar

T = TypeVar("T")
Process = subprocess.Popen[bytes]

MIB: Final = 1024 * 1024
OUTPUT_LIMIT: Final = 256 * MIB
"""Bytes of standard output that a program may write, unless the caller says otherwise."""

ERROR_KEPT: Final = 64 * 1024
"""Bytes of standard error that are kept: the last ones."""

GRACE: Final = 2.0
"""Seconds that a pipe may stay open once the program itself has ended: something that it started holds it."""

PIPE: Final = subprocess.PIPE
QUIET: Final = subprocess.DEVNULL
TERMINAL: Final = None
"""For `start_program`: the program has this process's own standard streams."""

_TICK: Final = 0.05
_PIECE: Final = 64 * 1024


class ProgramError(Exception):
    """A program did not run to its end; the text says why, without the program's name."""


class ProgramMissing(ProgramError):
    """There is no such program, or it cannot be started."""


class ProgramTimeout(ProgramError):
    """It did not end in time and was killed: whether it had an effect is not known."""


class OutputTooLarge(ProgramError):
    """It wrote more than it may and was killed: whether it had an effect is not known."""


class WorkCancelled(Exception):
    """Nobody waits for this work any more: its programs were killed, and no further one is started."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended.

    Args:
        status: its exit status; below 0 the number of the signal that ended it.
        out: what it wrote to standard output.
        error: the last of what it wrote to standard error.
    """

    status: int
    out: bytes
    error: bytes


class _Work:
    """The processes of one piece of blocking work, so that another thread can end them."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.is_cancelled = False
        self._running = set(processes)
        self._lock = threading.Lock()

    def add(self, process: Process) -> None:
        with self._lock:
            self._running.add(process)
            late = self.is_cancelled
        if late:  # cancelled while it was being started
            kill_group(process)

    def discard(self, process: Process) -> None:
        with self._lock:
            self._running.discard(process)

    def cancel(self) -> None:
        with self._lock:
            self.is_cancelled = True
            for process in self._running:
                kill_group(process)


_WORK: ContextVar[_Work | None] = ContextVar("work", default=None)


def check_cancelled() -> None:
    """Give up where nobody waits for this work any more: what a killed program has written is no answer.

    Raises:
        WorkCancelled: nobody does.
    """
    work = _WORK.get()
    if work is not None and work.is_cancelled:
        raise WorkCancelled("nobody waits for it any more")


async def run_blocking(work: Callable[[], T], *processes: Process) -> T:
    """What blocking work gives; it has a thread of its own, so that it waits for no other such work.

    Cancelled, every program that the work has running is killed with all that it started, the next one is
    not started, and the work has ended when this returns, unless the system itself holds it up.

    Args:
        work: may call `run_program` and `start_program`.
        processes: further ones that are killed: those that the work reads from.
    """
    scope = _Work(processes)
    context = copy_context()
    context.run(_WORK.set, scope)
    future = _in_own_thread(partial(context.run, work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        scope.cancel()
        await asyncio.wait({future}, timeout=GRACE)
        raise


def _in_own_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(_look_at)

    def main() -> None:
        try:
            done = partial(future.set_result, work())
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits)
            done = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(done)

    threading.Thread(target=main, name="blocking", daemon=True).start()
    return future


def _look_at(future: asyncio.Future[T]) -> None:
    """So that the event loop does not complain of the error of work that was given up."""
    if not future.cancelled():
        future.exception()


async def run_program_async(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: str | None = None,
    data: bytes | None = None,
    limit: int = OUTPUT_LIMIT,
    tail: bool = False,
    cut: bool = False,
    largest_file: int = 0,
    memory: int = 0,
) -> ProgramResult:
    """Run a program to its end; see `run_program`."""
    return await run_blocking(
        partial(
            run_program,
            command,
            environment=environment,
            seconds=seconds,
            folder=folder,
            data=data,
            limit=limit,
            tail=tail,
            cut=cut,
            largest_file=largest_file,
            memory=memory,
        )
    )


def run_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: str | None = None,
    data: bytes | None = None,
    limit: int = OUTPUT_LIMIT,
    tail: bool = False,
    cut: bool = False,
    largest_file: int = 0,
    memory: int = 0,
) -> ProgramResult:
    """Run a program to its end, and block meanwhile.

    Args:
        command: the program and its arguments; a program without `/` is looked for on the PATH given.
        environment: all that it starts with; see `environment.make_child_environment`.
        seconds: after which it is killed.
        folder: where it runs; None for the current folder.
        data: what it reads from standard input; None for nothing.
        limit: bytes of standard output.
        tail: keep the last `limit` bytes of standard output and error together, instead of killing a
            program that writes more.
        cut: keep the first `limit` bytes of standard output of a program that was killed for writing more.
        largest_file: bytes of one file that it, or what it starts, may write; 0 for any number.
        memory: bytes of address space that each of these processes may have; 0 for any number.

    Raises:
        ProgramMissing: it cannot be started.
        ProcessTimeout: it did not end in time.
        OutputTooLarge: it wrote more than `limit` bytes, and neither `tail` nor `cut` is asked for.
        WorkCancelled: it is part of `run_blocking` work that was given up.
    """
    check_cancelled()
    process = start_program(
        command,
        environment=environment,
        folder=folder,
        stdin=QUIET if data is None else PIPE,
        stderr=subprocess.STDOUT if tail else PIPE,
        largest_file=largest_file,
        memory=memory,
    )
    collector = _Collector(process, limit, tail=tail)
    try:
        collector.gather(data, seconds)
    except OutputTooLarge:
        check_cancelled()
        if not cut:
            raise
    except ProgramError:
        check_cancelled()  # it did not fail: it was killed
        raise
    finally:
        if not collector.is_closed:
            kill_group(process)
        _close(process)
        if (work := _WORK.get()) is not None:
            work.discard(process)
    check_cancelled()
    return ProgramResult(process.returncode or 0, bytes(collector.out[:limit]), bytes(collector.error))


def run_at_terminal(command: Sequence[str], *, environment: Mapping[str, str]) -> int:
    """The exit status of a program that a person uses at this terminal, such as an editor.

    It stays in this process's session: in one of its own it would be cut off from the terminal.

    Raises:
        ProgramMissing: it cannot be started.
    """
    process = start_program(
        command, environment=environment, stdin=TERMINAL, stdout=TERMINAL, stderr=TERMINAL, session=False
    )
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def start_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: str | None = None,
    stdin: int | None = PIPE,
    stdout: int | None = PIPE,
    stderr: int | None = PIPE,
    session: bool = True,
    largest_file: int = 0,
    memory: int = 0,
) -> Process:
    """Start a program, which the caller ends.

    Args:
        command: as for `run_program`.
        environment: as for `run_program`.
        folder: as for `run_program`.
        stdin: PIPE, QUIET or TERMINAL.
        stdout: the same.
        stderr: the same, or what `subprocess` has for joining it to standard output.
        session: a session, and so a group, of its own, as `kill_group` needs it.
        largest_file: as for `run_program`.
        memory: as for `run_program`.

    Raises:
        ProgramMissing: it cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  (no shell; who calls chooses the program)
            [_program(command[0], environment), *command[1:]],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=dict(environment),
            start_new_session=session,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise ProgramMissing(getattr(error, "strerror", None) or str(error)) from error
    _bound(process.pid, {resource.RLIMIT_FSIZE: largest_file, resource.RLIMIT_AS: memory})
    if session and (work := _WORK.get()) is not None:
        work.add(process)
    return process


def kill_group(process: Process) -> None:
    """Kill a program that has a session of its own, with all that it started.

    It leads its session, so that its number is also that of its group. Its helpers have to go with it:
    one that stays holds the pipes open, and whoever reads them waits for it.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _bound(pid: int, limits: Mapping[int, int]) -> None:
    """Bound a process that has just started; what it starts inherits that. Only Linux can."""
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it has ended already, or its bound is lower
            for kind, most in limits.items():
                if most:
                    resource.prlimit(pid, kind, (most, most))


def _program(name: str, environment: Mapping[str, str]) -> str:
    """The program's path by the child's own PATH, not by ours."""
    if "/" in name:
        return name
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(2, "it is not installed, or not on the PATH")
    return found


def _close(process: Process) -> None:
    """Close the pipes of a program that has ended or was killed."""
    with suppress(subprocess.TimeoutExpired):  # in an uninterruptible call it does not even end when killed
        process.wait(GRACE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


class _Collector:
    """Gathers what a program writes, within bounds, until it has ended."""

    def __init__(self, process: Process, limit: int, *, tail: bool) -> None:
        self.out = bytearray()
        self.error = bytearray()
        self.is_closed = False
        self._process = process
        self._limit = limit
        self._tail = tail

    def gather(self, data: bytes | None, seconds: float) -> None:
        """Feed it, read it, wait for it; see `run_program`."""
        end = time.monotonic() + seconds
        held: float | None = None  # since when the program has ended and a pipe is open all the same
        with selectors.DefaultSelector() as selector:
            self._register(selector, data)
            while selector.get_map():
                now = time.monotonic()
                if held is None and self._process.poll() is not None:
                    held = now
                if held is not None and now - held >= GRACE:
                    return
                if held is None and now >= end:
                    raise _late(seconds)
                for key, _ in selector.select(min(_TICK, end - now) if held is None else _TICK):
                    pipe, kept = key.data
                    if not self._move(selector, pipe, kept):
                        selector.unregister(pipe)
                        pipe.close()
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _late(seconds) from None
        self.is_closed = True

    def _register(self, selector: selectors.BaseSelector, data: bytes | None) -> None:
        for pipe, kept in ((self._process.stdout, self.out), (self._process.stderr, self.error)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, (pipe, kept))
        if data is not None and (pipe := self._process.stdin) is not None:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_WRITE, (pipe, memoryview(data)))

    def _move(self, selector: selectors.BaseSelector, pipe: IO[bytes], kept: bytearray | memoryview) -> bool:
        """One step of one pipe; whether there is more to come."""
        if isinstance(kept, memoryview):
            rest = self._write(pipe.fileno(), kept)
            selector.modify(pipe, selectors.EVENT_WRITE, (pipe, rest))
            return bool(rest)
        piece = os.read(pipe.fileno(), _PIECE)
        kept += piece
        if kept is self.error:
            del kept[:-ERROR_KEPT]
        elif self._tail:
            del kept[: -self._limit]
        elif len(kept) > self._limit:
            raise OutputTooLarge(f"wrote more than {self._limit:,} bytes and was killed")
        return bool(piece)

    @staticmethod
    def _write(descriptor: int, data: memoryview) -> memoryview:
        try:
            return data[os.write(descriptor, data[:_PIECE]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:  # it does not read it
            return memoryview(b"")


def _late(seconds: float) -> ProgramTimeout:
    return ProgramTimeout(f"did not end within {seconds:g} s and was killed")
