"""The simulator of Sora: clusters of simulated nodes, and a sample fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.sora.choices import DEFAULTS, Choices
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.drivers.sora.simulator.machines import (
    EARLIER_VERSION,
    CommandEffect,
    InvalidConf,
    format_start,
    list_commands,
    make_files,
    read_conf,
)
from reconciler.drivers.sora.simulator.oracle import INVARIANTS, SoraOracle
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.drivers.sora.upgrades import is_older
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulated_machine import SimulatedMachine
from reconciler.ports.simulator import (
    NodeRequest,
    Reply,
    SimulatedCluster,
    SimulationStart,
    Simulator,
    keep_address,
    refuse_command,
    split_sample,
)

MEMBERS: Final = 5
"""Nodes of a sample cluster; the last one may have 3 to 7, so that each survives a failure."""

_FEWEST: Final = 3


class SoraSimulatedCluster(SimulatedCluster):
    """Sora: one path, requests differ by the header `x-sora-target`."""

    def __init__(self, cluster_input: ClusterInput, *, start: SimulationStart, choices: Choices) -> None:
        entry, applied = cluster_input.entry, start.applied
        assert isinstance(entry, SoraCluster)
        names = [node.name for node in entry.nodes]
        outside = [name for name in names if name in start.fresh]
        converged = set(names) - set(outside) if start.converged else set[str]()
        self._world = SoraWorld.from_entry(
            entry,
            converged=start.converged,
            outside=outside,
            choices=choices,
            files=make_files(cluster_input, applied, converged),
        )
        for own in self._world.machines.values():
            own.starts = start.starts
        if entry.version is not None:
            # Never a newer one than desired: a downgrade is refused.
            earlier = entry.version if is_older(entry.version, EARLIER_VERSION) else EARLIER_VERSION
            versions = {name: entry.version if name in converged else earlier for name in names}
            self._world.site.versions |= versions
        entries = [one for one in (applied and applied.entry, entry) if isinstance(one, SoraCluster)]
        self._effects = list_commands(entries)
        self.commands = {name: known for name, (_, known) in self._effects.items()}
        self.addresses = {}
        for node in cluster_input.entry.members():
            parts = urlsplit(self._world.site.apis[node.name])
            address = SocketAddress(parts.hostname or "", parts.port or 80)
            self.addresses[node.name] = keep_address(node.name, parts.scheme, address)

    @property
    def world(self) -> SoraWorld:
        """The nodes."""
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """What the node answers, and the change it makes."""
        return self._world.answer(node, self.describe_request(request), request.method, request.body)

    def get_machine(self, node: str) -> SimulatedMachine:
        return self._world.machines[node]

    def check_file(self, node: str, entry: str, content: bytes) -> str:  # noqa: ARG002  (the contract's parameters)
        try:
            read_conf(content)
        except InvalidConf as error:
            return str(error)
        return ""

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        if command not in self._effects:
            return super().run_command(node, command, values)
        world, effect = self._world, self._effects[command][0]
        if effect is CommandEffect.SHOW_START:
            return format_start(world.machines[node].starts)
        if effect is CommandEffect.UPGRADE:
            if not values.get("version"):
                raise refuse_command(node, "it ended with status 1: no version was given")
            world.installed[node] = values["version"]
            return f"installed {values['version']}"
        if effect in {CommandEffect.STOP, CommandEffect.RESTART}:
            world.kill(node)
        if effect in {CommandEffect.START, CommandEffect.RESTART}:
            world.start(node)
            if not world.running(node):
                raise refuse_command(node, "it ended with status 1: sora does not start with its sora.conf")
        return f"{effect} ended"

    def describe_request(self, request: NodeRequest) -> str:
        """The value of `x-sora-target`."""
        return request.headers.get("x-sora-target", "")

    def is_change(self, request: NodeRequest) -> bool:
        """Whether it is anything but a getter or a list."""
        return not self.describe_request(request).partition(".")[2].startswith(("Get", "List"))

    def build_refusal(self) -> Reply:
        """The answer with which a node refuses a change."""
        return 400, {"Content-Type": "application/json"}, b'{"error_type":"REFUSED-ON-REQUEST"}'


class SoraSimulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS
    has_peer_links = True
    invariants = INVARIANTS

    def serve(
        self, cluster_input: ClusterInput, *, start: SimulationStart, options: Choices
    ) -> SoraSimulatedCluster:
        """A simulated cluster."""
        return SoraSimulatedCluster(cluster_input, start=start, choices=options)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> SoraOracle:
        """The oracle of a simulated cluster."""
        return SoraOracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Clusters of about five nodes."""
        width = max(2, len(str(len(addresses))))
        lines = [f"# {len(addresses)} simulated Sora nodes in clusters of their own.", "clusters:"]
        begun = 0
        for cluster, size in enumerate(split_sample(len(addresses), MEMBERS, _FEWEST), start=1):
            lines += [f"  - name: live-{cluster:0{width}}", "    kind: sora", "    initialise: true"]
            lines.append("    nodes:")
            for number in range(begun, begun + size):
                name = f"node-{number + 1:0{width}}@sora-{number + 1:0{width}}.example.com"
                lines.append(f'      - {{name: {name}, api: "http://{addresses[number]}/"}}')
            begun += size
        return {"fleet.yaml": "\n".join(lines) + "\n"}


SIMULATOR = SoraSimulator()
"""The simulator of the driver."""
