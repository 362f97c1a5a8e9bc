"""The program of the node server's process; `process.py` starts it.

Its standard input is the connection to the watch, its standard output the listening socket.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

import structlog

from reconciler.drivers.registry import DRIVERS
from reconciler.host.environment import seal_environment
from reconciler.ports.central_server import CentralServer
from reconciler.secrets.redaction import Redactor
from reconciler.server.logs import Log, log_defect
from reconciler.server.nodes.bus_service import BusRules
from reconciler.server.nodes.node_server import NodeServer, NodeServerParts
from reconciler.server.nodes.node_server_process import (
    NodeProcessCrash,
    NodeProcessLine,
    NodeProcessStart,
    NodeProcessStatus,
    NodeRules,
)
from reconciler.store.factory import open_store

STATUS_SECONDS = 0.5
"""Seconds between two messages about the state."""

MOST_LINES = 10_000
"""Lines of the log that wait for the watch; further ones are lost."""

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread gives way to another one: a write must not make polls wait."""

_COLLECTION = (20_000, 20, 100)
"""Thresholds of the collector of cycles: the nodes live long, and a full collection looks at all of them."""


class NodeProcess:
    """One run of the program.

    Args:
        connection: to the watch.
        start: its first message.
    """

    def __init__(self, connection: Connection, start: NodeProcessStart) -> None:
        self._connection, self._rules, self._is_alive = connection, start.rules, False
        self._redactor: tuple[NodeRules, Redactor] | None = None
        self._messages: queue.Queue[NodeProcessLine | NodeProcessCrash] = queue.Queue(MOST_LINES)
        self._ended = threading.Event()
        self._log = cast(
            "Log",
            structlog.wrap_logger(
                None,
                processors=[self._forward],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
                context_class=dict,
            ),
        )
        kinds = start.kinds

        def find_product(kind: str) -> CentralServer | None:
            return DRIVERS[kind].central_server() if kind in kinds else None

        parts = NodeServerParts(
            partial(open_store, start.store, keep=start.keep),
            find_product,
            self._find_holds,
            self._count_fresh_seconds,
            self._log,
            self._report,
            self._beat,
            self._redact_text,
            self._find_bus_rules,
        )
        self._server = NodeServer(start.options, parts)

    def run(self, opened: socket.socket) -> None:
        """Serve until the watch asks for the end; end at once if the watch has ended."""
        sender = threading.Thread(target=self._send_messages, name="messages", daemon=True)
        with self._server.serving(opened):
            sender.start()
            try:
                while (message := self._connection.recv()) is not None:
                    assert isinstance(message, NodeRules)
                    self._rules = message
            except (EOFError, OSError):
                # Killed, as the watch was: what was acknowledged is stored, and the address must be free.
                os._exit(1)
        self._ended.set()
        sender.join()

    def _send_messages(self) -> None:
        """Send what there is to tell until the server has ended; the watch may be slow."""
        while True:
            is_last = self._ended.wait(STATUS_SECONDS)
            try:
                while not self._messages.empty():
                    self._connection.send(self._messages.get())
                self._connection.send(self._describe())
            except OSError:  # the watch has ended
                return
            if is_last:
                return

    def _describe(self) -> NodeProcessStatus:
        server, is_alive = self._server, self._is_alive
        self._is_alive = False
        copied = server.counters.copy()
        kinds = tuple(sorted(server.list_products()))
        return NodeProcessStatus(copied, server.state, server.problem, kinds, is_alive)

    def _find_holds(self, cluster: str, node: str, now: datetime) -> frozenset[str]:
        return self._rules.find_holds(cluster, node, now)  # the newest ones

    def _count_fresh_seconds(self, cluster: str) -> float:
        return self._rules.count_fresh_seconds(cluster)

    def _find_bus_rules(self) -> BusRules:
        return self._rules.buses

    def _redact_text(self, text: str) -> str:
        """A text of a node without the secrets of the newest fleet."""
        rules, known = self._rules, self._redactor
        if known is None or known[0] is not rules:  # on demand: most nodes say nothing that is shown
            known = self._redactor = rules, Redactor(rules.secrets)
        return known[1].redact_text(text)

    def _beat(self) -> None:
        self._is_alive = True

    def _report(self, loop: str, error: BaseException, wait: float) -> None:
        log_defect(self._log, "unexpected error in a loop", error, f"it restarts in {wait:g} s", loop=loop)
        self._put(NodeProcessCrash(loop))

    def _forward(self, _logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
        event = str(fields.pop("event", ""))
        self._put(NodeProcessLine(method, event, {name: _simplify(item) for name, item in fields.items()}))
        raise structlog.DropEvent

    def _put(self, message: NodeProcessLine | NodeProcessCrash) -> None:
        with suppress(queue.Full):
            self._messages.put_nowait(message)


def _simplify(value: Any) -> Any:
    """A value of a log line that can be sent."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_simplify(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _simplify(item) for key, item in value.items()}
    return str(value)


def serve_watch() -> None:
    """Serve nodes as the watch at the other end says."""
    # The watch stops this process; a signal to the whole group must not do so before it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    seal_environment()
    connection = Connection(os.dup(sys.stdin.fileno()))
    opened = socket.socket(fileno=os.dup(sys.stdout.fileno()))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sys.stdin.fileno())
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*_COLLECTION)
    start = connection.recv()
    assert isinstance(start, NodeProcessStart)
    with connection, opened:
        NodeProcess(connection, start).run(opened)


if __name__ == "__main__":
    serve_watch()
