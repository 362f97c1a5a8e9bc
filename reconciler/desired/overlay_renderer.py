"""Renders the settings of each node: its base with the overlays of its cluster, its groups and itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from reconciler.core.entries import NodeEntry
from reconciler.core.overlays import Inline, NodeGroup, OverlaidCluster, OverlaidNode, Overlay
from reconciler.core.unmanaged import UnmanagedField
from reconciler.desired.clusters import ParsedCluster
from reconciler.desired.glob import is_pattern
from reconciler.desired.inventory_nodes import has_inventory
from reconciler.desired.json_patch import InvalidPatch, apply_json_patch
from reconciler.desired.merge_patch import (
    RenderedDocument,
    TracedValue,
    ValueOrigin,
    apply_merge_patch,
    list_removals,
)
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.secrets.references import ReferenceMarker
from reconciler.text.json_pointer import split_pointer
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

Opened = Callable[[str, str], Document | None]
"""(path, pointer that names it) -> the document; None if a problem was reported."""

IDLE_REMOVAL: Final = "idle-removal"
"""Code of the lint of a null in a merged overlay that removes nothing."""

_Key = tuple[Any, ...]
_MOST_GUESSES = 20


@dataclass(slots=True)
class _Removal:
    """A null of a merged overlay.

    Args:
        problem: the warning if it removes nothing of any node.
        clusters: those that have the overlay.
        is_used: whether it removes a key of some node.
    """

    problem: Diagnostic
    clusters: set[str]
    is_used: bool = False


class OverlayRenderer:
    """Renders documents, each different stack of overlays once, and collects their problems.

    Args:
        fleet: the fleet file, which names overlays or contains them.
        open_overlay: reads the others.
        marker: replaces references to secrets.
    """

    def __init__(self, fleet: Document, open_overlay: Opened, marker: ReferenceMarker) -> None:
        self.fleet = fleet
        self.open_overlay = open_overlay
        self.marker = marker
        self.problems: list[Diagnostic] = []
        self._removals: dict[tuple[str, str], _Removal] = {}
        self._reported: set[tuple[str, str]] = set()
        self._rendered: dict[_Key, Document | None] = {}
        self._groups: dict[str, list[tuple[NodeGroup, frozenset[str]]]] = {}

    def render(self, base: Document, cluster: ParsedCluster, node: NodeEntry, place: str) -> Document | None:
        """The settings of a node; None if an overlay does not fit, which is reported.

        Nodes with the same base and the same overlays share one object.

        Args:
            base: the node's settings file.
            cluster: names the overlays.
            node: of the cluster.
            place: pointer of the node's entry.
        """
        if not cluster.whole:
            # Where parts were left out, overlays may be among them: the result would be a guess.
            nodes = cluster.raw.get("nodes")
            entries = [cluster.raw, *(nodes if isinstance(nodes, list) else ())]
            has_overlays = any(
                isinstance(entry, Mapping) and ("overlays" in entry or "groups" in entry) for entry in entries
            )
            return None if has_overlays else base
        key: _Key = (id(base),)
        document = base
        for pointer, overlay in self._list_overlays(cluster, node, place):
            if isinstance(overlay, Inline) and overlay.merge is None and overlay.patch is None:
                continue
            # A file is the same overlay wherever it is named, an inline one only at its own place.
            key = (*key, overlay if isinstance(overlay, str) else pointer)
            if key not in self._rendered:
                self._rendered[key] = self._apply_overlay(document, pointer, overlay, cluster)
            rendered = self._rendered[key]
            if rendered is None:
                return None
            document = rendered
        return document

    def list_unmanaged(
        self, cluster: ParsedCluster, node: NodeEntry, place: str
    ) -> tuple[UnmanagedField, ...]:
        """The fields of a node's settings that are not ours, each where it is named first."""
        found: dict[str, UnmanagedField] = {}

        def add(texts: Iterable[str], pointer: str) -> None:
            for index, text in enumerate(texts):
                found.setdefault(text, UnmanagedField(text, f"{pointer}/unmanaged/{index}"))

        if isinstance(cluster.entry, OverlaidCluster):
            add(cluster.entry.unmanaged, cluster.pointer)
        for pointer, overlay in self._list_overlays(cluster, node, place):
            if isinstance(overlay, Inline):
                add(overlay.unmanaged, pointer)
        return tuple(found.values())

    def _list_overlays(
        self, cluster: ParsedCluster, node: NodeEntry, place: str
    ) -> Iterator[tuple[str, Overlay]]:
        """(pointer, overlay) of all overlays of a node, in the order in which they are applied."""
        if isinstance(cluster.entry, OverlaidCluster):
            for index, overlay in enumerate(cluster.entry.overlays):
                yield f"{cluster.pointer}/overlays/{index}", overlay
            for number, (group, members) in enumerate(self._members(cluster, cluster.entry)):
                if node.name in members:
                    for index, overlay in enumerate(group.overlays):
                        yield f"{cluster.pointer}/groups/{number}/overlays/{index}", overlay
        if isinstance(node, OverlaidNode):
            for index, overlay in enumerate(node.overlays):
                yield f"{place}/overlays/{index}", overlay

    def _members(
        self, cluster: ParsedCluster, entry: OverlaidCluster
    ) -> list[tuple[NodeGroup, frozenset[str]]]:
        """The groups of a cluster, each with the names of its nodes."""
        if cluster.pointer not in self._groups:
            names = [node.name for node, _ in cluster.members()]
            known = frozenset(names)
            found = []
            for number, group in enumerate(entry.groups):
                members: set[str] = set()
                for index, pattern in enumerate(group.nodes):
                    has_wildcard = is_pattern(pattern)
                    matches = (
                        {name for name in names if fnmatchcase(name, pattern)}
                        if has_wildcard
                        else {pattern} & known
                    )
                    # Which instances there are, the file does not say: none of a pattern is no mistake of it.
                    if not matches and not has_inventory(cluster.raw.get("nodes")):
                        meant = find_nearest(pattern, names) if len(self.problems) < _MOST_GUESSES else ""
                        self._add_problem(
                            self.fleet,
                            f"{cluster.pointer}/groups/{number}/nodes/{index}",
                            "unknown-node",
                            f"no node of the cluster matches {quote_text(pattern)}",
                            f"did you mean `{meant}`?" if meant else "name nodes of this cluster",
                        )
                    members |= matches
                found.append((group, frozenset(members)))
            self._groups[cluster.pointer] = found
        return self._groups[cluster.pointer]

    def _apply_overlay(
        self, below: Document, pointer: str, overlay: Overlay, cluster: ParsedCluster
    ) -> Document | None:
        """The document with an overlay applied; None if it does not fit."""
        patch, start = self._read_patch(pointer, overlay)
        if patch is None:
            return None
        below_value = (
            below if isinstance(below, RenderedDocument) else TracedValue(below.value, ValueOrigin(below))
        )
        try:
            rendered_value = (
                apply_json_patch(below_value, patch)
                if isinstance(patch.value, list)
                else apply_merge_patch(below_value, patch)
            )
        except InvalidPatch as bad:
            wrong = bad.diagnostic
            message = f"{wrong.message} (the overlay applies to {below.name})"
            self._add_problem(patch.origin.document, start + wrong.pointer, wrong.code, message, wrong.remedy)
            return None
        self._note_removals(below_value, patch, start, cluster)
        return rendered_value.named(below.name)

    def _note_removals(
        self, below: TracedValue, patch: TracedValue, start: str, cluster: ParsedCluster
    ) -> None:
        document = patch.origin.document
        for pointer, beside in list_removals(below.value, patch.value):
            key = (document.name, start + pointer)
            if key not in self._removals:
                name = split_pointer(pointer)[-1]
                meant = find_nearest(name, beside) if beside and len(self._removals) < _MOST_GUESSES else ""
                problem = make_diagnostic(
                    document,
                    start + pointer,
                    IDLE_REMOVAL,
                    f"{quote_text(name)} is null to remove it, and no setting below this overlay has it here",
                    f"did you mean `{meant}`?" if meant else "correct the path, or remove this line",
                    severity=Severity.WARNING,
                )
                self._removals[key] = _Removal(problem, set())
            self._removals[key].is_used |= beside is None
            self._removals[key].clusters.add(cluster.entry.name)

    def list_idle_removals(self) -> list[tuple[Diagnostic, frozenset[str]]]:
        """Warnings about nulls that remove nothing of any node, each with the clusters that have it."""
        idle = (one for one in self._removals.values() if not one.is_used)
        return [(one.problem, frozenset(one.clusters)) for one in idle]

    def _read_patch(self, pointer: str, overlay: Overlay) -> tuple[TracedValue | None, str]:
        """The content of an overlay, and its pointer in its document."""
        if isinstance(overlay, str):
            document = self.open_overlay(overlay, pointer)
            if document is None:
                return None, ""
            if isinstance(document.value, dict | list):
                return TracedValue(document.value, ValueOrigin(document)), ""
            message = "an overlay must be an object, which is merged, or a list of JSON Patch operations"
            self._add_problem(document, "", "bad-overlay", message, "")
            return None, ""
        key, value = ("merge", overlay.merge) if overlay.merge is not None else ("patch", overlay.patch)
        where = f"{pointer}/{key}"
        plain = list(value) if isinstance(value, tuple) else value
        marked = self.marker.value(plain, self.fleet, tuple(split_pointer(where)))
        return TracedValue(marked, ValueOrigin(self.fleet, where)), where

    def _add_problem(self, document: Document, pointer: str, code: str, message: str, remedy: str) -> None:
        """Add a problem; an overlay that does not fit is reported once, not once for each node."""
        if (document.name, pointer) not in self._reported:
            self._reported.add((document.name, pointer))
            self.problems.append(make_diagnostic(document, pointer, code, message, remedy))
