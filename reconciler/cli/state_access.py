"""How commands reach the state: in its folder, or through the watch if this user cannot open the folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.cli.state_folder import OPTION, StateFolder, find_watches
from reconciler.core.actor import Actor
from reconciler.core.roles import encode_grants
from reconciler.core.timestamps import format_timestamp
from reconciler.errors import StateError
from reconciler.host import control_socket
from reconciler.host.actor import get_current_actor
from reconciler.host.control_socket import RunningWatch, find_running_watches, send_request
from reconciler.store.factory import has_store, open_reader, open_store

if TYPE_CHECKING:
    from reconciler.cli.terminal import Terminal
    from reconciler.ports.access_store import AccessToken
    from reconciler.ports.store import Store, StoreReader

_COPY: Final = "state.sqlite"

_NO_STATE: Final = (
    "--no-state: no state folder is used. Earlier runs, suspensions, approvals and removed nodes are not "
    "known, and guards that need them cannot refuse.\n"
)


@dataclass(frozen=True, slots=True)
class StateAccess:
    """The state that a command uses.

    Args:
        folder: the state folder.
        watch: the watch that uses it; None if none answers. Of several, the first that does not only plan.
        is_open: whether this user can open the folder; if not, every request goes through the watch.
        stack: closes what is opened.
        watches: all watches that use it.
    """

    folder: StateFolder
    watch: RunningWatch | None
    is_open: bool
    stack: ExitStack
    watches: tuple[RunningWatch, ...] = ()

    def __str__(self) -> str:
        watch = self.watch or "none is running on this host with this state"
        return f"State: {self.folder}\nWatch: {watch}\n"

    def exists(self) -> bool:
        """Whether the folder has a store."""
        return not self.is_open or has_store(self.folder.store)

    def read(self) -> StoreReader:
        """The store as it is now, for reading; of a closed folder, a copy that the watch sends."""
        if self.is_open:
            return self.stack.enter_context(open_reader(self.folder.store))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="reconcile-")))
        self._send({"do": "copy"}, into=folder / _COPY)
        return self.stack.enter_context(open_reader(folder))

    def orders(self) -> Store | OrdersToWatch:
        """Where to write orders; each is durable when its call returns."""
        if self.is_open:
            return self.stack.enter_context(open_store(self.folder.store))
        return OrdersToWatch(self.running_watch.path)

    def ask_watch(self, request: Mapping[str, str], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """The watch's answer to a request, and the bytes after it; `body` follows the request.

        Raises:
            StateError: the watch refuses, or does not answer.
        """
        with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
            file = Path(folder) / "answer"
            answer, size = self._send(request, into=file, body=body)
            return answer, file.read_bytes() if size else b""

    def wake_watches(self) -> None:
        """Let the watches that use the folder run a pass now: they would find out later."""
        for watch in self.watches:
            with suppress(OSError, StateError):
                send_request(watch.path, {"do": "look", "by": get_current_actor().encode()})

    @property
    def running_watch(self) -> RunningWatch:
        """The watch that uses the folder."""
        if self.watch is None:  # open_writable_state refuses a closed folder without a watch
            raise StateError(f"no running watch uses the state {self.folder}")
        return self.watch

    def _send(self, request: Mapping[str, str], into: Path, body: bytes = b"") -> tuple[dict[str, Any], int]:
        try:
            return send_request(self.running_watch.path, request, into=into, body=body)
        except OSError as error:
            reason = error.strerror or os.strerror(error.errno or 0)
            raise StateError(
                f"the watch ({self.running_watch}) does not answer: {reason}",
                remedy="run the command as root",
            ) from error


@dataclass(frozen=True, slots=True)
class OrdersToWatch:
    """Sends orders to a watch, with the methods of `Store` for them."""

    path: Path

    async def suspend(self, cluster: str, reason: str, by: Actor) -> None:
        """Stop all changes in a cluster; empty for all clusters."""
        self._ask("suspend", cluster=cluster, reason=reason, by=by.encode())

    async def resume(self, cluster: str, by: Actor) -> None:
        """End a suspension."""
        self._ask("resume", cluster=cluster, by=by.encode())

    async def unpin(self, cluster: str, by: Actor) -> Sequence[str]:
        """End the pin of a cluster; gives the revisions where it was pinned."""
        return self._ask("unpin", cluster=cluster, by=by.encode())

    async def approve(self, digest: str, by: Actor, reason: str) -> None:
        """Approve a plan for one run."""
        self._ask("approve", digest=digest, reason=reason, by=by.encode())

    async def hold(self, fleet: int, cluster: str, node: str, until: datetime, by: Actor) -> None:
        """Send nothing to a node until a moment."""
        end = format_timestamp(until)
        self._ask("hold", fleet=str(fleet), cluster=cluster, node=node, until=end, by=by.encode())

    async def end_holds(self, ids: Sequence[str], by: Actor) -> Sequence[str]:
        """End holds before their time; gives their nodes."""
        return self._ask("release", ids=" ".join(ids), by=by.encode())

    async def retry(self, cluster: str, node: str, by: Actor) -> Sequence[str]:
        """Let a cluster, or one of its nodes, be tried again; gives what had been given up."""
        return self._ask("retry", cluster=cluster, node=node, by=by.encode())

    async def forget_attempts(self, cluster: str = "") -> Sequence[str]:
        """Let stalled nodes be tried again; gives their names."""
        return self._ask("forget_attempts", cluster=cluster)

    async def create_access_token(self, digest: str, token: AccessToken) -> None:
        """Make a token count; its text stays with the caller."""
        request = {"name": token.name, "grants": encode_grants(token.grants), "digest": digest}
        self._ask("create token", expires=format_timestamp(token.expires), by=token.by.encode(), **request)

    async def revoke_access_token(self, name: str, by: Actor) -> None:
        """End a token."""
        self._ask("revoke token", name=name, by=by.encode())

    def _ask(self, order: str, **request: str) -> tuple[str, ...]:
        try:
            answer, _ = send_request(self.path, {"do": order, **request})
        except OSError as error:
            raise StateError(
                f"the watch at {self.path} does not answer: {error.strerror or error}",
                remedy="run the command as root; `reconcile history` shows whether the order was accepted",
            ) from error
        return tuple(map(str, answer.get("found", ())))


@contextmanager
def open_writable_state(folder: StateFolder) -> Iterator[StateAccess]:
    """Open a state folder, and find the watch that uses it.

    Raises:
        StateError: this user cannot open the folder and no watch uses it; or a watch of this host uses
            another folder, and `--state` is not given.
    """
    refused = folder.refusal()
    mine = find_watches(folder)
    # An order in a folder that no watch reads has no effect: an operator who suspends in an emergency would
    # believe that the watch has stopped. Only --state shows that the operator means this folder.
    others = [one for one in find_running_watches(control_socket.RUNTIME) if not one.uses(folder.place)]
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
        yield StateAccess(folder, mine[0] if mine else None, refused is None, stack, mine)


@contextmanager
def open_history(
    folder: StateFolder | None, terminal: Terminal, *, always_shown: bool = False
) -> Iterator[StoreReader | None]:
    """The store of a command that only plans, for reading; None with `--no-state`, after a warning.

    Args:
        folder: the state; None with `--no-state`.
        terminal: shows which state is used.
        always_shown: show the state and its watch always, not only if the watch gives the state.

    Raises:
        StateError: the store cannot be used.
    """
    if folder is None:
        terminal.remark(_NO_STATE)
        yield None
        return
    with open_writable_state(folder) as access:
        if always_shown or not access.is_open or terminal.verbose:
            terminal.remark(str(access))
        yield access.read()
