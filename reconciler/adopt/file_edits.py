"""Finds the files to edit so that nodes get what they show: shared files, or a node's own overlay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from reconciler.adopt.meaningful_edits import apply_edits
from reconciler.core.canonical import encode_canonical
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.desired.fleet import Fleet
from reconciler.desired.merge_patch import RenderedDocument, get_member, has_member
from reconciler.documents.document import ParsedDocument, parse_document
from reconciler.documents.edit import REMOVED, Edit
from reconciler.errors import UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.source import SourceFiles
from reconciler.secrets.extraction import SecretExtractor
from reconciler.text.json_pointer import make_pointer, split_pointer

Path = tuple[str | int, ...]
Member = tuple[str, str]
"""Cluster and node."""


@dataclass(slots=True)
class FileEdits:
    """Collects the edits of a fleet's files.

    Args:
        fleet: as the files describe it now.
        files: all of its files.
        extractor: replaces secrets by references.
        edits: file -> its edits.
        made: new file -> its plain value.
    """

    fleet: Fleet
    files: SourceFiles
    extractor: SecretExtractor
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    def settle(self, wanted: Mapping[Member, Sequence[Edit]], *, shared: bool) -> None:
        """Find the files in which the nodes' edits are to be made.

        Args:
            wanted: cluster and node -> edits of its rendered settings.
            shared: whether a value is changed in the file from which it came, if all nodes that get it from
                there want the same; otherwise each node gets a patch of its own.
        """
        own: dict[Member, list[Edit]] = {}
        common: dict[tuple[str, Path, bytes], tuple[Edit, set[Member]]] = {}
        for member, edits in wanted.items():
            for edit in edits:
                place = _find_origin(self._get_document(member), edit.path) if shared else None
                if place is None:
                    own.setdefault(member, []).append(edit)
                    continue
                name, path = place
                key = (name, path, b"" if edit.value is REMOVED else encode_canonical(edit.value))
                common.setdefault(key, (edit, set()))[1].add(member)
        for (name, path, _), (edit, members) in common.items():
            if self._find_users(name, path, edit.path) <= members:
                self._add_edit(name, path, self._extract_secret(next(iter(members)), edit))
                continue
            for member in members:
                own.setdefault(member, []).append(edit)
        for member in wanted:
            if member in own:
                self._patch_member(member, own[member])

    def _get_document(self, member: Member) -> Any:
        return self._get_input(member[0]).documents[member[1]]

    def _get_input(self, cluster: str) -> ClusterInput:
        return self.fleet.part(cluster).cluster_inputs[0]

    def _find_users(self, name: str, place: Path, path: Path) -> set[Member]:
        """The nodes whose value at a path comes from one place of one file."""
        # A shared value is changed only if all of them want the same: another node would change unasked.
        found: dict[int, bool] = {}
        users = set()
        for cluster_input in self.fleet.cluster_inputs:
            for node, document in cluster_input.documents.items():
                if id(document) not in found:
                    found[id(document)] = _find_origin(document, path) == (name, place)
                if found[id(document)]:
                    users.add((cluster_input.entry.name, node))
        return users

    def _extract_secret(self, member: Member, edit: Edit) -> Any:
        if edit.value is REMOVED:
            return REMOVED
        return self.extractor.value(
            edit.value, edit.path, _find_owner(self._get_document(member).value, edit.path)
        )

    def _add_edit(self, name: str, path: Path, value: Any) -> None:
        self.edits.setdefault(name, []).append(Edit(path, value))

    def _patch_member(self, member: Member, edits: Sequence[Edit]) -> None:
        """Give a node a patch of its own: in the last file that is laid over it alone, or in a new one."""
        document = self._get_document(member)
        masked_edits = [Edit(edit.path, self._extract_secret(member, edit)) for edit in edits]
        # A merge patch (RFC 7396) cannot change an item of a list, and its null removes a member.
        merges = not any(
            _has_null(edit.value) or any(isinstance(part, int) for part in edit.path) for edit in masked_edits
        )
        name = self._find_own_overlay(member, merges=merges)
        if name and merges:
            for edit in masked_edits:
                self._add_edit(name, edit.path, None if edit.value is REMOVED else edit.value)
        elif name:
            many = len(self._read_value(name))
            for number, operation in enumerate(_make_operations(document.value, masked_edits)):
                self._add_edit(name, (many + number,), operation)
        else:
            # With null for a removed member, the edits of an empty object are a merge patch.
            nulled = [Edit(one.path, None if one.value is REMOVED else one.value) for one in masked_edits]
            operations = _make_operations(document.value, masked_edits)
            self._add_overlay(member, apply_edits({}, nulled) if merges else list(operations))

    def _add_overlay(self, member: Member, patch: Any) -> None:
        """Write a new overlay file, and name it in the node's entry."""
        cluster_input = self._get_input(member[0])
        if not cluster_input.pointer:
            raise UsageError(
                f"the nodes of {cluster_input.fleet.name} differ, and one file cannot describe them",
                remedy="write a fleet.yaml with these nodes, or import them into a separate folder",
            )
        members = cluster_input.entry.members()
        index = [node.name for node in members].index(member[1])
        node = members[index]
        folder = PurePosixPath(cluster_input.entry.get_setting_path(node)).parent
        name = self._find_free_name(str(folder / f"{node.name}.json"))
        self.made[name] = patch
        place: Path = (*pointer_to_path(cluster_input.pointer), "nodes", index, "overlays")
        overlays = node.overlays if isinstance(node, OverlaidNode) else ()
        edit = Edit((*place, len(overlays)), name) if overlays else Edit(place, [name])
        self._add_edit(self.fleet.document.name, edit.path, edit.value)

    def _find_free_name(self, name: str) -> str:
        """A file name that is not used yet."""
        path, number = PurePosixPath(name), 1
        while name in self.files.names() or name in self.made:
            number += 1
            name = str(path.with_stem(f"{path.stem}-{number}"))
        return name

    def _find_own_overlay(self, member: Member, *, merges: bool) -> str:
        """The last overlay of a node, if it is a file of the right form that no other entry names."""
        cluster_input = self._get_input(member[0])
        node = next(node for node in cluster_input.entry.members() if node.name == member[1])
        overlays = node.overlays if isinstance(node, OverlaidNode) else ()
        name = overlays[-1] if overlays else None
        if not isinstance(name, str) or Counter(_list_overlay_files(self.fleet))[name] != 1:
            return ""
        return name if isinstance(self._read_value(name), dict if merges else list) else ""

    def _read_value(self, name: str) -> Any:
        return parse_document(name, self.files.read(name)).value


def _list_overlay_files(fleet: Fleet) -> Iterator[str]:
    """Every overlay file, as often as it is named."""
    for cluster_input in fleet.cluster_inputs:
        entry = cluster_input.entry
        if isinstance(entry, OverlaidCluster):
            yield from (one for one in entry.overlays if isinstance(one, str))
            yield from (one for group in entry.groups for one in group.overlays if isinstance(one, str))
        for node in entry.members():
            if isinstance(node, OverlaidNode):
                yield from (one for one in node.overlays if isinstance(one, str))


def _find_origin(document: Any, path: Path) -> tuple[str, Path] | None:
    """(file, path) of a value of a rendered document, or of the place at which it would be added."""
    if isinstance(document, ParsedDocument):
        return document.name, path
    if not isinstance(document, RenderedDocument):
        return None
    value, origin = document.value, document.origin
    for index, part in enumerate(path):
        if origin.items is not None and index == len(path) - 1:
            return None  # the list was put together from several places
        if not has_member(value, str(part)):
            return origin.document.name, (*pointer_to_path(origin.pointer), *path[index:])
        value, origin = get_member(value, str(part)), origin.child(str(part))
    return origin.document.name, pointer_to_path(origin.pointer)


def pointer_to_path(place: str) -> Path:
    """The path of a JSON pointer; decimal parts become indices."""
    return tuple(int(part) if part.isdecimal() else part for part in split_pointer(place))


def _find_owner(value: Any, path: Path) -> str:
    """The `name` of the nearest object around a path that has one."""
    owner = ""
    for part in path[:-1]:
        if not has_member(value, str(part)):
            break
        value = get_member(value, str(part))
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            owner = value["name"]
    return owner


def _has_null(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and any(_has_null(item) for item in value.values()))


def _make_operations(value: Any, edits: Sequence[Edit]) -> Iterator[dict[str, Any]]:
    """The edits of a value as operations of JSON Patch (RFC 6902)."""
    for edit in edits:
        # An operation applies to the result of those before it: this decides between replace and add.
        part, path = value, make_pointer(edit.path)
        for key in edit.path[:-1]:
            part = part[key]
        if edit.value is REMOVED:
            yield {"op": "remove", "path": path}
        else:
            op = "replace" if has_member(part, str(edit.path[-1])) else "add"
            yield {"op": op, "path": path, "value": edit.value}
        value = apply_edits(value, [edit])
