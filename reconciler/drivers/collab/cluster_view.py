"""What the nodes of a cluster show together: who serves, which services are away; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from reconciler.core.endpoint import format_url_host
from reconciler.core.observation import Liveness, Observed, Present, Unreachable
from reconciler.drivers.collab.nginx_span import read_marker, read_servers
from reconciler.drivers.collab.schema import CollabDesired, CollabServer, read_url_address
from reconciler.drivers.collab.status_view import DATABASE_SERVICE, REDIS_SERVICE, StatusView
from reconciler.drivers.collab.views import BalancerView, CollabView, RedisView
from reconciler.file_delivery.content import UnfitFile

SERVICES: Final = {DATABASE_SERVICE: "the database", REDIS_SERVICE: "Redis"}
"""Name of a service in a reason -> in sentences."""


@dataclass(frozen=True)
class ClusterView:
    """The answers of one pass, by role.

    Args:
        desired: the desired state.
        observed: the answers; reserved nodes count as away.
    """

    desired: CollabDesired
    observed: Observed[CollabView]

    def get_status(self, name: str) -> StatusView | None:
        """What a server shows just now; None if that is not known."""
        return read_status(self.observed, name)

    def is_silent(self, name: str) -> bool:
        """Whether nothing accepts connections where the server should be."""
        return is_silent(self.observed, name)

    def is_healthy(self, name: str) -> bool:
        """Whether a server is known to work, and nobody may stop it."""
        status = self.get_status(name)
        return status is not None and status.is_healthy and name not in self.observed.reserved

    def may_use_redis(self, name: str) -> bool:
        """Whether the process of a server may work with Redis: not if it shows that it works alone."""
        status = self.get_status(name)
        return status is None or not status.is_alone

    def get_place(self, server: CollabServer) -> str:
        """`host:port` at which the process of a server listens, as far as that is known."""
        status = self.get_status(server.name)
        # `status` of the fleet file may lead to another host, such as an address for management.
        port = read_url_address(status.url).rpartition(":")[2] if status is not None else ""
        return f"{format_url_host(server.host)}:{port}" if port else server.address

    def is_moving(self, server: CollabServer) -> bool:
        """Whether the process of a server still uses another port, or another protocol, than is desired."""
        status, tls = self.get_status(server.name), self.desired.get_tls(server.name)
        if status is None:
            return False
        return bool(status.url) or (tls is not None and status.enable_tls not in (None, tls))

    @cached_property
    def former_urls(self) -> Mapping[str, str]:
        """Server -> where it answers, of those that do not answer where they are to."""
        found = {server.name: self.get_status(server.name) for server in self.desired.entry.nodes}
        return {name: status.url for name, status in found.items() if status is not None and status.url}

    @property
    def has_balancer_file(self) -> bool:
        """Whether the file of the load balancer is managed, so that it shows who is used."""
        balancer = self.desired.entry.balancer
        return balancer is not None and balancer.file is not None

    @property
    def is_balancer_loaded(self) -> bool:
        """Whether the load balancer uses the file that it has."""
        try:
            return self.balancer is not None and self.balancer.marker == read_marker(self.balancer_file)
        except UnfitFile:
            return False

    def describe(self, name: str) -> str:
        """Why a server does not count as healthy, in words that follow its name."""
        return describe_server(self.observed, name)

    @cached_property
    def redis(self) -> RedisView | None:
        """What Redis shows; None if that is not known, or there is none."""
        node = self.desired.entry.redis
        return read_redis_view(self.observed, node.name) if node is not None else None

    @cached_property
    def balancer(self) -> BalancerView | None:
        """What is seen through the load balancer; None if that is not known, or there is none."""
        node = self.desired.entry.balancer
        answer = self.observed.nodes.get(node.name) if node is not None else None
        return (
            answer.value if isinstance(answer, Present) and isinstance(answer.value, BalancerView) else None
        )

    @cached_property
    def balancer_file(self) -> bytes | None:
        """The nginx file; None if it is not managed, missing or not read."""
        place = self.desired.get_balancer_place()
        reading = self.observed.files.get(place.node, {}).get(place.entry) if place is not None else None
        return reading.value.content if isinstance(reading, Present) else None

    @cached_property
    def upstream(self) -> tuple[str, ...] | None:
        """`host:port` of the servers of the nginx file; those of all servers if nginx is not managed.

        None if the file cannot be read: then it is not known who serves.
        """
        entry = self.desired.entry
        if entry.balancer is None or entry.balancer.file is None:
            return tuple(self.get_place(server) for server in entry.nodes)
        if self.balancer_file is None:
            return None
        try:
            return read_servers(self.balancer_file, entry.balancer.upstream)
        except UnfitFile:
            return None

    @cached_property
    def missing_services(self) -> Mapping[str, tuple[str, ...]]:
        """Service that is away -> who says so: servers, or the answer of Redis itself."""
        found: dict[str, list[str]] = {}
        for server in self.desired.entry.nodes:
            status = self.get_status(server.name)
            for service in status.missing_services if status is not None else ():
                found.setdefault(normalize_service(service), []).append(server.name)
        return {service: tuple(names) for service, names in sorted(found.items())}

    @property
    def is_redis_there(self) -> bool:
        """Whether Redis answers, or the cluster has none."""
        if self.desired.entry.redis is None:
            return True
        return self.redis is not None and not self.redis.is_loading


def normalize_service(name: str) -> str:
    """A service's documented name, whatever the case of its letters."""
    return next((known for known in SERVICES if known.casefold() == name.casefold()), name)


def list_services(names: Iterable[str]) -> str:
    """Services in a sentence."""
    return " and ".join(SERVICES.get(name, name) for name in sorted(names))


def read_status(observed: Observed[CollabView], name: str) -> StatusView | None:
    """What a server shows; None if that is not known."""
    answer = observed.nodes.get(name)
    return answer.value if isinstance(answer, Present) and isinstance(answer.value, StatusView) else None


def read_redis_view(observed: Observed[CollabView], name: str) -> RedisView | None:
    """What Redis shows; None if that is not known."""
    answer = observed.nodes.get(name)
    return answer.value if isinstance(answer, Present) and isinstance(answer.value, RedisView) else None


def is_silent(observed: Observed[CollabView], name: str) -> bool:
    """Whether nothing accepts connections where the node should be."""
    answer = observed.nodes.get(name)
    return isinstance(answer, Unreachable) and answer.liveness is Liveness.SILENT and not answer.defect


def describe_server(observed: Observed[CollabView], name: str) -> str:
    """Why a server does not count as healthy, in words that follow its name."""
    if name in observed.reserved:
        return "counts as away, because it is reserved or held"
    status = read_status(observed, name)
    if status is None:
        answer = observed.nodes.get(name)
        why = getattr(answer, "reason", "") or "it was not read"
        return f"does not run ({why})" if is_silent(observed, name) else f"is not known to work ({why})"
    if status.is_healthy:
        return "works"
    return f"is {status.state or 'not healthy'}" + (f" ({status.reason})" if status.reason else "")
