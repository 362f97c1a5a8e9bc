"""Overlays in the fleet file: for a whole cluster, for groups of its nodes, for one node."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from reconciler.core.entries import ClusterEntry, Name, NodeEntry
from reconciler.core.fields import StrictModel
from reconciler.core.pointer_pattern import PatternText
from reconciler.core.unmanaged import MOST_PATTERNS

_ONE_OF_BOTH: dict[str, Any] = {
    "oneOf": [
        {"properties": {"merge": {"type": "object"}}, "required": ["merge"]},
        {"properties": {"patch": {"type": "array"}}, "required": ["patch"]},
        {
            "properties": {"merge": {"type": "null"}, "patch": {"type": "null"}},
            "required": ["unmanaged"],
        },
    ]
}

Unmanaged = Annotated[
    tuple[PatternText, ...],
    Field(
        max_length=MOST_PATTERNS,
        description="JSON pointers of fields that are not ours: each node keeps the value that it shows "
        "there. `*` stands for one key, or for the items of one list.",
        examples=[["/hosting/*/stats"]],
    ),
]


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

    unmanaged: Unmanaged = ()

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Inline:
        given = (self.merge is not None) + (self.patch is not None)
        if given > 1 or not (given or self.unmanaged):
            raise ValueError(
                "an overlay is the path of a file, or has either `merge` or `patch`, or has `unmanaged`"
            )
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
    unmanaged: Unmanaged = ()
    groups: tuple[NodeGroup, ...] = Field(
        default=(), description="Groups of nodes with overlays; a node may be in several."
    )
