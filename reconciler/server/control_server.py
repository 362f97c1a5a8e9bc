"""Answers commands of this host's users at the control socket: orders, rollbacks, operations, copies."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from reconciler.core.actor import Actor, load_actor
from reconciler.core.defect import REPORT_LINE
from reconciler.core.json_reader import JsonLimits, read_json
from reconciler.core.reservations import LONGEST_TIME, SHORTEST_TIME, StopRequest
from reconciler.core.roles import AccessRole
from reconciler.core.timestamps import parse_timestamp
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.actor import get_current_actor
from reconciler.host.control_socket import (
    LARGEST,
    LARGEST_BODY,
    RUNTIME,
    SECONDS,
    WORKING,
    Peer,
    find_shared_folder,
    get_peer,
    listen_on_socket,
)
from reconciler.planning.plan_operation import OperationRequest
from reconciler.ports.store import OrderWriter
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.identity import LoginMethod
from reconciler.server.access.login_endpoint import LINK_PATH
from reconciler.server.access.login_links import find_local_address
from reconciler.server.access.watch_access import LocalUser, identify_peer
from reconciler.server.acts.caller import Caller
from reconciler.server.acts.checked_orders import OrderDenied
from reconciler.server.acts.service import ActService
from reconciler.server.acts.token_orders import TokenOrders
from reconciler.server.logs import Log, log_defect
from reconciler.server.rollbacks import Answer, RollbackRequest
from reconciler.server.watch_options import OFF, WatchOptions
from reconciler.sources.locate import make_source_absolute
from reconciler.store.factory import back_up_store

CONNECTIONS: Final = 8
"""Requests answered at the same time; further ones wait."""

_MOST_VALUES: Final = 32
_TARGETS: Final = JsonLimits(size=LARGEST_BODY, values=100_000, depth=2)
"""Bounds of the targets of an operation; the product has the final limit."""

_LONGEST_TEXT: Final = 8000
"""Characters of a text in a request."""


@dataclass(frozen=True, slots=True)
class ControlServer:
    """Answers requests at the control socket of one watch.

    Args:
        options: of the watch; its host configuration names the groups that may give orders.
        acts: performs what is ordered.
        log: gets warnings about the socket.
        access: what users of this machine may do, and the links by which they log in.
        listen: where the pages are, as text; `off` without any.
    """

    options: WatchOptions
    acts: ActService
    log: Log
    access: AccessControl
    listen: str = OFF
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))
    _answer_tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer requests until `stop`. Without a socket the watch continues, with a warning."""
        # Two sockets: one in the state folder, for users with access to it, and one in the shared folder,
        # where commands find the watches of this host whatever state folder they use.
        groups = self._list_outsiders()
        shared = find_shared_folder(self.options.host.environment)
        if groups and shared is None:
            self._warn_no_socket(
                f"members of {', '.join(groups)} cannot reach this watch: this user does not own {RUNTIME}",
                f"as root, create the folder and give it to {get_current_actor().user}, or start the "
                "watch as a systemd unit",
            )
        if not self.options.dry_run:
            # With a database, nothing else has created it when a host starts for the first time.
            try:
                self.options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                message = f"{self.options.state}: {error.strerror or type(error).__name__}"
                self._warn_no_socket(message, "create the state folder, and give it to the user of the watch")
        async with AsyncExitStack() as stack:
            for folder in dict.fromkeys(one for one in (self.options.state, shared) if one and one.is_dir()):
                is_shared = bool(groups) and folder == shared
                try:
                    opened = stack.enter_context(listen_on_socket(folder, is_shared=is_shared))
                except OSError as error:
                    message = error.strerror or type(error).__name__
                    self._warn_no_socket(
                        f"{folder}: {message}", "give the user of the watch write access to it"
                    )
                    continue
                server = await asyncio.start_unix_server(self._serve_connection, sock=opened, limit=LARGEST)
                await stack.enter_async_context(server)
            await stop.wait()
        await self._finish()

    def _warn_no_socket(self, message: str, remedy: str) -> None:
        self.log.warning("cannot open control socket", message=message, remedy=remedy)

    async def _finish(self) -> None:
        """Wait for rollbacks, which read their steps back; cancel slow answers."""
        await self.acts.finish()
        if self._answer_tasks:
            _, late = await asyncio.wait(self._answer_tasks, timeout=SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._answer_tasks.add(task)
            task.add_done_callback(self._answer_tasks.discard)
        try:
            async with self._slots:
                await self._answer(reader, writer)
        except (OSError, TimeoutError):  # the caller has disconnected
            return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            opened: socket.socket = writer.get_extra_info("socket")
            # The kernel names the caller (SO_PEERCRED): nothing in the request can claim another user.
            peer = get_peer(opened)
            self._identify_peer(peer)
            async with asyncio.timeout(SECONDS):
                request = _parse_request(await reader.readline())
            if request.get("do") == "rollback":
                await self._answer_rollback(request, peer, writer)
                return
            if request.get("do") in {"operate", "look at operations"}:
                await self._answer_operation(request, await _read_body(request, reader), peer, writer)
                return
            if request.get("do") == "allow stop":
                await self._answer_question(request, peer, writer)
                return
            async with asyncio.timeout(6 * SECONDS):
                if request.get("do") == "copy":
                    self._identify_caller(request, peer).require(AccessRole.LOOK)
                    await self._send_copy(writer)
                    return
                answer = await self._execute_order(request, peer)
        except ReconcilerError as error:
            answer = {"error": error.message, "remedy": error.remedy}
        except (ValueError, asyncio.IncompleteReadError):
            answer = {"error": "invalid request", "remedy": "use the same program version as the watch"}
        except (OSError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  (a request must not end the watch)
            log_defect(self.log, "unexpected error in a request", error)
            answer = {"error": "an unexpected error", "remedy": REPORT_LINE}
        async with asyncio.timeout(SECONDS):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _answer_rollback(
        self, request: Mapping[str, str], peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer when a rollback is planned or has ended."""
        texts = {key: _get_text(request, key) for key in ("revision", "only", "plan")}
        wanted = RollbackRequest(**texts)
        await _send_result(
            asyncio.create_task(self.acts.roll_back(wanted, self._identify_caller(request, peer))), writer
        )

    async def _answer_operation(
        self, request: Mapping[str, str], body: bytes, peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer with the plan of an operation, with what was recorded, or with how far it is."""
        if _get_text(request, "do") != "operate":
            ids = _get_text(request, "ids").split()
            await _send_result(asyncio.create_task(self.acts.get_operations().look(ids)), writer)
            return
        targets = read_json(body, _TARGETS)
        if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
            raise ValueError("not a list of targets")
        texts = {key: _get_text(request, key) for key in ("kind", "cluster")}
        asked = OperationRequest(
            targets=tuple(targets), direct=_get_text(request, "direct") == "yes", **texts
        )
        caller, plan = self._identify_caller(request, peer), _get_text(request, "plan")
        await _send_result(asyncio.create_task(self.acts.operate(asked, plan, caller)), writer)

    async def _answer_question(
        self, request: Mapping[str, str], peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer whether a node may be stopped."""
        seconds = int(_get_text(request, "seconds"))
        time = timedelta(seconds=min(max(seconds, 0), int(LONGEST_TIME.total_seconds())))
        if time < SHORTEST_TIME:
            raise ValueError("too short")
        asked = StopRequest(
            _get_text(request, "node"),
            _get_text(request, "cluster"),
            time,
            release=_get_text(request, "release") == "yes",
        )
        caller = self._identify_caller(request, peer)
        await _send_result(asyncio.create_task(self.acts.ask_stop(asked, caller)), writer)

    def _list_outsiders(self) -> tuple[str, ...]:
        """Groups and users of this machine who may give orders although the state folder is not theirs."""
        config = self.options.host.config
        local = [rule for rule in config.access.roles if LoginMethod.LOCAL in rule.login]
        named = (name for rule in local for name in (*rule.groups, *rule.users))
        return tuple(dict.fromkeys((*config.operators, *named)))

    def _identify_peer(self, peer: Peer) -> LocalUser:
        """The caller as the kernel names them: root, the watch's own user, or somebody with a role.

        Raises:
            OrderDenied: for any other caller.
        """
        user = identify_peer(peer, self.access.roles)
        if not user.identity.may_look:
            raise OrderDenied(
                f"user {user.identity.name} may not give orders on this host",
                remedy="join a group of `operators` in the host configuration, or run the command as root",
            )
        return user

    def _identify_caller(self, request: Mapping[str, str], peer: Peer) -> Caller:
        # The kernel names the user; terminal, claim and reason are only what the caller says.
        identity = self._identify_peer(peer).identity
        by = load_actor(_get_text(request, "by"))
        actor = replace(by, user=identity.name, host=get_current_actor().host)
        return Caller(identity, actor, {"process": peer.process})

    async def _execute_order(self, request: Mapping[str, str], peer: Peer) -> dict[str, Any]:
        order, caller = _get_text(request, "do"), self._identify_caller(request, peer)
        if order == "hello":
            return {
                "ok": True,
                "process": os.getpid(),
                "source": make_source_absolute(self.options.source),
                "ref": self.options.ref,
                "path": self.options.path,
                "state": str(self.options.store),
                "dry_run": self.acts.store is None,
            }
        if order == "look":
            # A command that also runs without a watch asks for all clusters, and names none.
            return {
                "ok": True,
                "found": list(await self.acts.look_again(caller, _get_text(request, "cluster"))),
            }
        if order.endswith(" token"):
            orders = TokenOrders(self.acts.store, self.access.rules, self.log)
            await orders.give(order, partial(_get_text, request), caller)
            return {"ok": True}
        if order == "link":
            return {"ok": True, "url": self._make_link(peer)}
        if order not in _ORDERS:
            raise OrderDenied(
                f"unknown request {order!r}", remedy="use the same program version as the watch"
            )
        found = await _ORDERS[order](self.acts.make_orders(caller), partial(_get_text, request), caller.actor)
        return {"ok": True, "found": list(found or ())}

    def _make_link(self, peer: Peer) -> str:
        """A URL with which the caller logs in with a browser on this machine.

        Raises:
            OrderDenied: there are no pages that a browser on this machine reaches.
        """
        user = self._identify_peer(peer)
        place = find_local_address(self.listen)
        if place is None:
            raise OrderDenied(
                "this watch has no pages that a browser on this machine reaches",
                remedy="start it with --listen 127.0.0.1:8642",
            )
        code = self.access.links.make(user.identity.name, user.groups)
        self.log.info("login link made", user=user.identity.name, process=peer.process)
        return f"http://{place}{LINK_PATH}?code={code}"

    async def _send_copy(self, writer: asyncio.StreamWriter) -> None:
        """Send the answer, then a copy of the store as it is now."""
        if self.options.database is not None:
            raise StateError(
                f"the watch has its state in the database {self.options.database}, and sends no copy of it",
                remedy="run the command as the user of the watch, or as root",
            )
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(dir=self.options.state, prefix=".copy-")
                )
            except OSError as error:
                raise StateError(f"cannot copy the store: {error.strerror}") from error
            file = Path(folder) / "copy"
            await asyncio.to_thread(back_up_store, self.options.store, file)
            writer.write(json.dumps({"ok": True, "bytes": file.stat().st_size}).encode() + b"\n")
            with file.open("rb") as opened:
                while piece := opened.read(256 * 1024):
                    writer.write(piece)
                    await writer.drain()


_Text: TypeAlias = Callable[[str], str]

_ORDERS: Final[Mapping[str, Callable[[OrderWriter, _Text, Actor], Awaitable[Sequence[str] | None]]]] = {
    "suspend": lambda orders, text, by: orders.suspend(text("cluster"), text("reason"), by),
    "resume": lambda orders, text, by: orders.resume(text("cluster"), by),
    "hold": lambda orders, text, by: orders.hold(
        int(text("fleet")), text("cluster"), text("node"), parse_timestamp(text("until")), by
    ),
    "release": lambda orders, text, by: orders.end_holds(text("ids").split(), by),
    "unpin": lambda orders, text, by: orders.unpin(text("cluster"), by),
    "retry": lambda orders, text, by: orders.retry(text("cluster"), text("node"), by),
    "forget_attempts": lambda orders, text, _: orders.forget_attempts(text("cluster")),
    "approve": lambda orders, text, by: orders.approve(text("digest"), by, text("reason")),
}
"""The orders of the socket: `OrdersToWatch` sends each."""


async def _send_result(work: asyncio.Task[Answer], writer: asyncio.StreamWriter) -> None:
    """Send the result of work that may take long, and the bytes after it."""
    # Each line restarts the timeout of the caller: planning may take minutes.
    while not (await asyncio.wait({work}, timeout=SECONDS / 2))[0]:
        async with asyncio.timeout(SECONDS):
            writer.write(WORKING)
            await writer.drain()
    answer, data = work.result()
    async with asyncio.timeout(6 * SECONDS):
        writer.write(json.dumps({"ok": True, "bytes": len(data), **answer}).encode() + b"\n" + data)
        await writer.drain()


async def _read_body(request: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    """The bytes after a request.

    Raises:
        ValueError: their number is missing, invalid or too large, or there are fewer.
    """
    size = int(_get_text(request, "bytes") or "0")
    if not 0 <= size <= LARGEST_BODY:
        raise ValueError("too many bytes")
    async with asyncio.timeout(6 * SECONDS):
        return await reader.readexactly(size)


def _parse_request(line: bytes) -> Mapping[str, str]:
    """Parse a request.

    Raises:
        ValueError: it is not a JSON object with texts as values.
    """
    # A request is small and flat: the limits stop a caller who sends deep or large JSON.
    found = read_json(line, JsonLimits(size=LARGEST, values=_MOST_VALUES, depth=2))
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("not an object of texts")
    return found


def _get_text(request: Mapping[str, str], key: str) -> str:
    return request.get(key, "")[:_LONGEST_TEXT]
