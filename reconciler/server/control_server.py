"""Answers commands of this host's users at the control socket: orders, rollbacks, operations, copies."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import re
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.core.actor import Actor, load_actor
from reconciler.core.defect import REPORT_LINE
from reconciler.core.json_reader import JsonLimits, read_json
from reconciler.core.reservations import LONGEST_TIME, SHORTEST_TIME, StopRequest
from reconciler.core.timestamps import parse_timestamp
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.actor import get_current_actor, get_user_name
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
from reconciler.ports.store import Store
from reconciler.server.logs import Log, log_defect
from reconciler.server.operations import OperationService
from reconciler.server.rollbacks import Answer, RollbackRequest, RollbackRunner
from reconciler.server.watch_options import WatchOptions
from reconciler.sources.locate import make_source_absolute
from reconciler.store.factory import back_up_store
from reconciler.text.one_line import LONGEST_NAME

CONNECTIONS: Final = 8
"""Requests answered at the same time; further ones wait."""

_MOST_VALUES: Final = 32
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TARGETS: Final = JsonLimits(size=LARGEST_BODY, values=100_000, depth=2)
"""Bounds of the targets of an operation; the product has the final limit."""

_LONGEST_TEXT: Final = 8000
"""Characters of a text in a request."""


class OrderDenied(ReconcilerError):
    """The caller may not give this order."""


@dataclass(frozen=True, slots=True)
class ControlServer:
    """Answers requests at the control socket of one watch.

    Args:
        options: of the watch; its host configuration names the groups that may give orders.
        store: where orders are written; None for a dry run, which accepts none.
        log: gets a line for each order.
        rollbacks: runs rollbacks; None for a dry run.
        operations: plans and records operations; None for a dry run.
        request_pass: runs a pass over every cluster now, because a command has made offers to its nodes.
    """

    options: WatchOptions
    store: Store | None
    log: Log
    rollbacks: RollbackRunner | None = None
    operations: OperationService | None = None
    request_pass: Callable[[], None] | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))
    _answer_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _rollback_tasks: set[asyncio.Task[Answer]] = field(default_factory=set)

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer requests until `stop`. Without a socket the watch continues, with a warning."""
        # Two sockets: one in the state folder, for users with access to it, and one in the shared folder,
        # where commands find the watches of this host whatever state folder they use.
        groups = self.options.host.config.operators
        shared = find_shared_folder(self.options.host.environment)
        if groups and shared is None:
            self._warn_no_socket(
                f"members of {', '.join(groups)} cannot reach this watch: this user does not own {RUNTIME}",
                f"as root, create the folder and give it to {get_current_actor().user}, or start the "
                "watch as a systemd unit",
            )
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
        if self._rollback_tasks:
            await asyncio.wait(self._rollback_tasks)
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
            self._refuse_stranger(peer)
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
        if self.rollbacks is None:
            raise _make_dry_run_error()
        by = _identify_actor(request, peer)
        texts = {key: _get_text(request, key) for key in ("revision", "only", "plan")}
        wanted = RollbackRequest(**texts)
        work = asyncio.create_task(self.rollbacks.run(wanted, by))
        self._rollback_tasks.add(work)
        work.add_done_callback(self._rollback_tasks.discard)
        # A task of its own: a caller that disconnects must not stop a rollback between two steps.
        if wanted.plan:
            self.log.info("order accepted", order="rollback", user=by.user, process=peer.process, **texts)
        await _send_result(work, writer)

    async def _answer_operation(
        self, request: Mapping[str, str], body: bytes, peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer with the plan of an operation, with what was recorded, or with how far it is."""
        if self.operations is None:
            raise _make_dry_run_error()
        by, do = _identify_actor(request, peer), _get_text(request, "do")
        if do == "operate":
            targets = read_json(body, _TARGETS)
            if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
                raise ValueError("not a list of targets")
            texts = {key: _get_text(request, key) for key in ("kind", "cluster")}
            asked = OperationRequest(
                targets=tuple(targets), direct=_get_text(request, "direct") == "yes", **texts
            )
            plan = _get_text(request, "plan")
            if plan:
                self.log.info(
                    "order accepted", order=asked.kind, user=by.user, process=peer.process, plan=plan
                )
            work = asyncio.create_task(self.operations.run(asked, plan, by))
        else:
            work = asyncio.create_task(self.operations.look(_get_text(request, "ids").split()))
        await _send_result(work, writer)

    async def _answer_question(
        self, request: Mapping[str, str], peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer whether a node may be stopped."""
        if self.operations is None:
            raise _make_dry_run_error()
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
        by = _identify_actor(request, peer)
        # A task of its own: a caller that disconnects must not leave a reservation half decided.
        await _send_result(asyncio.create_task(self.operations.ask_stop(asked, by)), writer)

    def _refuse_stranger(self, peer: Peer) -> None:
        """Accept root, the watch's own user and members of `operators`.

        Raises:
            OrderDenied: for any other caller.
        """
        if peer.user in {0, os.geteuid()}:
            return
        for name in self.options.host.config.operators:
            with suppress(KeyError):  # this host has no such group
                if grp.getgrnam(name).gr_gid in peer.groups:
                    return
        raise OrderDenied(
            f"user {get_user_name(peer.user)} may not give orders on this host",
            remedy="join a group of `operators` in the host configuration, or run the command as root",
        )

    async def _execute_order(self, request: Mapping[str, str], peer: Peer) -> dict[str, Any]:
        store = self.store
        work: dict[str, Callable[[Store], Awaitable[Any]]] = {
            "suspend": lambda store: store.suspend(text("cluster"), text("reason"), by),
            "resume": lambda store: store.resume(text("cluster"), by),
            "hold": lambda store: store.hold(
                int(text("fleet")), text("cluster"), text("node"), parse_timestamp(text("until")), by
            ),
            "release": lambda store: store.end_holds(text("ids").split(), by),
            "unpin": lambda store: store.unpin(text("cluster"), by),
            "retry": lambda store: store.retry(text("cluster"), text("node"), by),
            "forget_attempts": lambda store: store.forget_attempts(text("cluster")),
            "approve": lambda store: store.approve(text("digest"), by, text("reason")),
        }

        text, by = partial(_get_text, request), _identify_actor(request, peer)
        order = text("do")
        if order == "hello":
            return {
                "ok": True,
                "process": os.getpid(),
                "source": make_source_absolute(self.options.source),
                "ref": self.options.ref,
                "path": self.options.path,
                "state": str(self.options.store),
                "dry_run": store is None,
            }
        if order == "look" and self.request_pass is not None:
            self.request_pass()
            self.log.info("order accepted", order=order, user=by.user, process=peer.process)
            return {"ok": True}
        if order not in work:
            raise OrderDenied(
                f"unknown request {order!r}", remedy="use the same program version as the watch"
            )
        if store is None:
            raise _make_dry_run_error()
        _refuse_incomplete_order(order, request)
        found = await work[order](store)
        self.log.info(
            "order accepted", order=order, cluster=text("cluster"), user=by.user, process=peer.process
        )
        return {"ok": True, "found": list(found or ())}

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


def _refuse_incomplete_order(order: str, request: Mapping[str, str]) -> None:
    """Check an order.

    Raises:
        OrderDenied: a value is missing or invalid.
    """
    # The commands check this too, but any program of an operator can write to the socket.
    if len(_get_text(request, "cluster")) > LONGEST_NAME:
        raise OrderDenied("the cluster name is too long", remedy="name a cluster of the fleet")
    if order == "suspend" and not _get_text(request, "reason").strip():
        raise OrderDenied("a suspension needs a reason", remedy="give a reason")
    if order == "retry" and not _get_text(request, "cluster"):
        raise OrderDenied("a retry needs a cluster", remedy="name a cluster or a node of the fleet")
    if order == "hold":
        if not _identify_reason(request):
            raise OrderDenied("a hold needs a reason", remedy="give a reason")
        if not 0 < len(_get_text(request, "node")) <= LONGEST_NAME or not _get_text(request, "cluster"):
            raise OrderDenied("a hold needs a node and its cluster", remedy="name a node of the fleet")
    if order == "approve" and not _DIGEST.fullmatch(_get_text(request, "digest")):
        raise OrderDenied("an approval needs the complete id of a plan", remedy="give all 64 characters")


def _get_text(request: Mapping[str, str], key: str) -> str:
    return request.get(key, "")[:_LONGEST_TEXT]


def _identify_actor(request: Mapping[str, str], peer: Peer) -> Actor:
    """The caller as an actor."""
    # The kernel names the user; terminal, claim and reason are only what the caller says.
    return replace(
        load_actor(_get_text(request, "by")), user=get_user_name(peer.user), host=get_current_actor().host
    )


def _identify_reason(request: Mapping[str, str]) -> str:
    return load_actor(_get_text(request, "by")).why.strip()


def _make_dry_run_error() -> OrderDenied:
    return OrderDenied(
        "this watch is a dry run: it accepts no orders",
        remedy="run the command as a user with access to the state folder",
    )
