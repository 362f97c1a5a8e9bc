"""What a running watch does for commands of this host's users: orders, and a copy of what is remembered."""

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
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.core.actor import Actor, load_actor
from reconciler.core.defect import REPORT_LINE, list_error_frames, name_error
from reconciler.core.json_reader import JsonLimits, read_json
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.actor import get_current_actor, get_user_name
from reconciler.host.control_socket import (
    LARGEST,
    RUNTIME,
    SECONDS,
    WORKING,
    Peer,
    find_shared_folder,
    get_peer,
    listen_on_socket,
)
from reconciler.ports.store import Store
from reconciler.server.logs import Log
from reconciler.server.rollbacks import Answer, RollbackRequest, RollbackRunner
from reconciler.server.watch_options import WatchOptions
from reconciler.store.factory import back_up_store
from reconciler.text.one_line import LONGEST_NAME

CONNECTIONS: Final = 8
"""Requests that are answered at once; a further one waits."""

_MOST_VALUES: Final = 32
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LONGEST_TEXT: Final = 8000
"""Characters of a text in a request."""


class OrderDenied(ReconcilerError):
    """The user at the other end may not give orders here."""


@dataclass(frozen=True, slots=True)
class ControlServer:
    """Answers requests at the control socket of one watch.

    Args:
        options: of the watch; the host's configuration names the groups that may give orders.
        store: what orders are written to; None for a dry run, which takes none.
        log: is told of each order.
        rollbacks: carries out what takes minutes; None for a dry run.
    """

    options: WatchOptions
    store: Store | None
    log: Log
    rollbacks: RollbackRunner | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))
    _answer_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _rollback_tasks: set[asyncio.Task[Answer]] = field(default_factory=set)

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer until told to stop; where no socket can be made, say so: the watch itself goes on.

        There are two: in the state folder, for who may open it, and where commands look for the watches of
        this host, whatever state they use.
        """
        groups = self.options.host.config.operators
        shared = find_shared_folder(self.options.host.environment)
        if groups and shared is None:
            self._warn_no_socket(
                f"members of {', '.join(groups)} cannot reach this watch: {RUNTIME} is not this user's",
                f"let root make the folder and give it to {get_current_actor().user}, or start the "
                f"watch as a unit",
            )
        async with AsyncExitStack() as stack:
            for folder in dict.fromkeys(one for one in (self.options.state, shared) if one and one.is_dir()):
                is_shared = bool(groups) and folder == shared
                try:
                    opened = stack.enter_context(listen_on_socket(folder, is_shared=is_shared))
                except OSError as error:
                    message = error.strerror or type(error).__name__
                    self._warn_no_socket(f"{folder}: {message}", "let the user of the watch write there")
                    continue
                server = await asyncio.start_unix_server(self._serve_connection, sock=opened, limit=LARGEST)
                await stack.enter_async_context(server)
            await stop.wait()
        await self._finish()

    def _warn_no_socket(self, message: str, remedy: str) -> None:
        self.log.warning("no control socket", message=message, remedy=remedy)

    async def _finish(self) -> None:
        """Let what is under way end: steps are read back, answers are cut off after a moment."""
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
        except (OSError, TimeoutError):  # who asked has gone
            return
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            opened: socket.socket = writer.get_extra_info("socket")
            peer = get_peer(opened)
            self._refuse_stranger(peer)
            async with asyncio.timeout(SECONDS):
                request = _parse_request(await reader.readline())
            if request.get("do") == "rollback":
                await self._answer_rollback(request, peer, writer)
                return
            async with asyncio.timeout(6 * SECONDS):
                if request.get("do") == "copy":
                    await self._send_copy(writer)
                    return
                answer = await self._execute_order(request, peer)
        except ReconcilerError as error:
            answer = {"error": error.message, "remedy": error.remedy}
        except ValueError:
            answer = {"error": "the request cannot be read", "remedy": "use the version of the watch"}
        except (OSError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  (a request must not end the watch)
            self.log.error(  # noqa: TRY400  (the trace is cut to what holds no secret)
                "unexpected error in a request",
                message=name_error(error),
                remedy=REPORT_LINE,
                trace=list_error_frames(error),
            )
            answer = {"error": "an unexpected error", "remedy": REPORT_LINE}
        async with asyncio.timeout(SECONDS):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _answer_rollback(
        self, request: Mapping[str, str], peer: Peer, writer: asyncio.StreamWriter
    ) -> None:
        """Answer once a rollback is planned, or has ended; it goes on though who asked for it has gone."""
        if self.rollbacks is None:
            raise _make_dry_run_error()
        by = _identify_actor(request, peer)
        texts = {key: _get_text(request, key) for key in ("revision", "only", "plan")}
        wanted = RollbackRequest(while_suspended=_get_text(request, "while_suspended") == "yes", **texts)
        work = asyncio.create_task(self.rollbacks.run(wanted, by))
        self._rollback_tasks.add(work)
        work.add_done_callback(self._rollback_tasks.discard)
        if wanted.plan:
            self.log.info("order taken", order="rollback", user=by.user, process=peer.process, **texts)
        while not (await asyncio.wait({work}, timeout=SECONDS / 2))[0]:
            async with asyncio.timeout(SECONDS):
                writer.write(WORKING)
                await writer.drain()
        answer, data = work.result()
        async with asyncio.timeout(6 * SECONDS):
            writer.write(json.dumps({"ok": True, "bytes": len(data), **answer}).encode() + b"\n" + data)
            await writer.drain()

    def _refuse_stranger(self, peer: Peer) -> None:
        """Root, the watch's own user, and the groups that the host names.

        Raises:
            Denied: anybody else.
        """
        if peer.user in {0, os.geteuid()}:
            return
        for name in self.options.host.config.operators:
            with suppress(KeyError):  # a group that this host does not have lets nobody in
                if grp.getgrnam(name).gr_gid in peer.groups:
                    return
        raise OrderDenied(
            f"{get_user_name(peer.user)} is in no group that may give orders on this host",
            remedy="ask for a group of `operators` in the host configuration, or run the command as root",
        )

    async def _execute_order(self, request: Mapping[str, str], peer: Peer) -> dict[str, Any]:
        store = self.store
        work: dict[str, Callable[[Store], Awaitable[Any]]] = {
            "suspend": lambda store: store.suspend(text("cluster"), text("reason"), by),
            "resume": lambda store: store.resume(text("cluster"), by),
            "forget_attempts": lambda store: store.forget_attempts(text("cluster")),
            "approve": lambda store: store.approve(text("digest"), by, text("reason")),
        }

        text, by = partial(_get_text, request), _identify_actor(request, peer)
        order = text("do")
        if order == "hello":
            return {
                "ok": True,
                "process": os.getpid(),
                "source": self.options.source,
                "state": str(self.options.state),
                "dry_run": store is None,
            }
        if order not in work:
            raise OrderDenied(f"this watch knows no request {order!r}", remedy="use the version of the watch")
        if store is None:
            raise _make_dry_run_error()
        _refuse_incomplete_order(order, request)
        found = await work[order](store)
        self.log.info("order taken", order=order, cluster=text("cluster"), user=by.user, process=peer.process)
        return {"ok": True, "found": list(found or ())}

    async def _send_copy(self, writer: asyncio.StreamWriter) -> None:
        """The answer, then the store as it is at this moment."""
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(dir=self.options.state, prefix=".copy-")
                )
            except OSError as error:
                raise StateError(f"the state cannot be copied: {error.strerror}") from error
            file = Path(folder) / "copy"
            await asyncio.to_thread(back_up_store, self.options.state, file)
            writer.write(json.dumps({"ok": True, "bytes": file.stat().st_size}).encode() + b"\n")
            with file.open("rb") as opened:
                while piece := opened.read(256 * 1024):
                    writer.write(piece)
                    await writer.drain()


def _parse_request(line: bytes) -> Mapping[str, str]:
    """The request in a line.

    Raises:
        ValueError: it is no JSON object of texts.
    """
    found = read_json(line, JsonLimits(size=LARGEST, values=_MOST_VALUES, depth=2))
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("no object of texts")
    return found


def _refuse_incomplete_order(order: str, request: Mapping[str, str]) -> None:
    """Nothing, where an order is one that the commands would give: they are not the only ones who can ask.

    Raises:
        Denied: it lacks what it needs.
    """
    if len(_get_text(request, "cluster")) > LONGEST_NAME:
        raise OrderDenied("the name of the cluster is too long", remedy="name a cluster of the fleet")
    if order == "suspend" and not _get_text(request, "reason").strip():
        raise OrderDenied("a suspension needs its reason", remedy="say why")
    if order == "approve" and not _DIGEST.fullmatch(_get_text(request, "digest")):
        raise OrderDenied("an approval needs the whole id of a plan", remedy="give its 64 characters")


def _get_text(request: Mapping[str, str], key: str) -> str:
    return request.get(key, "")[:_LONGEST_TEXT]


def _identify_actor(request: Mapping[str, str], peer: Peer) -> Actor:
    """Who asks: by the kernel's word; terminal, claim and reason are the caller's own."""
    return replace(
        load_actor(_get_text(request, "by")), user=get_user_name(peer.user), host=get_current_actor().host
    )


def _make_dry_run_error() -> OrderDenied:
    return OrderDenied(
        "this watch is a dry run: it applies nothing and takes no orders",
        remedy="run the command as a user who may open the state folder",
    )
