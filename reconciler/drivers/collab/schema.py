"""The fleet file's entry of a Collaboration Server cluster, and its desired state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from reconciler.core.command_reference import CommandReference, EntryName
from reconciler.core.endpoint import LAST_PORT, InvalidAddress, format_url_host, parse_endpoint
from reconciler.core.entries import NodeEntry, ServerUrl
from reconciler.core.fields import Flag, Number, StrictModel, Whole
from reconciler.core.file_state import FilePlace
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.secret import Secret, reveal

SERVER_PORT: Final = 3000
"""Port of a Collaboration Server by default (the vendor's sample of config.json)."""

REDIS_PORT: Final = 6379

UPSTREAM: Final = "collabServer"
"""Name of the upstream in the vendor's sample of an nginx file."""


def _check_host(text: str) -> str:
    try:
        found = parse_endpoint(format_url_host(text))
    except InvalidAddress as error:
        raise PydanticCustomError("collab-host", f"it {error.message}") from error
    if found.port is not None or "://" in text:
        raise PydanticCustomError("collab-host", "write a host name or an IP address alone")
    return found.host


Host = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_check_host)]
"""A host name in lower case, or an IP address without brackets."""

Port = Annotated[Whole, Field(ge=1, le=65_535)]


def _check_status_url(text: str) -> str:
    try:
        parse_endpoint(text.removesuffix("/status"))
    except InvalidAddress as error:
        raise PydanticCustomError("collab-status", f"its address {error.message}") from error
    return text


StatusUrl = Annotated[
    str,
    Field(max_length=300, pattern=r"^https?://[0-9A-Za-z._\-\[\]:]+/status$"),
    AfterValidator(_check_status_url),
]
"""`http(s)://HOST:PORT/status`; nothing else is read of a server."""


class CollabServer(OverlaidNode):
    """One Collaboration Server."""

    host: Host = Field(
        description="Where the load balancer and this host reach the server.", examples=["192.0.2.11"]
    )
    port: Port = Field(default=SERVER_PORT, description="`port` of the server's config.json.")
    status: StatusUrl | None = Field(
        default=None,
        description="Where the server itself answers `/status`; default: `http://HOST:PORT/status`, or "
        "`https` if its config.json has `enableTls`. Never a URL of the load balancer.",
        examples=["https://192.0.2.11:3000/status"],
    )

    @property
    def address(self) -> str:
        """`host:port`, as an nginx upstream names it."""
        return f"{format_url_host(self.host)}:{self.port}"

    def endpoint(self) -> str:
        """Where it is reached."""
        return self.address


class RedisNode(OverlaidNode):
    """The Redis of a cluster."""

    host: Host = Field(description="Where the servers and this host reach Redis.", examples=["192.0.2.20"])
    port: Port = Field(default=REDIS_PORT, description="The port of Redis.")
    source: Annotated[str, Field(min_length=1, pattern=r"\.(json|ya?ml)$")] | None = Field(
        default=None,
        description="Path of a committed file with keys of redis.conf, such as `bind` and `requirepass`, "
        "relative to the fleet file. Without it, Redis is only observed.",
        examples=["collab/redis.yaml"],
    )
    file: EntryName | None = Field(
        default=None,
        description="Name of the redis.conf under `files` of the host configuration. Needed with `source`.",
        examples=["redis-conf"],
    )
    restart: CommandReference | None = Field(
        default=None,
        description="The host's command that restarts Redis, so that it uses its changed file. That pauses "
        "all servers for a moment. Without it the plan waits for an operator.",
        examples=[{"command": "restart-redis"}],
    )

    @property
    def address(self) -> str:
        """`host:port`, as `redisServerUrl` names it."""
        return f"{format_url_host(self.host)}:{self.port}"

    def endpoint(self) -> str:
        """Where it is reached."""
        return self.address


class LoadBalancer(NodeEntry):
    """The nginx in front of a cluster."""

    url: ServerUrl = Field(
        description="`http(s)://HOST[:PORT]` at which clients reach the load balancer.",
        examples=["https://collab.example.com"],
    )
    host: Host | None = Field(
        default=None, description="The machine with its file; default: the host of `url`."
    )
    file: EntryName | None = Field(
        default=None,
        description="Name of the nginx file under `files` of the host configuration, which must have a "
        "`check` there. Without it, the load balancer is only observed.",
        examples=["nginx-conf"],
    )
    upstream: Annotated[str, Field(pattern=r"^[A-Za-z][0-9A-Za-z_.\-]{0,63}$")] = Field(
        default=UPSTREAM, description="Name of the upstream with the servers."
    )
    reload: CommandReference | None = Field(
        default=None,
        description="The host's command that makes nginx read its file again. Without it the plan waits for "
        "an operator.",
        examples=[{"command": "reload-nginx"}],
    )

    @property
    def machine(self) -> str:
        """The machine with its file."""
        return self.host or (urlsplit(self.url).hostname or "")

    def endpoint(self) -> str:
        """Where it is reached."""
        return self.url


class ConfigDelivery(StrictModel):
    """The config.json of the servers: where it is committed, and where it is delivered."""

    source: Annotated[str, Field(min_length=1, pattern=r"\.(json|ya?ml)$")] = Field(
        description="Path of the committed file, relative to the fleet file; `overlays` change it for groups "
        "and servers. Its keys are kept as committed, other keys of a server's file stay as they are.",
        examples=["collab/config.json"],
    )
    file: EntryName = Field(
        description="Name of the config.json under `files` of the host configuration.",
        examples=["collab-config"],
    )


Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.+\-]{0,63}$")]


class CollabCluster(OverlaidCluster):
    """A cluster of Collaboration Servers, with its Redis and its load balancer."""

    single_nodes: ClassVar[tuple[str, ...]] = ("redis", "loadBalancer")

    kind: Literal["collab"] = Field(description="The product that its nodes run.")
    config: ConfigDelivery | None = Field(
        default=None,
        description="The config.json of the servers. Without it, files of servers are not managed.",
    )
    nodes: tuple[CollabServer, ...] = Field(min_length=1, description="The Collaboration Servers.")
    redis: RedisNode | None = Field(
        default=None, description="The Redis through which the servers work together."
    )
    loadBalancer: LoadBalancer | None = Field(  # noqa: N815  (the key of the fleet file)
        default=None, description="The load balancer in front of the servers."
    )
    restart: CommandReference | None = Field(
        default=None,
        description="The host's command that restarts a server, so that it uses its changed config.json. "
        "Servers are restarted one by one. Without it the plan waits for an operator.",
        examples=[{"command": "restart-collab"}],
    )
    start: CommandReference | None = Field(
        default=None,
        description="The host's command that starts a server that does not run. Without it the plan waits "
        "for an operator.",
        examples=[{"command": "start-collab"}],
    )
    stop: CommandReference | None = Field(
        default=None,
        description="The host's command that stops a server which the fleet file no longer names, once the "
        "load balancer does not use it. Without it the plan waits for an operator.",
        examples=[{"command": "stop-collab"}],
    )
    version: Version | None = Field(
        default=None,
        description="The version that all servers are to show. It is compared, and never installed. Without "
        "it, versions are only compared with each other.",
        examples=["11.0.0.720"],
    )
    drain: Number = Field(
        default=600,
        ge=0,
        le=86_400,
        description="Seconds for the clients of a server to leave before it is stopped; 0 = do not wait.",
    )
    strict: Flag = Field(
        default=False,
        description="Whether a Redis that listens on all addresses without a password is an error, and not "
        "only a warning.",
    )

    def get_setting_path(self, node: NodeEntry) -> str:
        """The committed file of a server, or of Redis; empty if it has none."""
        if isinstance(node, RedisNode):
            return node.source or ""
        if isinstance(node, CollabServer) and self.config is not None:
            return self.config.source
        return ""

    @property
    def balancer(self) -> LoadBalancer | None:
        """The load balancer."""
        return self.loadBalancer

    def server(self, name: str) -> CollabServer | None:
        """The entry of one server; None if the file does not name it."""
        return next((node for node in self.nodes if node.name == name), None)


@dataclass(frozen=True, slots=True)
class FormerServer:
    """A server that an earlier revision named, and this one does not."""

    name: str
    host: str
    port: int = SERVER_PORT
    status: str = ""

    @property
    def address(self) -> str:
        """`host:port`, as an nginx upstream names it."""
        return f"{format_url_host(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class CollabDesired:
    """The desired state of one cluster.

    Args:
        configs: server -> keys of its config.json, a `Secret` where the file refers to one; empty where files
            are not managed.
        redis_keys: keys of redis.conf; None where that file is not managed.
        recalled: node -> what the store remembers, by the names in `facts`.
        former: servers that earlier revisions named, sorted by name.
        unchecked: files of this host's configuration that have no check; for guards alone, so that plans are
            the same on every host.
        former_urls: server -> where it still answers, if its port or its TLS is about to change.
        file_tls: server -> whether its file will make it speak TLS, where the committed one does not say.
    """

    entry: CollabCluster
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    redis_keys: Mapping[str, Any] | None = field(default=None, repr=False)
    recalled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    former: tuple[FormerServer, ...] = ()
    unchecked: frozenset[str] = frozenset()
    former_urls: Mapping[str, str] = field(default_factory=dict)
    file_tls: Mapping[str, bool] = field(default_factory=dict)

    @property
    def redis_password(self) -> Secret | None:
        """The password that Redis is to demand; None if it is left as it is."""
        value = (self.redis_keys or {}).get("requirepass")
        if value is None or value == "":
            return None
        return value if isinstance(value, Secret) else Secret(str(value))

    def get_status_url(self, server: CollabServer | FormerServer) -> str:
        """Where a server itself answers `/status`."""
        if server.status:
            return server.status
        is_tls = self.get_tls(server.name)
        if is_tls is None:
            is_tls = self.file_tls.get(server.name, False)
        return make_status_url(server, server.port, is_tls=is_tls)

    def get_tls(self, server: str) -> bool | None:
        """Whether a server is to speak TLS; None if its committed config.json does not say."""
        value = reveal(self.configs.get(server, {}).get("enableTls"))
        return value if isinstance(value, bool) else None

    def recall(self, node: str, key: str) -> str:
        """A fact of a node; empty if there is none."""
        return self.recalled.get(node, {}).get(key, "")

    def get_config_place(self, server: CollabServer) -> FilePlace | None:
        """The config.json of a server; None where it is not managed."""
        config = self.entry.config
        return FilePlace(config.file, server.name, server.host) if config is not None else None

    def get_redis_place(self) -> FilePlace | None:
        """The redis.conf; None where it is not managed."""
        redis = self.entry.redis
        if redis is None or redis.source is None or redis.file is None:
            return None
        return FilePlace(redis.file, redis.name, redis.host)

    def get_balancer_place(self) -> FilePlace | None:
        """The nginx file; None where it is not managed."""
        balancer = self.entry.balancer
        if balancer is None or balancer.file is None:
            return None
        return FilePlace(balancer.file, balancer.name, balancer.machine)


def make_status_url(server: CollabServer | FormerServer, port: int, *, is_tls: bool) -> str:
    """`/status` of a server that listens on a port."""
    return f"{'https' if is_tls else 'http'}://{format_url_host(server.host)}:{port}/status"


def read_url_address(url: str) -> str:
    """`host:port` of a URL, as an nginx upstream names it; empty if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{format_url_host(parts.hostname)}:{port}" if parts.hostname and port else ""


_PASSWORD_URL: Final = re.compile(
    r"(?P<scheme>rediss?)://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<host>\[[^\]]+\]|[^:/@\[\]]+)"
    r"(?::(?P<port>[0-9]{1,5}))?/?(?:[0-9]*)"
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a `redisServerUrl`.

    Args:
        address: `host:port`, the host in lower case.
        password: decoded; empty for none.
        user: empty for the default one.
    """

    address: str
    password: str = field(default="", repr=False)
    user: str = ""


def parse_redis_url(text: str) -> RedisUrl | None:
    """The parts of `redis://[:PASSWORD@]HOST[:PORT]`; None if it is not one."""
    found = _PASSWORD_URL.fullmatch(text)
    if found is None:
        return None
    host = found["host"].strip("[]").lower()
    port = int(found["port"] or REDIS_PORT)
    if not 1 <= port <= LAST_PORT:
        return None
    return RedisUrl(
        f"{format_url_host(host)}:{port}", unquote(found["password"] or ""), unquote(found["user"] or "")
    )
