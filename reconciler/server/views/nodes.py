"""Nodes: in lists, and one with its effective setting and what differs (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.canonical import strip_editor_key
from reconciler.core.secret import mask
from reconciler.descriptions.changes import SHOWN_CHANGES, DiffLine, format_changes
from reconciler.descriptions.values import shorten_text
from reconciler.desired.fleet import Fleet
from reconciler.planning.status import NodeStatus
from reconciler.ports.node_store import NodeContact
from reconciler.secrets.redaction import hide_by_key
from reconciler.server.pass_reading import PassReading
from reconciler.server.views.fleet import (
    NODE_SIGNALS,
    ClusterGlance,
    StateCount,
    make_cluster_line,
    name_nodes,
)
from reconciler.server.views.lists import SIGNAL_ORDER, ListPage, ListQuery, Signal, take_page
from reconciler.server.views.plans import ShownStep, show_step
from reconciler.server.views.problems import ShownProblem, show_findings, show_violations
from reconciler.server.watch_state import WatchState
from reconciler.text.node_names import make_natural_key
from reconciler.text.one_line import SHORT_ID, clean_line

LONGEST_SETTING: Final = 200_000
"""Characters of a setting that are shown."""

MOST_LEAVING: Final = 100


@dataclass(frozen=True, slots=True)
class NodeLine:
    """One node in a line.

    Args:
        state: in words.
        reason: why it is not as desired; empty if it is.
        revision: short id of the revision whose content it has; of another one the last that it showed.
        since: when that was first seen.
        drift: that it was changed behind our back; empty if it was not.
        hold: the order that nothing is sent to it; empty if there is none.
    """

    cluster: str
    name: str
    signal: Signal
    state: str
    reason: str
    advice: str
    revision: str
    since: datetime | None
    drift: str
    hold: str
    polls: bool


@dataclass(frozen=True, slots=True)
class ClusterDetail:
    """One cluster.

    Args:
        leaving: nodes that the fleet file no longer names, in words.
        unmanaged: pattern of fields that are not ours -> number of nodes that show a value there.
        inventory: where nodes come from that a cloud names.
    """

    line: ClusterGlance
    violations: tuple[ShownProblem, ...]
    findings: tuple[ShownProblem, ...]
    leaving: str
    unmanaged: tuple[tuple[str, int], ...]
    inventory: tuple[str, ...]
    former_names: tuple[str, ...]
    states: tuple[StateCount, ...]
    nodes: ListPage[NodeLine]


@dataclass(frozen=True, slots=True)
class FileLine:
    """A file of a node."""

    file: str
    state: str
    use: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One node.

    Args:
        read_at: when it was read last.
        setting: the effective setting as JSON, secrets masked; empty for products without settings files.
        setting_note: where the setting is shortened, or which of its fields keep what the node shows.
        changes: what differs now, from what it shows to what is desired.
        steps: planned for it.
        heard: when it last called by itself; None if it never did.
        version: that its last poll showed.
        clash: what it says of itself that does not agree with its token; empty for nothing.
    """

    line: NodeLine
    read_at: datetime | None
    setting: str
    setting_note: str
    changes: tuple[DiffLine, ...]
    steps: tuple[ShownStep, ...]
    files: tuple[FileLine, ...]
    heard: datetime | None
    version: str
    clash: str
    is_silent: bool


def make_node_line(cluster: str, status: NodeStatus) -> NodeLine:
    """One node in a line."""
    return NodeLine(
        cluster,
        status.node,
        NODE_SIGNALS[status.state],
        status.state.value,
        clean_line(status.reason),
        clean_line(status.remedy),
        clean_line(status.revision)[:SHORT_ID],
        status.since,
        clean_line(status.drift.description) if status.drift else "",
        clean_line(status.hold.description) if status.hold else "",
        status.polls,
    )


def list_node_lines(watch_state: WatchState, query: ListQuery) -> ListPage[NodeLine]:
    """Nodes of all clusters, urgent ones first."""
    found: list[tuple[str, NodeStatus]] = []
    for name, watched in sorted(watch_state.clusters.items()):
        if watched.reading is not None:
            found += ((name, one) for one in watched.reading.status.nodes)
    return _take_nodes(found, query)


def _take_nodes(nodes: Iterable[tuple[str, NodeStatus]], query: ListQuery) -> ListPage[NodeLine]:
    wanted = [
        (cluster, one)
        for cluster, one in nodes
        if query.contains(one.node, cluster, one.reason)
        and query.state in {"", one.state.value, NODE_SIGNALS[one.state].value}
    ]
    # Within a state the order of the fleet file stays. Lines are made of what is shown alone: a list of ten
    # thousand would take longer than the page.
    wanted.sort(key=lambda one: (SIGNAL_ORDER[NODE_SIGNALS[one[1].state]], make_natural_key(one[1].node)))
    page = take_page(wanted, query)
    items = tuple(make_node_line(cluster, one) for cluster, one in page.items)
    return ListPage(items, page.page, page.pages, page.total)


def make_cluster_detail(
    watch_state: WatchState, name: str, query: ListQuery, approvals: frozenset[str] = frozenset()
) -> ClusterDetail | None:
    """One cluster; None if the fleet has none of that name."""
    watched = watch_state.clusters.get(name)
    if watched is None:
        return None
    line, reading, summary = make_cluster_line(watched, approvals), watched.reading, watched.pass_summary
    if reading is None:
        violations = show_violations(summary.violations) if summary else ()
        return ClusterDetail(line, violations, (), "", (), (), (), (), ListPage(()))
    status = reading.status
    return ClusterDetail(
        line,
        show_violations((*status.holds, *status.violations)),
        show_findings(status.findings),
        name_nodes(one.node for one in status.leaving),
        tuple(sorted(status.unmanaged.items())),
        tuple(clean_line(one.describe()) for one in status.inventory),
        status.former_names,
        line.counts,
        _take_nodes(((name, one) for one in status.nodes), query),
    )


def make_node_detail(
    watch_state: WatchState, cluster: str, name: str, contacts: Sequence[NodeContact] = ()
) -> NodeDetail | None:
    """One node; None if the cluster has none of that name, or was not read yet.

    Args:
        watch_state: the current state.
        cluster: its cluster.
        name: its name.
        contacts: what is known of the calls of nodes.
    """
    watched = watch_state.clusters.get(cluster)
    reading = watched.reading if watched else None
    status = reading.find_node(name) if reading else None
    if reading is None or status is None:
        return None
    contact = next((one for one in contacts if (one.cluster, one.node) == (cluster, name)), None)
    setting, note = show_setting(watch_state.fleet, cluster, name)
    heard = max(contact.heard.values(), default=None) if contact else None
    return NodeDetail(
        make_node_line(cluster, status),
        reading.at,
        setting,
        note,
        _list_changes(reading, name),
        tuple(show_step(step) for step in reading.plan.steps if name in step.nodes)[:MOST_LEAVING],
        tuple(
            FileLine(clean_line(one.entry), one.match.value, one.use.value, clean_line(one.words))
            for one in status.files
        ),
        heard,
        clean_line(contact.label) if contact else "",
        clean_line(contact.clash) if contact else "",
        status.is_silent,
    )


def _list_changes(reading: PassReading, node: str) -> tuple[DiffLine, ...]:
    changes = [change for step in reading.plan.steps if step.node == node for change in step.changes]
    return format_changes(changes, 5 * SHOWN_CHANGES)


def show_setting(fleet: Fleet | None, cluster: str, node: str) -> tuple[str, str]:
    """The effective setting of a node as JSON with masked secrets, and a note about it."""
    found = next((one for one in fleet.cluster_inputs if one.entry.name == cluster), None) if fleet else None
    document = found.documents.get(node) if found else None
    if found is None or document is None:
        return "", ""
    text = json.dumps(
        mask(hide_by_key("", strip_editor_key(document.value))), ensure_ascii=False, indent=2, default=str
    )
    patterns = ", ".join(clean_line(one.text) for one in found.unmanaged.get(node, ()))
    note = f"The node keeps its own value of: {patterns}." if patterns else ""
    return shorten_text(text, LONGEST_SETTING), note
