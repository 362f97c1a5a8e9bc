"""Plans and reports for a terminal: terse, aligned, calm."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.cli.render import phrases
from reconciler.cli.render.changes import ADD, REMOVE, REPLACE, format_changes
from reconciler.cli.render.colour import Palette, Tone
from reconciler.cli.render.finding_groups import group_findings, group_missed_steps, group_restarts
from reconciler.cli.render.plan_view import PlanView
from reconciler.cli.render.step_groups import StepGroup, group_steps
from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import clean_line

_CHANGES = 20
MARKS = {ADD: Tone.ADD, REMOVE: Tone.DANGER, REPLACE: Tone.CHANGE}
_SEVERITIES = {Severity.ERROR: Tone.DANGER, Severity.WARNING: Tone.CHANGE, Severity.NOTE: Tone.QUIET}


@dataclass(frozen=True, slots=True)
class TerminalLayout:
    """How a terminal wants it: `width` in columns, colour or none."""

    width: int = 100
    colour: bool = False

    @property
    def paint(self) -> Palette:
        """Colours, or none."""
        return Palette(self.colour)

    def wrapped(self, text: str, indent: int, tone: Tone = Tone.PLAIN, *, hang: int = 0) -> Iterator[str]:
        """A sentence as lines that stand `indent` columns in, all but the first `hang` more."""
        width = max(self.width - indent, 30)
        lines = textwrap.wrap(
            text,
            width,
            subsequent_indent=" " * hang,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            yield " " * indent + self.paint(line, tone)


PLAIN = TerminalLayout()


def render_plan_text(view: PlanView, *, layout: TerminalLayout = PLAIN) -> str:
    """A plan for a person at a terminal; it ends with one sentence that says it all."""
    plan, groups = view.plan, group_steps(view.plan)
    blocks = [
        list(layout.wrapped(f"Plan for {phrases.describe_revision(plan.revision)}", 0, Tone.STRONG, hang=2))
    ]
    blocks.append(list(_warnings(view.warnings, layout)))
    blocks += [list(_cluster(cluster, groups[cluster.cluster], layout)) for cluster in plan.clusters]
    blocks += [list(_overridden(violation, override, layout)) for violation, override in view.overridden]
    blocks += [list(_violation(violation, layout)) for violation in view.violations]
    blocks.append(list(_findings(view.findings, layout, 0)))
    tone = Tone.DANGER if view.refused else Tone.STRONG
    blocks.append(list(layout.wrapped(phrases.summarise_plan(plan, view.violations), 0, tone)))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def render_report_text(
    report: RunReport, remaining: Plan | None = None, *, layout: TerminalLayout = PLAIN
) -> str:
    """What became of a run: what was not done and why, what waits for a restart, and one sentence.

    Args:
        report: the run's outcomes.
        remaining: what a second look at the nodes would still plan; None where there was none.
        layout: width and colour.
    """
    lines = [*_missed(report, layout), *_restarts(report, layout)]
    lines += _findings((*report.findings, *phrases.select_findings(remaining)), layout, 0)
    tone = Tone.ADD if report.succeeded else Tone.DANGER
    lines += layout.wrapped(phrases.summarise_run(report, remaining), 0, tone)
    if report.run and (not report.succeeded or (remaining is not None and not remaining.empty)):
        lines.append(f"  → reconcile history show {clean_line(report.run)}")
    return "\n".join(lines) + "\n"


def format_outcome(outcome: Outcome, *, layout: TerminalLayout = PLAIN) -> str:
    """One step's end in one line, for logs and pipes."""
    step = outcome.step
    word = layout.paint(f"{phrases.STATES[outcome.state]:<13}", _outcome_tone(outcome.state))
    reason = f": {clean_line(outcome.reason)}" if outcome.reason and outcome.state not in SUCCESSES else ""
    return f"{word} {clean_line(step.cluster)}  {clean_line(step.action)}  {clean_line(step.node)}{reason}"


def choose_step_tone(step: Step) -> Tone:
    """Red for what cannot be undone, green for what only adds, else yellow."""
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
    person = "  (needs a person)" if step.waits_for_person else ""
    yield f"  {group.numbers:>{widths[0]}}  {verb}  {group.nodes}{person}"
    yield from layout.wrapped(group.words(step.reason), indent)
    tone = Tone.DANGER if phrases.is_destructive(step) else Tone.PLAIN
    why = f": {group.words(step.risk_reason)}" if step.risk_reason else ""
    yield from layout.wrapped(f"{phrases.EFFECTS[step.effect]}; {step.risk} risk{why}", indent, tone)
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
        text = f"{note.finding.severity}: {note.text} [{note.finding.code}]"
        yield from layout.wrapped(text, indent, _SEVERITIES[note.finding.severity])
        if note.finding.remedy:
            yield from layout.wrapped(f"→ {note.finding.remedy}", indent + 2)


def _warnings(warnings: Sequence[Diagnostic], layout: TerminalLayout) -> Iterator[str]:
    shown, rest = phrases.select_warnings(warnings)
    for problem in shown:
        where, message = clean_line(problem.where), clean_line(problem.message)
        tone = _SEVERITIES[problem.severity]
        yield from layout.wrapped(
            f"{problem.severity}: {where}: {message} [{clean_line(problem.code)}]", 0, tone
        )
        if problem.remedy:
            yield from layout.wrapped(f"→ {clean_line(problem.remedy)}", 2)
    yield from layout.wrapped(rest, 0, Tone.CHANGE)


def _violation(violation: Diagnostic, layout: TerminalLayout) -> Iterator[str]:
    head, tone = ("waits", Tone.CHANGE) if violation.hold else ("refused", Tone.DANGER)
    yield from layout.wrapped(
        f"{head}: {clean_line(violation.message)} [{clean_line(violation.code)}]", 0, tone
    )
    if violation.remedy:
        yield from layout.wrapped(f"→ {clean_line(violation.remedy)}", 2)


def _overridden(violation: Diagnostic, override: Override, layout: TerminalLayout) -> Iterator[str]:
    text = f"overridden: {clean_line(violation.message)} [{clean_line(violation.code)}]"
    yield from layout.wrapped(text, 0, Tone.CHANGE)
    yield from layout.wrapped(f"until {override.until}: {clean_line(override.reason)}", 2)


def _missed(report: RunReport, layout: TerminalLayout) -> Iterator[str]:
    for part in group_missed_steps(report):
        text = f"{phrases.STATES[part.state]}: {part.cluster}: {part.action} {part.who}"
        reason = f": {part.reason}" if part.reason else ""
        yield from layout.wrapped(text + reason, 0, _outcome_tone(part.state))


def _restarts(report: RunReport, layout: TerminalLayout) -> Iterator[str]:
    for part in group_restarts(report):
        text = f"waits for a restart: {part.cluster}: {part.who}: {part.fields}"
        yield from layout.wrapped(text, 0, Tone.CHANGE)


def _outcome_tone(state: State) -> Tone:
    if state in SUCCESSES:
        return Tone.ADD
    return Tone.CHANGE if state in {State.WAITING, State.OFFERED, State.SKIPPED} else Tone.DANGER
