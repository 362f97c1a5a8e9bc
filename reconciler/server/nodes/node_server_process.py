"""The node server in a process of its own, and the watch's end of it.

A pass over thousands of nodes computes for many seconds. In one interpreter with it, each call of a node
would wait several times for its turn, and hundreds of them a second would wait for seconds. The process ends
with the watch, however that ends: then the other end of their connection is closed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection, Pipe
from socket import socket
from typing import Any

from reconciler.core.endpoint import SocketAddress
from reconciler.core.policy import ChangeRules
from reconciler.errors import UsageError
from reconciler.guards.change_control import find_hiding_holds
from reconciler.host.environment import make_child_environment
from reconciler.host.subprocesses import TERMINAL, ProgramError, end_program, start_program
from reconciler.ports.central_server import CentralServer
from reconciler.server.logs import Log
from reconciler.server.nodes.bus_service import NO_BUS_RULES, BusRules
from reconciler.server.nodes.counters import CallCounters
from reconciler.server.nodes.listener import bind_node_socket
from reconciler.server.nodes.node_server import (
    STARTING,
    STOP_SECONDS,
    NodeServerOptions,
    NodeServerState,
    load_certificate,
)
from reconciler.server.supervision import FIRST, LONGEST, STEADY, Report
from reconciler.store.factory import StorePlace

MODULE = "reconciler.server.nodes.node_server_main"

FRESH_SECONDS = 60.0
"""How old the last call of a node may be, before the fleet file is read."""

REBIND_SECONDS = 3.0
"""Seconds to wait for the address: a watch that was killed leaves its node server for a moment."""

_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What the newest fleet says of the clusters whose nodes poll.

    Args:
        changes: cluster -> its suspension and freezes.
        fresh: cluster -> how old the last call of a node may be for what it sent to count.
        secrets: of the fleet, to mask them in what nodes say.
        buses: which nodes use message buses, and where they reach the node server.
    """

    changes: Mapping[str, ChangeRules] = field(default_factory=dict)
    fresh: Mapping[str, float] = field(default_factory=dict)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    buses: BusRules = NO_BUS_RULES

    def find_holds(self, cluster: str, node: str, now: datetime) -> frozenset[str]:
        """Codes of the holds on changes of a node."""
        rules = self.changes.get(cluster)
        return find_hiding_holds(rules, node, now) if rules is not None else frozenset()

    def count_fresh_seconds(self, cluster: str) -> float:
        """How old the last call of a node may be for what it sent to count."""
        return self.fresh.get(cluster, FRESH_SECONDS)


@dataclass(frozen=True, slots=True)
class NodeProcessStart:
    """The first message to the process.

    Args:
        options: of the node server.
        store: where it is.
        keep: runs that the history keeps.
        kinds: products that this host may use.
        rules: of the newest fleet.
    """

    options: NodeServerOptions
    store: StorePlace
    keep: int
    kinds: frozenset[str]
    rules: NodeRules


@dataclass(frozen=True, slots=True)
class NodeProcessStatus:
    """What the process tells again and again.

    Args:
        kinds: products whose nodes have tokens.
        is_alive: whether its loop ran since the last time.
    """

    counters: CallCounters
    state: NodeServerState
    problem: str
    kinds: tuple[str, ...]
    is_alive: bool


@dataclass(frozen=True, slots=True)
class NodeProcessLine:
    """A line for the log of the watch."""

    level: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NodeProcessCrash:
    """A loop of the process has crashed; the log has the line about it."""

    loop: str


@dataclass(frozen=True, slots=True)
class NodeProcessHooks:
    """What the process gets from the watch.

    Args:
        log: of the watch.
        report: called when the process ends by itself, before it restarts.
        count_crash: called with the name of a loop of the process that crashed.
        beat: called regularly, while the process answers.
    """

    log: Log
    report: Report
    count_crash: Callable[[str], None]
    beat: Callable[[], None]


class NodeServerProcess:
    """The watch's end of the node server.

    Args:
        options: of the node server.
        store: where it is.
        keep: runs that the history keeps.
        kinds: products that this host may use.
        find_product: kind -> its central server; None for a product that has none.
        hooks: of the watch.

    Attributes:
        address: where it listens.
        counters: what it has answered.
        state: of connections and nodes, a few seconds old.
        problem: why it cannot read or write the store; empty if it can.
    """

    def __init__(
        self,
        options: NodeServerOptions,
        store: StorePlace,
        keep: int,
        *,
        kinds: frozenset[str],
        find_product: Callable[[str], CentralServer | None],
        hooks: NodeProcessHooks,
    ) -> None:
        self._is_encrypted = load_certificate(options) is not None  # a wrong one ends the start
        self._start = NodeProcessStart(options, store, keep, kinds, NodeRules())
        self._find_product, self._hooks = find_product, hooks
        self._kinds: tuple[str, ...] = ()
        self._connection: Connection | None = None
        self._sending = threading.Lock()
        self._stop = threading.Event()
        self._earlier = CallCounters()
        self.address = options.listen
        self.counters, self.state, self.problem = CallCounters(), NodeServerState(), STARTING

    def list_products(self) -> dict[str, CentralServer]:
        """Kind -> its central server, of the products whose nodes poll."""
        found = {kind: self._find_product(kind) for kind in self._kinds}
        return {kind: product for kind, product in found.items() if product is not None}

    def use_rules(self, rules: NodeRules) -> None:
        """Use the rules of a newer fleet from now on."""
        with self._sending:
            self._start = replace(self._start, rules=rules)
            self._send(rules)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve nodes while the context lasts; gives the address as a URL.

        Raises:
            UsageError: the address cannot be used.
        """
        with self._bind() as opened:
            self.address = SocketAddress(*opened.getsockname()[:2])
            thread = threading.Thread(target=self._supervise, args=(opened,), name="node server", daemon=True)
            thread.start()
            try:
                yield f"{'https' if self._is_encrypted else 'http'}://{self.address}"
            finally:
                with self._sending:
                    self._stop.set()
                    self._send(None)
                thread.join(2 * STOP_SECONDS)

    def _bind(self) -> socket:
        """A socket that listens at the address, also if its former owner is just ending."""
        end = time.monotonic() + REBIND_SECONDS
        while True:
            try:
                return bind_node_socket(self._start.options.listen)
            except UsageError:
                if time.monotonic() >= end:
                    raise
                self._stop.wait(_PAUSE)

    def _send(self, message: NodeRules | None) -> None:
        """Send a message to the process; None asks it to stop."""
        if self._connection is not None:
            with suppress(OSError):  # it has just ended; the next one gets the rules with its start
                self._connection.send(message)

    def _supervise(self, opened: socket) -> None:
        """Run the process, again after each end that was not asked for."""
        wait = FIRST
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                self._run(opened)
            except (OSError, ProgramError) as error:
                found: BaseException = error
            else:
                found = ChildProcessError("the process of the node server has ended")
            if self._stop.is_set():
                return
            self.problem = STARTING
            wait = FIRST if time.monotonic() - begun >= STEADY else wait
            self._hooks.report("nodes", found, wait)
            self._stop.wait(wait)
            wait = min(LONGEST, wait * 2)

    def _run(self, opened: socket) -> None:
        """Start the process and take its messages until it ends."""
        own, other = Pipe()
        with own:
            with other:
                # The safe path: a module in the working folder must not replace one of Python's.
                process = start_program(
                    (sys.executable, "-P", "-m", MODULE),
                    environment=make_child_environment(os.environ),
                    stdin=other.fileno(),
                    stdout=opened.fileno(),
                    stderr=TERMINAL,
                )
            try:
                with self._sending:
                    own.send(self._start)
                    self._connection = own
                    if self._stop.is_set():
                        self._send(None)
                with suppress(EOFError, ConnectionResetError):
                    while True:
                        self._take(own.recv())
            finally:
                with self._sending:
                    self._connection = None
                end_program(process, STOP_SECONDS)
        self._earlier = self.counters  # counts never go back, or a rate of them would be wrong

    def _take(self, message: object) -> None:
        match message:
            case NodeProcessStatus():
                self.counters = self._earlier.add(message.counters)
                self.state, self.problem, self._kinds = message.state, message.problem, message.kinds
                if message.is_alive:
                    self._hooks.beat()
            case NodeProcessLine():
                getattr(self._hooks.log, message.level)(message.event, **message.fields)
            case NodeProcessCrash():
                self._hooks.count_crash(message.loop)
