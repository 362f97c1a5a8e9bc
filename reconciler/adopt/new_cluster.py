"""The files of a new cluster: its entry, a common base, and overlays for differences; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.adopt.factor_overlays import find_common_base, group_patches, make_patch
from reconciler.adopt.file_edits import pointer_to_path
from reconciler.core.entries import ClusterEntry
from reconciler.documents.document import KEY_VALUE_SUFFIX
from reconciler.documents.edit import Edit
from reconciler.secrets.extraction import SecretExtractor

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*")
# YAML 1.1 reads these as booleans or null unless they are quoted.
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True, slots=True)
class NewCluster:
    """The files of a new cluster.

    Args:
        made: new file -> its plain value.
        edits: of the fleet file, which already names the cluster.
    """

    made: Mapping[str, Any]
    edits: tuple[Edit, ...]


def make_new_cluster(
    entry: ClusterEntry,
    pointer: str,
    documents: Mapping[str, Any],
    extractor: SecretExtractor,
    *,
    individual: Collection[str] = (),
    careful: bool = False,
) -> NewCluster:
    """One base of all nodes' settings, and an overlay for each group of nodes with equal differences.

    Args:
        entry: the cluster; its nodes share one settings file.
        pointer: of the entry in the fleet file.
        documents: node -> its settings.
        extractor: replaces their secrets by references.
        individual: keys that are each node's own, and never part of the base.
        careful: see `LiveState.is_careful`.
    """
    # Before the base: the text of a secret must not reach a file, and equal secrets get the same reference.
    # Of such a file nobody knows all keys: what a plan would mask is not written in clear.
    setting = entry.get_setting_path(entry.members()[0])
    # Values that are in the file only because they are secret have no object with a name around them.
    owner = entry.name if careful else ""
    careful = careful or PurePosixPath(setting).suffix == KEY_VALUE_SUFFIX
    settings = {
        node: extractor.value(document, owner=owner, careful=careful) for node, document in documents.items()
    }
    base = find_common_base(
        [
            {key: value for key, value in one.items() if key not in individual} if individual else one
            for one in settings.values()
        ]
    )
    place = pointer_to_path(pointer)
    made: dict[str, Any] = {setting: base}
    edits: list[Edit] = []
    index = {node.name: number for number, node in enumerate(entry.members())}
    groups: list[dict[str, Any]] = []
    for patch, nodes in group_patches(
        {node: make_patch(base, document) for node, document in settings.items()}
    ):
        several = len(nodes) > 1
        label = f"alike-{len(groups) + 1}" if several else nodes[0]
        name = str(PurePosixPath(setting).parent / f"{label}.json")
        made[name] = patch
        if several:
            groups.append({"name": label, "nodes": list(nodes), "overlays": [name]})
        else:
            edits.append(Edit((*place, "nodes", index[nodes[0]], "overlays"), [name]))
    if groups:
        edits.append(Edit((*place, "groups"), groups))
    return NewCluster(made, tuple(edits))


def render_fleet_file(clusters: Sequence[Mapping[str, Any]]) -> str:
    """A new fleet file with some clusters, each node on a line of its own."""
    return (
        "\n".join(["clusters:", *(line for cluster in clusters for line in _render_cluster(cluster))]) + "\n"
    )


def _render_cluster(cluster: Mapping[str, Any]) -> Iterator[str]:
    lead = "  - "
    for key, value in cluster.items():
        if key == "nodes":
            yield f"{lead}nodes:"
            for node in value:
                members = ", ".join(f"{name}: {_render_scalar(item)}" for name, item in node.items())
                yield f"      - {{{members}}}"
        else:
            yield f"{lead}{key}: {_render_scalar(value)}"
        lead = "    "


def _render_scalar(value: Any) -> str:
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value, ensure_ascii=False)
