"""SSH connections that are kept for later programs, bounded in number, in start-up rate and in idle time."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from reconciler.host.retry import make_growing_pauses, poll_until
from reconciler.transports.machines.machine import MachineError
from reconciler.transports.machines.ssh_connect import SshConnector, SshDestination
from reconciler.transports.machines.ssh_credentials import CredentialFiles, FileSigns
from reconciler.transports.machines.ssh_errors import DroppedBeforeLogin

if TYPE_CHECKING:
    import asyncssh

MOST_CONNECTIONS: Final = 1000
"""Connections of all ways that are open at once, jump hosts included."""

MOST_SESSIONS: Final = 8
"""Programs at once over one connection; sshd's MaxSessions is 10."""

MOST_LOGINS: Final = 8
"""Logins at once at one address; sshd's MaxStartups begins to close connections at 10."""

ALL_LOGINS: Final = 32
"""Logins at once at all addresses: the exchange of keys takes the processor, and must end within its time."""

ATTEMPTS: Final = 6
"""Attempts of a login that the server drops."""

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 4.0
_CLOSE_SECONDS: Final = 2.0


@dataclass(slots=True)
class SshSession:
    """One of the programs at once over a connection.

    Args:
        is_refused: whether the server did not open it.
    """

    is_refused: bool = False


@dataclass(eq=False, slots=True)
class KeptConnection:
    """A connection that is being made or kept.

    Args:
        signs: of the files of its way and of its jump hosts, when it was made.
        opening: gives the connection.
        users: programs and tunnels that use it.
        is_reused: whether it has served a program before.
        jump: the connection that it goes through.
        sessions: programs that run over it.
    """

    destination: SshDestination
    signs: tuple[FileSigns, ...]
    opening: asyncio.Task[asyncssh.SSHClientConnection] = field(init=False)
    users: int = 0
    used_at: float = 0.0
    is_reused: bool = False
    jump: KeptConnection | None = None
    sessions: int = 0
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_SESSIONS))

    @asynccontextmanager
    async def take_session(self) -> AsyncIterator[SshSession]:
        """A place among the programs at once over this connection."""
        await self.room.acquire()
        self.sessions += 1
        session = SshSession()
        try:
            yield session
        finally:
            self.sessions -= 1
            # A server that refuses it beside others allows fewer: the place is not given back. The last one
            # always is.
            if not session.is_refused or not self.sessions:
                self.room.release()

    @property
    def is_usable(self) -> bool:
        """Whether it is open or still being opened, with all connections below it."""
        if not self.opening.done():
            return True
        if self.opening.cancelled() or self.opening.exception() is not None:
            return False
        return not self.opening.result().is_closed()


class SshPool:
    """The SSH connections of this host.

    Args:
        connector: makes them.
        files: of the ways; a connection is not used any more when one of its way's files has changed.
        most: connections of all ways at once.
    """

    def __init__(
        self, connector: SshConnector, files: CredentialFiles, *, most: int = MOST_CONNECTIONS
    ) -> None:
        self._connector = connector
        self._files = files
        self._most = most
        self._kept: dict[SshDestination, KeptConnection] = {}
        self._open: set[KeptConnection] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._logins: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MOST_LOGINS)
        )
        self._all_logins = asyncio.Semaphore(ALL_LOGINS)
        self._sweeper: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def use(
        self, destination: SshDestination, jumps: tuple[SshDestination, ...] = ()
    ) -> AsyncIterator[KeptConnection]:
        """A connection for one program; it is kept afterwards.

        Args:
            destination: the machine.
            jumps: the jump hosts on the way, the one next to the machine first.

        Raises:
            MachineError: it cannot be made.
        """
        kept = await self._acquire(destination, jumps)
        try:
            await asyncio.shield(kept.opening)
            yield kept
        finally:
            self._release(kept)

    def drop(self, kept: KeptConnection) -> None:
        """Use a connection no more; it closes after the last of its programs."""
        if self._kept.get(kept.destination) is kept:
            del self._kept[kept.destination]
        if not kept.users:
            self._close(kept)

    async def aclose(self) -> None:
        """Close every connection; running programs fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for kept in list(self._open):
            kept.opening.cancel()
            self._close(kept)
        while self._closing:
            await asyncio.wait(self._closing)

    async def _acquire(
        self, destination: SshDestination, jumps: tuple[SshDestination, ...]
    ) -> KeptConnection:
        """The kept connection to a machine, with this caller as a user; or a new one when there is room."""
        while True:
            signs = tuple(self._files.read_signs(one.way) for one in (destination, *jumps))
            kept = self._kept.get(destination)
            if kept is not None and (not kept.is_usable or kept.signs != signs):
                self.drop(kept)
                kept = None
            if kept is None and self._make_room(destination):
                kept = KeptConnection(destination, signs)
                kept.opening = asyncio.create_task(self._connect(kept, jumps))
                kept.opening.add_done_callback(_retrieve)
                self._kept[destination] = kept
                self._open.add(kept)
            if kept is not None:
                kept.users += 1
                return kept
            await self._wait_for_room()

    def _make_room(self, destination: SshDestination) -> bool:
        """Whether another connection fits; else one that is unused closes, so that it will."""
        if (
            not destination.is_node
        ):  # one for each jump host; a bound could make a node and its way wait in turn
            return True
        nodes = [kept for kept in self._open if kept.destination.is_node]
        of_way = [kept for kept in nodes if kept.destination.name == destination.name]
        for found, most in ((of_way, destination.way.connections), (nodes, self._most)):
            if len(found) < most:
                continue
            current = [kept for kept in found if self._kept.get(kept.destination) is kept]
            unused = [kept for kept in current if not kept.users and kept.opening.done()]
            # Those that are closing already make room for as many who wait.
            if unused and len(found) - len(current) <= len(self._waiting):
                self.drop(min(unused, key=lambda kept: kept.used_at))
            return False
        return True

    async def _wait_for_room(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def _release(self, kept: KeptConnection) -> None:
        loop = asyncio.get_running_loop()
        kept.users -= 1
        kept.used_at = loop.time()
        kept.is_reused = True
        if not kept.users:
            if not kept.opening.done():  # all who waited for it have given up
                kept.opening.cancel()
            if (
                not kept.is_usable
                or self._kept.get(kept.destination) is not kept
                or kept.opening.cancelling()
            ):
                self.drop(kept)
            elif self._sweeper is None:
                self._sweeper = loop.call_later(kept.destination.way.timeouts.idle, self._sweep)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _sweep(self) -> None:
        """Close what has been unused for too long, and look again when the next one is due."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        due: list[float] = []
        for kept in [kept for kept in self._kept.values() if not kept.users]:
            end = kept.used_at + kept.destination.way.timeouts.idle
            if end <= loop.time():
                self.drop(kept)
            else:
                due.append(end)
        if due:
            self._sweeper = loop.call_at(min(due), self._sweep)

    def _close(self, kept: KeptConnection) -> None:
        if kept not in self._open:
            return
        task = asyncio.ensure_future(self._finish(kept))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _finish(self, kept: KeptConnection) -> None:
        """Close a connection and then release its jump host; it counts as open until then."""
        try:
            with suppress(Exception, asyncio.CancelledError):
                connection = await kept.opening
                connection.close()
                try:
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await connection.wait_closed()
                except TimeoutError:
                    connection.abort()
        finally:
            self._open.discard(kept)
            jump, kept.jump = kept.jump, None
            if jump is not None:
                self._release(jump)
            self._wake()

    async def _connect(
        self, kept: KeptConnection, jumps: tuple[SshDestination, ...]
    ) -> asyncssh.SSHClientConnection:
        """Log in, after the jump host if there is one; again when the server drops the connection early."""
        tunnel: asyncssh.SSHClientConnection | None = None
        if jumps:
            kept.jump = await self._acquire(jumps[0], jumps[1:])
            try:
                tunnel = await asyncio.shield(kept.jump.opening)
            except MachineError as error:
                words = f"the jump host of {kept.destination.place}: {error}"
                raise type(error)(words, remedy=error.remedy) from error
        destination = kept.destination

        async def log_in() -> asyncssh.SSHClientConnection | DroppedBeforeLogin:
            async with self._logins[destination.address], self._all_logins:
                try:
                    return await self._connector.connect(destination, tunnel)
                except DroppedBeforeLogin as error:
                    return error

        # With chance, or all that were dropped together would come back together.
        growing = islice(make_growing_pauses(_FIRST_PAUSE, _LONGEST_PAUSE), ATTEMPTS - 1)
        pauses = (pause * (0.5 + random.random()) for pause in growing)  # noqa: S311
        found = await poll_until(log_in, lambda found: not isinstance(found, DroppedBeforeLogin), pauses)
        if isinstance(found, DroppedBeforeLogin):
            raise found
        return found


def _retrieve(opening: asyncio.Task[asyncssh.SSHClientConnection]) -> None:
    """Look at the failure of a connection: all who waited for it may have given up."""
    if not opening.cancelled():
        opening.exception()
