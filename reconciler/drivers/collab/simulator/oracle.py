"""What really happened to a simulated cluster of Collaboration Servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from reconciler.core.file_state import compute_file_digest
from reconciler.core.plan import Step
from reconciler.drivers.collab import arguments
from reconciler.drivers.collab.arguments import read_collab_arguments
from reconciler.drivers.collab.cluster_state import (
    CollabState,
    accepts_password,
    drop_passwords,
    hash_password,
    is_balanced,
    is_running,
    is_serving,
    list_locked_out,
    list_serving,
)
from reconciler.drivers.collab.machine import finish_waiting, stop_server
from reconciler.drivers.collab.schema import CollabCluster
from reconciler.drivers.collab.simulator.commands import CommandEffect, list_commands
from reconciler.drivers.collab.simulator.files import is_as_wanted, make_wanted
from reconciler.drivers.collab.simulator.loaded_files import BY_DEFAULT
from reconciler.drivers.collab.simulator.redis_session import name_redis_start
from reconciler.drivers.collab.simulator.world import CollabWorld
from reconciler.drivers.collab.status_view import name_start
from reconciler.file_delivery.content import FileContent
from reconciler.file_delivery.steps import is_file_step, read_file_arguments
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest, RequestWay

LAST_SERVER: Final = "last-server"
REDIS_PASSWORD: Final = "redis-password"  # noqa: S105  (a name)
BALANCER_FILE: Final = "balancer-file"
BALANCED_STOP: Final = "balanced-stop"

INVARIANTS: Final = {
    LAST_SERVER: "a restart or a stop leaves a server that serves, if there was another one",
    REDIS_PASSWORD: "Redis accepts the password of every running server, unless it demanded none before",
    BALANCER_FILE: "nginx is never told to load an invalid file",
    BALANCED_STOP: "no server is stopped for good while the load balancer sends clients to it",
}
"""What a single change can break."""

NOTHING: Final = ("", "")


class OracleState(NamedTuple):
    """The cluster, the contents of its files, and how often nginx was told to load an invalid one."""

    cluster: CollabState
    contents: tuple[tuple[str, bytes | None], ...]
    invalid: int

    def content(self, node: str) -> bytes | None:
        """The content of a node's file."""
        return dict(self.contents).get(node)


class CollabOracle:
    """Judges by the state of the machine and by the contents of files."""

    def __init__(self, cluster_input: ClusterInput, world: CollabWorld) -> None:
        self._input = cluster_input
        self._world = world
        self._effects = {name: effect for name, (effect, _) in list_commands([self._entry]).items()}

    @property
    def _entry(self) -> CollabCluster:
        entry = self._input.entry
        assert isinstance(entry, CollabCluster)
        return entry

    def state(self) -> OracleState:
        """The machine's state, without how long servers still wait: that is no change."""
        world = self._world
        contents = tuple((node, world.content(node)) for node in sorted(world.machines))
        return OracleState(world.state, contents, len(world.loaded_invalid))

    def find_affected_node(self, node: str, request: NodeRequest) -> str:  # noqa: ARG002
        """The node that got the request."""
        return node

    def is_repetition(self, node: str, request: NodeRequest, before: OracleState, after: OracleState) -> bool:
        """Whether a process that used its file was restarted, or a stop, start or password was repeated."""
        if request.way is RequestWay.STREAM:
            return before.cluster.redis.running == after.cluster.redis.running
        if request.way is not RequestWay.COMMAND:
            return False
        world, effect = self._world, self._effects.get(request.target)
        if effect is CommandEffect.STOP:
            return node in world.servers and not is_running(before.cluster, world.servers.index(node))
        if effect is CommandEffect.START and node in world.servers:
            # One that is starting is as silent as one that is stopped: nobody can know.
            server = before.cluster.servers[world.servers.index(node)]
            return server.running is not None and not server.starting
        return False

    def find_broken_invariant(
        self, node: str, request: NodeRequest, before: OracleState, after: OracleState
    ) -> tuple[str, str]:
        """A server that serves, the passwords of Redis, and the file of nginx."""
        if after.invalid > before.invalid:
            return BALANCER_FILE, f"{node} was told to load an invalid file"
        world = self._world
        former = set(list_locked_out(before.cluster))
        new = [number for number in list_locked_out(after.cluster) if number not in former]
        had_none = before.cluster.redis.running is None or not before.cluster.redis.running.needs_password
        if new and not had_none:
            names = ", ".join(world.servers[number] for number in new)
            return REDIS_PASSWORD, f"Redis would not let {names} in any more"
        if request.way is not RequestWay.COMMAND or node not in world.servers:
            return NOTHING
        return self._find_outage(node, self._effects.get(request.target), before.cluster)

    def _find_outage(self, node: str, effect: CommandEffect | None, before: CollabState) -> tuple[str, str]:
        number = self._world.servers.index(node)
        if effect in {CommandEffect.RESTART, CommandEffect.STOP} and is_serving(before, number):
            if len(before.servers) > 1 and not list_serving(stop_server(before, number)):
                return LAST_SERVER, f"{node} was the last server that served"
            if effect is CommandEffect.STOP and is_balanced(before, number):
                return BALANCED_STOP, f"{node} was stopped while the load balancer used it"
        return NOTHING

    def is_effective(self, step: Step, seen: OracleState) -> bool:
        """Whether the cluster had what the step is for."""
        world, cluster = self._world, seen.cluster
        if is_file_step(step):
            return self._is_file_effective(step, seen)
        number = world.servers.index(step.node) if step.node in world.servers else -1
        server = cluster.servers[number] if number >= 0 else None
        redis, own = cluster.redis.running, read_collab_arguments(step)
        match own:
            case arguments.RestartArguments():
                is_new = server is not None and self._name_start(number, server.starts) != own.started
                is_effective = (is_new or own.heals) and is_serving(cluster, number)
            case arguments.StartArguments():
                is_effective = server is not None and server.running is not None
            case arguments.StopArguments():
                is_effective = server is None or server.running is None
            case arguments.RestartRedisArguments():
                is_effective = redis is not None and name_redis_start(cluster.redis.starts) != own.run_id
            case arguments.AddPasswordArguments():
                digest = hash_password(own.password)
                is_effective = redis is not None and accepts_password(redis, digest, needless=False)
            case arguments.DropPasswordArguments():
                is_effective = redis is not None and redis.passwords == {hash_password(own.password)}
            case arguments.ReloadArguments():
                balancer = cluster.balancer.running
                is_effective = balancer is not None and own.marker in dict(balancer.headers).values()
            case _:
                raise AssertionError(step.action)
        return is_effective

    def _name_start(self, number: int, starts: int) -> str:
        """The start that a server shows, as `StatusView.start`."""
        return name_start(*self._world.describe_start(number, starts))

    def _is_file_effective(self, step: Step, seen: OracleState) -> bool:
        own = read_file_arguments(step)
        is_known = self._world.names.entries.get(step.node) == own.entry
        if step.action != "switch-file" or not is_known:
            return True
        return compute_file_digest(seen.content(step.node)) == own.after

    def list_differences(self) -> list[str]:
        """Nodes that are down or paused, use a former file, or have another one than the fleet file wants."""
        return list(self._find_differences())

    def _find_differences(self) -> Iterator[str]:
        world, state = self._world, finish_waiting(self._world.state)
        wanted = make_wanted(self._input)
        for number, server in enumerate(world.servers):
            if self._entry.server(server) is None:
                continue
            if not is_serving(state, number):
                yield f"{server} does not serve"
            elif not self._has_loaded(server, wanted.get(server)):
                yield f"{server} has not loaded its config.json"
        if world.names.redis:
            yield from self._find_redis_difference(state)
        if world.names.balancer:
            yield from self._find_balancer_difference(state)
        for node, content in wanted.items():
            if not is_as_wanted(self._input, node, content, world.content(node)):
                yield f"{node} has another file than the fleet file wants"

    def _has_loaded(self, server: str, wanted: FileContent | None) -> bool:
        # What a person has added since the start of the process is no reason to restart it.
        loaded = self._world.loaded_content(server)
        return wanted is None or is_as_wanted(self._input, server, wanted, loaded)

    def _find_redis_difference(self, state: CollabState) -> Iterator[str]:
        name, running, loaded = self._world.names.redis, state.redis.running, self._world.read_redis()
        if running is None:
            yield f"{name} does not run"
        elif loaded is None:
            yield f"{name} would not start with its file"
        elif drop_passwords(running) != drop_passwords(loaded) or (
            {*loaded.options} - {*running.options, BY_DEFAULT}
        ):
            yield f"{name} has not loaded its redis.conf"
        elif (running.needs_password, running.passwords) != (loaded.needs_password, loaded.passwords):
            yield f"{name} accepts other passwords than after a restart"

    def _find_balancer_difference(self, state: CollabState) -> Iterator[str]:
        name, loaded = self._world.names.balancer, state.balancer.running
        if loaded is None:
            yield f"{name} does not run"
        elif set(loaded.servers) != {server.address for server in self._entry.nodes}:
            yield f"{name} sends clients to {', '.join(loaded.servers)}"

    def list_unmanageable_nodes(self, peer: str) -> list[str]:  # noqa: ARG002
        """None: this host reaches each machine, whatever a file says."""
        return []
