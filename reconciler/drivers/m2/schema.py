"""M2's part of the fleet file, and the desired and observed state of nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from reconciler.core.arguments import NO_FEEDBACK, StepFeedback
from reconciler.core.command_reference import RestartReference
from reconciler.core.entries import Address, NodeEntry, Polling, Reporting
from reconciler.core.fields import Amount, Flag
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.plan import Payload, Revision
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.policy import Policy
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.patterns import ENDPOINT
from reconciler.secrets.redaction import NO_MASK, RedactionMask, hide_by_key, make_mask
from reconciler.text.json_values import is_object
from reconciler.text.one_line import LONGEST_NAME, make_one_line

if TYPE_CHECKING:
    from reconciler.ports.node_store import NodeTokens

NODE_ID_FORM: Final = r"^[0-9A-Za-z][0-9A-Za-z._\-]{0,127}$"
"""The form of a node's id in M2Live."""


class Deliver(StrEnum):
    """How a setting reaches its nodes."""

    UPLOAD = "upload"
    """It is sent to each node."""

    CHECKOUT = "checkout"
    """Each node checks it out from the git repository that is connected to it."""

    LOCAL = "local"
    """Each node applies the file that is already on its disk."""

    POLL = "poll"
    """Each node polls the central server, and takes it from there."""


class M2Polling(Polling):
    """How the nodes of a cluster poll this program's central server."""

    checkout: Flag = Field(
        default=False,
        description="The offer only asks each node to check out the git repository that is connected to it, "
        "which has its setting with the URLs that `reconcile enroll` writes.",
    )


class M2Node(OverlaidNode):
    """One node of an M2 cluster."""

    # Used up by its first use: later another server may answer at the address, and would get the setting.
    one_time_confirmations = ("first_delivery",)

    address: str = Field(
        default="",
        description="`host`, `host:port` or `[IPv6]:port`, optionally after `http://` or `https://`. "
        "Without a port, `api.port` of its setting is used. With `deliver: poll` it may be left out: then "
        "the node is not called.",
        examples=["192.168.1.11:10040"],
        json_schema_extra={"pattern": rf"^$|{ENDPOINT}"},
    )
    setting: str = Field(default="", description="Settings file of this node, instead of the cluster's.")
    first_delivery: Flag = Field(
        default=False,
        description="Confirms that a new M2 node without a setting is at this address, where its answers "
        "do not show this. Valid for one delivery to this address; remove it afterwards.",
    )

    node_id: str = Field(
        default="",
        description="Id of the node in M2Live, which stands for `#m2live.nodeId` in its setting. Needed by "
        "nodes that are told or report through Firestore by a path with `#m2live.nodeId`: no message of a "
        "node has its id.",
        examples=["m2-5f3a"],
        json_schema_extra={"pattern": rf"^$|{NODE_ID_FORM}"},
    )

    @field_validator("node_id")
    @classmethod
    def _check_node_id(cls, text: str) -> str:
        """Require one segment of a path: the id decides which documents this program writes."""
        if text and not re.fullmatch(NODE_ID_FORM, text):
            raise ValueError("the id of a node has 1 to 128 letters, digits, `.`, `_` and `-`")
        return text

    def endpoint(self) -> str:
        """The address of its management API."""
        return self.address


class M2Policy(Policy):
    """Limits of an M2 cluster."""

    shares = (*Policy.shares, "max_cache_lost")

    max_cache_lost: Amount = Field(
        default="34%",
        description="Highest number of nodes that may permanently lose the cache of a hosting in one run.",
    )

    @classmethod
    def of(cls, policy: Policy) -> M2Policy:
        """The policy with M2's own limits, where it has only the general ones."""
        # Only what was set: a general default must not count as the user's own limit.
        return (
            policy if isinstance(policy, cls) else cls.model_validate(policy.model_dump(exclude_unset=True))
        )


_POLLED: Final[dict[str, Any]] = {
    "if": {"properties": {"deliver": {"const": "poll"}}, "required": ["deliver"]},
    "then": {"required": ["poll"], "properties": {"poll": {"type": "object"}, "reports": {"type": "null"}}},
    "else": {
        "properties": {
            "poll": {"type": "null"},
            "nodes": {"items": {"anyOf": [{"required": ["address"]}, {"required": ["inventory"]}]}},
        },
        "if": {"properties": {"deliver": {"enum": ["checkout", "local"]}}, "required": ["deliver"]},
        "then": {"properties": {"reports": {"type": "null"}}},
    },
}


class M2Cluster(OverlaidCluster):
    """A cluster of M2 nodes."""

    model_config = ConfigDict(json_schema_extra=_POLLED)
    fleet_defaults = frozenset({"version", "management"})
    takes_inventory = True

    kind: Literal["m2"] = Field(description="The product of its nodes.")
    setting: str = Field(
        default="",
        description="Settings file of the nodes; the path is relative to the fleet file.",
        examples=["setting.json"],
    )
    resources: tuple[str, ...] = Field(
        default=(),
        description="Files that are delivered with the setting; patterns are allowed.",
        examples=[["certs/*"]],
    )
    deliver: Deliver = Field(default=Deliver.UPLOAD, description="How the setting reaches the nodes.")
    poll: M2Polling | None = Field(
        default=None, description="The central server of the nodes; required by `deliver: poll`."
    )
    reports: Reporting | None = Field(
        default=None,
        description="The central server to which the nodes of `deliver: upload` send heartbeats and "
        "feedback; nodes that poll report to `poll.server`.",
    )
    checkout_method: Literal["GET", "POST"] = Field(
        default="GET",
        alias="checkoutMethod",
        description="HTTP method of `/setting/deploy/checkout`, which the M2 manual does not give.",
    )
    version: Literal["commit"] | None = Field(
        default=None, description="`commit` writes the short commit id into the delivered meta.version."
    )
    management: tuple[Address, ...] = Field(
        default=(),
        description="Addresses of the management hosts as the nodes see them. Needed where they are "
        "translated on the way; the default is this host's own address towards each node.",
        examples=[["192.0.2.7"]],
    )
    restart: RestartReference | None = Field(
        default=None,
        description="The host's command that restarts a node, so that its restart-only fields take effect. "
        "Nodes are restarted in the cluster's waves, and one by one if it has none. Without it, or where "
        "this host cannot read when a node was started, a person restarts it.",
        examples=[{"command": "restart-m2", "started": {"command": "m2-started"}}],
    )
    nodes: tuple[M2Node, ...] = Field(min_length=1, description="The nodes.")

    @property
    def is_stamped(self) -> bool:
        """Whether `meta.version` has the commit id."""
        # A node that takes the file from its disk or its repository gets it without this program's stamp.
        return self.version is not None and self.delivers_content

    @property
    def delivers_content(self) -> bool:
        """Whether this program delivers the setting itself, and not only the order to apply one."""
        polling = self.polling
        return self.deliver is Deliver.UPLOAD or (polling is not None and not polling.checkout)

    @property
    def polling(self) -> M2Polling | None:
        """How its nodes poll; None if they are called."""
        return self.poll if self.deliver is Deliver.POLL else None

    @property
    def reporting(self) -> Reporting | None:
        """How its nodes report to this program, also if they poll; None if they do not."""
        return self.polling or self.reports

    @cached_property
    def node_ids(self) -> dict[str, str]:
        """Node -> its id in M2Live; only nodes with one."""
        return {node.name: node.node_id for node in self.nodes if node.node_id}

    @model_validator(mode="after")
    def _check_polling(self) -> M2Cluster:
        if self.deliver is Deliver.POLL and self.poll is None:
            raise ValueError("`deliver: poll` needs `poll: {server: https://HOST:PORT}`")
        if self.deliver is not Deliver.POLL and self.poll is not None:
            raise ValueError("`poll` is only for `deliver: poll`")
        if self.deliver is Deliver.POLL and self.reports is not None:
            raise ValueError("`reports` is for nodes that do not poll: others report to `poll.server`")
        # What this program does not deliver, it cannot write URLs into.
        if self.reports is not None and self.deliver is not Deliver.UPLOAD:
            raise ValueError("`reports` needs `deliver: upload`, which writes the URLs into each setting")
        return self

    def get_setting_path(self, node: NodeEntry) -> str:
        """The node's own settings file, or else the cluster's."""
        return (node.setting if isinstance(node, M2Node) else "") or self.setting

    def list_resource_patterns(self) -> tuple[str, ...]:
        """The patterns under `resources`."""
        return self.resources


class SectionMask:
    """The redaction mask of one section of a setting, computed on first use.

    Args:
        key: the top-level key.
        meaning: the canonical form of its value.
    """

    def __init__(self, key: str, meaning: Any) -> None:
        self._value = {key: meaning}

    @cached_property
    def hidden(self) -> Any:
        """An object with the section alone, with everything in it that is, sounds or looks secret hidden."""
        return hide_by_key("", self._value)

    @cached_property
    def redaction_mask(self) -> RedactionMask:
        """The mask, with paths from the top of the setting."""
        return make_mask(self.hidden)


@dataclass(frozen=True)  # without slots: what many nodes with one setting ask of it is computed once
class Content:
    """A setting and its meaning.

    Args:
        document: the setting as it is in its file, or in a node's answer.
        canonical: its meaning (see `canonical`), with known secrets as `Secret`.
        fingerprint: of the meaning; equal exactly when the meaning is.
        fingerprints: top-level key -> fingerprint of the meaning of its value.
        unstamped: fingerprint of the meaning without `meta.version`, which may have a stamp.
        redaction_masks: top-level key -> what is not shown of its value.
        common: the same setting of all nodes, without the token of this one; None where they share none.
        template: the same with one text in place of every token; None where there is no token.
        token: of this node; empty for none.
        unmanaged: the fields that no fingerprint counts, because each node keeps its own values there.
        managed: the meaning without these fields; None where there are none.
    """

    document: Any
    canonical: Any
    fingerprint: str
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    unstamped: str = ""
    redaction_masks: Mapping[str, SectionMask] = field(default_factory=dict, compare=False, repr=False)
    common: Content | None = field(default=None, compare=False, repr=False)
    template: Content | None = field(default=None, compare=False, repr=False)
    token: str = field(default="", compare=False, repr=False)
    unmanaged: tuple[Pattern, ...] = field(default=(), compare=False, repr=False)
    managed: Any = field(default=None, compare=False, repr=False)

    @property
    def compared(self) -> Any:
        """The meaning as far as it is compared with that of another setting."""
        return self.canonical if self.managed is None else self.managed

    @cached_property
    def redaction_mask(self) -> RedactionMask:
        """What is not shown of the whole setting."""
        return RedactionMask.of(one.redaction_mask for one in self.redaction_masks.values())

    @cached_property
    def version(self) -> str:
        """`meta.version` for messages, masked where it looks like a secret; empty where there is none."""
        return self.version_behind(NO_MASK)

    @cached_property
    def version_value(self) -> Any:
        """`meta.version`, as a `Secret` where it looks like one; None where there is none."""
        meta = self.canonical.get("meta")
        return hide_by_key("version", meta.get("version") if is_object(meta) else None)

    def version_behind(self, redaction_mask: RedactionMask) -> str:
        """The version for messages, also masked where a redaction mask hides it."""
        # A file may refer to a secret here, and messages and comments show the version.
        version = self.version_value
        shown = redaction_mask.hide(version, ("meta", "version"))
        return "" if version is None else make_one_line(str(mask(shown)), LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class ExpectedSetting:
    """Which setting a node should show.

    Args:
        fingerprint: of its meaning.
        unstamped: fingerprint of its meaning without `meta.version`, where that has a stamp: a node keeps the
            stamp of the revision that changed its content last. Empty elsewhere.
    """

    fingerprint: str
    unstamped: str = ""

    def is_met_by(self, fingerprint: str, unstamped: str) -> bool:
        """Whether a setting with these fingerprints is the expected one."""
        # Empty means that stamps do not count here: two empty fingerprints are no match.
        return fingerprint == self.fingerprint or bool(self.unstamped and unstamped == self.unstamped)


@dataclass(frozen=True, slots=True)
class FailedOffer:
    """An offer that a node reported to have failed.

    Args:
        fingerprint: of the meaning of the setting that the node was to have.
        reason: as the node gave it, masked.
    """

    fingerprint: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoadedSetting:
    """What one node shows.

    Args:
        content: the setting it has loaded.
        base: URL at which it answered.
        waiting: restart-only fields, by the product's dotted names, that wait for a restart; None where
            the node does not show this.
        asked: fingerprint of the setting that was delivered last, where `content` is another one; else
            empty.
        asked_unstamped: the same without `meta.version`.
        held: path -> SHA-256 of the resources in its package; None where the package was not read.
        caller: the address from which this host called the node, as seen by this host.
        unread: why the package is unreadable; else empty.
        failed: the newest offer, where the node reported that it failed; else None.
        doubt: of a node that polls, why it may have loaded another setting by now; else empty.
        reported: what the node's newest report says of the node, for messages.
        reported_step: id of the step of whose offer that report has the result; empty if of none.
        running: the setting in effect, where it was read and `content` is another one; else None.
        own: the setting in the node's own words, in which its unmanaged fields have the values of now; None
            where only an offer or an older report shows that it has `content`.
    """

    content: Content
    base: str = ""
    waiting: tuple[str, ...] | None = None
    asked: str = ""
    held: Mapping[str, str] | None = None
    # Not compared: these describe the reading. A host with two addresses would otherwise see a change.
    caller: str = field(default="", compare=False)
    unread: str = field(default="", compare=False)
    asked_unstamped: str = field(default="", compare=False)
    failed: FailedOffer | None = field(default=None, compare=False)
    doubt: str = field(default="", compare=False)
    reported: StepFeedback = field(default=NO_FEEDBACK, compare=False)
    reported_step: str = field(default="", compare=False)
    running: Content | None = field(default=None, compare=False)
    own: Content | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, content: Content, base: str, waiting: tuple[str, ...] | None, asked: Content | None, caller: str
    ) -> LoadedSetting:
        """What a node shows, without its files; `asked` is the setting delivered last, if it is another."""
        fingerprints = (asked.fingerprint, asked.unstamped) if asked else ("", "")
        return cls(
            content,
            base,
            waiting,
            fingerprints[0],
            caller=caller,
            asked_unstamped=fingerprints[1],
            own=content,
        )

    @property
    def in_effect(self) -> Content:
        """The setting in effect, as far as it is known."""
        return self.running or self.content

    def shows(self, expected: ExpectedSetting) -> bool:
        """Whether the node has this setting, even if some of it waits for a restart."""
        here = (self.content.fingerprint, self.content.unstamped)
        return expected.is_met_by(*here) or expected.is_met_by(self.asked, self.asked_unstamped)


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """The desired state of one node.

    Args:
        bases: URLs at which it may answer, the most probable first.
        payload: digest of the payload of an upload.
        recalled: the facts of the node in the store.
        trusted: whether an unused `first_delivery` confirms that a node without a setting is at the first of
            its URLs.
        tokens: of a node that polls or reports; None where they are unknown.
        unmanaged: the fields in which the node keeps what it shows.
        unfilled: why its values of these fields are not known, so that nothing is sent to it; empty if they
            are, or as long as they were not looked for.
    """

    node: str
    bases: tuple[str, ...]
    content: Content
    payload: str
    recalled: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    trusted: bool = False
    tokens: NodeTokens | None = None
    unmanaged: tuple[Pattern, ...] = ()
    unfilled: str = ""


@dataclass(frozen=True, slots=True)
class M2Desired:
    """The desired state of one cluster.

    Args:
        targets: the nodes of this run, in the order of the fleet file.
        resources: path -> SHA-256 of the files that are delivered with every setting.
        payloads: digest -> payload of an upload.
        files: fingerprint of `shown_resources`; empty where there are none.
        shown_resources: path -> SHA-256 of the files as they are in the source, so of the encrypted form
            where they are encrypted.
        notes: warnings and notes about the files.
        earlier: where earlier revisions had secrets; the nodes' values there are not shown.
    """

    entry: M2Cluster
    revision: Revision
    targets: tuple[NodeTarget, ...]
    resources: Mapping[str, str]
    payloads: Mapping[str, Payload]
    files: str = ""
    notes: tuple[Diagnostic, ...] = ()
    earlier: RedactionMask = NO_MASK
    shown_resources: Mapping[str, str] = field(default_factory=dict)

    def expected(self, content: Content) -> ExpectedSetting:
        """The setting that a node with this target content should show, with any stamp where one is used."""
        return ExpectedSetting(content.fingerprint, content.unstamped if self.entry.is_stamped else "")
