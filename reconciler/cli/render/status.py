"""The status of a fleet as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from reconciler.cli.render.exit_report import ExitShape
from reconciler.cli.render.json import format_json
from reconciler.cli.render.operations import describe_states, summarise_operation
from reconciler.cli.render.reservations import list_hold_lines, list_reservation_lines
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone, list_pin_lines
from reconciler.core.diagnostic_json import to_plain_finding
from reconciler.core.file_state import FileMatch, FileUse
from reconciler.core.finding_groups import group_findings
from reconciler.core.pins import ROLLED_BACK, PinEffect
from reconciler.core.plan import Revision
from reconciler.core.timestamps import format_minute, format_second
from reconciler.descriptions import phrases
from reconciler.descriptions.pins import to_plain_pin
from reconciler.descriptions.run_results import describe_run_result
from reconciler.descriptions.values import format_count
from reconciler.diagnostic import Diagnostic
from reconciler.planning.leaving_nodes import LeavingNode
from reconciler.planning.node_conditions import NodeCondition
from reconciler.planning.status import ClusterStatus, FleetStatus, NodeStatus
from reconciler.text.node_names import (
    format_node_names,
    generalise_sentence,
    generalise_urls,
    group_by_key,
)
from reconciler.text.one_line import SHORT_ID, clean_line, join_some

_CLASHES = 3
_VERSIONS = 3
_SILENT = 5
"""Nodes of a cluster whose clash is shown."""

_EACH = 30
"""Up to so many nodes of a cluster have a line each; in larger clusters equal nodes share one."""

_WORD = 18
"""Columns of the state of a node."""

_CALM = {
    NodeCondition.AS_DESIRED: Tone.ADD,
    NodeCondition.RESTART: Tone.CHANGE,
    NodeCondition.DIFFERS: Tone.CHANGE,
    NodeCondition.DRIFTED: Tone.CHANGE,
    NodeCondition.OFFERED: Tone.CHANGE,
}

_UNREAD = frozenset({NodeCondition.UNREACHABLE, NodeCondition.UNIDENTIFIED, NodeCondition.UNAUTHORIZED})


def render_status(status: FleetStatus, *, layout: TerminalLayout = PLAIN) -> str:
    """The state of each node, its revision, and what holds changes back."""
    blocks = [
        list(
            layout.wrapped(
                f"Status compared with {phrases.describe_revision(status.revision)}", 0, Tone.STRONG, hang=2
            )
        )
    ]
    blocks += [list(_cluster(cluster, status.revision, layout)) for cluster in status.clusters]
    if status.removed_clusters:
        blocks.append(
            [
                line
                for group in group_findings(status.removed_clusters)
                for line in layout.problem("on hold", group.text, group.finding, Tone.CHANGE, 2)
            ]
        )
    if status.operations:
        rows = [
            f"{clean_line(one.cluster)}: {clean_line(one.kind)} {clean_line(one.id)}, {describe_states(one)}"
            for one in status.operations
        ]
        head = layout.paint("Operations that have not ended", Tone.STRONG)
        blocks.append([head, *(f"  {row}" for row in rows)])
    if status.reservations:
        head = layout.paint("Nodes that may be stopped, and count as away", Tone.STRONG)
        blocks.append([head, *list_reservation_lines(status.reservations, layout)])
    if status.holds:
        head = layout.paint("Held nodes, which nothing is sent to, and which count as away", Tone.STRONG)
        blocks.append([head, *list_hold_lines(status.holds, layout)])
    if status.expiries and status.at is not None:
        head = layout.paint("Expires soon", Tone.STRONG)
        lines = [
            line
            for one in status.expiries
            for line in layout.wrapped(
                clean_line(one.describe(status.at)),
                2,
                Tone.DANGER if one.at <= status.at else Tone.CHANGE,
                hang=2,
            )
        ]
        blocks.append([head, *lines])
    if status.last_run is not None:
        last = status.last_run
        text = f"Last run {last.id}, {format_minute(last.started)} UTC: {describe_run_result(last)}"
        blocks.append(list(layout.wrapped(text, 0, hang=2)))
    tone = Tone.ADD if status.is_converged else Tone.CHANGE
    blocks.append([layout.paint(_summarise_status(status), tone)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def render_status_json(status: FleetStatus, ended: ExitShape) -> str:
    """The status as JSON, node by node."""
    last = status.last_run
    return format_json(
        {
            "revision": status.revision.plain(),
            "converged": status.is_converged,
            "exit": ended,
            "clusters": [_to_plain_cluster(cluster) for cluster in status.clusters],
            "operations": [summarise_operation(one) for one in status.operations],
            "reservations": [one.plain() for one in status.reservations],
            "holds": [one.plain_hold() for one in status.holds],
            "expiring": [one.plain(status.at) for one in status.expiries] if status.at else [],
            "vanished": [_to_plain_violation(one) for one in status.removed_clusters],
            "last_run": last and {"id": last.id, "started": last.started, "exit_status": last.exit_status},
        }
    )


def _cluster(cluster: ClusterStatus, revision: Revision, layout: TerminalLayout) -> Iterator[str]:
    as_desired = sum(node.state is NodeCondition.AS_DESIRED for node in cluster.nodes)
    head = layout.paint(clean_line(cluster.cluster), Tone.STRONG)
    kind = clean_line(cluster.kind)
    if cluster.former_names:
        kind += f", renamed from {', '.join(map(clean_line, cluster.former_names))}"
    counts = f"{as_desired:,} of {format_count(len(cluster.nodes), 'node')} as desired"
    left_out = phrases.describe_left_out([cluster])
    yield f"{head} ({kind}): {'; '.join(filter(None, (counts, left_out)))}"
    if cluster.pin is not None and ROLLED_BACK not in {one.code for one in cluster.holds}:
        yield from list_pin_lines(cluster.pin, revision, layout, 2)
    for use in cluster.inventory:
        yield from layout.wrapped(clean_line(f"inventory: {use.describe()}"), 2, hang=2)
    yield from _list_nodes(cluster.nodes, cluster.revision or revision, layout)
    yield from _list_leaving(cluster.leaving, layout)
    if cluster.unmanaged:
        yield from layout.wrapped(_describe_unmanaged(cluster), 2)
    for line in _describe_files(cluster):
        yield from layout.wrapped(line, 2)
    yield from layout.wrapped(_describe_contacts(cluster), 2) if any(_list_reporting(cluster)) else ()
    for violations in (cluster.holds, cluster.violations):
        for group in group_findings(violations, full=layout.full):
            head = "on hold" if group.finding.hold else "refused"
            yield from layout.problem(head, group.text, group.finding, Tone.CHANGE, 2)
    for note in group_findings(cluster.findings, full=layout.full):
        yield from layout.wrapped(
            f"{note.finding.severity}: {note.text} [{note.finding.code}]", 2, Tone.CHANGE
        )


def _describe_unmanaged(cluster: ClusterStatus) -> str:
    """The fields in which each node keeps what it has."""
    named = [
        f"{clean_line(pattern)} ({format_count(count, 'node shows it', 'nodes show it')})"
        if count
        else f"{clean_line(pattern)} (no node that was read shows it)"
        for pattern, count in cluster.unmanaged.items()
    ]
    return f"unmanaged, each node keeps its own: {', '.join(named)}"


def _list_nodes(nodes: tuple[NodeStatus, ...], revision: Revision, layout: TerminalLayout) -> Iterator[str]:
    """The lines of nodes; those that cannot be read for one reason, such as a bastion, share a sentence."""
    has_each = layout.full or len(nodes) <= _EACH
    groups = [
        (
            group,
            [node.node for node in group] if has_each else [format_node_names([one.node for one in group])],
        )
        for group in _group_nodes(nodes, has_each=has_each)
    ]
    width = max((len(name) for _, names in groups for name in names), default=0)
    for group, names in groups:
        for name, node in zip(names, group, strict=False):
            tone = _CALM.get(node.state, Tone.DANGER)
            word = layout.paint(f"{node.state.value:<{_WORD}}", tone)
            about = _describe_revision(node, revision)
            line = f"  {name:<{width}}  {word}"
            if width + _WORD + 6 + len(about) <= layout.width:
                yield f"{line}  {about}".rstrip()
                continue
            if width + len(node.state.value) + 4 <= layout.width:
                yield line.rstrip()
            else:
                yield from layout.wrapped(name, 2)
                yield from layout.wrapped(node.state.value, 6, tone)
            yield from layout.wrapped(about, 6)
        first = group[0]
        if not first.reason:
            continue
        if len(group) == 1:
            yield from layout.wrapped(clean_line(first.reason), 6)
            yield from layout.wrapped(f"→ {clean_line(first.remedy)}", 8) if first.remedy else ()
            continue
        who = f"{format_node_names([node.node for node in group], full=layout.full)}: " if has_each else ""
        yield from layout.wrapped(who + _generalise(first), 6)
        if first.remedy and all(node.remedy == first.remedy for node in group):
            yield from layout.wrapped(f"→ {clean_line(first.remedy)}", 8)


def _list_leaving(leaving: tuple[LeavingNode, ...], layout: TerminalLayout) -> Iterator[str]:
    """The nodes that leave; in a large cluster, those with one reason share a line."""
    for group in group_by_key(leaving, lambda one: (one.steps, generalise_sentence(one.reason, one.node))):
        first, names = group[0], format_node_names([one.node for one in group])
        word = "waits for an operator" if first.waits_for_person else "leaves"
        reason = first.reason if len(group) == 1 else generalise_sentence(first.reason, first.node)
        yield from layout.wrapped(f"leaving: {names}: {word}", 2, Tone.CHANGE)
        yield from layout.wrapped(clean_line(reason), 6)


def _describe_files(cluster: ClusterStatus) -> Iterator[str]:
    """Each file of the cluster's nodes: on how many it is as desired, and whether their processes use it."""
    groups: dict[tuple[str, FileMatch, FileUse, str], list[str]] = {}
    for node in cluster.nodes:
        for one in node.files:
            words = generalise_sentence(one.words, node.node)
            groups.setdefault((one.entry, one.match, one.use, words), []).append(node.node)
    for (entry, match, use, words), nodes in groups.items():
        where = "all nodes" if len(nodes) == len(cluster.nodes) else format_node_names(nodes)
        known = f"; {_USES[use]}" if match is FileMatch.AS_DESIRED else ""
        why = f" ({clean_line(words)})" if words else ""
        yield f"file {clean_line(entry)} on {where}: {match}{known}{why}"


_USES = {
    FileUse.USED: "the running process uses it",
    FileUse.WAITS: "the running process does not use it: it waits for a restart",
    FileUse.UNKNOWN: "whether the running process uses it is not known",
}


def _list_reporting(cluster: ClusterStatus) -> list[NodeStatus]:
    return [node for node in cluster.nodes if node.reports]


def _describe_contacts(cluster: ClusterStatus) -> str:
    """When nodes that poll or report were heard, who is silent or was never heard, and their versions."""
    reporting = _list_reporting(cluster)
    heard = sorted((node.heard, node.node) for node in reporting if node.heard is not None)
    words = (
        ("node that polls", "nodes that poll")
        if any(node.polls for node in reporting)
        else ("node that reports", "nodes that report")
    )
    parts = [f"{len(heard):,} of {format_count(len(reporting), *words)} heard"]
    if heard:
        parts.append(f"last at {format_second(heard[-1][0])} UTC")
    if silent := sorted(node.node for node in reporting if node.is_silent):
        oldest, name = heard[0]
        longest = f"{clean_line(name)} longest, " if len(silent) > 1 else ""
        names = join_some([clean_line(one) for one in silent], _SILENT)
        parts.append(f"silent: {names} ({longest}since {format_second(oldest)} UTC)")
    if never := sorted(node.node for node in reporting if node.heard is None):
        parts.append(f"never: {format_node_names(never)}")
    versions = Counter(node.label for node in reporting if node.label).most_common()
    if len(versions) > 1:
        shown = [f"{clean_line(version)} on {number}" for version, number in versions]
        parts.append(f"versions: {join_some(shown, _VERSIONS)}")
    claimed = [(node.claimed, node.node) for node in reporting if node.claimed is not None]
    if claimed:
        newest, _ = max(claimed)
        names = join_some(sorted(clean_line(name) for _, name in claimed), _SILENT)
        parts.append(
            f"named on shared channels, which proves nothing: {names} (last at {format_second(newest)} UTC)"
        )
    parts += [f"{clean_line(node.node)}: {clean_line(node.clash)}" for node in reporting if node.clash][
        :_CLASHES
    ]
    return "; ".join(parts)


def _group_nodes(nodes: tuple[NodeStatus, ...], *, has_each: bool) -> list[tuple[NodeStatus, ...]]:
    if has_each:
        return group_by_key(
            nodes,
            lambda node: (
                (node.state, _generalise(node)) if node.state in _UNREAD and node.reason else node.node
            ),
        )
    # To the minute, as it is shown: nodes of one wave differ by seconds.
    return group_by_key(
        nodes,
        lambda node: (
            node.state,
            _generalise(node),
            node.revision,
            node.since and format_minute(node.since),
            node.stamp,
        ),
    )


def _generalise(node: NodeStatus) -> str:
    """Its reason as a sentence that is the same for every node of which it is true."""
    return generalise_urls(generalise_sentence(node.reason, node.node))


def _describe_revision(node: NodeStatus, revision: Revision) -> str:
    if not node.revision:
        return "unknown revision"
    is_current = node.revision == revision.id
    name = (revision.short if is_current else "") or node.revision[:SHORT_ID]
    text = f"{'content of' if node.has_content else 'last seen with'} {clean_line(name)}"
    text += f" since {format_minute(node.since)} UTC" if node.since else ""
    # A node may have the right content from a commit that changed nothing for it: its stamp is then another.
    return text if node.stamp in {"", revision.short, name} else f"{text}, stamped {clean_line(node.stamp)}"


_SEVERAL = {
    NodeCondition.DIFFERS: "differ",
    NodeCondition.STALLED: "stalled",
    NodeCondition.WAITS: "wait for a retry",
    NodeCondition.RESTART: "wait for restart",
    NodeCondition.OPERATOR: "wait for an operator",
}
"""Plural forms."""


def _summarise_status(status: FleetStatus) -> str:
    nodes = [node for cluster in status.clusters for node in cluster.nodes]
    left_out = phrases.describe_left_out(status.clusters)
    notes = [left_out, *_list_notes(status)]
    if status.is_converged:
        count = f"{format_count(len(nodes), 'node is', 'nodes are')} as desired"
        return f"Converged: {'; '.join(filter(None, (count, *notes)))}."
    counts = []
    for state in NodeCondition:
        number = sum(node.state is state for node in nodes)
        if number:
            counts.append(f"{number:,} {state.value if number == 1 else _SEVERAL.get(state, state.value)}")
    if status.removed_clusters:
        counts.append(f"{format_count(len(status.removed_clusters), 'cluster')} missing from the fleet file")
    if all(node.state is NodeCondition.AS_DESIRED for node in nodes):  # then the nodes do not say why
        if pending := sum(cluster.pending for cluster in status.clusters):
            counts.append(format_count(pending, "change is pending", "changes are pending"))
        if errors := sum(cluster.errors for cluster in status.clusters):
            counts.append(format_count(errors, "error"))
    return f"Not converged: {'; '.join(filter(None, (', '.join(counts), *notes)))}."


def _list_notes(status: FleetStatus) -> Iterator[str]:
    """What is to be known with every result."""
    if leaving := sum(len(cluster.leaving) for cluster in status.clusters):
        yield format_count(leaving, "node leaves", "nodes leave")
    pinned = [one.cluster for one in status.clusters if one.pin and one.pin.effect is PinEffect.HOLDS]
    if pinned:
        yield f"pinned: {', '.join(map(clean_line, pinned))}"


def _to_plain_cluster(cluster: ClusterStatus) -> dict[str, Any]:
    return {
        "cluster": cluster.cluster,
        "kind": cluster.kind,
        "former_names": list(cluster.former_names),
        "converged": cluster.is_converged,
        "unmanaged": dict(cluster.unmanaged),
        "left_out": cluster.left_out,
        "leaving": [one.plain() for one in cluster.leaving],
        "pending": cluster.pending,
        "nodes": [
            {
                "node": node.node,
                "state": node.state.value,
                "reason": node.reason,
                "remedy": node.remedy,
                "revision": node.revision,
                "since": node.since,
                "stamp": node.stamp,
                "polls": node.polls,
                "reports": node.reports,
                "silent": node.is_silent,
                "heard": node.heard,
                "version": node.label,
                "clash": node.clash,
                "claimed": node.claimed,
                "drift": node.drift.plain() if node.drift else None,
                "hold": node.hold.plain_hold() if node.hold else None,
                "files": [
                    {"file": one.entry, "state": one.match.value, "use": one.use.value, "reason": one.words}
                    for one in node.files
                ],
            }
            for node in cluster.nodes
        ],
        "findings": [to_plain_finding(one) for one in cluster.findings],
        "held": [_to_plain_violation(one) for one in cluster.holds],
        "refused": [_to_plain_violation(one) for one in cluster.violations],
        "pin": to_plain_pin(cluster.pin) if cluster.pin else None,
        "waiting_for_approval": cluster.waiting.digest if cluster.waiting else None,
        **({"inventory": [one.plain() for one in cluster.inventory]} if cluster.inventory else {}),
    }


def _to_plain_violation(one: Diagnostic) -> dict[str, str]:
    return {"code": one.code, "target": one.target, "message": one.message, "remedy": one.remedy}
