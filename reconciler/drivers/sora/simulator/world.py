"""A simulated Sora cluster: the state machine behind the wire format of Sora's documents; without I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, Self

from reconciler.core.entries import ClusterEntry
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import DEFAULTS, Choices
from reconciler.drivers.sora.cluster_state import Mode, State, make_formed_state, make_fresh_state
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.drivers.sora.simulator.api import CallCrashed, CallRefused, SimulatedSite, call_api
from reconciler.drivers.sora.simulator.machines import InvalidConf, read_conf
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import SimulatedWorld

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "access-control-allow-headers": "Origin, X-Requested-With, Content-Type, Accept, x-sora-target",
        "access-control-allow-methods": "POST, OPTIONS",
        "access-control-allow-origin": "*",
        "access-control-max-age": "1000",
        "content-type": "application/json",
        "server": "Cowboy",
    }
)
"""As in the examples of the documents; the HTTP server adds length and date."""


_NO_FILES: Final[Mapping[str, Mapping[str, bytes]]] = MappingProxyType({})


class SoraWorld(SimulatedWorld):
    """The nodes of one simulated cluster, what they answer, and what can happen to them.

    Args:
        site: the nodes.
        files: node -> entry of `files` -> content of a sora.conf that it is started with.
    """

    def __init__(self, site: SimulatedSite, files: Mapping[str, Mapping[str, bytes]] = _NO_FILES) -> None:
        self.site = site
        self.machines = {
            name: SimulatedMachine({entry: SimulatedFile(own[entry]) for entry in own})
            for name in site.node_numbers.names
            for own in (files.get(name, {}),)
        }
        self.installed: dict[str, str] = {}
        """Node -> the version that its next start brings in."""
        for name in site.node_numbers.names:
            self._load(name)

    @classmethod
    def from_entry(
        cls,
        entry: ClusterEntry,
        converged: bool,  # noqa: FBT001  (called by name)
        choices: Choices = DEFAULTS,
        outside: Iterable[str] = (),
        files: Mapping[str, Mapping[str, bytes]] = _NO_FILES,
    ) -> Self:
        """The cluster that a fleet file describes.

        Args:
            entry: the cluster's entry.
            converged: whether its nodes are in one healthy cluster, in the modes of the file; otherwise all
                run and none was ever initialised.
            choices: what the nodes do where the documents are silent.
            outside: nodes that run, but are not in the cluster.
            files: as for this class.
        """
        assert isinstance(entry, SoraCluster)
        nodes = sorted(entry.nodes, key=lambda node: node.name)
        node_numbers = NodeNumbers(tuple(node.name for node in nodes))
        kinds = [node.temporary for node in nodes]
        state = make_fresh_state(kinds)
        if converged:
            state = make_formed_state(kinds, outside=node_numbers.bits(outside))
        site = SimulatedSite(node_numbers, {node.name: node.api for node in nodes}, state, choices)
        for number, node in enumerate(nodes):
            if converged and node.mode is not None:
                site.take(machine.change_mode(site.state, number, Mode(node.mode)))
        return cls(site, files)

    @property
    def state(self) -> State:
        """The machine state; node i is the i-th of `names`."""
        return self.site.state

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes' names, sorted."""
        return self.site.node_numbers.names

    def running(self, node: str) -> bool:
        return self.state[self.site.node_numbers.at(node)].up

    def kill(self, node: str) -> None:
        """The node stops, or crashes; its channels end."""
        site = self.site
        site.state = machine.stop(site.state, site.node_numbers.at(node))
        site.channels = {channel: owner for channel, owner in site.channels.items() if owner != node}
        self.machines[node].stop()

    def start(self, node: str) -> None:
        """The node starts, unless it runs or does not start with its sora.conf."""
        if not self.running(node) and self._load(node):
            if node in self.installed:
                self.site.versions[node] = self.installed[node]
            number, choices = self.site.node_numbers.at(node), self.site.choices
            self.site.state = machine.start(self.state, number, choices)

    def restart(self, node: str) -> None:
        """The node stops and starts."""
        self.kill(node)
        self.start(node)

    def _load(self, node: str) -> bool:
        """Load the sora.conf of a node; whether it starts with that."""
        own = self.machines[node]
        own.start()
        try:
            for content in own.loaded.values():
                self.site.confs[node] = read_conf(content)
        except InvalidConf:
            own.stop()
            return False
        return True

    def partition(self, *parts: Iterable[str]) -> None:
        """Cut the network between these groups of nodes; all others stay together.

        This host still reaches every node's API.
        """
        sides = [0] * len(self.state)
        for side, part in enumerate(parts, start=1):
            for name in part:
                sides[self.site.node_numbers.at(name)] = side
        self.site.state = machine.partition(self.state, sides)

    def isolate(self, node: str) -> None:
        """Cut one node off from all others; this host still reaches its API."""
        self._side(node, 1 + self.site.node_numbers.at(node))

    def rejoin(self, node: str) -> None:
        """The node is back on the side of those that were never cut off."""
        self._side(node, 0)

    def _side(self, node: str, side: int) -> None:
        sides = [one.side for one in self.state]
        sides[self.site.node_numbers.at(node)] = side
        self.site.state = machine.partition(self.state, sides)

    def heal(self) -> None:
        """All nodes reach each other again."""
        self.site.state = machine.heal(self.state)

    def join_halfway(self, times: int = 1) -> None:
        """The next registrations fail halfway: the node is listed, not connected, and answers 500."""
        self.site.halves += times

    def place(self, channel: str, node: str) -> None:
        """A channel with sessions is on the node."""
        self.site.channels[channel] = node

    def answer(
        self, node: str, target: str, method: str, body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """What a running node answers, and the change it makes.

        Args:
            node: who is asked.
            target: the header `x-sora-target`; empty where it is missing.
            method: the HTTP verb.
            body: the request's body; empty is normal for calls without arguments.
        """
        value: Any = None
        try:
            number, status = self.site.node_numbers.at(node), HTTPStatus.OK
            value = call_api(self.site, number, method=method, target=target, body=body)
        except CallRefused as refused:
            status = HTTPStatus.BAD_REQUEST
            value = dict(zip(("error_type", "error_reason"), refused.args, strict=False))
        except CallCrashed:
            return HTTPStatus.INTERNAL_SERVER_ERROR, HEADERS, b""
        return status, HEADERS, json.dumps(value, separators=(",", ":")).encode()
