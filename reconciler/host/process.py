"""The one way to run another program: no shell, exact environment, bounded in time and output.

    ended = await run_process(
        ["git", "-C", folder, "cat-file", "commit", commit],
        environment=child_environment(host.environment) | {"GIT_DIR": folder},
        seconds=60,
    )

The program gets a session of its own and is killed as a group, with all that it started, when its time
is over, its output is too large, or the caller is cancelled. It inherits no file descriptor. The caller
turns the errors below into its own words.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

MIB: Final = 1024 * 1024
OUTPUT_LIMIT: Final = 256 * MIB
"""Bytes of standard output that a program may write, unless the caller says otherwise."""

ERROR_KEPT: Final = 64 * 1024
"""Bytes of standard error that are kept: the last ones."""

GRACE: Final = 2.0
"""Seconds that a pipe may stay open once the program itself has ended: something that it started holds it."""


class ProcessError(Exception):
    """A program did not run to its end; the text says why, without the program's name."""


class ProgramMissing(ProcessError):
    """There is no such program, or it cannot be started."""


class ProcessTimeout(ProcessError):
    """It did not end in time and was killed: whether it had an effect is not known."""


class OutputTooLarge(ProcessError):
    """It wrote more than it may and was killed: whether it had an effect is not known."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Args:
        status: its exit status; below 0 the number of the signal that ended it.
        out: what it wrote to standard output.
        error: the last of what it wrote to standard error.
    """

    status: int
    out: bytes
    error: bytes


async def run_process(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    seconds: float,
    folder: str | None = None,
    data: bytes | None = None,
    limit: int = OUTPUT_LIMIT,
    tail: bool = False,
    largest_file: int = 0,
    memory: int = 0,
) -> Ended:
    """Run a program to its end.

    Args:
        command: the program and its arguments; a program without `/` is looked for on the PATH given.
        environment: all that it starts with; see `environment.child_environment`.
        seconds: after which it is killed.
        folder: where it runs; None for the current folder.
        data: what it reads from standard input; None for nothing.
        limit: bytes of standard output.
        tail: keep the last `limit` bytes of standard output and error together, instead of killing a
            program that writes more.
        largest_file: bytes of one file that it, or what it starts, may write; 0 for any number.
        memory: bytes of address space that each of these processes may have; 0 for any number.

    Raises:
        ProgramMissing: it cannot be started.
        ProcessTimeout: it did not end in time.
        OutputTooLarge: it wrote more than `limit` bytes.
    """
    loop, pipe = asyncio.get_running_loop(), asyncio.subprocess.PIPE
    try:
        transport, collector = await _started(
            loop.subprocess_exec(
                lambda: _Collector(limit, tail=tail),
                _program(command[0], environment),
                *command[1:],
                stdin=asyncio.subprocess.DEVNULL if data is None else pipe,
                stdout=pipe,
                stderr=asyncio.subprocess.STDOUT if tail else pipe,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        raise ProgramMissing(getattr(error, "strerror", None) or str(error)) from error
    _bound(transport.get_pid(), {resource.RLIMIT_FSIZE: largest_file, resource.RLIMIT_AS: memory})
    try:
        async with asyncio.timeout(seconds):
            if data is not None:
                _feed(transport, data)
            await collector.ended.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(collector.closed.wait(), GRACE)
    except TimeoutError:
        raise ProcessTimeout(f"did not end within {seconds:g} s and was killed") from None
    finally:
        if not (collector.ended.is_set() and collector.closed.is_set()):
            _kill_group(transport.get_pid())
        await _closed(transport, collector)
    if collector.overflow:
        raise OutputTooLarge(f"wrote more than {limit:,} bytes and was killed")
    return Ended(transport.get_returncode() or 0, bytes(collector.out), bytes(collector.error))


def _bound(pid: int, limits: Mapping[int, int]) -> None:
    """Bound a process that has just started; what it starts inherits that. Only Linux can."""
    if hasattr(resource, "prlimit"):
        with suppress(OSError, ValueError):  # it has ended already, or its bound is lower
            for kind, most in limits.items():
                if most:
                    resource.prlimit(pid, kind, (most, most))


async def _started(
    starting: Coroutine[Any, Any, tuple[asyncio.SubprocessTransport, _Collector]],
) -> tuple[asyncio.SubprocessTransport, _Collector]:
    """The started program; where the caller is cancelled meanwhile, it is killed with all that it started.

    Cancelled itself, asyncio kills the program alone, and may then wait for ever for its pipes, which
    what it started holds open.
    """
    task = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is None:
            transport, collector = task.result()
            _kill_group(transport.get_pid())
            await _closed(transport, collector)
        raise


async def _closed(transport: asyncio.SubprocessTransport, collector: _Collector) -> None:
    """Close the pipes once the program has ended: closing first may take its exit status from asyncio."""
    try:
        with suppress(TimeoutError):  # a process in an uninterruptible call does not even end when killed
            await asyncio.wait_for(collector.ended.wait(), GRACE)
    finally:
        transport.close()


def _program(name: str, environment: Mapping[str, str]) -> str:
    """The program's path by the child's own PATH, not by ours."""
    if "/" in name:
        return name
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(2, "it is not installed, or not on the PATH")
    return found


def _feed(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    pipe = transport.get_pipe_transport(0)
    assert isinstance(pipe, asyncio.WriteTransport)
    pipe.write(data)
    pipe.close()


def _kill_group(pid: int) -> None:
    """The program leads a session of its own, so that its number is also that of its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _Collector(asyncio.SubprocessProtocol):
    """Gathers what a program writes, within bounds, and tells when it has ended."""

    def __init__(self, limit: int, *, tail: bool) -> None:
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()
        self.out = bytearray()
        self.error = bytearray()
        self.overflow = False
        self._limit = limit
        self._tail = tail
        self._open = {1} if tail else {1, 2}
        self._pid = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._pid = transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        if fd == 1 and not self._tail:
            if len(self.out) + len(data) > self._limit:
                self.overflow = True
                if not self.ended.is_set():
                    _kill_group(self._pid)
            elif not self.overflow:
                self.out += data
            return
        kept, limit = (self.out, self._limit) if fd == 1 else (self.error, ERROR_KEPT)
        kept += data
        del kept[:-limit]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        self._open.discard(fd)
        if not self._open:
            self.closed.set()

    def process_exited(self) -> None:
        self.ended.set()
