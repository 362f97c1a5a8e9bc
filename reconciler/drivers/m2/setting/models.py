"""Typed models of the parts of `setting.json` that the reconciler acts on; all else passes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from reconciler.core.fields import Whole
from reconciler.drivers.m2.setting import patterns

Port = Annotated[Whole, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(ge=0)]


class SettingPart(BaseModel):
    """A part of `setting.json`; unknown keys are kept, because M2 has more keys than these models."""

    # Strict, as the JSON Schema for editors: `"10040"` is a text and no port.
    # A command uses few of the models: each is built at its first use.
    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, alias_generator=to_camel, defer_build=True
    )


def make_part(model: type[SettingPart], description: str) -> Any:
    """A field with the defaults of a model."""
    return Field(default_factory=model, description=description)


def make_optional(description: str, **more: Any) -> Any:
    """A field that may be absent."""
    return Field(default=None, description=description, **more)


class HostingMode(SettingPart):
    """`hosting[].mode`; the M2 manual gives the keys and not their values."""

    volatile: Any = make_optional("Sent to the nodes unchanged.")
    facade_host: Any = make_optional("Sent to the nodes unchanged.")
    basehost: Any = make_optional("Sent to the nodes unchanged.")


class Origin(SettingPart):
    """`hosting[].origin`: the source of the content."""

    address: list[str] | None = make_optional("Addresses of the origin.", examples=[["198.51.100.10"]])


class Hosting(SettingPart):
    """One virtual host; deleting it destroys its cache."""

    name: str = Field(min_length=1, description="Domain name.", examples=["www.example.com"])
    enable: bool = Field(default=True, description="Whether it is served.")
    listen: str | None = make_optional("Address and port to listen on, or `off`.", examples=["*:80", "off"])
    aliases: list[str] | None = make_optional("Other domain names.")
    mode: HostingMode | None = make_optional("How it is served.")
    origin: Origin | None = make_optional("The source of its content.")


class Properties(SettingPart):
    """`env.properties`; a change takes effect at the next restart."""

    # The manual names the fields that need a restart and gives no types: any value is accepted.

    memory_usage: Any = make_optional("Memory of the node; needs a restart.")
    core_workers: Any = make_optional("Workers of the node; needs a restart.")
    inspection: Any = make_optional("Inspection of the node; needs a restart.")


class Network(SettingPart):
    """`env.network`; a change takes effect at the next restart."""

    passive_sockets: Any = make_optional("Sockets of clients; needs a restart.")
    http: Any = make_optional("HTTP; needs a restart.")
    https: Any = make_optional("HTTPS; needs a restart.")
    http2: Any = make_optional("HTTP/2; needs a restart.")
    geoip: Any = make_optional("Locations of addresses; needs a restart.")


class Runtime(SettingPart):
    """`env.rt`; a change takes effect at the next restart."""

    local_cache_storage: Any = make_optional("Disks of the cache; needs a restart.")
    properties: Any = make_optional("Properties of the engine; needs a restart.")


class ClusterMeta(SettingPart):
    """`env.management.cluster.meta`."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    base_hosting_port: Port = Field(default=9000, description="First port of the hostings in a cluster.")


class GroupBalance(SettingPart):
    """The balancing of a member group; only the mode can be set."""

    mode: Literal["rr", "hash"] | None = make_optional("Mode of the group, instead of the cluster's.")


class Group(SettingPart):
    """A member group: the nodes that serve certain functions."""

    functions: list[str] | None = make_optional(
        'Names of functions; `["all"]` matches any, null matches requests without one.'
    )
    nodes: list[Annotated[str, Field(json_schema_extra={"pattern": patterns.MEMBER})]] = Field(
        description="Addresses of the group's nodes.", examples=[["10.10.10.1", "10.10.10.2"]]
    )
    balance: GroupBalance = make_part(GroupBalance, "Balancing of the group.")


class Discover(SettingPart):
    """`env.management.cluster.discover`: how the members find each other."""

    port: Port = Field(default=9900, description="Port for the traffic between members.")
    # Any: `check` reports a mixture of addresses and groups with a better message than a union of models.
    members: list[Any] | None = make_optional(
        "null for broadcast, or a list of addresses or of groups.",
        examples=[["10.10.10.1", "10.10.10.2"], ["#aws:vm:tag=edge"]],
    )


class Balance(SettingPart):
    """`env.management.cluster.balance`: which member serves a request."""

    mode: Literal["rr", "hash"] = Field(
        default="rr", description="In turn (`rr`), or by a hash of the URL (`hash`)."
    )
    lua_path: str | None = make_optional("Script that computes the hash; without one, M2 hashes the URL.")
    # The order counts: another order may cut the URL elsewhere, and so choose another member.
    url_ignore_list: list[str] = Field(
        default_factory=lambda: ["#FUNCTION"],
        description="The URL is hashed up to the first of these texts; `#FUNCTION` is any function.",
    )


class Stats(SettingPart):
    """`env.management.cluster.stats`."""

    enable: bool = Field(default=True, description="Whether statistics are collected.")
    listen: str = Field(
        default="127.0.0.1:10038",
        description="Address and port for the statistics.",
        json_schema_extra={"pattern": patterns.LISTEN},
    )


class Cluster(SettingPart):
    """`env.management.cluster`."""

    meta: ClusterMeta = make_part(ClusterMeta, "Whether the node is in a cluster.")
    discover: Discover = make_part(Discover, "The members.")
    balance: Balance = make_part(Balance, "Which member serves a request.")
    stats: Stats = make_part(Stats, "Statistics of the cluster.")


Version = Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})]


MOST_PROPAGATED = 8
"""Highest number of nodes to which a purge is propagated (M2 manual, Events)."""


class Deployment(SettingPart):
    """`meta.setting`."""

    deploy: Literal["exclusive", "shared"] = Field(
        default="exclusive", description="Whether the setting is for one node or shared."
    )


class Meta(SettingPart):
    """`meta`: data about the setting itself."""

    version: Version = make_optional(
        "Any text or number; the node reports it as the version of its setting.",
        examples=["2026-11-21-A", 10],
    )
    setting: Deployment = make_part(Deployment, "How the setting is deployed.")


class AllowEntry(SettingPart):
    """One entry of the allowList."""

    addr: str = Field(
        description="An address, a range in the last part of an address, or a network.",
        examples=["192.168.1.1", "192.168.2.1-255", "192.168.3.0/24", "192.168.4.0/255.255.255.0"],
        json_schema_extra={"pattern": patterns.ADDR},
    )
    role: str | None = make_optional("Name of a role; the default is `defaultRole`.")


class Api(SettingPart):
    """`env.management.api`: who may call the node."""

    port: Port = Field(default=10040, description="Port of the management API.")
    default_role: str = Field(default="admin", description="Role of entries without a role.")
    multipart_name: str = Field(
        default="settingFile", min_length=1, description="Name of the part with the package in an upload."
    )
    allow_list: list[AllowEntry] | None = make_optional("The addresses that may call.")


class Permissions(SettingPart):
    """The permissions of a role; only `enableGet` is granted by default."""

    enable_setting: bool = Field(default=False, description="/setting: read and change the setting.")
    enable_purge: bool = Field(default=False, description="/command: purge cached content.")
    enable_metric: bool = Field(default=False, description="/metrics: read the metrics.")
    enable_graph: bool = Field(default=False, description="/graph: read the graphs.")
    enable_monitoring: bool = Field(default=False, description="/monitoring: read statistics.")
    enable_install: bool = Field(default=False, description="Update or reinstall the product.")
    enable_restart: bool = Field(default=False, description="Restart or stop the product.")
    enable_get: bool = Field(default=True, description="/get: read settings in effect, license and hostings.")
    enable_cluster: bool = Field(default=False, description="Calls between members of a cluster.")


class Role(SettingPart):
    """One of `env.management.roles`."""

    name: str = Field(min_length=1, description="Unique name, to which allowList entries refer.")
    permissions: Permissions = make_part(Permissions, "Its permissions.")


# The factory grants neither enableInstall nor enableRestart: a setting has to grant them explicitly.
FACTORY_ROLES: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "name": "admin",
        "permissions": {
            str(field.alias): name not in {"enable_install", "enable_restart"}
            for name, field in Permissions.model_fields.items()
        },
    },
    {
        "name": "user",
        "permissions": dict.fromkeys(("enableMetric", "enableGraph", "enableMonitoring", "enableGet"), True),
    },
)
"""The roles in the factory's `setting.json` (M2 manual, Roles)."""


class Connection(SettingPart):
    """One of `env.management.server.connection`; `info` depends on the type."""

    name: str = Field(min_length=1, description="Unique name, to which `connect` refers.")
    type: str = Field(description="kafka, firebasePubsub, httpAwsSig4, awssdk3 or oci.", examples=["kafka"])
    info: dict[str, Any] = Field(default_factory=dict, description="Parameters of the type.")


class Feed(SettingPart):
    """How a feature receives or sends messages; `info` depends on the type."""

    type: str | None = make_optional("The type; each feature has its own ones.")
    info: dict[str, Any] | None = make_optional("Parameters of the type.")


class SettingFeedback(Feed):
    """How a node reports a loaded setting."""

    upload_setting: bool = Field(
        default=True, description="Whether the message contains the loaded setting.json."
    )


class SettingFeature(SettingPart):
    """`features.setting`: synchronises the setting with a central server."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    feed: Feed = make_part(Feed, "How the node receives new settings.")
    feedback: SettingFeedback = make_part(SettingFeedback, "How the node reports a loaded setting.")


class PurgeFeature(SettingPart):
    """`features.purge`: executes purges from a central server."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    worker_count: Whole = Field(default=2, ge=0, description="Number of workers; 0 for one per CPU.")
    feed: Feed = make_part(Feed, "How the node receives purges.")
    feedback: Feed = make_part(Feed, "How the node reports the results.")


class HeartbeatFeature(SettingPart):
    """`features.heartbeat`: reports at intervals that the node is alive."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    feedback: Feed = make_part(Feed, "How the node sends heartbeats.")


class NodelistFeature(SettingPart):
    """`features.nodelist`, deprecated: uses the list of instances of a cloud."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    feed: Feed = make_part(Feed, "How the node receives the instances.")
    feedback: Feed = make_part(Feed, "How the node uses and reports them.")


class Features(SettingPart):
    """`env.management.server.features`."""

    setting: SettingFeature = make_part(SettingFeature, "Synchronises the setting with a central server.")
    purge: PurgeFeature = make_part(PurgeFeature, "Executes purges from a central server.")
    heartbeat: HeartbeatFeature = make_part(HeartbeatFeature, "Reports at intervals that the node is alive.")
    nodelist: NodelistFeature = make_part(
        NodelistFeature, "Uses the list of instances of a cloud; deprecated."
    )


class Backup(SettingPart):
    """`events.onSettingLoad.backup`: stores every loaded setting in a bucket."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    hostname: str | None = make_optional("The node that stores the backup; without it, every node does.")
    auto: bool = Field(default=True, description="Whether to store a backup after every change.")
    connect: str | None = make_optional("Name of a connection of the type `httpAwsSig4`.")
    path: str | None = make_optional("Folder in the bucket.")
    timeout: Seconds = Field(
        default=30, description="Timeout of one upload in seconds; uploads are repeated until one succeeds."
    )


class OnSettingLoad(SettingPart):
    """`events.onSettingLoad`."""

    backup: Backup = make_part(Backup, "Stores the setting in a bucket.")


class Propagation(SettingPart):
    """`events.onPurgeRequest.propagation`: sends a purge to other nodes, once."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    nodelist: list[str] | None = make_optional(
        "Addresses of at most 8 nodes, including this one.",
        examples=[["10.10.10.1", "10.10.10.2"]],
        json_schema_extra={"maxItems": MOST_PROPAGATED},
    )


class OnPurgeRequest(SettingPart):
    """`events.onPurgeRequest`."""

    propagation: Propagation = make_part(Propagation, "Sends the purge to other nodes.")


class Events(SettingPart):
    """`env.management.server.events`."""

    on_setting_load: OnSettingLoad = make_part(OnSettingLoad, "After a setting has been loaded.")
    on_purge_request: OnPurgeRequest = make_part(OnPurgeRequest, "After a request for a purge.")


class Server(SettingPart):
    """`env.management.server`: the exchange with a central server."""

    enable: bool = Field(default=False, description="Whether it is enabled.")
    connection: list[Connection] | None = make_optional(
        "Connections that features use.", json_schema_extra={"uniqueItems": True}
    )
    features: Features = make_part(Features, "What is exchanged, and how.")
    events: Events = make_part(Events, "Actions at events.")


class Management(SettingPart):
    """`env.management`."""

    api: Api = make_part(Api, "The management API, and who may call it.")
    roles: list[Role] | None = make_optional(
        "Roles and their permissions.", json_schema_extra={"uniqueItems": True}
    )
    server: Server = make_part(Server, "The exchange with a central server.")
    cluster: Cluster = make_part(Cluster, "The cluster of the node.")


class Env(SettingPart):
    """`env`."""

    management: Management = make_part(Management, "Management of the node.")
    properties: Properties | None = make_optional("Resources of the node.")
    network: Network | None = make_optional("Sockets and protocols.")
    rt: Runtime | None = make_optional("The runtime.")


class SettingFile(SettingPart):
    """A whole `setting.json`."""

    schema_: Any = Field(default=None, alias="$schema", description="For editors; not sent to the nodes.")
    meta: Meta = make_part(Meta, "Data about the setting itself.")
    env: Env = make_part(Env, "Environment of the node.")
    functions: Any = make_optional("Functions of the product; sent to the nodes unchanged.")
    hosting: list[Hosting] | None = make_optional("Virtual hosts.")
