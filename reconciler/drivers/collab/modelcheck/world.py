"""The nodes of a modelled cluster, what lies in their files, and what each process would load of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reconciler.drivers.collab.choices import Choices
from reconciler.drivers.collab.cluster_state import (
    BalancerConfiguration,
    CollabState,
    RedisConfiguration,
    ServerConfiguration,
    ServerState,
    hash_password,
)
from reconciler.drivers.collab.delivery import find_login_password
from reconciler.drivers.collab.schema import CollabDesired, CollabServer, FormerServer
from reconciler.drivers.collab.simulator.loaded_files import (
    InvalidFile,
    read_redis_file,
    read_server_file,
)
from reconciler.drivers.collab.simulator.nginx_file import read_nginx_file
from reconciler.drivers.collab.status_view import name_start
from reconciler.file_delivery.model import ModelFile

MODELLED = Choices(start_readings=1, paused_readings=1)
"""The behaviour in the model by default: a started server is silent and then paused, for any time."""

_STARTS = 8
"""Starts of a process that are told apart; pids come again, too."""


class ModelWorld(NamedTuple):
    """The processes, and the file of each node in the order of `ModelSite.nodes`."""

    state: CollabState
    files: tuple[ModelFile, ...]


@dataclass
class ModelSite:
    """The nodes of one cluster.

    Args:
        desired: the desired state.
        choices: what the nodes do where the documents are silent.
        is_announced: whether the cluster has change windows or approvals, so that Redis may be restarted.
    """

    desired: CollabDesired
    choices: Choices = MODELLED
    is_announced: bool = True

    def __post_init__(self) -> None:
        entry = self.desired.entry
        known: list[CollabServer | FormerServer] = [*entry.nodes, *self.desired.former]
        self.servers = tuple(one.name for one in known)
        self.addresses = tuple(one.address for one in known)
        self.redis = entry.redis.name if entry.redis is not None else ""
        self.balancer = entry.balancer.name if entry.balancer is not None else ""
        self.nodes = (*self.servers, *filter(None, (self.redis, self.balancer)))
        places = [
            *(self.desired.get_config_place(server) for server in entry.nodes),
            self.desired.get_redis_place(),
            self.desired.get_balancer_place(),
        ]
        self.entries = {place.node: place.entry for place in places if place is not None}

    def load_server(self, files: tuple[ModelFile, ...], name: str) -> ServerConfiguration | None:
        """What a server would load now; None if it would not start."""
        if name not in self.entries:
            return ServerConfiguration(digest="fixed", scaling="none")
        try:
            return read_server_file(files[self.nodes.index(name)].content)
        except InvalidFile:
            return None

    def load_redis(self, files: tuple[ModelFile, ...]) -> RedisConfiguration | None:
        """What Redis would load now; None if it would not start."""
        redis = self.desired.entry.redis
        assert redis is not None
        if self.redis not in self.entries:
            return self.make_fixed_redis()
        try:
            loaded = read_redis_file(files[self.nodes.index(self.redis)].content, redis.host)
        except InvalidFile:
            return None
        return loaded

    def load_balancer(self, files: tuple[ModelFile, ...]) -> BalancerConfiguration | None:
        """What nginx would load now; None if the file is invalid."""
        balancer = self.desired.entry.balancer
        assert balancer is not None
        if self.balancer not in self.entries:
            return BalancerConfiguration(self.addresses, True, True, True, "fixed")
        try:
            return read_nginx_file(files[self.nodes.index(self.balancer)].content, balancer.upstream)
        except InvalidFile:
            return None

    def make_fixed_redis(self) -> RedisConfiguration:
        """A Redis whose file is not managed: it accepts what the servers show."""
        assert self.desired.entry.redis is not None
        password = find_login_password(self.desired)
        known = hash_password(str(password.value)) if password is not None and not password.missing else ""
        passwords = frozenset({known} if known else ())
        return RedisConfiguration(
            self.desired.entry.redis.address, passwords, bool(known), known, is_protected=False
        )

    def is_valid(self, files: tuple[ModelFile, ...], node: str) -> bool:
        """Whether the process of a node would start with its file."""
        if node == self.redis:
            return self.load_redis(files) is not None
        if node == self.balancer:
            return self.load_balancer(files) is not None
        return self.load_server(files, node) is not None


def name_model_start(server: ServerState) -> str:
    """The start that a server shows, as `StatusView.start`."""
    return name_start(1 + server.starts, "-")


def with_state(world: ModelWorld, state: CollabState) -> ModelWorld:
    """The world with other processes; starts are counted up to a bound, so that there is an end."""
    servers = tuple(server._replace(starts=server.starts % _STARTS) for server in state.servers)
    redis = state.redis._replace(starts=state.redis.starts % _STARTS)
    balancer = state.balancer._replace(reloads=min(state.balancer.reloads, 1))
    return world._replace(state=state._replace(servers=servers, redis=redis, balancer=balancer))


def with_file(world: ModelWorld, place: int, file: ModelFile) -> ModelWorld:
    """The world with another file of the node at a place."""
    return world._replace(files=(*world.files[:place], file, *world.files[place + 1 :]))
