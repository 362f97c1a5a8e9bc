"""The entries of clusters and nodes in the fleet file; each product extends these models."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from reconciler.core.change_windows import Freeze, Hold, Suspend, Window
from reconciler.core.cloud_expressions import EXPRESSION
from reconciler.core.endpoint import DEFAULT_PORTS, InvalidAddress, format_url_host, parse_endpoint
from reconciler.core.fields import IPV4, IPV6, Number, SomeTime, StrictModel, Whole
from reconciler.core.firestore_paths import COLLECTION_FORM, LONGEST, find_path_problem, is_collection
from reconciler.core.host_entries import EntryKind, NamedEntry, NamesEntry
from reconciler.core.plan import IN_FLIGHT
from reconciler.core.rollout_rules import Rollout

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z][0-9A-Za-z._@\-]*$")]
Via = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"), NamesEntry(EntryKind.SSH)]
Authority = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"), NamesEntry(EntryKind.AUTHORITIES)
]
Labels = dict[
    Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9._\-]*$")],
    Annotated[str, Field(max_length=253, pattern=r"^[0-9A-Za-z][0-9A-Za-z._@\-]*$")],
]
"""Words for people and for `--only LABEL=VALUE`; they change nothing of a node."""

Seconds = Annotated[Number, Field(gt=0, le=86_400)]


def _normalise_address(text: str) -> str:
    try:
        # A zone id, as in fe80::1%eth0, names an interface of one machine: the blank makes it invalid.
        return str(ip_address(text.replace("%", " ")))
    except ValueError:
        raise ValueError("not an IP address, such as 192.0.2.7 or 2001:db8::7") from None


Address = Annotated[
    str, AfterValidator(_normalise_address), Field(json_schema_extra={"pattern": f"^(?:{IPV4}|{IPV6})$"})
]
"""One IP address, in its one canonical form."""


def _check_server_url(text: str) -> str:
    try:
        place = parse_endpoint(text)
    except InvalidAddress as error:
        raise ValueError(f"it {error.message}; write https://HOST:PORT") from error
    # A zone names an interface of one machine, and nodes are others.
    if "://" not in text or text.endswith("/") or "%" in text:
        raise ValueError("it is not of the form https://HOST:PORT, without a slash at the end")
    # In one form: the URLs in settings are compared with it.
    port = f":{place.port}" if place.port and place.port != DEFAULT_PORTS[place.scheme] else ""
    return f"{place.scheme}://{format_url_host(place.host)}{port}"


ServerUrl = Annotated[
    str,
    Field(max_length=300),
    AfterValidator(_check_server_url),
    Field(
        json_schema_extra={"pattern": r"^https?://(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$"}
    ),
]
"""Where nodes reach this program, in its one normal form."""


HOW: Final = frozenset(
    {
        *("name", "renamed_from", "concurrency", "timeouts", "rollout", "windows", "freeze", "suspend"),
        *("policy", "after", "drain", "drift", "hold", "via", "authority", "node_id"),
    }
)
"""Keys of clusters and nodes that say how and when they are changed or reached, and not to what."""


class NodeEntry(StrictModel):
    """One node of a cluster."""

    name: Name = Field(description="The node's name, unique in the fleet.", examples=["edge-01"])
    domain: str = Field(
        default="",
        description="Failure domain: the rack, site or zone that fails as one.",
        examples=["rack-3"],
    )
    via: Via | None = Field(
        default=None,
        description="Entry of `ssh` of the host configuration: calls to the node go through that machine.",
        examples=["bastion"],
    )
    labels: Labels = Field(
        default_factory=dict,
        description="Labels of the node, for `--only LABEL=VALUE` and `--skip`; before those of the cluster.",
        examples=[{"site": "seoul"}],
    )
    hold: Hold | None = Field(
        default=None,
        description="Nothing is sent to the node until then, and it counts as away; as by `reconcile hold`.",
    )
    authority: Authority | None = Field(
        default=None,
        description="Entry of `authorities` of the host configuration, which signs the node's certificate.",
        examples=["office"],
    )

    one_time_confirmations: ClassVar[tuple[str, ...]] = ()
    """Keys of confirmations, which count once; one that is removed and later added again counts again."""

    def endpoint(self) -> str:
        """Where the node is reached, to find one node under two names; empty if unknown."""
        return ""


class InventoryItem(StrictModel):
    """An item of `nodes` that stands for the instances of a cloud; it may have the other keys of a node."""

    inventory: Annotated[str, Field(pattern=rf"^(?:{EXPRESSION}|#{EXPRESSION}(?:#(?::[0-9]{{1,5}})?)?)$")] = (
        Field(
            description="A cloud expression: each instance with the tag is a node, named by the id of the "
            "instance, at its private address. `#…#:PORT` appends a port.",
            examples=["aws:vm:tag=m2-edge", "#oci:vm:tag=type=parent;type=child;#:10040"],
        )
    )
    account: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")] | None = Field(
        default=None,
        description="Entry of `aws` or `oci` of the host configuration that is asked. Default: the only one "
        "that allows it.",
        examples=["prod-seoul"],
    )


class Timeouts(StrictModel):
    """How long to wait, in seconds."""

    connect: Seconds = Field(default=3, validate_default=True, description="For a connection to a node.")
    read: Seconds = Field(default=10, validate_default=True, description="For one complete answer of a node.")
    settle: Seconds = Field(
        default=30, validate_default=True, description="Until a change is visible in the node's answers."
    )
    in_flight: Seconds = Field(
        default=IN_FLIGHT,
        validate_default=True,
        description="For which a call without an answer may still take effect; nothing is sent to the node "
        "in this time.",
    )


class Reporting(StrictModel):
    """How the nodes of a cluster report to this program's central server."""

    server: ServerUrl = Field(
        description="`https://HOST:PORT` at which the nodes reach the watch, which is also behind a proxy "
        "the address that they call.",
        examples=["https://reconciler.example.com:9443"],
    )
    every: SomeTime = Field(
        default=15, description="Time between two heartbeats of a node.", examples=["15s", "1m"]
    )
    stale: Annotated[Whole, Field(ge=2, le=1000)] = Field(
        default=4, description="Heartbeats that a node may miss before it counts as silent."
    )

    @property
    def fresh_seconds(self) -> float:
        """How old the last call of a node may be for what it sent to count."""
        return self.every * self.stale


class Polling(Reporting):
    """How the nodes of a cluster poll this program's central server; they report to it, too."""

    every: SomeTime = Field(
        default=15, description="Time between two polls of a node.", examples=["15s", "1m"]
    )
    stale: Annotated[Whole, Field(ge=2, le=1000)] = Field(
        default=4, description="Polls that a node may miss before what it sent counts as out of date."
    )
    overdue: Annotated[Whole, Field(ge=2, le=100_000)] = Field(
        default=20, description="Polls after which an offer that shows no effect is overdue."
    )

    @property
    def overdue_seconds(self) -> float:
        """After which time an offer that shows no effect is overdue."""
        return self.every * self.overdue


class ClusterEntry(StrictModel):
    """One cluster of the fleet file; `kind` decides which product's model reads it."""

    fleet_defaults: ClassVar[frozenset[str]] = frozenset()
    """Keys of the fleet file's top level whose value counts for clusters without their own.

    Named by each product, because a key of the same name may mean something else: `version` of a Sora cluster
    is the version of the product.
    """

    single_nodes: ClassVar[tuple[str, ...]] = ()
    """Keys that hold one node each, beside the list `nodes`, such as that of a load balancer."""

    takes_inventory: ClassVar[bool] = False
    """Whether nodes may come from an inventory: only where no node depends on which others there are."""

    name: Name = Field(description="The cluster's name, unique in the fleet.", examples=["edge-seoul"])
    kind: str = Field(description="The product of its nodes.", examples=["m2", "sora"])
    renamed_from: Name | None = Field(
        default=None, description="The former `name` of the cluster: its history on the hosts is kept."
    )
    labels: Labels = Field(
        default_factory=dict,
        description="Labels of all its nodes, for `--only LABEL=VALUE` and `--skip`.",
        examples=[{"site": "seoul"}],
    )
    after: tuple[Name, ...] = Field(
        default=(),
        description="Clusters that have to be as desired, with gates passed, before this one is changed.",
        examples=[["edge-seoul"]],
    )
    concurrency: Whole = Field(
        default=5, ge=1, le=1000, description="How many nodes of the cluster may be changed at the same time."
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long to wait.")
    via: Via | None = Field(
        default=None,
        description="Entry of `ssh` of the host configuration: calls to the nodes go through that machine; "
        "their names resolve there. A node's own `via` takes precedence.",
        examples=["bastion"],
    )
    authority: Authority | None = Field(
        default=None,
        description="Entry of `authorities` of the host configuration: over https, only certificates that it "
        "has signed are accepted of the nodes. A node's own `authority` takes precedence.",
        examples=["office"],
    )
    rollout: Rollout | None = Field(
        default=None,
        description="Waves and their gates; keys that are missing here come from the fleet's `rollout`.",
    )
    windows: tuple[Window, ...] | None = Field(
        default=None, description="When changes may be made; replaces the fleet's windows."
    )
    freeze: tuple[Freeze, ...] = Field(
        default=(), description="When nothing is changed, in addition to the fleet's freezes."
    )
    suspend: Suspend | None = Field(default=None, description="Nothing in this cluster is changed.")
    drift: Literal["undo", "report"] | None = Field(
        default=None,
        description="What a run does about nodes that were changed behind its back: `undo` it, or only "
        "`report` it. A commit that changes what a node gets is applied in both cases, as a whole. Default: "
        "that of the fleet.",
    )

    @property
    def ways(self) -> dict[str, str]:
        """Node -> entry of `ssh` through which it is called; empty for none."""
        return {node.name: node.via or self.via or "" for node in self.members()}

    @property
    def is_routed(self) -> bool:
        """Whether a node of it is called through a machine, or has an authority of its own."""
        own = bool(self.via or self.authority)
        return own or any(node.via or node.authority for node in self.members())

    @property
    def authorities(self) -> dict[str, str]:
        """Node -> entry of `authorities` that signs its certificate; only nodes with one."""
        found = {node.name: node.authority or self.authority for node in self.members()}
        return {name: authority for name, authority in found.items() if authority}

    @property
    def polling(self) -> Polling | None:
        """How its nodes poll; None if this program calls them."""
        return None

    @property
    def reporting(self) -> Reporting | None:
        """How its nodes report to this program, also if they poll; None if they do not."""
        return self.polling

    def plain_content(self) -> dict[str, Any]:
        """What the entry says of the nodes' content, as plain JSON: without its name and `HOW`."""
        of_nodes = {"__all__": set(HOW - {"name"})}
        return self.model_dump(mode="json", exclude={**dict.fromkeys(HOW, True), "nodes": of_nodes})

    def members(self) -> tuple[NodeEntry, ...]:
        """The cluster's nodes, those of `nodes` in the file's order before those of `single_nodes`."""
        nodes: Any = getattr(self, "nodes", ())
        others = (getattr(self, key) for key in self.single_nodes)
        return (*nodes, *(node for node in others if node is not None))

    def get_setting_path(self, node: NodeEntry) -> str:  # noqa: ARG002  (the contract's parameter)
        """Path of the node's settings file, relative to the fleet file; empty for none."""
        return ""

    def list_resource_patterns(self) -> tuple[str, ...]:
        """Paths or glob patterns of files to deliver with the settings, relative to the fleet file."""
        return ()


SinkType = Literal["http", "kafka", "firestore"]
"""The kinds of feedback sinks."""

_SINK_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "http": ("url",),
    "kafka": ("connect", "topic"),
    "firestore": ("connect", "collection"),
}
"""Kind of a sink -> the keys that it needs; those of other kinds are refused."""

_SINK_ENTRIES: Final = {"kafka": EntryKind.KAFKA, "firestore": EntryKind.FIRESTORE}
"""Kind of a sink -> the part of the host configuration that `connect` names."""


def _check_collection(path: str) -> str:
    problem = find_path_problem(path)
    # A document would be overwritten by each message, so that a listener could miss some.
    if not problem and not is_collection(path):
        problem = "is that of a document: a collection has an odd number of segments"
    if problem:
        remedy = "write the path of a collection, such as `fleets/edge/events`"
        raise PydanticCustomError(
            "collection_path", "the path {problem}", {"problem": problem, "remedy": remedy}
        )
    return path


Topic = Annotated[
    str,
    Field(pattern=r"^(?:[A-Za-z0-9_\-]|\.{1,2}[A-Za-z0-9_\-]|\.{3})[A-Za-z0-9._\-]{0,246}$", max_length=249),
]
"""The name of a Kafka topic; `.` and `..` are none."""

Collection = Annotated[
    str,
    AfterValidator(_check_collection),
    WithJsonSchema({"type": "string", "pattern": COLLECTION_FORM, "maxLength": LONGEST}),
]
"""The path of a Firestore collection."""


def _make_sink_conditions() -> list[dict[str, Any]]:
    """The keys of each kind of sink, as conditions of the JSON Schema."""
    every = {key for keys in _SINK_KEYS.values() for key in keys}
    return [
        {
            "if": {
                "properties": {"type": {"const": kind}},
                **({} if kind == "http" else {"required": ["type"]}),
            },
            "then": {
                "required": list(keys),
                "properties": {
                    **{key: {"type": "string"} for key in keys},
                    **{key: {"type": "null"} for key in sorted(every - set(keys))},
                },
            },
        }
        for kind, keys in _SINK_KEYS.items()
    ]


class FeedbackEntry(StrictModel):
    """Where messages about changes are sent."""

    model_config = ConfigDict(json_schema_extra={"allOf": _make_sink_conditions()})  # type: ignore[dict-item]

    type: SinkType = Field(
        default="http",
        description="Kind of the sink: `http` for an API, `kafka` or `firestore`.",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Each message is sent here as JSON by POST. For `http`.",
    )
    connect: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")] | None = Field(
        default=None,
        description="Entry of the host configuration with its address and login. Not for `http`.",
        examples=["m2live"],
    )
    topic: Topic | None = Field(
        default=None,
        description="Each message is sent to this topic. For `kafka`.",
        examples=["reconciler.changes"],
    )
    collection: Collection | None = Field(
        default=None,
        description="Each message is added to this collection as a document. For `firestore`.",
        examples=["fleets/edge/events"],
    )
    timeout: Seconds = Field(default=5, description="Seconds for one delivery.")

    @model_validator(mode="after")
    def _check_keys(self) -> FeedbackEntry:
        """Require the keys of the sink's kind, and refuse those of others: they would have no effect."""
        given = {key for keys in _SINK_KEYS.values() for key in keys if getattr(self, key) is not None}
        wanted = _SINK_KEYS[self.type]
        wrong = [InitErrorDetails(type="missing", loc=(key,), input={}) for key in wanted if key not in given]
        for key in sorted(given - set(wanted)):
            kinds = " or ".join(f"`type: {kind}`" for kind, keys in _SINK_KEYS.items() if key in keys)
            error = PydanticCustomError(
                "other_sink",
                "it belongs to {kinds}, and this sink is `type: {own}`",
                {"kinds": kinds, "own": self.type, "remedy": f"remove it, or write {kinds}"},
            )
            wrong.append(InitErrorDetails(type=error, loc=(key,), input=getattr(self, key)))
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    @property
    def channel(self) -> str:
        """The topic or collection; empty for HTTP."""
        return self.topic or self.collection or ""

    @property
    def named_entry(self) -> NamedEntry | None:
        """The entry of the host configuration that it names; None for HTTP."""
        kind = _SINK_ENTRIES.get(self.type)
        return NamedEntry(kind, self.connect, "/feedback/connect") if kind and self.connect else None
