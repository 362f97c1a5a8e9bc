"""What the licences of a cluster's members show that somebody should know; pure.

Limits are read from their own keys, never out of the serial code: the documents' samples disagree there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from reconciler.core.expiry import Expiry, ExpiryKind
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.schema import NodeRow, SoraDesired
from reconciler.text.one_line import join_some

_NUMBER: Final = re.compile(r"-E\d+(?=-)")
"""The part of a serial code in which the samples of one cluster differ."""

_MONTH: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(?=-)")
"""The part of a serial code that names the last month."""

_MOST_NAMED: Final = 4

_FEATURES: Final = ("cluster_relay", "default_cluster_affinity")


def find_licence_facts(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Diagnostic]:
    """More members than a licence allows, features without the licence that they need, unequal licences."""
    cluster = desired.entry.name
    rows = _list_licensed_rows(cluster_view)
    members = cluster_view.membership.names if cluster_view.membership is not None else ()
    short = {
        name: row.license_max_nodes
        for name, row in rows.items()
        if row.license_max_nodes is not None and row.license_max_nodes < len(members)
    }
    if short:
        name, most = min(short.items(), key=lambda one: (one[1] or 0, one[0]))
        yield Diagnostic(
            Severity.WARNING,
            "licence-nodes",
            f"{cluster} has {len(members)} members, and the licence of {name} allows {most}",
            "remove nodes, or install licences for as many nodes",
            target=cluster,
        )
    without = sorted(name for name, row in rows.items() if row.license_max_nodes is None)
    used = list(_list_licensed_features(desired, cluster_view))
    if without and used:
        yield Diagnostic(
            Severity.WARNING,
            "licence-feature",
            f"{', '.join(used)} needs the licence for a number of nodes, and the licence of "
            f"{join_some(without, _MOST_NAMED)} shows none; without it, relay is off whatever sora.conf says",
            "install such a licence, or do without the feature",
            target=cluster,
        )
    kinds: dict[tuple[object, ...], list[str]] = {}
    for name, row in rows.items():
        serial = _NUMBER.sub("", row.license_serial_code or "")
        key = (serial, row.license_type, row.license_max_nodes, row.license_max_connections)
        kinds.setdefault(key, []).append(name)
    if len(kinds) > 1:
        words = "; ".join(
            f"{join_some(names, _MOST_NAMED)}: {connections if connections is not None else 'unknown'} "
            f"connections, {nodes if nodes is not None else 'no number of'} nodes, "
            f"serial {serial or 'unknown'}"
            for (serial, _, nodes, connections), names in sorted(kinds.items(), key=lambda one: one[1])
        )
        yield Diagnostic(
            Severity.NOTE,
            "licence-differs",
            f"the members of {cluster} have different licences: {words}; how connections are compensated "
            "then when one fails is not documented",
            "give all nodes equal licences",
            target=cluster,
        )


def list_licence_ends(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[Expiry]:
    """The month at whose end each licence ends, where its serial code has one."""
    for name, row in _list_licensed_rows(cluster_view).items():
        month = _MONTH.search(row.license_serial_code or "")
        if month is not None:
            year, number = int(month[1]), int(month[2])
            first = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
            yield Expiry(ExpiryKind.LICENCE, "of Sora", f"{desired.entry.name}/{name}", first)


def _list_licensed_rows(cluster_view: ClusterView) -> Mapping[str, NodeRow]:
    """Name -> the line of each member that shows a licence, as the node itself shows it where it does."""
    found: dict[str, NodeRow] = {}
    for name, view in sorted(cluster_view.answering_nodes.items()):
        for row in view.rows:
            shown = row.license_max_connections is not None or row.license_serial_code
            if shown and (row.node_name == name or row.node_name not in found):
                found[row.node_name] = row
    return dict(sorted(found.items()))


def _list_licensed_features(desired: SoraDesired, cluster_view: ClusterView) -> Iterator[str]:
    """What is used that needs the licence for a number of nodes."""
    if cluster_view.membership is not None and cluster_view.membership.temporary:
        yield "a temporary node"
    for key in _FEATURES:
        if any(conf.values.get(key) is True for conf in desired.confs.values()):
            yield f"`{key}`"
