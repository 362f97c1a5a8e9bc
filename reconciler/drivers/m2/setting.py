"""Typed models of the parts of `setting.json` that the reconciler acts on; all else passes through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A part of `setting.json`: unknown keys are kept, because the product is larger than these models."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, alias_generator=to_camel)


class Deployment(Part):
    """`meta.setting`."""

    deploy: str = Field(default="exclusive", description="`exclusive` or `shared`.")


class Meta(Part):
    """`meta`: what the file says of itself."""

    version: Any = Field(default=None, description="Any text or number; the node tells it as its version.")
    setting: Deployment = Field(default_factory=Deployment, description="How the setting is deployed.")


class AllowEntry(Part):
    """One entry of the allowList."""

    addr: str = Field(description="An address, a range of the last part, or a network.")
    role: str | None = Field(default=None, description="A role's name; `defaultRole` where it is missing.")


class Api(Part):
    """`env.management.api`: who may call the node."""

    port: Port = Field(default=10040, description="Port of the management API.")
    default_role: str = Field(default="admin", description="Role of entries that name none.")
    multipart_name: str = Field(
        default="settingFile", min_length=1, description="Name of the part that carries an upload."
    )
    allow_list: list[AllowEntry] | None = Field(default=None, description="Who may call.")


class Permissions(Part):
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


class Role(Part):
    """One of `env.management.roles`."""

    name: str = Field(min_length=1, description="What allowList entries call it.")
    permissions: Permissions = Field(default_factory=Permissions, description="What it may call.")


class Connection(Part):
    """One of `env.management.server.connection`; `info` depends on the type."""

    name: str = Field(min_length=1, description="Unique; what `connect` refers to.")
    type: str = Field(description="kafka, firebasePubsub, httpAwsSig4, awssdk3 or oci.")
    info: dict[str, Any] = Field(default_factory=dict, description="What the type needs to connect.")


class Feed(Part):
    """How a feature learns of changes; `info` depends on the type."""

    type: str | None = Field(default=None, description="How; each feature has its own types.")
    info: dict[str, Any] | None = Field(default=None, description="What the type needs.")


class SettingFeedback(Feed):
    """How a node reports a changed setting."""

    upload_setting: bool = Field(default=True, description="Whether the loaded setting.json goes with it.")


class SettingFeature(Part):
    """`features.setting`: synchronising the setting with a central server."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: SettingFeedback = Field(
        default_factory=SettingFeedback, description="How the node reports a loaded setting."
    )


class PurgeFeature(Part):
    """`features.purge`: purging on a central server's word."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    worker_count: int = Field(default=2, ge=0, description="0 is one for each CPU.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class HeartbeatFeature(Part):
    """`features.heartbeat`: a sign of life at intervals."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class NodelistFeature(Part):
    """`features.nodelist`, deprecated: following a cloud's list of instances."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    feed: Feed = Field(default_factory=Feed, description="How the node hears of it.")
    feedback: Feed = Field(default_factory=Feed, description="How the node reports.")


class Features(Part):
    """`env.management.server.features`."""

    setting: SettingFeature = Field(default_factory=SettingFeature, description="Synchronising the setting.")
    purge: PurgeFeature = Field(default_factory=PurgeFeature, description="Purging cached content.")
    heartbeat: HeartbeatFeature = Field(default_factory=HeartbeatFeature, description="A sign of life.")
    nodelist: NodelistFeature = Field(
        default_factory=NodelistFeature, description="Following a cloud's instances; deprecated."
    )


class Backup(Part):
    """`events.onSettingLoad.backup`: keeping every loaded setting in a bucket."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    hostname: str | None = Field(default=None, description="Only the node of this name does it.")
    auto: bool = Field(default=True, description="After every change of the setting.")
    connect: str | None = Field(default=None, description="A connection of type httpAwsSig4.")
    path: str | None = Field(default=None, description="Folder in the bucket.")
    timeout: Seconds = Field(default=30, description="Seconds for one upload; it is tried until it succeeds.")


class OnSettingLoad(Part):
    """`events.onSettingLoad`."""

    backup: Backup = Field(default_factory=Backup, description="Keeping the setting in a bucket.")


class Propagation(Part):
    """`events.onPurgeRequest.propagation`: passing a purge on, once."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    nodelist: list[str] | None = Field(default=None, description="At most 8 addresses, the own one too.")


class OnPurgeRequest(Part):
    """`events.onPurgeRequest`."""

    propagation: Propagation = Field(default_factory=Propagation, description="Passing the purge on.")


class Events(Part):
    """`env.management.server.events`."""

    on_setting_load: OnSettingLoad = Field(
        default_factory=OnSettingLoad, description="After a setting was loaded."
    )
    on_purge_request: OnPurgeRequest = Field(
        default_factory=OnPurgeRequest, description="After a purge was asked for."
    )


class Server(Part):
    """`env.management.server`: the node and a central server."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    connection: list[Connection] | None = Field(default=None, description="Connections that features share.")
    features: Features = Field(default_factory=Features, description="What is synchronised, and how.")
    events: Events = Field(default_factory=Events, description="What else happens at certain events.")


class ClusterMeta(Part):
    """`env.management.cluster.meta`."""

    enable: bool = Field(default=False, description="Whether it is switched on.")
    base_hosting_port: Port = Field(default=9000, description="First port of the hostings in a cluster.")


class GroupBalance(Part):
    """What a member group may say of balancing: the mode."""

    mode: Literal["rr", "hash"] | None = Field(default=None, description="In place of the cluster's own.")


class Group(Part):
    """A member group: the nodes that serve certain functions."""

    functions: list[str] | None = Field(default=None, description='Names; `["all"]` is any, null is none.')
    nodes: list[str] = Field(description="Addresses of the group's nodes.")
    balance: GroupBalance = Field(default_factory=GroupBalance, description="How the group shares its work.")


class Discover(Part):
    """`env.management.cluster.discover`: who the members are."""

    port: Port = Field(default=9900, description="Port on which the members talk.")
    members: list[Any] | None = Field(
        default=None, description="null looks by broadcast; otherwise addresses, or groups of them."
    )


class Balance(Part):
    """`env.management.cluster.balance`: who serves a request."""

    mode: Literal["rr", "hash"] = Field(default="rr", description="In turn, or by a hash of the URL.")
    lua_path: str | None = Field(default=None, description="Script that hashes in place of the URL.")
    url_ignore_list: list[str] = Field(
        default_factory=lambda: ["#FUNCTION"],
        description="The hash leaves out the URL from the first of these on; `#FUNCTION` is any function.",
    )


class Stats(Part):
    """`env.management.cluster.stats`."""

    enable: bool = Field(default=True, description="Whether statistics are gathered.")
    listen: str = Field(default="127.0.0.1:10038", description="Where they are gathered.")


class Cluster(Part):
    """`env.management.cluster`."""

    meta: ClusterMeta = Field(default_factory=ClusterMeta, description="Whether there is a cluster.")
    discover: Discover = Field(default_factory=Discover, description="Who its members are.")
    balance: Balance = Field(default_factory=Balance, description="How requests are shared.")
    stats: Stats = Field(default_factory=Stats, description="Statistics of the cluster.")


class Management(Part):
    """`env.management`."""

    api: Api = Field(default_factory=Api, description="Who may call the node.")
    roles: list[Role] | None = Field(default=None, description="Roles and their permissions.")
    server: Server = Field(default_factory=Server, description="The node and a central server.")
    cluster: Cluster = Field(default_factory=Cluster, description="Nodes that serve together.")


class Env(Part):
    """`env`."""

    management: Management = Field(default_factory=Management, description="How the node is managed.")


class Hosting(Part):
    """One virtual host; only what a change of it can destroy is looked at."""

    name: str = Field(min_length=1, description="Its domain name.")
    enable: bool = Field(default=True, description="Whether it is served.")


class SettingFile(Part):
    """A whole `setting.json`."""

    meta: Meta = Field(default_factory=Meta, description="What the file says of itself.")
    env: Env = Field(default_factory=Env, description="The node's surroundings.")
    hosting: list[Hosting] | None = Field(default=None, description="Virtual hosts.")
