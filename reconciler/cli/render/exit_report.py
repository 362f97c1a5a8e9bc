"""The exit status of a plan, a run or a status, and what a pipeline may want to know beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.core.diagnostic_json import EXTENSIBLE
from reconciler.core.fields import Whole
from reconciler.core.outcome import RunReport
from reconciler.descriptions.values import format_count
from reconciler.exit_status import MEANINGS, ExitStatus
from reconciler.planning.inventory_report import UNREAD
from reconciler.planning.plan_summary import PlanSummary
from reconciler.planning.unread_limit import NO_UNREAD, UnreadLimit
from reconciler.text.one_line import clean_line, join_some

if TYPE_CHECKING:  # a dry run does not need it
    from reconciler.planning.status import FleetStatus

_NAMED = 3


@with_config(EXTENSIBLE)
class ExitShape(TypedDict):
    """Why the command has its exit status: several reasons may hold, and one number cannot say them all."""

    status: Annotated[Whole, Field(description="Exit status of the command.", examples=[0, 2])]
    meaning: Annotated[str, Field(description="What this status means.")]
    pending: Annotated[Whole, Field(description="Steps that are planned, after a run those that remain.")]
    waiting: Annotated[
        Whole,
        Field(description="Nodes that differ, or wait for a restart, and that nothing is sent to now."),
    ]
    unread: Annotated[Whole, Field(description="Nodes that could not be read.")]
    tolerated: Annotated[
        Whole, Field(description="How many of them `--tolerate-unread` allows, so that they are no error.")
    ]
    unread_nodes: Annotated[list[str], Field(description="These nodes, as `cluster/node`.")]
    errors: Annotated[Whole, Field(description="Other errors, such as stalled nodes.")]
    refused: Annotated[Whole, Field(description="Violations that refuse the plan or a part of it.")]
    refused_clusters: Annotated[
        list[str], Field(description="Clusters whose plans guards refused; the others were not held up.")
    ]
    held: Annotated[list[str], Field(description="Clusters on hold.")]


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The exit status of a command, with what was found.

    Args:
        limit: of unread nodes that are no error.
    """

    status: ExitStatus
    summary: PlanSummary
    limit: UnreadLimit = NO_UNREAD

    def plain(self) -> ExitShape:
        """The report as plain JSON."""
        return {
            "status": int(self.status),
            "meaning": MEANINGS[self.status],
            "pending": self.summary.pending,
            "waiting": self.summary.waiting,
            "unread": len(self.summary.unread),
            "tolerated": len(self.summary.find_tolerated(self.limit)),
            "unread_nodes": list(self.summary.unread),
            "errors": self.summary.errors,
            "refused": self.summary.refused,
            "refused_clusters": list(self.summary.refused_clusters),
            "held": list(self.summary.held),
        }

    def describe_tolerance(self) -> Iterator[str]:
        """What `--tolerate-unread` did, one sentence each; nothing without the option or unread nodes."""
        summary, limit = self.summary, self.limit
        if limit == NO_UNREAD or not summary.unread:
            return
        allowed = limit.resolve(summary.nodes)
        if len(summary.unread) > allowed:
            number = format_count(len(summary.unread), "node")
            share = f" ({allowed} of {summary.nodes})" if limit.is_share else ""
            yield f"{number} could not be read; --tolerate-unread {limit} allows {allowed}{share}"
            return
        tolerated = summary.find_tolerated(limit)
        if tolerated:
            names = join_some([clean_line(node) for node in tolerated], _NAMED)
            yield f"--tolerate-unread {limit}: that {names} could not be read is no error"
        for node, reason in summary.needed.items():
            yield f"{clean_line(node)} could not be read and is not tolerated: {clean_line(reason)}"


def report_plan_exit(
    summary: PlanSummary, *, detailed: bool = False, limit: UnreadLimit = NO_UNREAD
) -> ExitReport:
    """How a command ends that only plans: refused before pending changes, and these before errors.

    Args:
        summary: of the pass.
        detailed: whether pending changes have a status of their own.
        limit: of unread nodes that are no error.
    """
    if summary.refused:
        status = ExitStatus.REFUSED
    elif detailed and (summary.pending or summary.waiting):
        status = ExitStatus.PENDING
    else:
        status = ExitStatus.ERROR if _has_errors(summary, limit) else ExitStatus.DONE
    return ExitReport(status, summary, limit)


def report_run_exit(
    report: RunReport,
    remaining: PlanSummary,
    *,
    is_removed: bool = False,
    is_refused: bool = False,
    limit: UnreadLimit = NO_UNREAD,
) -> ExitReport:
    """How a run ends: by its outcomes, and by what the nodes show after it.

    Args:
        report: of the run.
        remaining: of the pass after it.
        is_refused: whether guards refused the plan of a cluster, and others were applied.
        is_removed: whether the fleet file no longer names a cluster, without an override.
        limit: of unread nodes that are no error.
    """
    status = ExitStatus(report.exit_status)
    # The steps had their effects, and the fleet still is not as desired: a script must not read this as done.
    is_rest = remaining.pending or is_removed or _has_errors(remaining, limit)
    if status is ExitStatus.DONE and is_rest:
        status = ExitStatus.IN_PART
    # A refusal has to be looked at by somebody, whatever became of the other clusters.
    return ExitReport(ExitStatus.REFUSED if is_refused else status, remaining, limit)


def report_idle_exit(
    report: RunReport, summary: PlanSummary, *, limit: UnreadLimit = NO_UNREAD
) -> ExitReport:
    """How a run ends that sent nothing, because there is nothing to do, or all is refused or on hold."""
    # Here a hold counts as a refusal: somebody asked to apply, and it was not.
    if summary.refused or summary.held:
        return ExitReport(ExitStatus.REFUSED, summary, limit)
    status = report_plan_exit(summary, limit=limit).status
    return ExitReport(status or ExitStatus(report.exit_status), summary, limit)


def report_status_exit(status: FleetStatus, *, detailed: bool, limit: UnreadLimit = NO_UNREAD) -> ExitReport:
    """How a status ends: with pending changes before errors; refusals concern only what is applied."""
    if detailed and status.is_any_different:
        return ExitReport(ExitStatus.PENDING, status.summary, limit)
    is_unread = any(one.code == UNREAD for cluster in status.clusters for one in cluster.findings)
    failed = is_unread or _has_errors(status.summary, limit)
    return ExitReport(ExitStatus.ERROR if failed else ExitStatus.DONE, status.summary, limit)


def _has_errors(summary: PlanSummary, limit: UnreadLimit) -> bool:
    return summary.errors > 0 or len(summary.unread) > len(summary.find_tolerated(limit))
