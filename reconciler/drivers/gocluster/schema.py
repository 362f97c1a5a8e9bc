"""The fleet file's entry of a Go cluster."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.command_reference import CommandReference, EntryName, RestartReference
from reconciler.core.endpoint import InvalidAddress, check_single_machine, parse_api, parse_endpoint
from reconciler.core.entries import Name, NodeEntry
from reconciler.core.fields import Flag, StrictModel, Whole
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.drivers.gocluster.go_duration import GoDuration, parse_go_duration

_ADDR: Final = r"^(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_][0-9A-Za-z._\-]*):[0-9]{1,5}$"
_API: Final = r"^https?://(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_][0-9A-Za-z._\-]*)(?::[0-9]{1,5})?/?$"
_PATH: Final = r"^[^/\\~][^\\]*$"


def _check_addr(text: str) -> str:
    why = "" if re.fullmatch(_ADDR, text) else "is not HOST:PORT"
    try:
        check_single_machine(parse_endpoint(text))
    except InvalidAddress as error:
        why = why or error.message
    if why:
        raise PydanticCustomError("go_address", "the address {why}; write HOST:PORT", {"why": why})
    return text


def _check_api(text: str) -> str:
    why = "" if re.fullmatch(_API, text) else "is not a host with a port"
    try:
        check_single_machine(parse_api(text))
    except InvalidAddress as error:
        why = why or error.message
    if why:
        raise PydanticCustomError("go_api", "the address {why}; write http(s)://HOST:PORT", {"why": why})
    return text


NodeAddress = Annotated[
    str, AfterValidator(_check_addr), Field(max_length=300, json_schema_extra={"pattern": _ADDR})
]
ApiUrl = Annotated[
    str, AfterValidator(_check_api), Field(max_length=300, json_schema_extra={"pattern": _API})
]


class GoClusterNode(OverlaidNode):
    """One node: a manager of the library in a process."""

    name: Name = Field(
        description="Name of its manager, by which the other nodes and the API know it.", examples=["node1"]
    )
    addr: NodeAddress = Field(
        description="Where it listens for the other nodes. This program never connects to it: whoever joins "
        "counts for the quorum.",
        examples=["192.0.2.1:9654"],
    )
    api: ApiUrl | None = Field(
        default=None,
        description="Where the application serves the library's HTTP API; needed with `observe: true`.",
        examples=["http://192.0.2.1:8080"],
    )

    def endpoint(self) -> str:
        """Where its API answers, else where it listens."""
        try:
            return str(parse_api(self.api)) if self.api else self.addr
        except InvalidAddress:
            return self.addr


class GoSettings(StrictModel):
    """The library's `Settings`: durations in the notation of Go, such as `500ms` or `1.5h`."""

    ping_interval: GoDuration = Field(
        default="5s", description="`PingInterval`: how often a node pings each other node."
    )
    join_delay: GoDuration = Field(
        default="500ms", description="`JoinDelay`: after which time a connected node counts as Online."
    )
    read_timeout: GoDuration = Field(
        default="11s", description="`ReadTimeout`: after which silence a node is dropped."
    )
    connect_interval: GoDuration = Field(
        default="2s", description="`ConnectInterval`: how often a node tries to reach lost nodes."
    )
    connect_timeout: GoDuration = Field(
        default="10s", description="`ConnectTimeout`: how long one such try may take."
    )

    @model_validator(mode="after")
    def _check_order(self) -> GoSettings:
        # The library's documents say "shorter than ping timeout", and no setting has that name.
        ping, read = parse_go_duration(self.ping_interval), parse_go_duration(self.read_timeout)
        if not parse_go_duration(self.join_delay) < ping < read:
            raise ValueError("join_delay must be shorter than ping_interval, and that than read_timeout")
        return self

    @property
    def rejoin_seconds(self) -> float:
        """The longest time until a started node is Online everywhere, by these settings."""
        waits = (self.connect_interval, self.join_delay, self.connect_timeout)
        return sum(map(parse_go_duration, waits)) / 1e9


class ConfigDelivery(StrictModel):
    """The application's configuration file: its template, and to which file of a node it is delivered."""

    template: Annotated[str, Field(min_length=1, max_length=1000, pattern=_PATH)] = Field(
        description="Path of the template, relative to the fleet file. `{{NAME}}` is replaced by a value as "
        "JSON, `{{text NAME}}` by the value as it is; nothing in a template is run.",
        examples=["app.json.tmpl"],
    )
    file: EntryName = Field(
        description="Name of the node's file under `files` of the host configuration.",
        examples=["app-config"],
    )
    values: Annotated[str, Field(max_length=1000, pattern=r"\.(?:json|ya?ml)$")] | None = Field(
        default=None,
        description="Path of a JSON or YAML object, relative to the fleet file, whose members are the "
        "placeholders `values.KEY`. Secrets are references in it. `overlays` change it for groups and nodes.",
        examples=["app-values.yaml"],
    )


class GoCluster(OverlaidCluster):
    """Nodes of one application that embeds the Go `cluster` package."""

    kind: Literal["gocluster"] = Field(description="The product that its nodes run.")
    nodes: tuple[GoClusterNode, ...] = Field(
        min_length=1, max_length=500, description="The members; each node's peers are all others."
    )
    config: ConfigDelivery = Field(description="The application's configuration file.")
    observe: Flag = Field(
        default=False,
        description="Read each node's HTTP API, once a pass. Each such call leaves a read lock in the "
        "library, which later freezes its AddNode, RemoveNode and UpdateSettings: so it is opt-in. Without "
        "it only files are compared, and no step restarts a node, since no quorum can be seen.",
    )
    restart: RestartReference | None = Field(
        default=None,
        description="The host's command that restarts a node, so that it uses its changed file. Nodes are "
        "restarted one at a time, while every node keeps its quorum. Without it only files are delivered.",
        examples=[{"command": "restart-app", "started": {"command": "app-started"}}],
    )
    start: CommandReference | None = Field(
        default=None,
        description="The host's command that starts a node that does not run: a new one, or all of them "
        "after a change of the secret or of TLS.",
        examples=[{"command": "start-app"}],
    )
    stop: CommandReference | None = Field(
        default=None,
        description="The host's command that stops a node: one that leaves, or all of them for a change of "
        "the secret or of TLS.",
        examples=[{"command": "stop-app"}],
    )
    settings: GoSettings = Field(default_factory=GoSettings, description="The library's settings.")
    tls: Flag = Field(
        default=False,
        description="Whether nodes use `ListenAndServeTLS`. A change is made on all nodes at once.",
    )
    api_enabled: Flag = Field(default=True, description="The library's `APIEnabled`.")
    api_token_duration: GoDuration = Field(default="1h", description="The library's `APITokenDuration`.")
    channel_buffer_size: Annotated[Whole, Field(ge=1, le=1_000_000)] = Field(
        default=100, description="The library's `ChannelBufferSize`."
    )
    log_traffic: Flag = Field(default=False, description="The library's `LogTraffic`.")
    max_lag: GoDuration = Field(
        default="5s", description="A larger lag that a node shows of another one is a finding."
    )

    def get_setting_path(self, node: NodeEntry) -> str:  # noqa: ARG002  (one file for all nodes)
        """The file of values; empty if there is none."""
        return self.config.values or ""

    def list_resource_patterns(self) -> tuple[str, ...]:
        """The template."""
        return (self.config.template,)

    def node(self, name: str) -> GoClusterNode | None:
        """The entry of one node; None where the file does not name it."""
        return next((node for node in self.nodes if node.name == name), None)

    @model_validator(mode="after")
    def _check_nodes(self) -> GoCluster:
        places: dict[Any, str] = {}
        for node in self.nodes:
            place = parse_endpoint(node.addr).place
            if place in places:
                raise ValueError(f"{places[place]} and {node.name} have the same addr {node.addr}")
            places[place] = node.name
        return self

    @model_validator(mode="after")
    def _check_observed(self) -> GoCluster:
        without = [node.name for node in self.nodes if node.api is None]
        if self.observe and without:
            raise ValueError(f"`observe: true` needs the `api` of every node; {without[0]} has none")
        return self

    @model_validator(mode="after")
    def _check_overlays(self) -> GoCluster:
        overlays = (self.overlays, *(group.overlays for group in self.groups))
        if self.config.values is None and any((*overlays, *(node.overlays for node in self.nodes))):
            raise ValueError("overlays change the file of values, so they need `config.values`")
        return self
