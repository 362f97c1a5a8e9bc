"""The plan of a cluster with reasons and risks, in the words of the terminal (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from reconciler.core.plan import Plan, Step
from reconciler.descriptions import phrases
from reconciler.descriptions.changes import SHOWN_CHANGES, DiffLine, format_changes
from reconciler.descriptions.step_groups import StepGroup, group_steps
from reconciler.server.pass_reading import PassReading
from reconciler.server.views.lists import Signal
from reconciler.server.views.problems import ShownProblem, show_findings, show_violations
from reconciler.server.watch_state import WatchedCluster
from reconciler.text.node_names import format_node_names
from reconciler.text.one_line import clean_line

MOST_GROUPS: Final = 200
"""Groups of equal steps that are shown; the terminal has them all."""


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A planned step, or equal ones on several nodes.

    Args:
        numbers: `7`, or `7-46` for forty steps.
        nodes: their names.
        effect: what it does to a running node, and its risk, with the reason.
        undo: how it is undone; may be empty.
        is_dangerous: whether it cannot be undone or has high risk.
        is_manual: whether a person does it.
    """

    numbers: str
    action: str
    nodes: str
    count: int
    reason: str
    effect: str
    needs: str
    after: str
    undo: str
    is_dangerous: bool
    is_final: bool
    is_manual: bool
    changes: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class ShownWave:
    """The steps of one wave; `title` is empty if there is only one."""

    title: str
    steps: tuple[ShownStep, ...]


@dataclass(frozen=True, slots=True)
class PlanDetail:
    """The plan of one cluster, from its last pass.

    Args:
        made_at: when the nodes were read for it.
        revision: in one line: id, title, source, signer.
        digest: that an approval is bound to; empty if it needs none.
        summary: in one line.
        left_out: groups of steps that are not shown.
        run: that has applied it; empty if it was not applied.
    """

    cluster: str
    made_at: datetime | None
    revision: str
    digest: str
    summary: str
    counts: str
    is_refused: bool
    waves: tuple[ShownWave, ...]
    left_out: int
    violations: tuple[ShownProblem, ...]
    overridden: tuple[ShownProblem, ...]
    findings: tuple[ShownProblem, ...]
    run: str


def make_plan_detail(watched: WatchedCluster) -> PlanDetail | None:
    """The plan of the last pass that read the nodes; None before the first."""
    reading = watched.reading
    if reading is None:
        return None
    plan = Plan(reading.revision, "", (reading.plan,))
    view = phrases.PlanView(plan, reading.violations, reading.overridden)
    waves, left_out = make_waves(plan)
    summary = watched.pass_summary
    return PlanDetail(
        reading.plan.cluster,
        reading.at,
        phrases.describe_revision(reading.revision),
        reading.digest,
        view.summary,
        phrases.describe_counts(reading.plan),
        view.refused,
        waves,
        left_out,
        show_violations(reading.violations),
        _show_overridden(reading),
        show_findings(reading.plan.findings),
        summary.run if summary and summary.reading is reading else "",
    )


def make_waves(plan: Plan) -> tuple[tuple[ShownWave, ...], int]:
    """The waves of a plan of one cluster, and how many groups of steps are left out."""
    (own,) = plan.clusters
    groups = group_steps(plan)[own.cluster]
    shown = groups[:MOST_GROUPS]
    waves = tuple(
        ShownWave(
            phrases.describe_wave(own, number) if number else "",
            tuple(show_step_group(group) for group in steps),
        )
        for number, steps in groupby(shown, lambda group: group.step.wave)
    )
    return waves, len(groups) - len(shown)


def _show_overridden(reading: PassReading) -> tuple[ShownProblem, ...]:
    return tuple(
        ShownProblem(
            Signal.ATTENTION,
            "overridden",
            f"{clean_line(group.text)} (until {override.until}: {clean_line(override.reason)})",
            group.finding.code,
        )
        for override, group in phrases.group_overridden(reading.overridden)
    )


def show_step_group(group: StepGroup) -> ShownStep:
    """Equal steps on several nodes."""
    step = group.step
    return ShownStep(
        group.numbers,
        clean_line(step.action),
        format_node_names([one.node for one in group.steps]),
        len(group.steps),
        group.words(step.reason),
        phrases.describe_effect(step, f"{step.risk} risk", group.words(step.risk_reason)),
        group.words(step.needs),
        group.after,
        group.words(step.inverse.words),
        phrases.is_destructive(step),
        phrases.is_final(step),
        step.is_manual,
        format_changes(step.changes, SHOWN_CHANGES),
    )


def show_step(step: Step) -> ShownStep:
    """One step."""
    return show_step_group(StepGroup(1, (step,)))


def count_steps(waves: Sequence[ShownWave]) -> int:
    """How many steps some waves show."""
    return sum(step.count for wave in waves for step in wave.steps)
