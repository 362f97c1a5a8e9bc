"""Holds of nodes in the fleet file whose time is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from reconciler.core.entries import NodeEntry
from reconciler.core.timestamps import format_minute
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import make_diagnostic
from reconciler.ports.cluster_input import ClusterInput

_warn = partial(make_diagnostic, severity=Severity.WARNING)


def find_ended_holds(fleet: Fleet, now: datetime) -> Iterator[Diagnostic]:
    """Warnings of holds that have ended: they have no effect any more."""
    for cluster_input in fleet.cluster_inputs:
        for pointer, node in _list_nodes(cluster_input):
            if node.hold is not None and node.hold.end <= now:
                yield _warn(
                    fleet.document,
                    f"{pointer}/hold/until",
                    "expired-hold",
                    f"the hold of {node.name} ended at {format_minute(node.hold.end)} UTC",
                    "remove it; if it is still needed, write a later end and the reason",
                )


def _list_nodes(cluster_input: ClusterInput) -> Iterator[tuple[str, NodeEntry]]:
    """The nodes of a cluster, each with its place in the fleet file."""
    entry, pointer = cluster_input.entry, cluster_input.pointer
    members = entry.members()
    alone = [key for key in entry.single_nodes if getattr(entry, key) is not None]
    places = [cluster_input.get_node_pointer(index) for index in range(len(members) - len(alone))]
    yield from zip((*places, *(f"{pointer}/{key}" for key in alone)), members, strict=True)
