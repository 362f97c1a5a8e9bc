"""Parts of `setting.json` beside `env.management`: virtual hosts, and what waits for a restart."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from reconciler.drivers.m2.setting.part import SettingPart


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
