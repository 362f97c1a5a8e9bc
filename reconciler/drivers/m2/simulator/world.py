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
from reconciler.drivers.m2.choices import DEFAULTS, Choices, PortChange
from reconciler.drivers.m2.setting.models import FACTORY_ROLES
from reconciler.drivers.m2.simulator.answers import CLOSED, NodeCall, Reply, answer_request
from reconciler.errors import UsageError
from reconciler.ports.simulator import NodeRequest, SimulatedWorld


def make_factory_setting(port: int, caller: str = "") -> dict[str, Any]:
    """The setting of a new node: the two roles of the manual (M2 manual, Roles), open to loopback.

    Args:
        port: its `api.port`.
        caller: one more address with the role `admin`; empty for none.
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
    """The nodes of one cluster; the only mutable state of the simulator.

    Args:
        nodes: name -> initial state.
        choices: the behaviour where M2's pages say nothing.
        clock: seconds since the epoch.
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
        # Node -> (requests for which it still shows its previous state, the state after them).
        self._late: dict[str, tuple[int, machine.M2NodeState]] = {}
        self._ports = {name: _get_port(node.running) for name, node in nodes.items()}

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

        Args:
            entry: the cluster. With `deliver: local` or `checkout`, each document is on its node's disk or in
                its git repository, even where the node has not loaded it.
            documents: node name -> its desired `setting.json` as plain data.
            converged: whether the nodes have loaded it; otherwise `choices.factory` decides what they have.
            choices: the behaviour where M2's pages say nothing.
            resources: path -> bytes of the files that go with each document.
            fresh: nodes that have not loaded it even where `converged` is set.

        Raises:
            UsageError: a node would refuse the setting that it should have loaded.
        """
        made: dict[tuple[int, bool], machine.M2NodeState] = {}
        nodes: dict[str, machine.M2NodeState] = {}
        for node in entry.members():
            document, is_converged = documents[node.name], converged and node.name not in fresh
            # Nodes with the same document share one state: a thousand nodes cost one encoded setting.
            key = (id(document), is_converged)
            if key not in made:
                wanted = loaded = machine.NodePackage(encode_canonical(document), dict(resources or {}))
                if not is_converged:
                    port = _get_port(read_json(wanted.text, machine.LIMITS))
                    loaded = machine.NodePackage(encode_canonical(make_factory_setting(port, choices.caller)))
                state = machine.M2NodeState()
                if is_converged or choices.factory:
                    result = machine.upload(state, loaded)
                    if isinstance(result, machine.ChangeRefused):
                        raise UsageError(
                            f"{node.name}: the simulated node refuses its setting: {result.reason}",
                            remedy="correct the setting, or simulate without --converged",
                        )
                    state = result.node
                deliver = getattr(entry, "deliver", "upload")
                made[key] = replace(
                    state,
                    local=wanted if deliver == "local" else state.local,
                    repository=wanted if deliver == "checkout" else None,
                )
            nodes[node.name] = made[key]
        return cls(nodes, choices)

    @property
    def names(self) -> Iterable[str]:
        """The nodes' names, in the fleet file's order."""
        return self._nodes.keys()

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """The answer of a node, after the change that the request makes; status 0 closes the connection."""
        if not self.running(node):
            return CLOSED
        if node in self._late:
            left, after = self._late.pop(node)
            if left:
                self._late[node] = (left - 1, after)
            else:
                self._nodes[node] = after
        call = NodeCall(self._nodes[node], request, self.choices, self._reloaded[node])
        after, reply = answer_request(call)
        if after is not self._nodes[node]:
            self._reloaded[node] = self._clock()
            if self.choices.late:
                self._late[node] = (self.choices.late, after)
            else:
                self._nodes[node] = after
        return reply

    def state(self, node: str) -> machine.M2NodeState:
        """The state of a node, without a change that it does not show yet."""
        return self._nodes[node]

    def place(self, node: str, package: machine.NodePackage) -> None:
        """Put a file on a node's disk, as an operator does; the node does not load it."""
        self._nodes[node] = replace(self._nodes[node], local=package)

    def connect(self, node: str, package: machine.NodePackage) -> None:
        """Connect a git repository to a node, or add a commit to the connected one."""
        self._nodes[node] = replace(self._nodes[node], repository=package)

    def kill(self, node: str) -> None:
        self._change(node, machine.kill)

    def start(self, node: str) -> None:
        self._change(node, machine.restart)

    def running(self, node: str) -> bool:
        """Whether the node is up."""
        return self._nodes[node].up

    def moved(self, node: str) -> int | None:
        """The port of the node after a restart; None where it is the initial one."""
        if self.choices.port is PortChange.STAYS:
            return None
        port = _get_port(self._nodes[node].running)
        return port if port != self._ports[node] else None

    def _change(self, node: str, transition: Callable[[machine.M2NodeState], machine.M2NodeState]) -> None:
        # A change that the node accepted and does not show yet is on its disk: a stop does not undo it.
        _, state = self._late.pop(node, (0, self._nodes[node]))
        self._nodes[node] = transition(state)


def _get_port(document: Any) -> int:
    port = machine.lookup(document, "env.management.api.port")
    return port if isinstance(port, int) else 10040
