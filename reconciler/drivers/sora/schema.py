"""The fleet file's entry of a Sora cluster, and the answers of Sora nodes."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from reconciler.core.canonical import fingerprint
from reconciler.core.command_reference import (
    CommandReference,
    EntryName,
    RestartReference,
)
from reconciler.core.endpoint import InvalidAddress, parse_api
from reconciler.core.entries import NodeEntry
from reconciler.core.fields import Day, Flag, Number, StrictModel, Whole
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.secret import Secret
from reconciler.documents.key_values import Scalar
from reconciler.documents.model_errors import describe_first_error
from reconciler.drivers.sora.history import ClusterPast
from reconciler.text.one_line import make_one_line

NODE_NAME: Final = re.compile(r"^[0-9A-Za-z_\-]+@[0-9A-Za-z][0-9A-Za-z\-]*(\.[0-9A-Za-z\-]+)*$")
API_URL: Final = re.compile(r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$")

_LOST: Final = re.compile(r"MAJORITY|QUORUM|MINORITY|AVAILABLE|LEADER|PURGED|COLLAPSE|SPLIT|PARTITION")
"""Words in the code of a refusal that show that the node is, or was, in a cluster."""

ModeName: TypeAlias = Literal["normal", "block_new_session", "block_new_connection"]


def _check_node_name(text: str) -> str:
    if NODE_NAME.fullmatch(text):
        return text
    raise PydanticCustomError(
        "sora-node-name",
        "a node name is letters, digits, - or _, then @, then a domain name or an IP address",
    )


def _check_api_url(text: str) -> str:
    if not API_URL.fullmatch(text):
        raise PydanticCustomError("sora-api-url", "it must be `http(s)://HOST:PORT/`, without user or query")
    return text if text.count("/") > 2 else f"{text}/"  # noqa: PLR2004  (a path follows the two of ://)


SoraName = Annotated[
    str,
    AfterValidator(_check_node_name),
    Field(max_length=253, json_schema_extra={"pattern": NODE_NAME.pattern}),
]
ApiUrl = Annotated[
    str,
    AfterValidator(_check_api_url),
    Field(max_length=2000, json_schema_extra={"pattern": API_URL.pattern}),
]


class SoraNode(OverlaidNode):
    """One node of a Sora cluster."""

    name: SoraName = Field(
        description="`node_name` of the node's sora.conf, unique in the fleet.",
        examples=["node-01@192.0.2.5"],
    )
    api: ApiUrl = Field(
        description="Where the node's API answers this host.", examples=["http://192.0.2.5:3000/"]
    )
    temporary: Flag = Field(
        default=False,
        description="`cluster_temporary_node` of its sora.conf: it never counts for the majority, and "
        "leaves the cluster when it is stopped.",
    )
    mode: ModeName | None = Field(
        default=None, description="What the node accepts; without it the mode is not changed."
    )
    stop: CommandReference | None = Field(
        default=None, description="Stops this node; see the cluster's `stop`."
    )

    def endpoint(self) -> str:
        """Where its API is reached, with the port written out."""
        try:
            return str(parse_api(self.api))
        except InvalidAddress:
            return self.api


class Collapsed(StrictModel):
    """An operator's statement that the cluster has collapsed and may be initialised again."""

    reason: str = Field(min_length=1, max_length=1000, description="The reason, for later readers.")
    until: Day = Field(description="The last day (UTC) on which this entry counts.", examples=["2026-12-01"])


class Stopped(StrictModel):
    """An operator's statement that a node is stopped, where the program cannot find out."""

    node: SoraName = Field(
        description="`node_name` of a node that the fleet file no longer names.",
        examples=["node-05@192.0.2.25"],
    )
    reason: str = Field(min_length=1, max_length=1000, description="How that is known, for later readers.")
    until: Day = Field(description="The last day (UTC) on which this entry counts.", examples=["2026-12-01"])


def make_confirmation_key(entry: Collapsed | Stopped | None) -> str:
    """The text by which the store remembers that an entry was used; empty for no entry."""
    return f"{entry.until}: {entry.reason}" if entry is not None else ""


class ConfDelivery(StrictModel):
    """The sora.conf of the nodes: where it is committed, and to which file of a node it is delivered."""

    source: Annotated[str, Field(min_length=1, pattern=r"\.conf$")] = Field(
        description="Path of the committed file, relative to the fleet file; `overlays` change it for groups "
        "and nodes.",
        examples=["sora.conf"],
    )
    file: EntryName = Field(
        description="Name of the node's file under `files` of the host configuration.", examples=["sora-conf"]
    )
    own: Literal["keys", "file"] = Field(
        default="keys",
        description="`keys`: the committed keys are kept as committed, and other lines of the node's file "
        "stay as they are. `file`: the whole file is kept as committed.",
    )


Version: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.+\-]{0,63}$")]
"""A version as nodes show it; it becomes one argument of a host command, and never an option."""


class SoraCluster(OverlaidCluster):
    """A Sora cluster."""

    kind: Literal["sora"] = Field(description="The product that its nodes run.")
    conf: ConfDelivery | None = Field(
        default=None, description="The sora.conf of its nodes. Without it, files of nodes are not managed."
    )
    restart: RestartReference | None = Field(
        default=None,
        description="The host's command that restarts a node, so that it uses its changed sora.conf. "
        "Nodes are restarted one by one. Without it the plan waits for an operator.",
        examples=[{"command": "restart-sora", "started": {"command": "sora-started"}}],
    )
    nodes: tuple[SoraNode, ...] = Field(min_length=1, description="The nodes, regular and temporary.")
    stop: CommandReference | None = Field(
        default=None,
        description="The host's command that stops a node. Without it the plan waits for an operator.",
        examples=[{"command": "stop-sora"}],
    )
    version: Version | None = Field(
        default=None,
        description="The version of Sora that all nodes are to have, as ListClusterNodes shows it. Without "
        "it, versions are only compared with each other.",
        examples=["2024.2.0"],
    )
    upgrade: CommandReference | None = Field(
        default=None,
        description="The host's command that installs `version` on a stopped node; the program fills its "
        "placeholder `{version}`. It may run again after an interruption. With it, nodes of another version "
        "are drained, stopped, upgraded and started, one by one. Needs `stop` and `start`.",
        examples=[{"command": "upgrade-sora"}],
    )
    start: CommandReference | None = Field(
        default=None,
        description="The host's command that starts a node. Only nodes that this program has stopped are "
        "started: for an upgrade, or by a restart after which they did not come back.",
        examples=[{"command": "start-sora"}],
    )
    drain: Number = Field(
        default=600,
        ge=0,
        le=86_400,
        description="Seconds for the channels of a node to move away before it is stopped; 0 = do not wait.",
    )
    connections: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="Connections that the cluster needs at peak. A node is stopped only if "
        "the other licences, after one more failure, still allow that many.",
        examples=[300],
    )
    initialise: Flag = Field(
        default=False,
        description="Write `true` if this cluster never existed; without it the cluster is not initialised. "
        "It may stay: it does not affect a live cluster, and is not enough once a node was known in it.",
    )
    collapsed: Collapsed | None = Field(
        default=None,
        description="States that the cluster has collapsed and may be initialised again, once.",
    )
    stopped: tuple[Stopped, ...] = Field(
        default=(),
        max_length=100,
        description="Nodes that an operator confirms as permanently stopped, each for one purge. Needed only "
        "if no API address of the node is known, or if what answers there is in no cluster.",
    )

    @model_validator(mode="after")
    def _check_overlays(self) -> SoraCluster:
        overlays = (self.overlays, *(group.overlays for group in self.groups))
        if self.conf is None and any((*overlays, *(node.overlays for node in self.nodes))):
            raise ValueError("overlays change the committed sora.conf, so they need `conf`")
        return self

    @model_validator(mode="after")
    def _check_upgrade(self) -> SoraCluster:
        if self.upgrade is None:
            return self
        has_stop = self.stop is not None or all(node.stop is not None for node in self.nodes)
        given = {"version": self.version is not None, "start": self.start is not None, "stop": has_stop}
        missing = [f"`{key}`" for key, is_given in given.items() if not is_given]
        if missing:
            raise ValueError(f"`upgrade` needs {', '.join(missing)}")
        return self

    def get_setting_path(self, node: NodeEntry) -> str:  # noqa: ARG002  (one file for all nodes)
        """The committed sora.conf; empty if the cluster has none."""
        return self.conf.source if self.conf is not None else ""

    @property
    def regular(self) -> tuple[str, ...]:
        """Names of the regular nodes, sorted."""
        return tuple(sorted(node.name for node in self.nodes if not node.temporary))

    @property
    def temporary(self) -> tuple[str, ...]:
        """Names of the temporary nodes, sorted."""
        return tuple(sorted(node.name for node in self.nodes if node.temporary))

    def node(self, name: str) -> SoraNode | None:
        """The entry of one node; None where the file does not name it."""
        return next((node for node in self.nodes if node.name == name), None)


@dataclass(frozen=True, slots=True)
class ConfTarget:
    """The sora.conf that a node is to have.

    Args:
        values: key -> value, a `Secret` where the file refers to one; also those that the fleet file decides.
        base: text of the committed file where the whole file is ours; None where only the keys are.
        derived: the keys that the fleet file decides, and that are not committed.
    """

    values: Mapping[str, Scalar | Secret] = field(repr=False)
    base: str | None = field(default=None, repr=False)
    derived: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SoraDesired:
    """The desired state of one Sora cluster.

    Args:
        recalled: node name -> what the store remembers: the `mode` that a run set last, the mode
            that it `drained` the node from, the day on
            which one `initialised` the cluster, and the `collapsed` entry by which it did so anew. Further
            facts are named where they are used: `conf_delivery`, `restarts`, `upgrades`.
        history: who was in the cluster before.
        source: where the fleet file was read, by which facts of its nodes are kept apart.
        confs: node -> the sora.conf that it is to have; empty where files are not managed.
    """

    entry: SoraCluster
    recalled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    history: ClusterPast = field(default_factory=ClusterPast)
    source: str = ""
    confs: Mapping[str, ConfTarget] = field(default_factory=dict)

    def is_regular(self, node: str) -> bool:
        """Whether a fleet file, this one or an earlier one, names the node as a regular one."""
        named = self.entry.node(node)
        if named is not None:
            return not named.temporary
        return node in self.history.nodes and self.history.nodes[node].regular

    def word(self, node: str) -> Stopped | None:
        """The unused `stopped` entry of a node; the caller checks its last day."""
        words = [one for one in self.entry.stopped if one.node == node]
        # An entry counts once: left in the file, it would confirm the stop of a node that has returned since.
        spent = self.recalled.get(node, {}).get("stopped", "")
        return next((one for one in words if make_confirmation_key(one) != spent), None)


_MOST: Final = 10**12

LONGEST_ERROR: Final = 500
"""Characters of a node's own words in a list."""


def _bound_text(text: str) -> str:
    """The text on one line, cut; a text that is there stays one, for an `error` counts by being there."""
    return make_one_line(text, LONGEST_ERROR) or ("(nothing that can be seen)" if text else "")


BoundedText = Annotated[str, AfterValidator(_bound_text)]
"""Text of a node that is shown to people, and may be of any length."""


class NodeRow(BaseModel):
    """One line of ListClusterNodes; what is away, or could not be fetched, has no URL, version and mode.

    Every text is bounded: names, addresses and modes that are longer make the list of that node unreadable.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    node_name: str = Field(max_length=253, pattern=r"^[!-~]+$")
    connected: bool
    temporary: bool | None = Field(default=None, validation_alias="temporary_node")
    api: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^[^\p{C}\p{Z}]*$",
        validation_alias=AliasChoices("external_api_url", "api_url"),
    )
    signaling: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^[^\p{C}\p{Z}]*$",
        validation_alias="external_signaling_url",
    )
    mode: str | None = Field(default=None, pattern=r"^[!-~]{1,64}$")
    version: BoundedText | None = None
    error: BoundedText | None = None
    license_max_connections: int | None = Field(default=None, ge=-_MOST, le=_MOST)
    # Told to people, and no part of the fingerprint by which plan files know a row.
    license_max_nodes: int | None = Field(default=None, ge=-_MOST, le=_MOST, exclude=True)
    license_serial_code: BoundedText | None = Field(default=None, exclude=True)
    license_type: BoundedText | None = Field(default=None, exclude=True)

    @property
    def fingerprint(self) -> str:
        """What a plan file knows the row by: of an error that it is there, as its words may quote secrets."""
        return fingerprint({**self.model_dump(mode="json"), "error": self.error is not None})


class Owner(BaseModel):
    """A node that serves a channel."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    node_name: str = Field(max_length=253, pattern=r"^[!-~]+$")
    connected: bool = True


class Channel(BaseModel):
    """One line of ListClusterChannels."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    channel_id: BoundedText
    owners: tuple[Owner, ...] = Field(default=(), strict=False)


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node shows: its own ListClusterNodes.

    Args:
        rows: sorted by node name.
        day: the day (UTC) of the answer, for entries that expire; it does not count when views are compared.
        refusal: the code with which it refused to list; there are no rows then.
        clustered: of a node that refused, or that lists only itself, whether its GetStatsReport shows a
            cluster (`cluster` with its raft figures); None where it does not tell.
        channels: how many it owns, where that was asked; it does not count when views are compared.
        connections: how many it has by its statistics, where that was asked and is shown; as `channels`.
    """

    rows: tuple[NodeRow, ...]
    day: date | None = field(default=None, compare=False)
    refusal: str = ""
    clustered: bool | None = None
    channels: int | None = field(default=None, compare=False)
    connections: int | None = field(default=None, compare=False)

    @property
    def holds_cluster(self) -> bool:
        """Whether a refusal to list shows that the node is in a cluster, which has lost its majority.

        Sora's documents name no code for it: any code that mentions a majority counts, and the statistics of
        the node.
        """
        return bool(self.refusal) and (bool(self.clustered) or bool(_LOST.search(self.refusal.upper())))

    @property
    def tells_nothing(self) -> bool:
        """Whether the answer fits a node in no cluster as well as one that is in a cluster."""
        return self.clustered is None and (bool(self.refusal) or len(self.rows) == 1)

    def row(self, name: str) -> NodeRow | None:
        """The line of one node; None where it is not listed."""
        # Rows are sorted: planner and model checker look up each of n nodes in n views.
        place = bisect_left(self.rows, name, key=lambda row: row.node_name)
        found = self.rows[place] if place < len(self.rows) else None
        return found if found is not None and found.node_name == name else None


class UnreadableAnswer(ValueError):
    """An answer is not what the documents describe."""


MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a list that a node answers."""

MOST_ROWS: Final = 50_000
"""Objects in such a list; they are counted before any of them is made."""

_LIMITS: Final = JsonLimits(size=MOST_BYTES, values=1_000_000, depth=20)

# A million items that are no rows would make a million errors, of which one is told.
_ROWS: Final = TypeAdapter(Annotated[list[NodeRow], FailFast()])
_CHANNELS: Final = TypeAdapter(Annotated[list[Channel], FailFast()])


def parse_nodes(body: bytes) -> tuple[NodeRow, ...]:
    """The lines of a ListClusterNodes answer, sorted by name.

    Raises:
        UnreadableAnswer: not a JSON list of nodes, or one node twice.
    """
    rows: list[NodeRow] = _parse_rows(_ROWS, body)
    names = [row.node_name for row in rows]
    if len(set(names)) != len(names):
        raise UnreadableAnswer("it lists a node twice")
    return tuple(sorted(rows, key=lambda row: row.node_name))


def parse_channels(body: bytes) -> tuple[Channel, ...]:
    """The lines of a ListClusterChannels answer.

    Raises:
        UnreadableAnswer: not a JSON list of channels.
    """
    return tuple(_parse_rows(_CHANNELS, body))


def parse_report(body: bytes) -> dict[str, Any] | None:
    """A GetStatsReport as documented, an object with Sora's `version`; None for anything else."""
    try:
        # A report of a node with thousands of connections is large; a hostile one must not fill the memory.
        value = read_json(body, JsonLimits(size=16 * 1024 * 1024, values=1_000_000))
    except JsonError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("version"), str) else None


def _parse_rows(adapter: TypeAdapter[Any], body: bytes) -> Any:
    # Counted before they are validated: objects take many times the memory of their text.
    if body.count(b"{") > MOST_ROWS:
        raise UnreadableAnswer(f"it has more than {MOST_ROWS:,} objects")
    try:
        return adapter.validate_python(read_json(body, _LIMITS))
    except JsonError as error:
        raise UnreadableAnswer(str(error)) from error
    except ValidationError as error:
        raise UnreadableAnswer(describe_first_error(error)) from error
