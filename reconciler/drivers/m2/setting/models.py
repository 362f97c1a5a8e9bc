"""Typed models of the parts of `setting.json` that the reconciler acts on; all else passes through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from reconciler.core.fields import Whole
from reconciler.drivers.m2.setting import patterns

Port = Annotated[Whole, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(ge=0)]


class SettingPart(BaseModel):
    """A part of `setting.json`: unknown keys are kept, because the product is larger than these models."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, alias_generator=to_camel)


class HostingMode(SettingPart):
    """`hosting[].mode`; the product's pages name these keys and not what they take."""

    volatile: Any = Field(default=None, description="Passed through as it stands.")
    facade_host: Any = Field(default=None, description="Passed through as it stands.")
    basehost: Any = Field(default=None, description="Passed through as it stands.")


class Origin(SettingPart):
    """`hosting[].origin`: where content comes from."""

    address: list[str] | None = Field(
        default=None, description="Addresses of the origin.", examples=[["198.51.100.10"]]
    )


class Hosting(SettingPart):
    """One virtual host; deleting it destroys its cache."""

    name: str = Field(min_length=1, description="Its domain name.", examples=["www.example.com"])
    enable: bool = Field(default=True, description="Whether it is served.")
    listen: str | None = Field(
        default=None, description="Address and port that it is served at, or `off`.", examples=["*:80", "off"]
    )
    aliases: list[str] | None = Field(default=None, description="Its other names.")
    mode: HostingMode | None = Field(default=None, description="How it is served.")
    origin: Origin | None = Field(default=None, description="Where its content comes from.")


class Properties(SettingPart):
    """`env.properties`; these take effect at the next restart."""

    memory_usage: Any = Field(default=None, description="Memory of the node; waits for a restart.")
    core_workers: Any = Field(default=None, description="Workers of the node; waits for a restart.")
    inspection: Any = Field(default=None, description="Inspection of the node; waits for a restart.")


class Network(SettingPart):
    """`env.network`; these take effect at the next restart."""

    passive_sockets: Any = Field(default=None, description="Sockets of clients; waits for a restart.")
    http: Any = Field(default=None, description="HTTP; waits for a restart.")
    https: Any = Field(default=None, description="HTTPS; waits for a restart.")
    http2: Any = Field(default=None, description="HTTP/2; waits for a restart.")
    geoip: Any = Field(default=None, description="Places of addresses; waits for a restart.")


class Runtime(SettingPart):
    """`env.rt`; these take effect at the next restart."""

    local_cache_storage: Any = Field(default=None, description="Disks of the cache; waits for a restart.")
    properties: Any = Field(default=None, description="Properties of the engine; waits for a restart.")


class ClusterMeta(SettingPart):
    """`env.management.cluster.meta`."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    base_hosting_port: Port = Field(default=9000, description="First port of the hostings in a cluster.")


class GroupBalance(SettingPart):
    """What a member group may say of balancing: the mode."""

    mode: Literal["rr", "hash"] | None = Field(default=None, description="In place of the cluster's own.")


class Group(SettingPart):
    """A member group: the nodes that serve certain functions."""

    functions: list[str] | None = Field(default=None, description='Names; `["all"]` is any, null is none.')
    nodes: list[Annotated[str, Field(json_schema_extra={"pattern": patterns.MEMBER})]] = Field(
        description="Addresses of the group's nodes.", examples=[["10.10.10.1", "10.10.10.2"]]
    )
    balance: GroupBalance = Field(default_factory=GroupBalance, description="How the group shares its work.")


class Discover(SettingPart):
    """`env.management.cluster.discover`: who the members are."""

    port: Port = Field(default=9900, description="Port on which the members talk.")
    members: list[Any] | None = Field(
        default=None,
        description="null looks by broadcast; otherwise addresses, or groups of them.",
        examples=[["10.10.10.1", "10.10.10.2"], ["#aws:vm:tag=edge"]],
    )


class Balance(SettingPart):
    """`env.management.cluster.balance`: who serves a request."""

    mode: Literal["rr", "hash"] = Field(default="rr", description="In turn, or by a hash of the URL.")
    lua_path: str | None = Field(default=None, description="Script that hashes in place of the URL.")
    url_ignore_list: list[str] = Field(
        default_factory=lambda: ["#FUNCTION"],
        description="The hash leaves out the URL from the first of these on; `#FUNCTION` is any function.",
    )


class Stats(SettingPart):
    """`env.management.cluster.stats`."""

    enable: bool = Field(default=True, description="Whether statistics are gathered.")
    listen: str = Field(
        default="127.0.0.1:10038",
        description="Where they are gathered.",
        json_schema_extra={"pattern": patterns.LISTEN},
    )


class Cluster(SettingPart):
    """`env.management.cluster`."""

    meta: ClusterMeta = Field(default_factory=ClusterMeta, description="Whether there is a cluster.")
    discover: Discover = Field(default_factory=Discover, description="Who its members are.")
    balance: Balance = Field(default_factory=Balance, description="How requests are shared.")
    stats: Stats = Field(default_factory=Stats, description="Statistics of the cluster.")


Version = Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})]


MOST_PROPAGATED = 8
"""How many nodes a purge is passed on to at most."""


class Deployment(SettingPart):
    """`meta.setting`."""

    deploy: Literal["exclusive", "shared"] = Field(
        default="exclusive", description="Whether this file is the node's alone."
    )


class Meta(SettingPart):
    """`meta`: what the file says of itself."""

    version: Version = Field(
        default=None,
        description="Any text or number; the node tells it as its version.",
        examples=["2026-11-21-A", 10],
    )
    setting: Deployment = Field(default_factory=Deployment, description="How the setting is deployed.")


class AllowEntry(SettingPart):
    """One entry of the allowList."""

    addr: str = Field(
        description="An address, a range of the last part, or a network.",
        examples=["192.168.1.1", "192.168.2.1-255", "192.168.3.0/24", "192.168.4.0/255.255.255.0"],
        json_schema_extra={"pattern": patterns.ADDR},
    )
    role: str | None = Field(default=None, description="A role's name; `defaultRole` where it is missing.")


class Api(SettingPart):
    """`env.management.api`: who may call the node."""

    port: Port = Field(default=10040, description="Port of the management API.")
    default_role: str = Field(default="admin", description="Role of entries that name none.")
    multipart_name: str = Field(
        default="settingFile", min_length=1, description="Name of the part that carries an upload."
    )
    allow_list: list[AllowEntry] | None = Field(default=None, description="Who may call.")


class Permissions(SettingPart):
    """What a role may call; all but `enableGet` must be given to be had."""

    enable_setting: bool = Field(default=False, description="/setting: read and change the setting.")
    enable_purge: bool = Field(default=False, description="Purge cached content.")
    enable_metric: bool = Field(default=False, description="/metrics.")
    enable_graph: bool = Field(default=False, description="/graph.")
    enable_monitoring: bool = Field(default=False, description="/monitoring.")
    enable_install: bool = Field(default=False, description="Update or reinstall the product.")
    enable_restart: bool = Field(default=False, description="Restart or stop the product.")
    enable_get: bool = Field(default=True, description="/get.")
    enable_cluster: bool = Field(default=False, description="Calls of the cluster.")


class Role(SettingPart):
    """One of `env.management.roles`."""

    name: str = Field(min_length=1, description="What allowList entries call it.")
    permissions: Permissions = Field(default_factory=Permissions, description="What it may call.")


class Connection(SettingPart):
    """One of `env.management.server.connection`; `info` depends on the type."""

    name: str = Field(min_length=1, description="Unique; what `connect` refers to.")
    type: str = Field(description="kafka, firebasePubsub, httpAwsSig4, awssdk3 or oci.", examples=["kafka"])
    info: dict[str, Any] = Field(default_factory=dict, description="What the type needs to connect.")


class Feed(SettingPart):
    """How a feature learns of changes; `info` depends on the type."""

    type: str | None = Field(default=None, description="How; each feature has its own types.")
    info: dict[str, Any] | None = Field(default=None, description="What the type needs.")


class SettingFeedback(Feed):
    """How a node reports a changed setting."""

    upload_setting: bool = Field(default=True, description="Whether the loaded setting.json goes with it.")


class SettingFeature(SettingPart):
    """`features.setting`: synchronising the setting with a central server."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: SettingFeedback = Field(
        default_factory=SettingFeedback, description="How the node reports a loaded setting."
    )


class PurgeFeature(SettingPart):
    """`features.purge`: purging on a central server's word."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    worker_count: Whole = Field(default=2, ge=0, description="0 is one for each CPU.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class HeartbeatFeature(SettingPart):
    """`features.heartbeat`: a sign of life at intervals."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class NodelistFeature(SettingPart):
    """`features.nodelist`, deprecated: following a cloud's list of instances."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class Features(SettingPart):
    """`env.management.server.features`."""

    setting: SettingFeature = Field(default_factory=SettingFeature, description="Synchronising the setting.")
    purge: PurgeFeature = Field(default_factory=PurgeFeature, description="Purging cached content.")
    heartbeat: HeartbeatFeature = Field(default_factory=HeartbeatFeature, description="A sign of life.")
    nodelist: NodelistFeature = Field(
        default_factory=NodelistFeature, description="Following a cloud's instances; deprecated."
    )


class Backup(SettingPart):
    """`events.onSettingLoad.backup`: keeping every loaded setting in a bucket."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    hostname: str | None = Field(default=None, description="Only the node of this name does it.")
    auto: bool = Field(default=True, description="After every change of the setting.")
    connect: str | None = Field(default=None, description="A connection of type httpAwsSig4.")
    path: str | None = Field(default=None, description="Folder in the bucket.")
    timeout: Seconds = Field(default=30, description="Seconds for one upload; it is tried until it succeeds.")


class OnSettingLoad(SettingPart):
    """`events.onSettingLoad`."""

    backup: Backup = Field(default_factory=Backup, description="Keeping the setting in a bucket.")


class Propagation(SettingPart):
    """`events.onPurgeRequest.propagation`: passing a purge on, once."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    nodelist: list[str] | None = Field(
        default=None,
        description="At most 8 addresses, the own one too.",
        examples=[["10.10.10.1", "10.10.10.2"]],
        json_schema_extra={"maxItems": MOST_PROPAGATED},
    )


class OnPurgeRequest(SettingPart):
    """`events.onPurgeRequest`."""

    propagation: Propagation = Field(default_factory=Propagation, description="Passing the purge on.")


class Events(SettingPart):
    """`env.management.server.events`."""

    on_setting_load: OnSettingLoad = Field(
        default_factory=OnSettingLoad, description="After a setting was loaded."
    )
    on_purge_request: OnPurgeRequest = Field(
        default_factory=OnPurgeRequest, description="After a purge was asked for."
    )


class Server(SettingPart):
    """`env.management.server`: the node and a central server."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    connection: list[Connection] | None = Field(
        default=None, description="Connections that features share.", json_schema_extra={"uniqueItems": True}
    )
    features: Features = Field(default_factory=Features, description="What is synchronised, and how.")
    events: Events = Field(default_factory=Events, description="What else happens at certain events.")


class Management(SettingPart):
    """`env.management`."""

    api: Api = Field(default_factory=Api, description="Who may call the node.")
    roles: list[Role] | None = Field(
        default=None, description="Roles and their permissions.", json_schema_extra={"uniqueItems": True}
    )
    server: Server = Field(default_factory=Server, description="The node and a central server.")
    cluster: Cluster = Field(default_factory=Cluster, description="Nodes that serve together.")


class Env(SettingPart):
    """`env`."""

    management: Management = Field(default_factory=Management, description="How the node is managed.")
    properties: Properties | None = Field(default=None, description="The node's own resources.")
    network: Network | None = Field(default=None, description="Sockets and protocols.")
    rt: Runtime | None = Field(default=None, description="The engine.")


class SettingFile(SettingPart):
    """A whole `setting.json`."""

    schema_: Any = Field(default=None, alias="$schema", description="For editors; it is not delivered.")
    meta: Meta = Field(default_factory=Meta, description="What the file says of itself.")
    env: Env = Field(default_factory=Env, description="The node's surroundings.")
    functions: Any = Field(
        default=None, description="Functions of the product; passed through as they stand."
    )
    hosting: list[Hosting] | None = Field(default=None, description="Virtual hosts.")
