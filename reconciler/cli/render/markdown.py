"""Plans and reports as a pull-request comment: a summary, a table, the steps, folded differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.cli.render import words
from reconciler.cli.render.changes import bounded
from reconciler.cli.render.check import sentence
from reconciler.cli.render.clean import plural
from reconciler.cli.render.escape import code, escaped, fenced
from reconciler.cli.render.fit import Piece, Rank, fitted
from reconciler.cli.render.group import Group, gathered
from reconciler.cli.render.notes import missed, notes, restarts
from reconciler.cli.render.view import View
from reconciler.core.outcome import Report
from reconciler.core.plan import ClusterPlan, Plan
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import SHORT_ID

MARKER = "<!-- reconcile: plan -->"
"""First line of every comment, by which a later run finds it again."""

LIMIT = 60_000
"""Characters that a comment may have: forges refuse somewhat more than this."""

_CHANGES = 40


def render_plan(view: View, *, limit: int = LIMIT) -> str:
    """A plan as Markdown of at most `limit` characters; what is cut is counted in its last line."""
    plan = view.plan
    pieces = [
        Piece(f"{MARKER}\n### {escaped(words.summary(plan, view.violations))}\n\n"),
        Piece(f"{_origin(plan)}\n\n"),
        *_violations(view),
        *_warnings(view.warnings),
        *_table(plan),
        *_findings(plan),
        *_steps(plan),
        *_notes(view.findings),
        *_checked(view),
        Piece(f"<sub>plan {code(plan.digest[:SHORT_ID])} made by reconcile {escaped(plan.program)}</sub>\n"),
    ]
    return fitted(pieces, limit)


def render_report(report: Report, remaining: Plan | None = None, *, limit: int = LIMIT) -> str:
    """What became of a run, as Markdown; `remaining` is what a second look would still plan."""
    pieces = [Piece(f"### {escaped(words.result(report, remaining))}\n\n")]
    for part in missed(report):
        reason = f": {escaped(part.reason)}" if part.reason else ""
        text = f"{escaped(part.cluster)}, {escaped(part.action)} {escaped(part.who)}{reason}"
        pieces.append(Piece(f"- **{words.STATES[part.state]}** {text}\n", Rank.LINE))
    for wait in restarts(report):
        text = f"{escaped(wait.cluster)}, {escaped(wait.who)}: {escaped(wait.fields)}"
        pieces.append(Piece(f"- **waits for a restart** {text}\n", Rank.LINE))
    pieces += _notes((*report.findings, *words.trouble(remaining)))
    if report.run:
        pieces.append(Piece(f"\nrun {code(report.run)}\n"))
    return fitted(pieces, limit)


def _origin(plan: Plan) -> str:
    revision = plan.revision
    title = f" {escaped(revision.title)}" if revision.title else ""
    by = f", signed by {escaped(revision.signer)}" if revision.signer else ""
    return f"{code(revision.short or revision.id)}{title}, from {code(revision.source)}{by}"


def _violations(view: View) -> Iterator[Piece]:
    if view.violations:
        heading = "Refused; nothing is done:" if view.refused else "What is held up for now:"
        yield Piece(f"**{heading}**\n\n")
    for violation in view.violations:
        remedy = f"\n  → {escaped(violation.remedy)}" if violation.remedy else ""
        yield Piece(f"- {escaped(violation.message)} ({code(violation.code)}){remedy}\n", Rank.LINE)
    for violation, override in view.overridden:
        until = f"until {override.until}: {escaped(override.reason)}"
        text = f"- **overridden** {escaped(violation.message)} ({code(violation.code)})\n  {until}"
        yield Piece(f"{text}\n", Rank.LINE)
    if view.violations or view.overridden:
        yield Piece("\n")


def _warnings(warnings: Sequence[Diagnostic]) -> Iterator[Piece]:
    shown, rest = words.few(warnings)
    for problem in shown:
        remedy = f" → {escaped(problem.remedy)}" if problem.remedy else ""
        where, what = code(problem.where), escaped(problem.message)
        yield Piece(f"- {problem.severity}: {where}: {what}{remedy} ({code(problem.code)})\n", Rank.LINE)
    if rest:
        yield Piece(f"- {rest}\n")
    if warnings:
        yield Piece("\n")


def _checked(view: View) -> Iterator[Piece]:
    for one in view.checked:
        if one.explored is None:
            continue
        yield Piece(
            f"- **model checker** {code(one.cluster)}: {escaped(sentence(one, view.faults))}\n", Rank.LINE
        )
        if one.explored.broken:
            story = enumerate(one.explored.story, 1)
            yield Piece("".join(f"  {number}. {escaped(move)}\n" for number, move in story), Rank.STEP)
    if any(one.explored for one in view.checked):
        yield Piece("\n")


def _table(plan: Plan) -> Iterator[Piece]:
    yield Piece("| cluster | kind | nodes | as desired | changes | highest risk | errors |\n")
    yield Piece("|---|---|--:|--:|--:|---|--:|\n")
    for cluster in plan.clusters:
        yield Piece(_row(cluster), Rank.LINE)
    yield Piece("\n")


def _row(cluster: ClusterPlan) -> str:
    errors = sum(finding.severity is Severity.ERROR for finding in cluster.findings)
    top = max(cluster.steps, key=words.weight, default=None)
    cells = [
        code(cluster.cluster),
        escaped(cluster.kind),
        f"{cluster.nodes:,}",
        f"{cluster.unchanged:,}",
        f"{len(cluster.steps):,}",
        words.risk(top) if top else "",
        f"{errors:,}",
    ]
    return f"| {' | '.join(cells)} |\n"


def _findings(plan: Plan) -> Iterator[Piece]:
    for cluster in plan.clusters:
        yield from _notes(cluster.findings, f"{escaped(cluster.cluster)}: ")
    if any(cluster.findings for cluster in plan.clusters):
        yield Piece("\n")


def _notes(findings: Sequence[Diagnostic], where: str = "") -> Iterator[Piece]:
    for note in notes(findings):
        remedy = f" → {escaped(note.finding.remedy)}" if note.finding.remedy else ""
        text = f"- **{note.finding.severity}** {where}{escaped(note.text)}"
        yield Piece(f"{text}{remedy} ({code(note.finding.code)})\n", Rank.LINE)


def _steps(plan: Plan) -> Iterator[Piece]:
    plans = {cluster.cluster: cluster for cluster in plan.clusters}
    for cluster, groups in gathered(plan).items():
        if groups:
            yield Piece(f"#### {escaped(cluster)}\n\n", Rank.STEP)
        wave = 0
        for group in groups:
            if group.step.wave != wave:
                wave = group.step.wave
                yield Piece(f"- **{escaped(words.wave(plans[cluster], wave))}**\n", Rank.STEP)
            yield Piece(_step(group), Rank.STEP)
            if group.step.changes:
                yield Piece(_difference(group), Rank.DIFFERENCE)
        if groups:
            yield Piece("\n", Rank.STEP)


def _step(group: Group) -> str:
    step = group.step
    person = ", **needs a person**" if step.waits_for_person else ""
    risk = f"**{words.risk(step)}**" if words.destructive(step) else words.risk(step)
    why = f": {escaped(group.words(step.risk_reason))}" if step.risk_reason else ""
    lines = [
        f"- **{group.numbers} {escaped(step.action)}** {escaped(group.nodes)}{person}  ",
        f"  {escaped(group.words(step.reason))}  ",
        f"  {words.EFFECTS[step.effect]}; {risk}{why}  ",
    ]
    if step.needs:
        lines.append(f"  needs: {escaped(group.words(step.needs))}  ")
    if group.after:
        lines.append(f"  after: {group.after}  ")
    if step.inverse.words:
        undo = escaped(group.words(step.inverse.words))
        lines.append(f"  **{undo}**  " if words.final(step) else f"  undo: {undo}  ")
    return "\n".join(lines) + "\n"


def _difference(group: Group) -> str:
    changes = group.step.changes
    body = "\n".join(f"{line.mark} {line.text}" for line in bounded(changes, _CHANGES))
    block = fenced(body, "diff").replace("\n", "\n  ")
    each = " on each node" if len(group.steps) > 1 else ""
    head = f"{plural(len(changes), 'difference')}{each}"
    return f"\n  <details><summary>{head}</summary>\n\n  {block}\n\n  </details>\n\n"
