"""What is to be changed in a list of nodes of the fleet file, so that it names those who are there; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.adopt.file_edits import pointer_to_path
from reconciler.documents.edit import REMOVED, Edit


def find_node_list_edits(
    written: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]],
    pointer: str,
    followed: Sequence[str],
) -> list[Edit]:
    """The edits of a cluster's nodes: keys that differ, then those who left, then those who came.

    Args:
        written: the nodes as the file says them.
        shown: the nodes as they are; keys of which nothing is shown stay.
        pointer: of the cluster.
        followed: the keys in which the file follows what is shown.
    """
    place = (*pointer_to_path(pointer), "nodes")
    now = {entry["name"]: entry for entry in shown}
    left = [index for index, entry in enumerate(written) if entry["name"] not in now]
    known = {entry["name"] for entry in written}
    came = [entry for entry in shown if entry["name"] not in known]
    kept = len(written) - len(left)
    return [
        *(
            Edit((*place, index, key), value)
            for index, entry in enumerate(written)
            if entry["name"] in now
            for key, value in _changed(entry, now[entry["name"]], followed)
        ),
        *(Edit((*place, index), REMOVED) for index in reversed(left)),
        *(Edit((*place, kept + number), dict(entry)) for number, entry in enumerate(came)),
    ]


def _changed(
    written: Mapping[str, Any], shown: Mapping[str, Any], followed: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    for key in followed:
        if key in shown and (shown[key] is not None or written.get(key)) and written.get(key) != shown[key]:
            yield key, REMOVED if shown[key] is None else shown[key]
