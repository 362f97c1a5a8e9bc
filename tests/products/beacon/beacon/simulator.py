"""Simulated beacons: each tells its pattern, and the one that is asked sets that of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from beacon.product import Beacons, SetPattern
from reconciler.core.arguments import read_arguments
from reconciler.core.endpoint import SocketAddress
from reconciler.core.plan import Step
from reconciler.errors import NodeUnreachable
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import (
    NodeRequest,
    Reply,
    SimulatedCluster,
    SimulatedCommand,
    SimulatedWorld,
    SimulationStart,
    Simulator,
)

DARK = "dark"
"""The pattern of a light that was never set."""


class Lights(SimulatedWorld):
    """The lights of one cluster: name -> pattern."""

    def __init__(self, patterns: dict[str, str]) -> None:
        self.patterns = patterns
        self.away: set[str] = set()

    def kill(self, node: str) -> None:
        """It goes on flashing, and cannot be asked."""
        self.away.add(node)

    def start(self, node: str) -> None:
        """It can be asked again."""
        self.away.discard(node)

    def running(self, node: str) -> bool:
        """Whether it can be asked."""
        return node not in self.away


class ServedLights(SimulatedCluster):
    """`GET /show` and `POST /set/PATTERN`, which is what the host's commands ask for."""

    def __init__(self, entry: Beacons, patterns: dict[str, str]) -> None:
        self._world = Lights(patterns)
        places = {node.name: node.address.rpartition(":") for node in entry.nodes}
        self.addresses = {name: SocketAddress(host, int(port)) for name, (host, _, port) in places.items()}

    commands = MappingProxyType(
        {"beacon-show": SimulatedCommand(reads=True), "beacon-set": SimulatedCommand(("pattern",))}
    )

    @property
    def world(self) -> Lights:
        """The lights."""
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What a light says, after what it does."""
        patterns = self._world.patterns
        if self.is_change(request):
            patterns.update(dict.fromkeys(patterns, request.target.rpartition("/")[2]))
        said = {"name": node, "pattern": patterns[node]}
        return 200, {"Content-Type": "application/json"}, json.dumps(said).encode()

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        """What the host's commands do, without a process of their own."""
        if command not in self.commands:
            return super().run_command(node, command, values)
        if not self._world.running(node):
            raise NodeUnreachable(node, "no light answers", sent=False)
        patterns = self._world.patterns
        if command == "beacon-set":
            patterns.update(dict.fromkeys(patterns, values["pattern"]))
        return json.dumps({"name": node, "pattern": patterns[node]})

    def describe_request(self, request: NodeRequest) -> str:
        """The path."""
        return request.target

    def is_change(self, request: NodeRequest) -> bool:
        """Whether a pattern is set."""
        return request.method == "POST"

    def build_refusal(self) -> Reply:
        """How a light says no."""
        return 403, {}, b"not now"


class LightsWitness:
    """Judges by the patterns themselves."""

    def __init__(self, entry: Beacons, lights: Lights) -> None:
        self._entry = entry
        self._lights = lights

    def state(self) -> Mapping[str, str]:
        """Every light's pattern."""
        return dict(self._lights.patterns)

    def find_affected_node(self, node: str, request: NodeRequest) -> str:
        """The light that was asked."""
        return node

    def is_repetition(self, node: str, request: NodeRequest, before: Any, after: Any) -> bool:
        """Whether all flashed so before."""
        return bool(before == after)

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: Any, after: Any
    ) -> tuple[str, str]:
        """Nothing that one change could break."""
        return "", ""

    def is_effective(self, step: Step, seen: Any) -> bool:
        """Whether all flash the step's pattern."""
        return set(seen.values()) == {read_arguments(step.arguments, SetPattern).pattern}

    def list_differences(self) -> Sequence[str]:
        """Lights that flash otherwise."""
        wanted = self._entry.pattern
        return [f"{name} flashes {is_}" for name, is_ in self.state().items() if is_ != wanted]

    def list_unmanageable_nodes(self, peer: str) -> Sequence[str]:
        """None: a light asks nobody who he is."""
        return ()


class BeaconSimulator(Simulator):
    """See `reconciler.ports.simulator.Simulator`."""

    def serve(self, cluster_input: ClusterInput, *, start: SimulationStart, options: Any) -> ServedLights:
        """A simulated cluster."""
        assert isinstance(cluster_input.entry, Beacons)
        names = [node.name for node in cluster_input.entry.nodes]
        lit = cluster_input.entry.pattern if start.converged else DARK
        return ServedLights(
            cluster_input.entry, {name: DARK if name in start.fresh else lit for name in names}
        )

    def oracle(self, cluster_input: ClusterInput, world: Lights) -> LightsWitness:
        """Who judges it."""
        assert isinstance(cluster_input.entry, Beacons)
        return LightsWitness(cluster_input.entry, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:
        """One cluster of all lights."""
        named = enumerate(addresses, 1)
        nodes = "".join(f"      - {{name: light-{number}, address: '{at}'}}\n" for number, at in named)
        head = "clusters:\n  - name: harbour\n    kind: beacon\n    pattern: slow\n    nodes:\n"
        return {"fleet.yaml": head + nodes}
