"""What the fleet file says of any cluster and node; each product extends these models."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from reconciler.core.change_windows import Freeze, Suspend, Window
from reconciler.core.fields import IPV4, IPV6, Number, StrictModel, Whole
from reconciler.core.plan import IN_FLIGHT
from reconciler.core.rollout import Rollout

__all__ = [
    "Address",
    "ClusterEntry",
    "FeedbackEntry",
    "Name",
    "NodeEntry",
    "Seconds",
    "StrictModel",
    "Timeouts",
]

Name = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[0-9A-Za-z][0-9A-Za-z._@\-]*$")]
Seconds = Annotated[Number, Field(gt=0, le=86_400)]


def _address(text: str) -> str:
    try:
        return str(ip_address(text.replace("%", " ")))
    except ValueError:
        raise ValueError("this is no IP address, such as 192.0.2.7 or 2001:db8::7") from None


Address = Annotated[
    str, AfterValidator(_address), Field(json_schema_extra={"pattern": f"^(?:{IPV4}|{IPV6})$"})
]
"""One IP address, in its one canonical form."""


class NodeEntry(StrictModel):
    """One node of a cluster."""

    name: Name = Field(description="The node's name, unique in the fleet.", examples=["edge-01"])
    domain: str = Field(
        default="", description="What fails together with it: a rack, a site, a zone.", examples=["rack-3"]
    )

    one_time_words: ClassVar[tuple[str, ...]] = ()
    """Keys that count once. A run of a fleet file without one lets it count once more when it comes back."""

    def endpoint(self) -> str:
        """Where the node is reached, so that one node under two names is noticed; empty where unknown."""
        return ""


class Timeouts(StrictModel):
    """How long to wait, in seconds."""

    connect: Seconds = Field(default=3, validate_default=True, description="For a connection to one node.")
    read: Seconds = Field(default=10, validate_default=True, description="For one whole answer of one node.")
    settle: Seconds = Field(
        default=30, validate_default=True, description="For a change to show in the node's own answers."
    )
    in_flight: Seconds = Field(
        default=IN_FLIGHT,
        validate_default=True,
        description="For a call without an answer to take effect; nothing is sent to the node meanwhile.",
    )


class ClusterEntry(StrictModel):
    """One cluster of the fleet file; `kind` decides which product's model reads it."""

    name: Name = Field(description="The cluster's name, unique in the fleet.", examples=["edge-seoul"])
    kind: str = Field(description="The product that its nodes run.", examples=["m2", "sora"])
    renamed_from: Name | None = Field(
        default=None,
        description="The `name` that the cluster had before: what hosts remember stays with it.",
    )
    concurrency: Whole = Field(
        default=5, ge=1, le=1000, description="How many nodes of the cluster may be changed at once."
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long to wait.")
    rollout: Rollout | None = Field(
        default=None, description="Waves and their gates; what is not said here is as in the fleet's own."
    )
    windows: tuple[Window, ...] | None = Field(
        default=None, description="When changes may be made, in place of the fleet's own windows."
    )
    freeze: tuple[Freeze, ...] = Field(
        default=(), description="When nothing is changed, besides the fleet's own freezes."
    )
    suspend: Suspend | None = Field(default=None, description="Nothing of this cluster is changed.")

    def members(self) -> tuple[NodeEntry, ...]:
        """The cluster's nodes, in the file's order."""
        nodes: Any = getattr(self, "nodes", ())
        return tuple(nodes)

    def setting_of(self, node: NodeEntry) -> str:  # noqa: ARG002  (the contract's parameter)
        """Path, beside the fleet file, of the settings file that a node gets; empty for none."""
        return ""

    def packed(self) -> tuple[str, ...]:
        """Paths or glob patterns, beside the fleet file, of files to deliver with the settings."""
        return ()


class FeedbackEntry(StrictModel):
    """Where messages about changes go."""

    url: str = Field(pattern=r"^https?://", description="Each message is POSTed here as JSON.")
    timeout: Seconds = Field(default=5, description="Seconds for one POST.")
