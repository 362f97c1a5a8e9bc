"""One simulated cluster of M2 nodes: their states, and what they answer to whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.core.canonical import encode_canonical
from reconciler.core.entries import ClusterEntry
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.access import FACTORY_ROLES
from reconciler.drivers.m2.choices import DEFAULTS, Choices, PortChange
from reconciler.drivers.m2.simulator.answers import answer_request
from reconciler.drivers.m2.simulator.wire import CLOSED, AllowedCall, M2Request, Reply
from reconciler.errors import UsageError
from reconciler.ports.simulator import SimulatedWorld


def make_factory_setting(port: int, caller: str = "") -> dict[str, Any]:
    """The setting of a node as it comes: the two roles of the product's page, open to loopback.

    Args:
        port: its `api.port`.
        caller: one more address to let in as `admin`; empty for none.
    """
    addresses = ["127.0.0.0/8", "::1", *filter(None, [caller])]
    api = {
        "port": port,
        "defaultRole": "admin",
        "multipartName": "settingFile",
        "allowList": [{"role": "admin", "addr": addr} for addr in addresses],
    }
    return {
        "meta": {"version": "factory"},
        "env": {"management": {"api": api, "roles": list(FACTORY_ROLES)}},
        "functions": {},
        "hosting": [],
    }


class M2World(SimulatedWorld):
    """The nodes of one cluster; the only thing here that changes.

    Args:
        nodes: name -> state to begin with.
        choices: the rules where the product's pages are silent.
        clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        nodes: Mapping[str, machine.M2NodeState],
        choices: Choices = DEFAULTS,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.choices = choices
        self._nodes = dict(nodes)
        self._clock = clock
        self._reloaded = dict.fromkeys(nodes, clock())
        self._late: dict[str, tuple[int, machine.M2NodeState]] = {}
        self._ports = {name: _port_of(node.running) for name, node in nodes.items()}

    @classmethod
    def from_entry(
        cls,
        entry: ClusterEntry,
        documents: Mapping[str, Any],
        *,
        converged: bool,
        choices: Choices = DEFAULTS,
        resources: Mapping[str, bytes] | None = None,
        fresh: Collection[str] = (),
    ) -> M2World:
        """The nodes of a fleet file's cluster.

        Where the cluster's `deliver` is `local` or `checkout`, the documents lie on the nodes' disks
        or in their git repositories, whatever the nodes have loaded.

        Args:
            entry: the cluster.
            documents: node name -> the plain `setting.json` it is to have.
            converged: whether the nodes have loaded it already; otherwise `choices.factory` says what.
            choices: the rules where the product's pages are silent.
            resources: path -> bytes of the files that go with each document.
            fresh: nodes that have not converged, whatever `converged` says.

        Raises:
            UsageError: a node is to have loaded a setting that it would refuse.
        """
        made: dict[tuple[int, bool], machine.M2NodeState] = {}
        nodes: dict[str, machine.M2NodeState] = {}
        for node in entry.members():
            document = documents[node.name]
            loaded = converged and node.name not in fresh
            key = (id(document), loaded)
            if key not in made:
                package = machine.NodePackage(encode_canonical(document), dict(resources or {}))
                begun = _beginning(package, converged=loaded, choices=choices)
                if isinstance(begun, machine.ChangeRefused):
                    raise UsageError(
                        f"{node.name}: the simulated node refuses its setting: {begun.reason}",
                        remedy="correct the setting, or simulate without --converged",
                    )
                made[key] = _with_deliveries(begun, package, entry)
            nodes[node.name] = made[key]
        return cls(nodes, choices)

    @property
    def names(self) -> Iterable[str]:
        """The nodes' names, in the fleet file's order."""
        return self._nodes.keys()

    def answer(
        self, node: str, method: str, target: str, *, headers: Mapping[str, str], body: bytes, peer: str
    ) -> Reply:
        """What a node answers, and the change it makes; status 0 where it closes the connection.

        Args:
            node: its name.
            method: of the request, in upper case.
            target: path and query as they stand in the request line.
            headers: names in lower case.
            body: of the request.
            peer: the caller's IP address.
        """
        if not self.running(node):
            return CLOSED
        self._settle(node)
        request = M2Request(method, target, headers, body, peer)
        call = AllowedCall(self._nodes[node], request, self.choices, self._reloaded[node])
        after, reply = answer_request(call)
        if after is not self._nodes[node]:
            self._reloaded[node] = self._clock()
            if self.choices.late:
                self._late[node] = (self.choices.late, after)
            else:
                self._nodes[node] = after
        return reply

    def state(self, node: str) -> machine.M2NodeState:
        """A node's state; a change that it still hides is not in it."""
        return self._nodes[node]

    def place(self, node: str, package: machine.NodePackage) -> None:
        """Lay a file on a node's disk, as an operator's copy would; nothing is loaded."""
        self._nodes[node] = replace(self._nodes[node], local=package)

    def connect(self, node: str, package: machine.NodePackage) -> None:
        """Connect a git repository to a node, or give the connected one a new commit."""
        self._nodes[node] = replace(self._nodes[node], repository=package)

    def kill(self, node: str) -> None:
        """The node goes down."""
        self._change(node, machine.kill)

    def start(self, node: str) -> None:
        """The node comes up; a running one restarts."""
        self._change(node, machine.restart)

    def running(self, node: str) -> bool:
        """Whether the node is up."""
        return self._nodes[node].up

    def moved(self, node: str) -> int | None:
        """The port the node listens on since a restart, where that is not the one it began with."""
        if self.choices.port is PortChange.STAYS:
            return None
        port = _port_of(self._nodes[node].running)
        return port if port != self._ports[node] else None

    def _settle(self, node: str) -> None:
        if node in self._late:
            left, after = self._late.pop(node)
            if left:
                self._late[node] = (left - 1, after)
            else:
                self._nodes[node] = after

    def _change(self, node: str, transition: Callable[[machine.M2NodeState], machine.M2NodeState]) -> None:
        _, state = self._late.pop(node, (0, self._nodes[node]))
        self._nodes[node] = transition(state)


def _beginning(
    package: machine.NodePackage, *, converged: bool, choices: Choices
) -> machine.M2NodeState | machine.ChangeRefused:
    if not converged and not choices.factory:
        return machine.M2NodeState()
    if not converged:
        setting = make_factory_setting(_port_of(read_json(package.text, machine.LIMITS)), choices.caller)
        package = machine.NodePackage(encode_canonical(setting))
    taken = machine.upload(machine.M2NodeState(), package)
    return taken if isinstance(taken, machine.ChangeRefused) else taken.node


def _with_deliveries(
    node: machine.M2NodeState, package: machine.NodePackage, entry: ClusterEntry
) -> machine.M2NodeState:
    deliver = getattr(entry, "deliver", "upload")
    if deliver == "local":
        return replace(node, local=package)
    return replace(node, repository=package) if deliver == "checkout" else node


def _port_of(document: Any) -> int:
    port = machine.lookup(document, "env.management.api.port")
    return port if isinstance(port, int) else 10040
