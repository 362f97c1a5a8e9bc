"""The simulator of the Go cluster: clusters of simulated nodes, and a sample fleet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.gocluster.choices import DEFAULTS, Choices
from reconciler.drivers.gocluster.desired_state import NodeFile, make_files
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.simulator.api import answer_api
from reconciler.drivers.gocluster.simulator.loaded_file import UnusableFile, load_file
from reconciler.drivers.gocluster.simulator.oracle import INVARIANTS, CommandEffect, GoOracle, list_commands
from reconciler.drivers.gocluster.simulator.world import GoSite, GoWorld
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


class GoSimulatedCluster(SimulatedCluster):
    """Nodes whose API answers, and whose host has their files and commands."""

    def __init__(self, cluster_input: ClusterInput, *, start: SimulationStart, choices: Choices) -> None:
        entry = cluster_input.entry
        assert isinstance(entry, GoCluster)
        inputs = [cluster_input, *([start.applied] if start.applied is not None else [])]
        entries = [one.entry for one in inputs if isinstance(one.entry, GoCluster)]
        files = [make_files(one)[0] for one in inputs if isinstance(one.entry, GoCluster)]
        wanted: dict[str, tuple[NodeFile, ...]] = {
            node.name: tuple(own[node.name] for own in files if node.name in own) for node in entry.nodes
        }
        addresses = {node.name: node.addr for one in reversed(entries) for node in one.nodes}
        site = GoSite(addresses, entry.config.file, entry.settings, wanted, choices=choices)
        up = [node.name for node in entry.nodes if start.converged and node.name not in start.fresh]
        contents = {name: files[0][name].content.render(None) for name in up if name in files[0]}
        self._world = GoWorld(site, contents, up, starts=start.starts)
        self._effects = list_commands(entries)
        self.commands = {name: known for name, (_, known) in self._effects.items()}
        self.addresses = {}
        for node in entry.nodes:
            if node.api is not None:
                parts = urlsplit(node.api)
                address = SocketAddress(parts.hostname or "", parts.port or 80)
                self.addresses[node.name] = keep_address(node.name, parts.scheme, address)

    @property
    def world(self) -> GoWorld:
        return self._world

    def answer(self, node: str, request: NodeRequest) -> Reply:
        return answer_api(self._world, node, request)

    def get_machine(self, node: str) -> SimulatedMachine:
        return self._world.machines[node]

    def check_file(self, node: str, entry: str, content: bytes) -> str:  # noqa: ARG002
        try:
            load_file(content, node, self._world.site.addresses, ())
        except UnusableFile as error:
            return str(error)
        return ""

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        if command not in self._effects:
            return super().run_command(node, command, values)
        world, effect = self._world, self._effects[command][0]
        if effect is CommandEffect.SHOW_START:
            return f"start {world.machines[node].starts}"
        if effect in {CommandEffect.STOP, CommandEffect.RESTART}:
            world.kill(node)
        if effect in {CommandEffect.START, CommandEffect.RESTART}:
            world.start(node)
            if not world.running(node):
                raise refuse_command(node, "it ended with status 1: the application does not start")
        return f"{effect} ended"

    def describe_request(self, request: NodeRequest) -> str:
        return "admin" if "/admin/" in request.target else "view"

    def is_change(self, request: NodeRequest) -> bool:
        return request.method != "GET" or "/admin/" in request.target

    def build_refusal(self) -> Reply:
        return 403, {"Content-Type": "text/plain; charset=utf-8"}, b""


SAMPLE_TEMPLATE: Final = """{
  "name": {{node.name}},
  "listen": {{node.addr}},
  "tls": {{tls}},
  "peers": {{peers}},
  "settings": {{settings_ns}}
}
"""


class GoSimulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS
    has_peer_links = True
    invariants = INVARIANTS

    def serve(
        self, cluster_input: ClusterInput, *, start: SimulationStart, options: Choices
    ) -> GoSimulatedCluster:
        return GoSimulatedCluster(cluster_input, start=start, choices=options)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> GoOracle:
        return GoOracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:  # noqa: ARG002
        width = max(2, len(str(len(addresses))))
        lines = [f"# {len(addresses)} simulated Go nodes in clusters of their own.", "clusters:"]
        begun = 0
        for cluster, size in enumerate(split_sample(len(addresses), MEMBERS, _FEWEST), start=1):
            lines += [
                f"  - name: mesh-{cluster:0{width}}",
                "    kind: gocluster",
                "    observe: true",
                "    config: {template: app.json.tmpl, file: app-config}",
                "    restart: {command: restart-app, started: {command: app-started}}",
                "    start: {command: start-app}",
                "    stop: {command: stop-app}",
                "    settings: {join_delay: 100ms, connect_interval: 100ms, connect_timeout: 1s}",
                "    nodes:",
            ]
            for number in range(begun, begun + size):
                name = f"node-{number + 1:0{width}}"
                addr = f"10.{number // 65_536}.{number // 256 % 256}.{number % 256}:9654"
                lines.append(f'      - {{name: {name}, addr: "{addr}", api: "http://{addresses[number]}"}}')
            begun += size
        return {"fleet.yaml": "\n".join(lines) + "\n", "app.json.tmpl": SAMPLE_TEMPLATE}


SIMULATOR = GoSimulator()
"""The simulator of the driver."""
