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
    setting: Deployment = Field(default_factory=Deployment)


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
    permissions: Permissions = Field(default_factory=Permissions)


class Connection(Part):
    """One of `env.management.server.connection`; `info` depends on the type."""

    name: str = Field(min_length=1, description="Unique; what `connect` refers to.")
    type: str = Field(description="kafka, firebasePubsub, httpAwsSig4, awssdk3 or oci.")
    info: dict[str, Any] = Field(default_factory=dict)


class Feed(Part):
    """How a feature learns of changes; `info` depends on the type."""

    type: str | None = None
    info: dict[str, Any] | None = None


class SettingFeedback(Feed):
    """How a node reports a changed setting."""

    upload_setting: bool = Field(default=True, description="Whether the loaded setting.json goes with it.")


class SettingFeature(Part):
    """`features.setting`: synchronising the setting with a central server."""

    enable: bool = False
    feed: Feed = Field(default_factory=Feed)
    feedback: SettingFeedback = Field(default_factory=SettingFeedback)


class PurgeFeature(Part):
    """`features.purge`: purging on a central server's word."""

    enable: bool = False
    worker_count: int = Field(default=2, ge=0, description="0 is one for each CPU.")
    feed: Feed = Field(default_factory=Feed)
    feedback: Feed = Field(default_factory=Feed)


class HeartbeatFeature(Part):
    """`features.heartbeat`: a sign of life at intervals."""

    enable: bool = False
    feedback: Feed = Field(default_factory=Feed)


class NodelistFeature(Part):
    """`features.nodelist`, deprecated: following a cloud's list of instances."""

    enable: bool = False
    feed: Feed = Field(default_factory=Feed)
    feedback: Feed = Field(default_factory=Feed)


class Features(Part):
    """`env.management.server.features`."""

    setting: SettingFeature = Field(default_factory=SettingFeature)
    purge: PurgeFeature = Field(default_factory=PurgeFeature)
    heartbeat: HeartbeatFeature = Field(default_factory=HeartbeatFeature)
    nodelist: NodelistFeature = Field(default_factory=NodelistFeature)


class Backup(Part):
    """`events.onSettingLoad.backup`: keeping every loaded setting in a bucket."""

    enable: bool = False
    hostname: str | None = Field(default=None, description="Only the node of this name does it.")
    auto: bool = True
    connect: str | None = Field(default=None, description="A connection of type httpAwsSig4.")
    path: str | None = None
    timeout: Seconds = 30


class OnSettingLoad(Part):
    """`events.onSettingLoad`."""

    backup: Backup = Field(default_factory=Backup)


class Propagation(Part):
    """`events.onPurgeRequest.propagation`: passing a purge on, once."""

    enable: bool = False
    nodelist: list[str] | None = Field(default=None, description="At most 8 addresses, the own one too.")


class OnPurgeRequest(Part):
    """`events.onPurgeRequest`."""

    propagation: Propagation = Field(default_factory=Propagation)


class Events(Part):
    """`env.management.server.events`."""

    on_setting_load: OnSettingLoad = Field(default_factory=OnSettingLoad)
    on_purge_request: OnPurgeRequest = Field(default_factory=OnPurgeRequest)


class Server(Part):
    """`env.management.server`: the node and a central server."""

    enable: bool = False
    connection: list[Connection] | None = None
    features: Features = Field(default_factory=Features)
    events: Events = Field(default_factory=Events)


class ClusterMeta(Part):
    """`env.management.cluster.meta`."""

    enable: bool = False
    base_hosting_port: Port = Field(default=9000, description="First port of the hostings in a cluster.")


class GroupBalance(Part):
    """What a member group may say of balancing: the mode."""

    mode: Literal["rr", "hash"] | None = None


class Group(Part):
    """A member group: the nodes that serve certain functions."""

    functions: list[str] | None = Field(default=None, description='Names; `["all"]` is any, null is none.')
    nodes: list[str]
    balance: GroupBalance = Field(default_factory=GroupBalance)


class Discover(Part):
    """`env.management.cluster.discover`: who the members are."""

    port: Port = 9900
    members: list[Any] | None = Field(
        default=None, description="null looks by broadcast; otherwise addresses, or groups of them."
    )


class Balance(Part):
    """`env.management.cluster.balance`: who serves a request."""

    mode: Literal["rr", "hash"] = "rr"
    lua_path: str | None = None
    url_ignore_list: list[str] = Field(default_factory=lambda: ["#FUNCTION"])


class Stats(Part):
    """`env.management.cluster.stats`."""

    enable: bool = True
    listen: str = "127.0.0.1:10038"


class Cluster(Part):
    """`env.management.cluster`."""

    meta: ClusterMeta = Field(default_factory=ClusterMeta)
    discover: Discover = Field(default_factory=Discover)
    balance: Balance = Field(default_factory=Balance)
    stats: Stats = Field(default_factory=Stats)


class Management(Part):
    """`env.management`."""

    api: Api = Field(default_factory=Api)
    roles: list[Role] | None = None
    server: Server = Field(default_factory=Server)
    cluster: Cluster = Field(default_factory=Cluster)


class Env(Part):
    """`env`."""

    management: Management = Field(default_factory=Management)


class Hosting(Part):
    """One virtual host; only what a change of it can destroy is looked at."""

    name: str = Field(min_length=1)
    enable: bool = True


class SettingFile(Part):
    """A whole `setting.json`."""

    meta: Meta = Field(default_factory=Meta)
    env: Env = Field(default_factory=Env)
    hosting: list[Hosting] | None = None
