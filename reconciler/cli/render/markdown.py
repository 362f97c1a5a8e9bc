"""Plans and reports as a pull-request comment: a summary, a table, the steps, folded differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from reconciler.cli.render import words
from reconciler.cli.render.changes import bounded
from reconciler.cli.render.clean import plural, short
from reconciler.cli.render.escape import code, escaped, fenced
from reconciler.cli.render.fit import Piece, Rank, fitted
from reconciler.cli.render.group import SENTENCES, Family, Group, alike, families, gathered
from reconciler.cli.render.notes import missed, notes, restarts
from reconciler.cli.render.view import View
from reconciler.core.diff import Change
from reconciler.core.outcome import Report
from reconciler.core.plan import ClusterPlan, Plan
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import SHORT_ID

MARKER = "<!-- reconcile: plan -->"
"""First line of every comment, by which a later run finds it again."""

LIMIT = 60_000
"""Characters that a comment may have: forges refuse somewhat more than this."""

TOO_MANY = "too many executions to explore beside a plan: `reconcile check` explores more"
"""Said of a cluster that the model checker did not explore to the end."""

_CHANGES = 40

_PARAGRAPHS = 3
"""As many groups that do the same, and differ in what changes, have a paragraph each; more share a table."""

_ROWS = ((5, 120), (2, 80), (1, 50))
"""Changes in a table's row, and characters of one: the next where the rows of the one before are too long."""


def render_plan(view: View, *, limit: int = LIMIT) -> str:
    """A plan as Markdown of at most `limit` characters; what is cut is counted in its last line."""
    pieces: list[Piece] = []
    for row in _ROWS:
        pieces = _plan(view, row)
        if sum(len(piece.text) for piece in pieces if piece.rank is not Rank.DIFFERENCE) <= limit:
            break
        if all(piece.rank is not Rank.ROW for piece in pieces):
            break
    return fitted(pieces, limit)


def _plan(view: View, row: tuple[int, int]) -> list[Piece]:
    plan = view.plan
    return [
        Piece(f"{MARKER}\n### {escaped(words.summary(plan, view.violations))}\n\n"),
        Piece(f"{_origin(plan)}\n\n"),
        *_violations(view),
        *_warnings(view.warnings),
        *_table(plan),
        *_findings(plan),
        *_steps(plan, row),
        *_notes(view.findings),
        *_checked(view),
        Piece(f"<sub>made by reconcile {escaped(plan.program)}</sub>\n"),
    ]


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
    """What the model checker found, as far as it helps to decide; how much it explored, `check` tells."""
    bounds = f"with up to {plural(view.faults, 'fault')} and one kill of the reconciler"
    held = []
    for one in view.checked:
        found = one.explored
        if found is None:
            continue
        if found.complete and not found.broken:
            held.append(code(one.cluster))
            continue
        if not found.broken:
            yield Piece(f"- **model checker** {code(one.cluster)}: {TOO_MANY}\n", Rank.LINE)
            continue
        yield Piece(
            f"- **model checker** {code(one.cluster)}: **an execution {bounds} breaks a rule**: "
            f"{escaped(found.broken)}\n",
            Rank.LINE,
        )
        story = enumerate(found.story, 1)
        yield Piece("".join(f"  {number}. {escaped(move)}\n" for number, move in story), Rank.STEP)
    if held:
        yield Piece(
            f"- **model checker** {', '.join(held)}: no execution {bounds} breaks a rule\n", Rank.LINE
        )
    if any(one.explored for one in view.checked):
        yield Piece("\n")


def _table(plan: Plan) -> Iterator[Piece]:
    yield Piece("| cluster | kind | nodes | as desired | changes | highest risk | errors | plan |\n")
    yield Piece("|---|---|--:|--:|--:|---|--:|---|\n")
    ids = plan.ids
    for cluster in plan.clusters:
        yield Piece(_row(cluster, ids[cluster.cluster]), Rank.LINE)
    yield Piece("\n")


def _row(cluster: ClusterPlan, id_: str) -> str:
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
        code(id_[:SHORT_ID]) if cluster.steps else "",
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


def _steps(plan: Plan, row: tuple[int, int]) -> Iterator[Piece]:
    plans = {cluster.cluster: cluster for cluster in plan.clusters}
    for cluster, groups in gathered(plan).items():
        if groups:
            yield Piece(f"#### {escaped(cluster)}\n\n", Rank.STEP)
        wave = 0
        for turns in _in_turns(families(groups)):
            step = turns[0].groups[0].step
            if step.wave != wave:
                wave = step.wave
                yield Piece(f"- **{escaped(words.wave(plans[cluster], wave))}**\n", Rank.STEP)
            if len(turns) > _PARAGRAPHS:
                yield from _turns(turns)
            else:
                for family in turns:
                    yield from _family(family, row)
        if groups:
            yield Piece("\n", Rank.STEP)


def _in_turns(own: Sequence[Family]) -> list[tuple[Family, ...]]:
    """Families, each alone; those together that do the same to many nodes, one after the other."""
    number = Counter(family.turn for family in own if family.turn)
    keys = {id(family): family.turn if number[family.turn] > _PARAGRAPHS else id(family) for family in own}
    return alike(own, lambda family: keys[id(family)])


def _family(family: Family, row: tuple[int, int]) -> Iterator[Piece]:
    if len(family.groups) > _PARAGRAPHS:
        yield from _rows(family, row)
        return
    for group in family.groups:
        yield Piece(_step(Family((group,))), Rank.STEP)
        if group.step.changes:
            yield Piece(_difference(group.step.changes, len(group.steps)), Rank.DIFFERENCE)


def _turns(turns: Sequence[Family]) -> Iterator[Piece]:
    """What is done to one node after the other, between other steps: said once, then a row for each turn."""
    groups = [family.groups[0] for family in turns]
    whole = Family((Group(groups[0].first, tuple(step for group in groups for step in group.steps)),))
    yield Piece(_step(whole, f"{len(groups)} times"), Rank.STEP)
    yield Piece("\n  | step | node | after |\n  |--:|---|--:|\n", Rank.STEP)
    for group in groups:
        yield Piece(f"  | {group.numbers} | {escaped(group.nodes)} | {group.after} |\n", Rank.ROW)
    yield Piece("\n", Rank.STEP)


def _step(family: Family, numbers: str = "") -> str:
    """What is done to the nodes of a family, with those of its reasons that hold for all of them."""
    group, step = family.whole, family.groups[0].step
    reason, why, needs, undo = (escaped(family.shared(sentence)) for sentence in SENTENCES)
    person = ", **needs a person**" if step.waits_for_person else ""
    risk = f"**{words.risk(step)}**" if words.destructive(step) else words.risk(step)
    lines = [f"- **{numbers or group.numbers} {escaped(step.action)}** {escaped(group.nodes)}{person}  "]
    if reason:
        lines.append(f"  {reason}  ")
    lines.append(f"  {words.EFFECTS[step.effect]}; {risk}{f': {why}' if why else ''}  ")
    if needs:
        lines.append(f"  needs: {needs}  ")
    if group.after:
        lines.append(f"  after: {group.after}  ")
    if undo:
        lines.append(f"  **{undo}**  " if words.final(step) else f"  undo: {undo}  ")
    return "\n".join(lines) + "\n"


def _difference(changes: Sequence[Change], nodes: int) -> str:
    body = "\n".join(f"{line.mark} {line.text}" for line in bounded(changes, _CHANGES))
    block = fenced(body, "diff").replace("\n", "\n  ")
    each = " on each node" if nodes > 1 else ""
    head = f"{plural(len(changes), 'difference')}{each}"
    return f"\n  <details><summary>{head}</summary>\n\n  {block}\n\n  </details>\n\n"


def _rows(family: Family, row: tuple[int, int]) -> Iterator[Piece]:
    """A family of which each node has its own: what they share once, then a row for each node."""
    most, cell = row
    yield Piece(_step(family), Rank.STEP)
    common, others = family.changes()
    if common:
        yield Piece(_difference(common, len(family.whole.steps)), Rank.DIFFERENCE)
    shared = [bool(family.shared(sentence)) for sentence in SENTENCES]
    yield Piece("\n  | step | node | differs in |\n  |--:|---|---|\n", Rank.STEP)
    for group, changes in zip(family.groups, others, strict=True):
        own = [
            escaped(group.words(sentence(group.step)))
            for sentence, is_shared in zip(SENTENCES, shared, strict=True)
            if not is_shared and sentence(group.step)
        ]
        own += [code(short(f"{line.mark} {line.text}", cell)) for line in bounded(changes, most)]
        yield Piece(f"  | {group.numbers} | {escaped(group.nodes)} | {'<br>'.join(own)} |\n", Rank.ROW)
    yield Piece("\n", Rank.STEP)
