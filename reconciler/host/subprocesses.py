"""The one way to run another program: no shell, exact environment, bounded in time and output.

    ended = await run_process(
        ["git", "-C", folder, "cat-file", "commit", commit],
        environment=child_environment(host.environment) | {"GIT_DIR": folder},
        seconds=60,
    )

`start_program` is the one place that starts a process. The others wait for it: `run_program_async` for
asynchronous callers, `run_program` for blocking ones, `run_at_terminal` for interactive programs. Blocking
work that runs several programs goes into `run_blocking`, so that its caller can cancel it.

A program has its own session and is killed as a group, with all its child processes, at its timeout, when its
output is too large, or when the caller is cancelled. It inherits no file descriptor. The caller translates
the errors below into its own messages.
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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Process = subprocess.Popen[bytes]

MIB: Final = 1024 * 1024
OUTPUT_LIMIT: Final = 256 * MIB
"""Default limit of standard output in bytes."""

ERROR_KEPT: Final = 64 * 1024
"""Bytes kept of the end of standard error."""

GRACE: Final = 2.0
"""Seconds that a pipe may stay open after the program has ended, because a child process holds it."""

PIPE: Final = subprocess.PIPE
QUIET: Final = subprocess.DEVNULL
TERMINAL: Final = None
"""For `start_program`: the program uses the standard streams of this process."""

_POLL_SECONDS: Final = 0.05
_CHUNK_SIZE: Final = 64 * 1024


class ProgramError(Exception):
    """A program did not run to its end; the text gives the reason, without the program's name."""


class ProgramMissing(ProgramError):
    """The program does not exist or cannot be started."""


class ProgramTimeout(ProgramError):
    """The program exceeded its time and was killed; its effect is unknown."""


class OutputTooLarge(ProgramError):
    """The program exceeded its output limit and was killed; its effect is unknown."""


class WorkCancelled(Exception):
    """This work was cancelled: its programs were killed, and no further one starts."""


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """How a program ended.

    Args:
        status: its exit status; negative: the number of the signal that ended it.
        out: its standard output.
        error: the end of its standard error.
    """

    status: int
    out: bytes
    error: bytes


class _Work:
    """The processes of one piece of blocking work, for cancelling from another thread."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.is_cancelled = False
        self._running = set(processes)
        self._lock = threading.Lock()

    def add(self, process: Process) -> None:
        with self._lock:
            self._running.add(process)
            late = self.is_cancelled
        if late:  # cancelled between the start of the process and this call
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
    """End cancelled work: the output of a killed program is not a result.

    Raises:
        WorkCancelled: this work was cancelled.
    """
    work = _WORK.get()
    if work is not None and work.is_cancelled:
        raise WorkCancelled("the work was cancelled")


async def run_blocking(work: Callable[[], T], *processes: Process) -> T:
    """Run blocking work in its own thread and give its result.

    When cancelled, running programs are killed with their child processes and no further one starts. The work
    has then ended when this returns, unless a system call blocks it.

    Args:
        work: may call `run_program` and `start_program`.
        processes: further processes to kill: those that the work reads from.
    """
    # A thread for each call, not a pool: a pool with all threads waiting for programs would block other work.
    scope = _Work(processes)
    context = copy_context()
    context.run(_WORK.set, scope)
    future = _start_thread(partial(context.run, work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        scope.cancel()
        await asyncio.wait({future}, timeout=GRACE)
        raise


def _start_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    # The error of cancelled work is retrieved here, or the event loop would log it as never retrieved.
    future.add_done_callback(lambda done: None if done.cancelled() else done.exception())

    def main() -> None:
        try:
            done = partial(future.set_result, work())
        except BaseException as error:  # noqa: BLE001  (the caller gets it)
            done = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done)

    threading.Thread(target=main, name="blocking", daemon=True).start()
    return future


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
    """Run a program to its end, blocking.

    Args:
        command: the program and its arguments; a name without `/` is found on the PATH of `environment`.
        environment: its complete environment; see `environment.make_child_environment`.
        seconds: timeout.
        folder: its working folder; None for the current one.
        data: its standard input; None for nothing.
        limit: bytes of standard output.
        tail: keep the last `limit` bytes of standard output and error together; more is no error.
        cut: give the first `limit` bytes of standard output if the program was killed for writing more.
        largest_file: limit in bytes of each file that it and its child processes write; 0 for no limit.
        memory: limit in bytes of the address space of each of these processes; 0 for no limit.

    Raises:
        ProgramMissing: it cannot be started.
        ProgramTimeout: it did not end in time.
        OutputTooLarge: it wrote more than `limit` bytes, and neither `tail` nor `cut` is set.
        WorkCancelled: it is part of `run_blocking` work that was cancelled.
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
        check_cancelled()  # not a failure of the program: cancelling killed it
        raise
    finally:
        if not collector.is_closed:
            kill_group(process)
        _close(process)
        if (work := _WORK.get()) is not None:
            work.discard(process)
    check_cancelled()
    return ProgramResult(process.returncode or 0, bytes(collector.out[:limit]), bytes(collector.error))


def _run_in_thread(work: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def run(*args: P.args, **options: P.kwargs) -> T:
        return await run_blocking(partial(work, *args, **options))

    return run


run_program_async = _run_in_thread(run_program)
"""Run a program to its end without blocking the event loop: arguments and errors of `run_program`."""


def run_at_terminal(command: Sequence[str], *, environment: Mapping[str, str]) -> int:
    """The exit status of an interactive program at this terminal, such as an editor.

    Raises:
        ProgramMissing: it cannot be started.
    """
    # In a session of its own it would have no controlling terminal.
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
    """Start a program; the caller must end it. Parameters not named here are those of `run_program`.

    Each stream is PIPE, QUIET or TERMINAL, and `stderr` also `subprocess.STDOUT`. With `session` the program
    gets its own session, and so its own group, which `kill_group` needs.

    Raises:
        ProgramMissing: it cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  (no shell; the caller chooses the program)
            [_find_program(command[0], environment), *command[1:]],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=dict(environment),
            start_new_session=session,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise ProgramMissing(getattr(error, "strerror", None) or str(error)) from error
    _limit_process(process.pid, {resource.RLIMIT_FSIZE: largest_file, resource.RLIMIT_AS: memory})
    if session and (work := _WORK.get()) is not None:
        work.add(process)
    return process


def end_program(process: Process, seconds: float) -> None:
    """Wait for a program with a session of its own that was asked to end; kill its group if it does not."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill_group(process)
        process.wait()


def kill_group(process: Process) -> None:
    """Kill a program that has its own session, with its child processes."""
    # A session leader's process id is its group id. A child process that survives would keep the pipes open,
    # and their reader would wait for it.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _limit_process(pid: int, limits: Mapping[int, int]) -> None:
    """Limit a process that has just started, and its child processes; only on Linux."""
    # Not a `preexec_fn`, which can deadlock in a process with threads.
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it has ended, or its limit is lower already
            for kind, most in limits.items():
                if most:
                    resource.prlimit(pid, kind, (most, most))


def _find_program(name: str, environment: Mapping[str, str]) -> str:
    """The program's path on the PATH of the child, not of this process."""
    if "/" in name:
        return name
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(2, "it is not installed or not on the PATH")
    return found


def _close(process: Process) -> None:
    """Close the pipes of a program that has ended or was killed."""
    with suppress(subprocess.TimeoutExpired):  # an uninterruptible system call survives even SIGKILL
        process.wait(GRACE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


class _Collector:
    """Collects the output of a program, within limits, until it has ended."""

    def __init__(self, process: Process, limit: int, *, tail: bool) -> None:
        self.out = bytearray()
        self.error = bytearray()
        self.is_closed = False
        self._process = process
        self._limit = limit
        self._tail = tail

    def gather(self, data: bytes | None, seconds: float) -> None:
        """Write its input, read its output, wait for its end; see `run_program`."""
        end = time.monotonic() + seconds
        held: float | None = None  # when the program ended although a pipe is still open
        with selectors.DefaultSelector() as selector:
            self._register(selector, data)
            while selector.get_map():
                now = time.monotonic()
                if held is None and self._process.poll() is not None:
                    held = now
                # A child process that outlives the program holds its pipes open: read for a moment only.
                if held is not None and now - held >= GRACE:
                    return
                if held is None and now >= end:
                    raise _make_timeout(seconds)
                pause = min(_POLL_SECONDS, end - now) if held is None else _POLL_SECONDS
                for key, _ in selector.select(pause):
                    pipe, buffer = key.data
                    if not self._move(selector, pipe, buffer):
                        selector.unregister(pipe)
                        pipe.close()
        try:
            self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise _make_timeout(seconds) from None
        self.is_closed = True

    def _register(self, selector: selectors.BaseSelector, data: bytes | None) -> None:
        for pipe, buffer in ((self._process.stdout, self.out), (self._process.stderr, self.error)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, (pipe, buffer))
        if data is not None and (pipe := self._process.stdin) is not None:
            # A program that does not read its input must not block this thread.
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_WRITE, (pipe, memoryview(data)))

    def _move(
        self, selector: selectors.BaseSelector, pipe: IO[bytes], buffer: bytearray | memoryview
    ) -> bool:
        """Read or write one piece of one pipe; gives whether more follows."""
        if isinstance(buffer, memoryview):
            rest = self._write(pipe.fileno(), buffer)
            selector.modify(pipe, selectors.EVENT_WRITE, (pipe, rest))
            return bool(rest)
        piece = os.read(pipe.fileno(), _CHUNK_SIZE)
        buffer += piece
        if buffer is self.error:
            del buffer[:-ERROR_KEPT]
        elif self._tail:
            del buffer[: -self._limit]
        elif len(buffer) > self._limit:
            raise OutputTooLarge(f"wrote more than {self._limit:,} bytes and was killed")
        return bool(piece)

    @staticmethod
    def _write(descriptor: int, data: memoryview) -> memoryview:
        try:
            return data[os.write(descriptor, data[:_CHUNK_SIZE]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:  # the program does not read its input
            return memoryview(b"")


def _make_timeout(seconds: float) -> ProgramTimeout:
    return ProgramTimeout(f"did not end within {seconds:g} s and was killed")
