"""Plans and reports for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.cli.render import phrases
from reconciler.cli.render.changes import ADD, REMOVE, REPLACE, format_changes
from reconciler.cli.render.finding_groups import (
    describe_missed_steps,
    describe_pending_restarts,
    group_findings,
)
from reconciler.cli.render.step_groups import StepGroup, group_steps
from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import clean_line

_CHANGES = 20


class Tone(StrEnum):
    """What a colour means, as the terminal's code for it; the words beside it say the same."""

    ADD = "32"
    CHANGE = "33"
    DANGER = "31"
    STRONG = "1"
    QUIET = "2"
    PLAIN = ""


MARKS = {ADD: Tone.ADD, REMOVE: Tone.DANGER, REPLACE: Tone.CHANGE}
_SEVERITIES = {Severity.ERROR: Tone.DANGER, Severity.WARNING: Tone.CHANGE, Severity.NOTE: Tone.QUIET}


@dataclass(frozen=True, slots=True)
class TerminalLayout:
    """The width of a terminal in columns, and whether it shows colours."""

    width: int = 100
    colour: bool = False

    def paint(self, text: str, tone: Tone) -> str:
        """The text in a tone; unchanged without colours."""
        return f"\x1b[{tone}m{text}\x1b[0m" if self.colour and tone and text else text

    def wrapped(self, text: str, indent: int, tone: Tone = Tone.PLAIN, *, hang: int = 0) -> Iterator[str]:
        """A sentence as lines, indented by `indent` columns, all but the first by `hang` more."""
        width = max(self.width - indent, 30)
        lines = textwrap.wrap(
            text,
            width,
            subsequent_indent=" " * hang,
            break_long_words=False,  # an address or a JSON pointer must stay whole to be copied
            break_on_hyphens=False,
        )
        for line in lines:
            yield " " * indent + self.paint(line, tone)

    def problem(
        self, head: str, text: str, problem: Diagnostic, tone: Tone, indent: int = 0
    ) -> Iterator[str]:
        """A problem as `head: text [code]`, and `→ remedy` below it."""
        yield from self.wrapped(f"{head}: {clean_line(text)} [{clean_line(problem.code)}]", indent, tone)
        if problem.remedy:
            yield from self.wrapped(f"→ {clean_line(problem.remedy)}", indent + 2)


PLAIN = TerminalLayout()


def render_plan_text(view: phrases.PlanView, *, layout: TerminalLayout = PLAIN) -> str:
    """A plan for a terminal; the last line is the summary."""
    plan, groups = view.plan, group_steps(view.plan)
    blocks = [
        list(layout.wrapped(f"Plan for {phrases.describe_revision(plan.revision)}", 0, Tone.STRONG, hang=2))
    ]
    blocks.append(list(_warnings(view.warnings, layout)))
    blocks += [list(_cluster(cluster, groups[cluster.cluster], layout)) for cluster in plan.clusters]
    blocks += [
        [
            *layout.wrapped(
                f"overridden: {clean_line(violation.message)} [{clean_line(violation.code)}]", 0, Tone.CHANGE
            ),
            *layout.wrapped(f"until {override.until}: {clean_line(override.reason)}", 2),
        ]
        for violation, override in view.overridden
    ]
    for one in view.violations:
        head, tone = ("on hold", Tone.CHANGE) if one.hold else ("refused", Tone.DANGER)
        blocks.append(list(layout.problem(head, one.message, one, tone)))
    blocks.append(list(_findings(view.findings, layout, 0)))
    tone = Tone.DANGER if view.refused else Tone.STRONG
    blocks.append(list(layout.wrapped(phrases.summarise_plan(plan, view.violations), 0, tone)))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def render_report_text(
    report: RunReport, remaining: Plan | None = None, *, layout: TerminalLayout = PLAIN
) -> str:
    """The result of a run: what was not done and why, what waits for a restart, and a summary.

    Args:
        report: the run's outcomes.
        remaining: the plan after the run; None if the nodes were not read again.
        layout: width and colour.
    """
    lines: list[str] = []
    for state, text in describe_missed_steps(report):
        lines += layout.wrapped(f"{phrases.STATES[state]}: {text}", 0, choose_outcome_tone(state))
    for text in describe_pending_restarts(report):
        lines += layout.wrapped(f"waits for a restart: {text}", 0, Tone.CHANGE)
    lines += _findings((*report.findings, *phrases.select_findings(remaining)), layout, 0)
    tone = Tone.ADD if report.is_success else Tone.DANGER
    lines += layout.wrapped(phrases.summarise_run(report, remaining), 0, tone)
    if report.run and (not report.is_success or (remaining is not None and not remaining.is_empty)):
        lines.append(f"  → reconcile history show {clean_line(report.run)}")
    return "\n".join(lines) + "\n"


def format_outcome(outcome: Outcome, *, layout: TerminalLayout = PLAIN) -> str:
    """The outcome of one step in one line, for logs and pipes."""
    step = outcome.step
    word = layout.paint(f"{phrases.STATES[outcome.state]:<13}", choose_outcome_tone(outcome.state))
    reason = f": {clean_line(outcome.reason)}" if outcome.reason and outcome.state not in SUCCESSES else ""
    return f"{word} {clean_line(step.cluster)}  {clean_line(step.action)}  {clean_line(step.node)}{reason}"


def choose_step_tone(step: Step) -> Tone:
    """Red for a step that cannot be undone or has high risk, green for one that only adds, else yellow."""
    if phrases.is_destructive(step):
        return Tone.DANGER
    only_adds = step.changes and all(change.op.value == "add" for change in step.changes)
    return Tone.ADD if only_adds else Tone.CHANGE


def _cluster(cluster: ClusterPlan, groups: Sequence[StepGroup], layout: TerminalLayout) -> Iterator[str]:
    head = layout.paint(clean_line(cluster.cluster), Tone.STRONG)
    yield f"{head} ({clean_line(cluster.kind)}): {phrases.describe_counts(cluster)}"
    widths = (
        max((len(group.numbers) for group in groups), default=0),
        max((len(clean_line(group.step.action)) for group in groups), default=0),
    )
    wave = 0
    for group in groups:
        if group.step.wave != wave:
            wave = group.step.wave
            yield layout.paint(f"  {phrases.describe_wave(cluster, wave)}", Tone.STRONG)
        yield from _group(group, widths, layout)
    yield from _findings(cluster.findings, layout, 2)


def _group(group: StepGroup, widths: tuple[int, int], layout: TerminalLayout) -> Iterator[str]:
    step = group.step
    indent = widths[0] + 4
    verb = layout.paint(f"{clean_line(step.action):<{widths[1]}}", choose_step_tone(step))
    manual = "  (manual step)" if step.is_manual else ""
    yield f"  {group.numbers:>{widths[0]}}  {verb}  {group.nodes}{manual}"
    yield from layout.wrapped(group.words(step.reason), indent)
    tone = Tone.DANGER if phrases.is_destructive(step) else Tone.PLAIN
    effect = phrases.describe_effect(step, f"{step.risk} risk", group.words(step.risk_reason))
    yield from layout.wrapped(effect, indent, tone)
    if step.needs:
        yield from layout.wrapped(f"needs: {group.words(step.needs)}", indent, Tone.QUIET)
    if group.after:
        yield from layout.wrapped(f"after: {group.after}", indent, Tone.QUIET)
    undo = group.words(step.inverse.words)
    if phrases.is_final(step):
        yield from layout.wrapped(undo, indent, Tone.DANGER)
    elif undo:
        yield from layout.wrapped(f"undo: {undo}", indent, Tone.QUIET)
    for line in format_changes(step.changes, _CHANGES):
        tone = MARKS.get(line.mark, Tone.QUIET)
        yield from layout.wrapped(f"{line.mark} {line.text}", indent, tone, hang=4)


def _findings(findings: Iterable[Diagnostic], layout: TerminalLayout, indent: int) -> Iterator[str]:
    for note in group_findings(findings):
        severity = note.finding.severity
        yield from layout.problem(severity, note.text, note.finding, _SEVERITIES[severity], indent)


def _warnings(warnings: Sequence[Diagnostic], layout: TerminalLayout) -> Iterator[str]:
    shown, rest = phrases.select_warnings(warnings)
    for one in shown:
        tone = _SEVERITIES[one.severity]
        yield from layout.problem(one.severity, f"{one.where}: {one.message}", one, tone)
    yield from layout.wrapped(rest, 0, Tone.CHANGE)


def choose_outcome_tone(state: State | None) -> Tone:
    """Green for success, yellow for a step that is open or was not sent, else red."""
    if state in SUCCESSES:
        return Tone.ADD
    calm = {None, State.WAITING, State.OFFERED, State.SUPERSEDED, State.SKIPPED}
    return Tone.CHANGE if state in calm else Tone.DANGER
