"""The machine of a node over SSH: a program runs as one session of a kept connection."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.observation import Liveness
from reconciler.host.retry import make_growing_pauses, poll_until
from reconciler.host.subprocesses import (
    ERROR_KEPT,
    GRACE,
    OutputTooLarge,
    ProgramMissing,
    ProgramResult,
    ProgramTimeout,
)
from reconciler.ports.call_permit import ask_permit
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import make_one_line
from reconciler.transports.machines.machine import (
    OUTPUT_KEPT,
    SUDO,
    Machine,
    MachineUnreachable,
    ProgramLost,
)
from reconciler.transports.machines.ssh_connect import SshDestination
from reconciler.transports.machines.ssh_pool import MOST_SESSIONS, KeptConnection, SshPool

if TYPE_CHECKING:
    import asyncssh

_SESSION_ATTEMPTS: Final = MOST_SESSIONS + 3
_SESSION_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_PLAIN_PROGRAM: Final = re.compile(r"[0-9A-Za-z_./+\-]+")


class SshMachine(Machine):
    """Runs programs on the machine of a node.

    Args:
        pool: has the connections.
        destination: the machine.
        jumps: the jump hosts on the way, the one next to the machine first.
        sudo: run programs with sudo.
    """

    def __init__(
        self,
        pool: SshPool,
        destination: SshDestination,
        jumps: tuple[SshDestination, ...] = (),
        *,
        sudo: bool = False,
    ) -> None:
        self._pool = pool
        self._destination = destination
        self._jumps = jumps
        self._prefix = SUDO if sudo else ()

    @property
    def place(self) -> str:
        return self._destination.place

    async def run(
        self,
        arguments: Sequence[str],
        *,
        content: bytes = b"",
        seconds: float,
        limit: int = OUTPUT_KEPT,
        tail: bool = False,
    ) -> ProgramResult:
        line = write_command_line((*self._prefix, *arguments))

        async def run_once() -> ProgramResult | None:
            async with (
                self._pool.use(self._destination, self._jumps) as kept,
                kept.take_session() as session,
            ):
                await ask_permit(seconds + 2 * GRACE)  # the session itself is opened, too
                program = await self._start(kept, line, limit=limit, tail=tail)
                if program is None:
                    session.is_refused = True
                    return None
                return await program.run_to_end(content, seconds, self.place)

        pauses = islice(make_growing_pauses(_SESSION_PAUSE, _LONGEST_PAUSE), _SESSION_ATTEMPTS - 1)
        result = await poll_until(run_once, lambda result: result is not None, pauses)
        if result is None:
            raise self._make_session_error()
        return result

    async def _start(self, kept: KeptConnection, line: str, *, limit: int, tail: bool) -> _Program | None:
        """Start a program; None if nothing was started and another attempt may succeed.

        Raises:
            MachineUnreachable: the server refuses; nothing was started.
            ProgramLost: the connection broke after the request was sent.
        """
        import asyncssh  # noqa: PLC0415  (heavy: loaded with the first connection)

        program = _Program(limit, tail=tail, with_sudo=bool(self._prefix))
        connection = await kept.opening
        was_reused = kept.is_reused
        try:
            await connection.create_session(program.make_session, line, encoding=None, request_pty=False)
        except (asyncssh.Error, OSError) as error:
            if connection.is_closed():
                self._pool.drop(kept)
            if not program.is_open:
                # The request was not sent. The server may have closed a kept connection meanwhile, and it may
                # allow fewer sessions than are open now.
                if was_reused or connection.is_closed() or kept.users > 1:
                    return None
                raise self._make_session_error(error) from error
            if isinstance(error, asyncssh.ChannelOpenError) and not connection.is_closed():
                words = f"{self.place}: the server does not run programs: {_shorten(error)}"
                raise MachineUnreachable(
                    words, remedy="check ForceCommand and the user's shell there", sign=Liveness.ALIVE
                ) from error
            raise program.make_loss(self.place) from error
        return program

    def _make_session_error(self, error: Exception | None = None) -> MachineUnreachable:
        why = f": {_shorten(error)}" if error else ""
        words = f"{self.place}: the server opens no session{why}"
        return MachineUnreachable(words, remedy="check MaxSessions of its sshd", sign=Liveness.ALIVE)


def write_command_line(arguments: Sequence[str]) -> str:
    """An argument vector as one line for the shell of the other side; each stays one argument.

    Raises:
        ProgramMissing: it contains a NUL, which no program can get.
    """
    if any("\0" in argument for argument in arguments):
        raise ProgramMissing("an argument contains a NUL character")
    program, *rest = arguments
    # `A=b` in front would be a variable for a shell, and not a program.
    first = program if _PLAIN_PROGRAM.fullmatch(program) else "'" + program.replace("'", "'\"'\"'") + "'"
    return " ".join([first, *map(shlex.quote, rest)])


class _Program:
    """One program of a session: its output within bounds, and how it ended."""

    def __init__(self, limit: int, *, tail: bool, with_sudo: bool) -> None:
        self.is_open = False
        self._with_sudo = with_sudo
        self._limit = limit
        self._tail = tail
        self._out = bytearray()
        self._error = bytearray()
        self._status: int | None = None
        self._has_all_output = False
        self._is_too_large = False
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._has_ended = asyncio.Event()  # its status is known, or none will come
        self._is_over = asyncio.Event()  # it has ended, or has written too much
        self._is_complete = asyncio.Event()  # and nothing more of its output counts

    def make_session(self) -> Any:
        """The object that asyncssh calls with what arrives."""
        import asyncssh  # noqa: PLC0415

        program = self

        class Session(asyncssh.SSHClientSession[bytes]):
            def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
                program._channel, program.is_open = chan, True

            def data_received(self, data: bytes, datatype: int | None) -> None:
                program._take(data, is_error=datatype is not None)

            def eof_received(self) -> bool:
                program._has_all_output = True
                if program._is_over.is_set():
                    program._is_complete.set()
                return False

            def exit_status_received(self, status: int) -> None:
                program._end(status)

            def exit_signal_received(self, signal: str, *_: Any) -> None:
                program._end(_find_signal_status(signal))

            def connection_lost(self, exc: Exception | None) -> None:
                program._has_all_output |= exc is None
                for event in (program._has_ended, program._is_over, program._is_complete):
                    event.set()

        return Session()

    async def run_to_end(self, content: bytes, seconds: float, place: str) -> ProgramResult:
        """Send its input and wait for its end.

        Raises:
            ProgramTimeout: it did not end in time.
            OutputTooLarge: it wrote too much.
            ProgramLost: the connection broke.
        """
        channel = self._channel
        assert channel is not None
        try:
            if content:
                channel.write(content)
            channel.write_eof()
            async with asyncio.timeout(seconds):
                await self._wait()
        except TimeoutError:
            end = await self._kill(channel, place)
            raise ProgramTimeout(f"did not end within {seconds:g} s{end}") from None
        except OSError as error:  # the connection broke while the input was written
            raise self.make_loss(place) from error
        except asyncio.CancelledError:
            _send_kill(channel)
            raise
        else:
            if self._is_too_large:
                end = await self._kill(channel, place)
                raise OutputTooLarge(f"wrote more than {self._limit:,} bytes{end}")
        finally:
            channel.close()
        if self._status is None or (self._is_complete.is_set() and not self._has_all_output):
            raise self.make_loss(place)
        return ProgramResult(self._status, bytes(self._out), bytes(self._error))

    def make_loss(self, place: str) -> ProgramLost:
        """The error of a program whose end nobody saw."""
        return ProgramLost(
            f"the connection to {place} broke while it ran; whether it had an effect is unknown",
            remedy="look at the machine; the next reading shows what it changed",
        )

    async def _wait(self) -> None:
        """Wait for its end, and for the output that is still on its way."""
        await self._is_over.wait()
        # A process that outlives the program holds its pipes open: wait for a moment only, as on this host.
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._is_complete.wait()

    async def _kill(self, channel: asyncssh.SSHClientChannel[bytes], place: str) -> str:
        """End the program and all of its group on the other side; gives what is known then, for messages."""
        _send_kill(channel)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._has_ended.wait()
        if self._status is not None and not self._with_sudo:
            return " and was killed"
        # sshd ends only processes of the user, such as the shell, and a broken connection ends nothing.
        return f", and nothing confirms that it was killed: it may still run at {place}"

    def _take(self, data: bytes, *, is_error: bool) -> None:
        if self._is_too_large:
            return
        if is_error and not self._tail:
            self._error += data
            del self._error[:-ERROR_KEPT]
            return
        self._out += data
        if self._tail:
            del self._out[: -self._limit]
        elif len(self._out) > self._limit:
            del self._out[self._limit :]
            self._is_too_large = True
            self._is_over.set()
            self._is_complete.set()

    def _end(self, status: int) -> None:
        self._status = status
        self._has_ended.set()
        self._is_over.set()
        if self._has_all_output:
            self._is_complete.set()


def _send_kill(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    with suppress(OSError):  # the connection broke
        channel.kill()


def _find_signal_status(name: str) -> int:
    """The status of a program that a signal ended, as on this machine: the negative number of the signal."""
    return -getattr(signal, f"SIG{name}", signal.SIGKILL)


def _shorten(error: Exception) -> str:
    words = getattr(error, "reason", None) or error
    return make_one_line(SHAPES.redact_text(str(words)), 200) or "no reason is given"
