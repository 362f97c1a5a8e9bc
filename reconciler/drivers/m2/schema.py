"""M2 in the fleet file, and what the driver wants of a node and sees on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from reconciler.core.entries import Address, NodeEntry
from reconciler.core.fields import Flag
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.plan import Payload, Revision
from reconciler.core.policy import Amount, Policy
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.patterns import ENDPOINT
from reconciler.secrets.redaction import NO_VEIL, RedactionMask, hide_by_key, make_mask
from reconciler.text.one_line import LONGEST_NAME, make_one_line


class Deliver(StrEnum):
    """How a setting reaches its nodes."""

    UPLOAD = "upload"
    """It is sent to each node."""

    CHECKOUT = "checkout"
    """Each node is told to pull it from the git repository that is connected to it."""

    LOCAL = "local"
    """Each node is told to apply the file that already lies on its disk."""


class M2Node(OverlaidNode):
    """One node of an M2 cluster."""

    one_time_words = ("first_delivery",)

    address: str = Field(
        description="`host`, `host:port` or `[IPv6]:port`, perhaps behind `http://` or `https://`. "
        "Without a port, the one that `api.port` of its setting says.",
        examples=["192.168.1.11:10040"],
        json_schema_extra={"pattern": ENDPOINT},
    )
    setting: str = Field(
        default="", description="Its own settings file, where it differs from the cluster's."
    )
    first_delivery: Flag = Field(
        default=False,
        description="States that a new M2 node without a setting is at this address, where its own answers "
        "do not show it. Counts for one delivery at this address; remove it afterwards.",
    )

    def endpoint(self) -> str:
        """The address of its management API."""
        return self.address


class M2Policy(Policy):
    """Limits of an M2 cluster."""

    shares = (*Policy.shares, "max_cache_lost")

    max_cache_lost: Amount = Field(
        default="34%",
        description="Nodes that one run may make lose the cache of a hosting, for good.",
    )

    @classmethod
    def of(cls, policy: Policy) -> M2Policy:
        """A policy that may say nothing of M2's own limits."""
        return (
            policy if isinstance(policy, cls) else cls.model_validate(policy.model_dump(exclude_unset=True))
        )


class M2Cluster(OverlaidCluster):
    """A cluster of M2 nodes."""

    kind: Literal["m2"] = Field(description="The product that its nodes run.")
    setting: str = Field(
        default="",
        description="Settings file of the nodes, beside the fleet file.",
        examples=["setting.json"],
    )
    resources: tuple[str, ...] = Field(
        default=(),
        description="Files to pack beside the setting; patterns may stand.",
        examples=[["certs/*"]],
    )
    deliver: Deliver = Field(default=Deliver.UPLOAD, description="How the setting reaches the nodes.")
    checkout_method: Literal["GET", "POST"] = Field(
        default="GET",
        alias="checkoutMethod",
        description="The verb of `/setting/deploy/checkout`, which the product's pages do not name.",
    )
    version: Literal["commit"] | None = Field(
        default=None, description="`commit` stamps the commit's short id into the delivered meta.version."
    )
    management: tuple[Address, ...] = Field(
        default=(),
        description="Addresses of the management hosts as the nodes see them, where they are translated on "
        "the way; without any, this host's own address that faces a node.",
        examples=[["192.0.2.7"]],
    )
    nodes: tuple[M2Node, ...] = Field(min_length=1, description="The nodes.")

    @property
    def is_stamped(self) -> bool:
        """Whether `meta.version` carries the commit; what a node takes from its own disk or git does not."""
        return self.version is not None and self.deliver is Deliver.UPLOAD

    def setting_of(self, node: NodeEntry) -> str:
        """The node's own settings file, or else the cluster's."""
        return (node.setting if isinstance(node, M2Node) else "") or self.setting

    def packed(self) -> tuple[str, ...]:
        """The patterns under `resources`."""
        return self.resources


class SectionMask:
    """What of one section of a setting is not shown; found out when it is asked for, and once.

    Args:
        key: the top-level key.
        meaning: of its value.
    """

    def __init__(self, key: str, meaning: Any) -> None:
        self._value = {key: meaning}

    @cached_property
    def redaction_mask(self) -> RedactionMask:
        """Its places are those of the whole setting."""
        return make_mask(self._value)


@dataclass(frozen=True, slots=True)
class Content:
    """A setting and its meaning.

    Args:
        document: as it stands in its file, or as a node answered it.
        canonical: its meaning (see `canonical`), with known secrets as `Secret`.
        fingerprint: of the meaning; equal exactly when the meaning is.
        fingerprints: top-level key -> fingerprint of the meaning of its value.
        unstamped: fingerprint of the meaning without `meta.version`, into which a commit may be stamped.
        redaction_masks: top-level key -> what of its value is not shown.
    """

    document: Any
    canonical: Any
    fingerprint: str
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    unstamped: str = ""
    redaction_masks: Mapping[str, SectionMask] = field(default_factory=dict, compare=False, repr=False)

    @property
    def redaction_mask(self) -> RedactionMask:
        """What of the whole setting is not shown."""
        return RedactionMask.of(one.redaction_mask for one in self.redaction_masks.values())

    @property
    def version(self) -> str:
        """`meta.version` for people, masked where it looks like a secret; empty where there is none."""
        return self.version_behind(NO_VEIL)

    def version_behind(self, redaction_mask: RedactionMask) -> str:
        """The same, masked also where a veil hides it."""
        meta = self.canonical.get("meta")
        version = meta.get("version") if isinstance(meta, Mapping) else None
        shown = redaction_mask.hide(hide_by_key("version", version), ("meta", "version"))
        return "" if version is None else make_one_line(str(mask(shown)), LONGEST_NAME)


@dataclass(frozen=True, slots=True)
class ExpectedSetting:
    """Which setting a node should show.

    Args:
        fingerprint: of its meaning.
        unstamped: fingerprint of its meaning without `meta.version`, where a commit is stamped into that: a
            node keeps the stamp of the revision that changed its content last. Empty elsewhere.
    """

    fingerprint: str
    unstamped: str = ""

    def is_met_by(self, fingerprint: str, unstamped: str) -> bool:
        """Whether a setting with these fingerprints is the one."""
        return fingerprint == self.fingerprint or bool(self.unstamped and unstamped == self.unstamped)


@dataclass(frozen=True, slots=True)
class LoadedSetting:
    """What one node shows.

    Args:
        content: the setting it has loaded.
        base: URL at which it answered.
        waiting: restart-only fields, by the product's dotted names, that are asked for but not in
            effect; None where the node does not tell.
        asked: fingerprint of the setting it was asked for, where it shows that apart from the one in
            effect; otherwise empty.
        asked_unstamped: the same without its version.
        held: path -> SHA-256 of the resources in its package; None where it was not asked or does not
            tell.
        caller: the address this host called it from, as far as this host can tell.
        unread: why the package that it gave cannot be read; empty where it can, or none was given.
    """

    content: Content
    base: str = ""
    waiting: tuple[str, ...] | None = None
    asked: str = ""
    held: Mapping[str, str] | None = None
    caller: str = field(default="", compare=False)
    unread: str = field(default="", compare=False)
    asked_unstamped: str = field(default="", compare=False)

    def shows(self, expected: ExpectedSetting) -> bool:
        """Whether the node has this setting, be it that some of it waits for a restart."""
        here = (self.content.fingerprint, self.content.unstamped)
        return expected.is_met_by(*here) or expected.is_met_by(self.asked, self.asked_unstamped)


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """What one node is to have.

    Args:
        bases: URLs at which it may answer, the likeliest first.
        payload: digest of what an upload carries.
        recalled: what the store remembers of the node.
        trusted: whether the fleet file says, and for the first time, that a node without a setting is at the
            first of its URLs.
    """

    node: str
    bases: tuple[str, ...]
    content: Content
    payload: str
    recalled: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class M2Desired:
    """The desired state of one cluster.

    Args:
        targets: the nodes to look after, in the fleet file's order.
        resources: path -> SHA-256 of the files that go with every setting.
        payloads: digest -> what an upload carries.
        files: fingerprint of `shown_resources`; empty where there are none.
        shown_resources: path -> SHA-256 of the files as they lie in the source, encrypted where they are.
        notes: what the check of the files found that is no error.
        earlier: where earlier revisions referred to secrets: what nodes have there is not shown.
    """

    entry: M2Cluster
    revision: Revision
    targets: tuple[NodeTarget, ...]
    resources: Mapping[str, str]
    payloads: Mapping[str, Payload]
    files: str = ""
    notes: tuple[Diagnostic, ...] = ()
    earlier: RedactionMask = NO_VEIL
    shown_resources: Mapping[str, str] = field(default_factory=dict)

    def expected(self, content: Content) -> ExpectedSetting:
        """What a node that is to have a content should show: with whichever stamp, where there is one."""
        return ExpectedSetting(content.fingerprint, content.unstamped if self.entry.is_stamped else "")
