"""What of a pass, of the source and of other hosts people are told; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from reconciler.core.alerts import Alert, AlertEvent, AlertSeverity
from reconciler.core.finding_groups import group_findings
from reconciler.diagnostic import Diagnostic
from reconciler.guards.change_control import APPROVED
from reconciler.planning.withheld_findings import STALLED
from reconciler.ports.notification_store import AlertScope
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.watch_state import SourceState, WatchedSource
from reconciler.text.node_names import format_node_names

_UNFINISHED = frozenset({PassResult.BUSY, PassResult.STOPPED, PassResult.CHANGED})
"""Passes that say nothing about a cluster."""

_BROKEN = frozenset({PassResult.INVALID, PassResult.DEFECT, PassResult.FAILED})

_OF_READING = frozenset(AlertEvent) - {AlertEvent.PASS_FAILED, AlertEvent.REVISION_REJECTED}


def list_pass_alerts(
    cluster: str, summary: PassSummary, now: datetime
) -> tuple[AlertScope, tuple[Alert, ...]] | None:
    """What is true of a cluster after a pass, and which alerts that replaces; None if nothing is known.

    Args:
        cluster: its name.
        summary: of the pass.
        now: the time.
    """
    if summary.result in _UNFINISHED:
        return None
    kept: set[AlertEvent] = set()
    if summary.reading is None:
        kept |= _OF_READING
    if not summary.is_good:
        kept.add(AlertEvent.RUN_FAILED)
    if summary.unread_nodes:
        kept |= {AlertEvent.DRIFT, AlertEvent.NODE_STALLED}
    found = (
        *_list_refusals(cluster, summary.violations),
        *_list_broken(cluster, summary),
        *_list_node_states(cluster, summary),
        *_list_expiries(cluster, summary, now),
    )
    return AlertScope(cluster, kept=frozenset(kept)), found


def _list_refusals(cluster: str, violations: Iterable[Diagnostic]) -> Iterator[Alert]:
    own = [one for one in violations if one.cluster in {"", cluster}]
    waiting = [one for one in own if one.code in APPROVED]
    if waiting:
        yield Alert(
            AlertEvent.APPROVAL_NEEDED,
            AlertSeverity.WARNING,
            f"{cluster}: a plan waits for an approval",
            tuple(sorted({f"{one.code} {one.target}" for one in waiting})),
            cluster,
            details=_list_texts(waiting),
            remedy=waiting[0].remedy,
            end_title=f"{cluster}: no plan waits for an approval any more",
        )
    refused = [one for one in own if not one.hold]
    if refused:
        yield Alert(
            AlertEvent.PLAN_REFUSED,
            AlertSeverity.ERROR,
            f"{cluster}: the plan is refused ({', '.join(sorted({one.code for one in refused}))})",
            tuple(sorted({f"{one.code} {one.target}" for one in refused})),
            cluster,
            details=_list_texts(refused),
            remedy=refused[0].remedy,
            end_title=f"{cluster}: the plan is no longer refused",
        )


def _list_broken(cluster: str, summary: PassSummary) -> Iterator[Alert]:
    if summary.result in _BROKEN and not summary.run:
        yield Alert(
            AlertEvent.PASS_FAILED,
            AlertSeverity.ERROR,
            f"{cluster}: a pass could not be completed ({summary.result})",
            cluster=cluster,
            details=(summary.message,) if summary.message else (),
            remedy="the watch tries again by itself; its log has more",
            end_title=f"{cluster}: passes are completed again",
        )


def _list_node_states(cluster: str, summary: PassSummary) -> Iterator[Alert]:
    stalled = [one for one in summary.findings if one.code == STALLED]
    if stalled:
        nodes = _name_nodes(stalled)
        yield Alert(
            AlertEvent.NODE_STALLED,
            AlertSeverity.ERROR,
            f"{cluster}: stalled, so that nothing more is sent: {format_node_names(nodes)}",
            nodes,
            cluster,
            details=_list_texts(stalled),
            remedy=stalled[0].remedy,
            end_title=f"{cluster}: no node is stalled any more",
        )
    if summary.drift:
        nodes = tuple(sorted(one.node for one in summary.drift))
        yield Alert(
            AlertEvent.DRIFT,
            AlertSeverity.WARNING,
            f"{cluster}: changed behind our back: {format_node_names(nodes)}",
            nodes,
            cluster,
            details=tuple(f"{one.node}: {one.description}" for one in summary.drift),
            end_title=f"{cluster}: no node differs from what it was given any more",
        )
    if summary.unread_nodes:
        nodes = summary.unread_nodes
        yield Alert(
            AlertEvent.NODES_UNREAD,
            AlertSeverity.WARNING,
            f"{cluster}: not read: {format_node_names(nodes)}",
            nodes,
            cluster,
            details=_list_texts(_select_unread(summary)),
            remedy=f"`reconcile status --only {cluster}` says how each node answers",
            end_title=f"{cluster}: every node is read again",
        )


def _select_unread(summary: PassSummary) -> list[Diagnostic]:
    unread = set(summary.unread_nodes)
    return [one for one in summary.findings if one.target.partition("/")[2] in unread]


def _list_expiries(cluster: str, summary: PassSummary, now: datetime) -> Iterator[Alert]:
    if not summary.expiries:
        return
    ordered = sorted(summary.expiries, key=lambda one: (one.at, one.kind, one.target, one.what))
    is_past = ordered[0].at <= now
    yield Alert(
        AlertEvent.EXPIRY,
        AlertSeverity.ERROR if is_past else AlertSeverity.WARNING,
        f"{cluster}: {ordered[0].describe(now)}",
        tuple(f"{one.kind} {one.what} {one.target}" for one in ordered),
        cluster,
        details=tuple(one.describe(now) for one in ordered[1:]),
        remedy="renew it before it ends; the passes see the new one by themselves",
        end_title=f"{cluster}: nothing expires soon any more",
    )


def list_source_alerts(
    source: WatchedSource, place: str, host: str
) -> Sequence[tuple[AlertScope, tuple[Alert, ...]]]:
    """What is true of the source, and which alerts that replaces.

    Args:
        source: its state.
        place: where it is, without secrets.
        host: name of this host, which alone may not reach it.
    """
    files, reach = AlertScope(subject=f"files of {place}"), AlertScope(subject=f"{place} from {host}")
    if source.state is SourceState.UNREAD:
        return ()
    if source.state is SourceState.UNREACHABLE:
        alert = Alert(
            AlertEvent.SOURCE_UNREACHABLE,
            AlertSeverity.WARNING,
            f"the source {place} does not answer {host}",
            subject=reach.subject,
            details=(source.message,),
            remedy="the last good revision stays in use; check the source and the network",
            end_title=f"the source {place} answers {host} again",
        )
        return ((reach, (alert,)),)
    if source.state is SourceState.GOOD:
        return ((reach, ()), (files, ()))
    problems = tuple(f"{one.where}: {one.message}" for one in source.problems) or (source.message,)
    alert = Alert(
        AlertEvent.FILES_INVALID,
        AlertSeverity.ERROR,
        f"the newest revision of {place} cannot be used: {source.rejected[:12]}",
        (source.rejected,),
        subject=files.subject,
        details=problems,
        remedy="the revision before stays in use; `reconcile validate` shows all errors",
        end_title=f"the newest revision of {place} is in use",
    )
    return ((reach, ()), (files, (alert,)))


def list_host_alerts(silent: Sequence[str]) -> tuple[AlertScope, tuple[Alert, ...]]:
    """What is true of the other hosts of the store."""
    scope = AlertScope(subject="hosts")
    if not silent:
        return scope, ()
    names = format_node_names(silent, noun="hosts")
    alert = Alert(
        AlertEvent.HOST_SILENT,
        AlertSeverity.CRITICAL,
        f"a host of this program was killed, or has lost the database: {names}",
        tuple(silent),
        subject=scope.subject,
        remedy="the other hosts go on with its clusters; start its watch again",
        end_title="no host of this program is silent any more",
    )
    return scope, (alert,)


def _list_texts(findings: Iterable[Diagnostic]) -> tuple[str, ...]:
    return tuple(group.text for group in group_findings(findings))


def _name_nodes(findings: Iterable[Diagnostic]) -> tuple[str, ...]:
    return tuple(sorted({one.target.partition("/")[2] or one.target for one in findings}))
