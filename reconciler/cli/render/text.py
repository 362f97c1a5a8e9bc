"""Plans and reports for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.core.finding_groups import FindingGroup, group_findings
from reconciler.core.outcome import SUCCESSES, Outcome, RunReport, State
from reconciler.core.pins import PinState
from reconciler.core.plan import ClusterPlan, Plan, Revision, Step
from reconciler.descriptions import phrases
from reconciler.descriptions.changes import ADD, REMOVE, REPLACE, SHOWN_CHANGES, format_changes
from reconciler.descriptions.outcome_groups import describe_missed_steps, describe_pending_restarts
from reconciler.descriptions.pins import describe_pin, select_pins
from reconciler.descriptions.step_groups import StepGroup, group_steps
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.node_names import format_node_names
from reconciler.text.one_line import clean_line

_CUT = re.compile(r"… \(|… and [\d,]+ more|, with [\d,]+ different messages, such as: ")
"""What `format_changes`, `format_node_names` and `group_findings` write where they leave something out."""

SHORTENED = "Shortened: --full shows every node, change and value."
"""For a text in which something is left out."""


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
    """How text is shown on a terminal.

    Args:
        width: in columns.
        colour: whether it shows colours.
        full: whether every node, change and value is shown, however many there are.
    """

    width: int = 100
    colour: bool = False
    full: bool = False

    @property
    def unpainted(self) -> TerminalLayout:
        """The same without colours."""
        return replace(self, colour=False)

    def paint(self, text: str, tone: Tone) -> str:
        """The text in a tone; unchanged without colours."""
        return f"\x1b[{tone}m{text}\x1b[0m" if self.colour and tone and text else text

    def wrapped(self, text: str, indent: int, tone: Tone = Tone.PLAIN, *, hang: int = 0) -> Iterator[str]:
        """A sentence as lines, indented by `indent` columns, all but the first by `hang` more."""
        width = max(self.width - indent, 20)
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

    def violation(self, group: FindingGroup, indent: int = 0) -> Iterator[str]:
        """Equal violations of guards: what is refused or on hold, and what to do about it."""
        head, tone = ("on hold", Tone.CHANGE) if group.finding.hold else ("refused", Tone.DANGER)
        yield from self.problem(head, group.text, group.finding, tone, indent)


PLAIN = TerminalLayout()


def render_plan_text(view: phrases.PlanView, *, layout: TerminalLayout = PLAIN) -> str:
    """A plan for a terminal; the last line is the summary."""
    plan, groups = view.plan, group_steps(view.plan)
    blocks = [
        list(layout.wrapped(f"Plan for {phrases.describe_revision(plan.revision)}", 0, Tone.STRONG, hang=2))
    ]
    blocks.append(list(_warnings(view.warnings, layout)))
    blocks.append(
        [
            line
            for use in view.inventory
            for line in layout.wrapped(clean_line(f"inventory: {use.cluster}: {use.describe()}"), 0, hang=2)
        ]
    )
    blocks += [
        list(list_pin_lines(state, plan.revision, layout))
        for state in select_pins(view.pins, view.violations)
    ]
    blocks += [list(_cluster(cluster, groups[cluster.cluster], layout)) for cluster in plan.clusters]
    blocks += [
        [
            *layout.wrapped(f"overridden: {group.text} [{group.finding.code}]", 0, Tone.CHANGE),
            *layout.wrapped(f"until {override.until}: {clean_line(override.reason)}", 2),
        ]
        for override, group in phrases.group_overridden(view.overridden, full=layout.full)
    ]
    blocks += [list(layout.violation(group)) for group in group_findings(view.violations, full=layout.full)]
    blocks.append(list(_findings(view.findings, layout, 0)))
    if not layout.full and any(_CUT.search(line) for block in blocks for line in block):
        blocks.append([layout.paint(SHORTENED, Tone.QUIET)])
    tone = Tone.DANGER if view.refused else Tone.STRONG
    blocks.append(list(layout.wrapped(view.summary, 0, tone)))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def list_pin_lines(
    state: PinState, revision: Revision, layout: TerminalLayout, indent: int = 0
) -> Iterator[str]:
    """The lines about a pin."""
    words, remedy = describe_pin(state, revision)
    yield from layout.wrapped(words, indent, Tone.CHANGE)
    if remedy:
        yield from layout.wrapped(f"→ {remedy}", indent + 2)


def render_report_text(
    report: RunReport,
    remaining: Plan | None = None,
    *,
    kept_back: Sequence[Diagnostic] = (),
    layout: TerminalLayout = PLAIN,
) -> str:
    """The result of a run: what was not done and why, what waits for a restart, and a summary.

    Args:
        report: the run's outcomes.
        remaining: the plan after the run; None if the nodes were not read again.
        kept_back: violations because of which clusters of the plan were left out of the run.
        layout: width and colour.
    """
    lines: list[str] = []
    for state, text in describe_missed_steps(report, full=layout.full):
        lines += layout.wrapped(f"{phrases.STATES[state]}: {text}", 0, choose_outcome_tone(state))
    for text in describe_pending_restarts(report, full=layout.full):
        lines += layout.wrapped(f"waits for a restart: {text}", 0, Tone.CHANGE)
    lines += _findings((*report.findings, *phrases.select_findings(remaining)), layout, 0)
    for text in phrases.describe_kept_back(kept_back):
        lines += layout.wrapped(text, 0, Tone.DANGER)
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
    names = format_node_names([one.node for one in group.steps], full=layout.full) + manual
    first, *more = layout.wrapped(names, sum(widths) + 6)
    yield f"  {group.numbers:>{widths[0]}}  {verb}  {first.lstrip()}"
    yield from more
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
    for line in format_changes(step.changes, None if layout.full else SHOWN_CHANGES):
        tone = MARKS.get(line.mark, Tone.QUIET)
        yield from layout.wrapped(f"{line.mark} {line.text}", indent, tone, hang=4)


def _findings(findings: Iterable[Diagnostic], layout: TerminalLayout, indent: int) -> Iterator[str]:
    for note in group_findings(findings, full=layout.full):
        severity = note.finding.severity
        yield from layout.problem(severity, note.text, note.finding, _SEVERITIES[severity], indent)


def _warnings(warnings: Sequence[Diagnostic], layout: TerminalLayout) -> Iterator[str]:
    shown, rest = phrases.select_warnings(warnings, full=layout.full)
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
