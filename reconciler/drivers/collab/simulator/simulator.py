"""The simulator of Collaboration Servers: clusters of simulated nodes, and a sample fleet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import SocketAddress
from reconciler.drivers.collab.choices import DEFAULTS, Choices
from reconciler.drivers.collab.machine import finish_waiting
from reconciler.drivers.collab.schema import CollabCluster, CollabServer, LoadBalancer
from reconciler.drivers.collab.simulator.commands import CommandEffect, list_commands
from reconciler.drivers.collab.simulator.files import (
    edit_config,
    list_databases,
    list_entries,
    make_contents,
)
from reconciler.drivers.collab.simulator.oracle import INVARIANTS, CollabOracle
from reconciler.drivers.collab.simulator.redis_session import RedisSession
from reconciler.drivers.collab.simulator.world import CollabWorld, SiteNames
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import (
    NodeRequest,
    Reply,
    RequestWay,
    SimulatedCluster,
    SimulationStart,
    Simulator,
    keep_address,
    refuse_command,
    split_sample,
)

MEMBERS: Final = 5
"""Nodes of a sample cluster: three servers, Redis and the load balancer."""

_FEWEST: Final = 4

_REDIS_CHANGE: Final = re.compile(
    rb"(?:^|\n|\s)(?:acl(?:\r\n\$\d+\r\n|\s+)setuser|config(?:\r\n\$\d+\r\n|\s+)(?:set|rewrite))",
    re.IGNORECASE,
)
"""The commands of Redis that change something, in a request of either form."""


class CollabSimulatedCluster(SimulatedCluster):
    """The servers and the load balancer speak HTTP, Redis its own protocol."""

    def __init__(self, cluster_input: ClusterInput, *, start: SimulationStart, choices: Choices) -> None:
        entry, applied = cluster_input.entry, start.applied
        assert isinstance(entry, CollabCluster)
        names = [node.name for node in entry.members()]
        converged = set(names) - set(start.fresh) if start.converged else set[str]()
        self._world = make_world(cluster_input, converged, choices)
        later = applied.entry if applied is not None else None
        entries = [one for one in (later, entry) if isinstance(one, CollabCluster)]
        self._effects = list_commands(entries)
        self.commands = {name: known for name, (_, known) in self._effects.items()}
        self.streaming = frozenset({entry.redis.name}) if entry.redis is not None else frozenset()
        self._following = {one.name for one in entry.nodes if one.status is None}
        """Servers that listen where their file says; the fleet file tells the others where to answer."""
        self.addresses = {}
        for node in entry.members():
            if isinstance(node, CollabServer | LoadBalancer):
                url = node.url if isinstance(node, LoadBalancer) else node.status or f"http://{node.address}/"
                parts = urlsplit(url)
                address = SocketAddress(parts.hostname or "", parts.port or 80)
                self.addresses[node.name] = keep_address(node.name, parts.scheme, address)
        if entry.redis is not None:
            self.addresses[entry.redis.name] = SocketAddress(entry.redis.host, entry.redis.port)

    @property
    def world(self) -> CollabWorld:
        return self._world

    def get_new_port(self, node: str) -> int | None:
        if node not in self._following:
            return None
        running = self._world.state.servers[self._world.servers.index(node)].running
        return running.port if running is not None else None

    def answer(self, node: str, request: NodeRequest) -> Reply:
        return self._world.answer(node, request)

    def open_session(self, node: str, peer: str) -> RedisSession:
        return self._world.open_session(node, peer)

    def get_machine(self, node: str) -> SimulatedMachine:
        return self._world.machines[node]

    def check_file(self, node: str, entry: str, content: bytes) -> str:
        if self._world.names.entries.get(node) != entry:
            return ""
        return self._world.check(node, content)

    def run_command(self, node: str, command: str, values: Mapping[str, str]) -> str:
        if command not in self._effects:
            return super().run_command(node, command, values)
        match self._effects[command][0]:
            case CommandEffect.RESTART:
                return self._world.restart(node)
            case CommandEffect.RELOAD:
                return self._world.reload(node)
            case CommandEffect.STOP:
                self._world.kill(node)
                return f"stopped {node}"
        self._world.start(node)
        if not self._world.running(node):
            raise refuse_command(node, "the process does not start")
        return f"started {node}"

    def edit_file(self, node: str, entry: str, content: bytes) -> bytes:
        # A comment would make a config.json invalid, which no run may repair: then nothing converges.
        if node in self._world.servers:
            return edit_config(content)
        return super().edit_file(node, entry, content)

    def describe_request(self, request: NodeRequest) -> str:
        if request.way is RequestWay.STREAM:
            return "change of Redis" if self.is_change(request) else "question to Redis"
        return f"{request.method} {urlsplit(request.target).path}"

    def is_change(self, request: NodeRequest) -> bool:
        if request.way is RequestWay.STREAM:
            return _REDIS_CHANGE.search(request.body) is not None
        return request.method not in {"GET", "HEAD"}

    def build_refusal(self) -> Reply:
        return 503, {"Content-Type": "text/plain"}, b"refused on request\n"


def make_world(cluster_input: ClusterInput, converged: Iterable[str], choices: Choices) -> CollabWorld:
    """The nodes of a cluster, all running with their files.

    Args:
        cluster_input: the cluster.
        converged: nodes that have the file that is desired for them.
        choices: what the nodes do where the documents are silent.
    """
    entry = cluster_input.entry
    assert isinstance(entry, CollabCluster)
    entries = list_entries(entry)
    contents = make_contents(cluster_input, converged)
    machines = {
        node: SimulatedMachine({entries[node]: SimulatedFile(content)}) for node, content in contents.items()
    }
    names = SiteNames(
        {server.name: server.address for server in entry.nodes},
        redis=entry.redis.name if entry.redis is not None else "",
        redis_host=entry.redis.host if entry.redis is not None else "",
        balancer=entry.balancer.name if entry.balancer is not None else "",
        upstream=entry.balancer.upstream if entry.balancer is not None else "",
        entries=entries,
    )
    world = CollabWorld(names, machines, list_databases(cluster_input), choices)
    if entry.version is not None:
        world.versions = dict.fromkeys(names.servers, entry.version)
    order = [names.redis, *names.servers, names.balancer]
    for node in filter(None, order):
        world.start(node)
    # They have been running for long.
    world.state = finish_waiting(world.state)
    return world


class CollabSimulator(Simulator):
    """See `ports.simulator.Simulator`."""

    options = DEFAULTS
    has_peer_links = False
    invariants = INVARIANTS

    def serve(
        self, cluster_input: ClusterInput, *, start: SimulationStart, options: Choices
    ) -> CollabSimulatedCluster:
        return CollabSimulatedCluster(cluster_input, start=start, choices=options)

    def oracle(self, cluster_input: ClusterInput, world: Any) -> CollabOracle:
        return CollabOracle(cluster_input, world)

    def sample_fleet(self, addresses: Sequence[SocketAddress], *, same_port: bool) -> Mapping[str, str]:  # noqa: ARG002
        sizes = split_sample(len(addresses), MEMBERS, _FEWEST)
        width = max(2, len(str(len(sizes))))
        lines = [f"# {len(addresses)} simulated nodes in clusters of Collaboration Servers.", "clusters:"]
        files: dict[str, str] = {}
        rest = list(addresses)
        for number, size in enumerate(sizes, 1):
            own, rest = rest[:size], rest[size:]
            sample = _SampleCluster(f"collab-{number:0{width}}", own)
            lines += sample.write_entry()
            files |= sample.write_settings()
        return {"fleet.yaml": "\n".join(lines) + "\n", **files}


class _SampleCluster:
    """A cluster whose last address is that of the load balancer, and the one before that of Redis."""

    def __init__(self, name: str, addresses: Sequence[SocketAddress]) -> None:
        self.name = name
        *servers, last = addresses
        self.balancer = last if servers else None
        self.redis = servers.pop() if len(servers) > 1 else None
        self.servers = servers or [last]

    def write_entry(self) -> list[str]:
        """Its lines in the fleet file."""
        name = self.name
        lines = [
            f"  - name: {name}",
            "    kind: collab",
            f"    config: {{source: {name}-config.json, file: collab-config}}",
            "    restart: {command: restart-collab}",
            "    start: {command: start-collab}",
            "    stop: {command: stop-collab}",
            "    nodes:",
        ]
        lines += [
            f"      - {{name: {name}-server-{number}, host: {place.host}, port: {place.port}, "
            f"overlays: [{{merge: {{port: {place.port}}}}}]}}"
            for number, place in enumerate(self.servers, 1)
        ]
        if self.redis is not None:
            lines.append(
                f"    redis: {{name: {name}-redis, host: {self.redis.host}, port: {self.redis.port}, "
                f"source: {name}-redis.json, file: redis-conf, restart: {{command: restart-redis}}}}"
            )
        if self.balancer is not None:
            lines.append(
                f'    loadBalancer: {{name: {name}-balancer, url: "http://{self.balancer}", '
                "file: nginx-conf, reload: {command: reload-nginx}}"
            )
        return lines

    def write_settings(self) -> dict[str, str]:
        """Path -> text of its committed files."""
        config: dict[str, Any] = {"port": 3000, "logging": True}
        if self.balancer is not None:
            config["authorizationServerUrl"] = f"http://{self.balancer}/api"
        found = {}
        if self.redis is not None:
            config |= {"scaling": "horizontal", "redisServerUrl": f"redis://{self.redis}"}
            keys = {"bind": "127.0.0.1 -::1", "port": self.redis.port}
            found[f"{self.name}-redis.json"] = json.dumps(keys, indent=2) + "\n"
        return {f"{self.name}-config.json": json.dumps(config, indent=2) + "\n", **found}


SIMULATOR = CollabSimulator()
"""The simulator of the driver."""
