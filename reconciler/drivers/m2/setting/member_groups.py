"""`env.management.cluster`: nodes that serve together, and which of them serves what."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from reconciler.drivers.m2.setting import patterns
from reconciler.drivers.m2.setting.part import Port, SettingPart


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
