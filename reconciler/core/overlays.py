"""Overlays in the fleet file: for a whole cluster, for groups of its nodes, for one node."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from reconciler.core.entries import ClusterEntry, Name, NodeEntry
from reconciler.core.fields import StrictModel

_ONE_OF_BOTH: dict[str, Any] = {
    "oneOf": [
        {"properties": {"merge": {"type": "object"}}, "required": ["merge"]},
        {"properties": {"patch": {"type": "array"}}, "required": ["patch"]},
    ]
}


class Inline(StrictModel):
    """An overlay in the fleet file itself."""

    model_config = ConfigDict(json_schema_extra=_ONE_OF_BOTH)

    merge: dict[str, Any] | None = Field(
        default=None,
        description="JSON Merge Patch (RFC 7396): objects are merged, `null` removes, other values replace.",
        examples=[{"env": {"management": {"api": {"port": 10041}}}}],
    )
    patch: tuple[dict[str, Any], ...] | None = Field(
        default=None,
        description="JSON Patch (RFC 6902): `add`, `remove`, `replace`, `move`, `copy`, `test`, in order.",
        examples=[[{"op": "replace", "path": "/env/management/api/port", "value": 10041}]],
    )

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Inline:
        if (self.merge is None) == (self.patch is None):
            raise ValueError("an overlay is the path of a file, or has either `merge` or `patch`")
        return self


# Without a discriminator, pydantic would report what both forms find wrong with one value.
Overlay = Annotated[
    Annotated[str, Field(min_length=1), Tag("file")] | Annotated[Inline, Tag("inline")],
    Discriminator(lambda value: "file" if isinstance(value, str) else "inline"),
]
"""A file, by its path relative to the fleet file (an object merges, a list patches); or the overlay."""

Overlays = Annotated[
    tuple[Overlay, ...],
    Field(description="Patches of the settings, applied in this order: files, `merge:` or `patch:`."),
]


class NodeGroup(StrictModel):
    """Nodes of a cluster that share overlays."""

    name: Name = Field(description="The group's name, for people.", examples=["canary"])
    nodes: tuple[str, ...] = Field(
        min_length=1, description="Names of nodes; `*` matches any text.", examples=[["edge-0*"]]
    )
    overlays: Overlays = ()


class OverlaidNode(NodeEntry):
    """A node whose settings may have overlays of its own."""

    overlays: Overlays = ()


class OverlaidCluster(ClusterEntry):
    """A cluster whose nodes' settings come from a base and overlays."""

    overlays: Overlays = ()
    groups: tuple[NodeGroup, ...] = Field(
        default=(), description="Groups of nodes with overlays; a node may be in several."
    )
