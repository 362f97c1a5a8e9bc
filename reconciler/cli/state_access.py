"""Where people's orders go: into the state folder, or to the watch, for users who may not open the folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from reconciler.cli.state_folder import OPTION, StateFolder, find_state, find_watches
from reconciler.core.actor import Actor
from reconciler.errors import StateError
from reconciler.host import control_socket
from reconciler.host.control_socket import RunningWatch, find_running_watches, send_request
from reconciler.host.host import Host
from reconciler.ports.store import Store, StoreReader
from reconciler.store.factory import has_store, open_reader, open_store

_COPY: Final = "state.sqlite"


class OrderWriter(Protocol):
    """Takes orders; each is durable when the call returns."""

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Let nothing be changed in a cluster, or in all."""

    async def resume(self, cluster: str, by: Actor) -> None:
        """End a suspension."""

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Let a plan be applied, once."""

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        """Let nodes be tried again; gives them."""


@dataclass(frozen=True, slots=True)
class StateAccess:
    """The state that a command works with, in one of two ways.

    Args:
        folder: the state folder.
        watch: the watch that uses it; None where none answers.
        is_open: whether this user may open the folder; else all goes through the watch.
        stack: closes what is opened.
    """

    folder: StateFolder
    watch: RunningWatch | None
    is_open: bool
    stack: ExitStack

    def __str__(self) -> str:
        watch = f"Watch: {self.watch}" if self.watch else "Watch: none is running with this state"
        return f"State: {self.folder}\n{watch}\n"

    def exists(self) -> bool:
        """Whether there is a store already."""
        return not self.is_open or has_store(self.folder.path)

    def read(self) -> StoreReader:
        """The store as it is now, for reading."""
        if self.is_open:
            return self.stack.enter_context(open_reader(self.folder.path))
        return self.stack.enter_context(open_reader(self._copy()))

    def orders(self) -> OrderWriter:
        """What takes orders."""
        if self.is_open:
            store: Store = self.stack.enter_context(open_store(self.folder.path))
            return store
        return _Sent(self._watch().path)

    def ask_watch(self, request: Mapping[str, str]) -> tuple[dict[str, Any], bytes]:
        """What the watch answers to a request, and the bytes that follow.

        Raises:
            StateError: it refuses, or does not answer.
        """
        with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
            file = Path(folder) / "answer"
            try:
                said, size = send_request(self._watch().path, request, into=file)
            except OSError as error:
                raise _silent(self._watch(), error) from error
            return said, file.read_bytes() if size else b""

    def _watch(self) -> RunningWatch:
        if self.watch is None:  # refused where the desk was opened
            raise StateError(f"no watch answers for the state {self.folder}")
        return self.watch

    def _copy(self) -> Path:
        """A folder with a copy of the store, which the watch sends."""
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-")))
        try:
            send_request(self._watch().path, {"do": "copy"}, into=folder / _COPY)
        except OSError as error:
            raise _silent(self._watch(), error) from error
        return folder


@dataclass(frozen=True, slots=True)
class _Sent:
    """Orders that a watch takes."""

    path: Path

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        self._ask("suspend", cluster=cluster, reason=reason, by=by.plain())

    async def resume(self, cluster: str, by: Actor) -> None:
        self._ask("resume", cluster=cluster, by=by.plain())

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        self._ask("approve", digest=digest, reason=reason, by=by.plain())

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        return self._ask("forget_attempts", cluster=cluster)

    def _ask(self, order: str, **request: str) -> tuple[str, ...]:
        try:
            said, _ = send_request(self.path, {"do": order, **request})
        except OSError as error:
            raise StateError(
                f"the watch at {self.path} does not answer: {error.strerror or error}",
                remedy="run the command as root; `reconcile history` shows whether the order was accepted",
            ) from error
        return tuple(map(str, said.get("found", ())))


def open_state(host: Host, given: Path | None) -> AbstractContextManager[StateAccess]:
    """The state of a command, and the watch that uses it.

    Args:
        host: its environment and configuration.
        given: as `--state` says.

    Raises:
        StateError: as for `open_writable_state`.
    """
    return open_writable_state(find_state(host, given))


@contextmanager
def open_writable_state(folder: StateFolder) -> Iterator[StateAccess]:
    """A state that was found already, and the watch that uses it.

    Raises:
        StateError: this user may not open the state, and no watch answers for it; or a watch of this host
            uses another state, which no option names.
    """
    refused = folder.refusal()
    mine = find_watches(folder.path)
    others = [one for one in find_running_watches(control_socket.RUNTIME) if not one.uses(folder.path)]
    if others and not mine and folder.origin != OPTION:
        raise StateError(
            f"the watch of this host ({others[0]}) uses the state {others[0].state}, and this command would "
            f"use {folder}; nothing was done",
            remedy=f"add --state {others[0].state}, or set `state` to that folder in the host configuration",
        )
    if refused is not None and not mine:
        denied = control_socket.find_access_refusal(control_socket.RUNTIME)
        words = denied.message if denied else "no running watch uses it"
        raise StateError(f"{refused.message}; {words}", remedy=(denied or refused).remedy)
    with ExitStack() as stack:
        yield StateAccess(folder, mine[0] if mine else None, refused is None, stack)


def _silent(watch: RunningWatch, error: OSError) -> StateError:
    words = error.strerror or os.strerror(error.errno or 0)
    return StateError(f"the watch ({watch}) does not answer: {words}", remedy="run the command as root")
