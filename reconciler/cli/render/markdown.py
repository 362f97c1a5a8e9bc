"""Plans and reports as a comment on a pull request: a summary, a table, the steps, folded differences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from reconciler.cli.render.length_limit import DocumentPiece, PieceRank, fit_pieces
from reconciler.core.diff import Change
from reconciler.core.finding_groups import group_findings
from reconciler.core.outcome import RunReport
from reconciler.core.plan import ClusterPlan, Plan
from reconciler.descriptions import phrases
from reconciler.descriptions.changes import format_changes
from reconciler.descriptions.outcome_groups import describe_missed_steps, describe_pending_restarts
from reconciler.descriptions.phrases import PlanView
from reconciler.descriptions.pins import describe_pin, select_pins
from reconciler.descriptions.step_groups import (
    SENTENCES,
    GroupFamily,
    StepGroup,
    group_families,
    group_steps,
)
from reconciler.descriptions.values import format_count, shorten_text
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.forges.sticky_comment import PLAIN_MARK
from reconciler.text.node_names import group_by_key
from reconciler.text.one_line import SHORT_ID, clean_line

LIMIT = 60_000
"""Characters of a comment: GitHub refuses more than 65,536."""

TOO_MANY = "too many executions to explore with each plan; `reconcile check` explores more"
"""For a cluster that the model checker did not explore completely."""

_CHANGES = 40

_PARAGRAPHS = 3
"""Up to so many groups with the same action, but other changes, have a paragraph each; more share a table."""

_ROWS = ((5, 120), (2, 80), (1, 50))
"""Number of changes in a table row, and characters of each; the next pair if the table is too long."""

_PUNCTUATION = re.compile(r"([\\`*_\[\]<>|~#$&!])")
_MENTIONS = re.compile(r"(?<!\w)(\\?[@#!])(?=\w)")
_TICKS = re.compile(r"`+")
_LONGEST = 600
"""Characters of a foreign text that are shown."""


def render_plan_markdown(view: PlanView, *, limit: int = LIMIT) -> str:
    """A plan as Markdown of at most `limit` characters; the last line counts what was omitted."""
    pieces: list[DocumentPiece] = []
    # A shortened row loses details, an omitted row loses a node: rows are shortened before any is omitted.
    for row in _ROWS:
        pieces = _plan(view, row)
        if sum(len(piece.text) for piece in pieces if piece.rank is not PieceRank.DIFFERENCE) <= limit:
            break
        if all(piece.rank is not PieceRank.ROW for piece in pieces):
            break
    return fit_pieces(pieces, limit)


def _plan(view: PlanView, row: tuple[int, int]) -> list[DocumentPiece]:
    plan, revision, ids = view.plan, view.plan.revision, view.plan.ids
    title = f" {escape_markdown(revision.title)}" if revision.title else ""
    by = f", signed by {escape_markdown(revision.signer)}" if revision.signer else ""
    return [
        DocumentPiece(f"{PLAIN_MARK}\n### {escape_markdown(view.summary)}\n\n"),
        DocumentPiece(f"{format_code(revision.short or revision.id)}{title}, from "),
        DocumentPiece(f"{format_code(revision.source)}{by}\n\n"),
        *_violations(view),
        *_warnings(view.warnings),
        *_inventory(view),
        *_pins(view),
        DocumentPiece("| cluster | kind | nodes | as desired | changes | highest risk | errors | plan |\n"),
        DocumentPiece("|---|---|--:|--:|--:|---|--:|---|\n"),
        *(DocumentPiece(_row(cluster, ids[cluster.cluster]), PieceRank.LINE) for cluster in plan.clusters),
        DocumentPiece("\n"),
        *_cluster_findings(plan),
        *_steps(plan, row),
        *_findings(view.findings),
        *_model_check(view),
        DocumentPiece(f"<sub>made by reconcile {escape_markdown(plan.program)}</sub>\n"),
    ]


def render_report_markdown(report: RunReport, remaining: Plan | None = None, *, limit: int = LIMIT) -> str:
    """The result of a run as Markdown; `remaining` is the plan after it."""
    pieces = [DocumentPiece(f"### {escape_markdown(phrases.summarise_run(report, remaining))}\n\n")]
    lines = [(phrases.STATES[state], text) for state, text in describe_missed_steps(report)]
    lines += [("waits for a restart", text) for text in describe_pending_restarts(report)]
    pieces += [_item(f"**{head}** {escape_markdown(text)}") for head, text in lines]
    pieces += _findings((*report.findings, *phrases.select_findings(remaining)))
    if report.run:
        pieces.append(DocumentPiece(f"\nrun {format_code(report.run)}\n"))
    return fit_pieces(pieces, limit)


def _item(text: str) -> DocumentPiece:
    return DocumentPiece(f"- {text}\n", PieceRank.LINE)


def _format_remedy(problem: Diagnostic, before: str = " ") -> str:
    return f"{before}→ {escape_markdown(problem.remedy)}" if problem.remedy else ""


def _violations(view: PlanView) -> Iterator[DocumentPiece]:
    if view.violations:
        is_any_refused = any(not one.hold for one in view.violations)
        some = "Refused; the other clusters are applied:" if is_any_refused else "On hold:"
        heading = "Refused; nothing is applied:" if view.refused else some
        yield DocumentPiece(f"**{heading}**\n\n")
    for group in group_findings(view.violations):
        code, remedy = format_code(group.finding.code), _format_remedy(group.finding, "\n  ")
        hold = "on hold: " if group.finding.hold and is_any_refused else ""
        yield _item(f"{hold}{escape_markdown(group.text)} ({code}){remedy}")
    for override, group in phrases.group_overridden(view.overridden):
        until = f"until {override.until}: {escape_markdown(override.reason)}"
        code = format_code(group.finding.code)
        yield _item(f"**overridden** {escape_markdown(group.text)} ({code})\n  {until}")
    if view.violations or view.overridden:
        yield DocumentPiece("\n")


def _warnings(warnings: Sequence[Diagnostic]) -> Iterator[DocumentPiece]:
    shown, rest = phrases.select_warnings(warnings)
    for one in shown:
        what = f"{format_code(one.where)}: {escape_markdown(one.message)}{_format_remedy(one)}"
        yield _item(f"{one.severity}: {what} ({format_code(one.code)})")
    if rest:
        yield DocumentPiece(f"- {rest}\n")
    if warnings:
        yield DocumentPiece("\n")


def _inventory(view: PlanView) -> Iterator[DocumentPiece]:
    for use in view.inventory:
        yield _item(f"inventory: {escape_markdown(use.cluster)}: {escape_markdown(use.describe())}")
    if view.inventory:
        yield DocumentPiece("\n")


def _pins(view: PlanView) -> Iterator[DocumentPiece]:
    states = tuple(select_pins(view.pins, view.violations))
    for state in states:
        words, remedy = describe_pin(state, view.plan.revision)
        after = f"\n  → {escape_markdown(remedy)}" if remedy else ""
        yield _item(f"{escape_markdown(words)}{after}")
    if states:
        yield DocumentPiece("\n")


def _model_check(view: PlanView) -> Iterator[DocumentPiece]:
    """What the model checker found; only `reconcile check` shows how much it explored."""
    bounds = f"with up to {format_count(view.faults, 'fault')} and one kill of the reconciler"
    verified = []
    for one in view.checked:
        found, name = one.explored, format_code(one.cluster)
        if found is None:
            continue
        if found.broken:
            rule = f"**an execution {bounds} breaks a rule**: {escape_markdown(found.broken)}"
            yield _item(f"**model checker** {name}: {rule}")
            # The counterexample is one piece: without its first transitions the others mean nothing.
            story = (f"  {number}. {escape_markdown(move)}\n" for number, move in enumerate(found.story, 1))
            yield DocumentPiece("".join(story), PieceRank.STEP)
        elif found.complete:
            verified.append(name)
        else:
            yield _item(f"**model checker** {name}: {TOO_MANY}")
    if verified:
        yield _item(f"**model checker** {', '.join(verified)}: no execution {bounds} breaks a rule")
    if any(one.explored for one in view.checked):
        yield DocumentPiece("\n")


def _row(cluster: ClusterPlan, plan_id: str) -> str:
    errors = sum(finding.severity is Severity.ERROR for finding in cluster.findings)
    top = max(cluster.steps, key=phrases.rank_step_risk, default=None)
    cells = [
        format_code(cluster.cluster),
        escape_markdown(cluster.kind),
        f"{cluster.seen:,} of {cluster.nodes:,}" if cluster.left_out else f"{cluster.nodes:,}",
        f"{cluster.unchanged:,}",
        f"{len(cluster.steps):,}",
        phrases.describe_risk(top) if top else "",
        f"{errors:,}",
        format_code(plan_id[:SHORT_ID]) if cluster.steps else "",
    ]
    return f"| {' | '.join(cells)} |\n"


def _cluster_findings(plan: Plan) -> Iterator[DocumentPiece]:
    for cluster in plan.clusters:
        yield from _findings(cluster.findings, f"{escape_markdown(cluster.cluster)}: ")
    if any(cluster.findings for cluster in plan.clusters):
        yield DocumentPiece("\n")


def _findings(findings: Sequence[Diagnostic], where: str = "") -> Iterator[DocumentPiece]:
    for note in group_findings(findings):
        text = f"{where}{escape_markdown(note.text)}{_format_remedy(note.finding)}"
        yield _item(f"**{note.finding.severity}** {text} ({format_code(note.finding.code)})")


def _steps(plan: Plan, row: tuple[int, int]) -> Iterator[DocumentPiece]:
    plans = {cluster.cluster: cluster for cluster in plan.clusters}
    for cluster, groups in group_steps(plan).items():
        if groups:
            yield DocumentPiece(f"#### {escape_markdown(cluster)}\n\n", PieceRank.STEP)
        wave = 0
        for families in _gather_repeats(group_families(groups)):
            step = families[0].groups[0].step
            if step.wave != wave:
                wave = step.wave
                yield DocumentPiece(
                    f"- **{escape_markdown(phrases.describe_wave(plans[cluster], wave))}**\n", PieceRank.STEP
                )
            if len(families) > _PARAGRAPHS:
                yield from _render_repeats(families)
            else:
                for family in families:
                    yield from _render_family(family, row)
        if groups:
            yield DocumentPiece("\n", PieceRank.STEP)


def _gather_repeats(families: Sequence[GroupFamily]) -> list[tuple[GroupFamily, ...]]:
    """The families, each alone, except that many equal steps on one node each come together."""
    # A rolling change repeats its steps for each node: a paragraph for each would hide all other steps.
    counts = Counter(family.repeat_key for family in families if family.repeat_key)
    keys = {
        id(family): family.repeat_key if counts[family.repeat_key] > _PARAGRAPHS else id(family)
        for family in families
    }
    return group_by_key(families, lambda family: keys[id(family)])


def _render_family(family: GroupFamily, row: tuple[int, int]) -> Iterator[DocumentPiece]:
    if len(family.groups) > _PARAGRAPHS:
        yield from _rows(family, row)
        return
    for group in family.groups:
        yield DocumentPiece(_step(GroupFamily((group,))), PieceRank.STEP)
        if group.step.changes:
            yield DocumentPiece(_difference(group.step.changes, len(group.steps)), PieceRank.DIFFERENCE)


def _render_repeats(families: Sequence[GroupFamily]) -> Iterator[DocumentPiece]:
    """Equal steps on one node after the other, between other steps: their text once, then a row for each."""
    groups = [family.groups[0] for family in families]
    whole = GroupFamily(
        (StepGroup(groups[0].first, tuple(step for group in groups for step in group.steps)),)
    )
    yield DocumentPiece(_step(whole, f"{len(groups)} times"), PieceRank.STEP)
    yield DocumentPiece("\n  | step | node | after |\n  |--:|---|--:|\n", PieceRank.STEP)
    for group in groups:
        yield DocumentPiece(
            f"  | {group.numbers} | {escape_markdown(group.nodes)} | {group.after} |\n", PieceRank.ROW
        )
    yield DocumentPiece("\n", PieceRank.STEP)


def _step(family: GroupFamily, numbers: str = "") -> str:
    """The action on the nodes of a family, with the sentences that are the same for all of them."""
    group, step = family.whole, family.groups[0].step
    reason, why, needs, undo = (escape_markdown(family.shared(sentence)) for sentence in SENTENCES)
    manual = ", **manual step**" if step.is_manual else ""
    risk = (
        f"**{phrases.describe_risk(step)}**" if phrases.is_destructive(step) else phrases.describe_risk(step)
    )
    title = f"{numbers or group.numbers} {escape_markdown(step.action)}"
    lines = [f"- **{title}** {escape_markdown(group.nodes)}{manual}  "]
    if reason:
        lines.append(f"  {reason}  ")
    lines.append(f"  {phrases.describe_effect(step, risk, why)}  ")
    if needs:
        lines.append(f"  needs: {needs}  ")
    if group.after:
        lines.append(f"  after: {group.after}  ")
    if undo:
        lines.append(f"  **{undo}**  " if phrases.is_final(step) else f"  undo: {undo}  ")
    return "\n".join(lines) + "\n"


def _difference(changes: Sequence[Change], nodes: int) -> str:
    body = "\n".join(f"{line.mark} {line.text}" for line in format_changes(changes, _CHANGES))
    # Indented, or the block would end the list; a blank line before it, or GitHub shows it as HTML.
    block = format_code_block(body, "diff").replace("\n", "\n  ")
    each = " on each node" if nodes > 1 else ""
    head = f"{format_count(len(changes), 'difference')}{each}"
    return f"\n  <details><summary>{head}</summary>\n\n  {block}\n\n  </details>\n\n"


def _rows(family: GroupFamily, row: tuple[int, int]) -> Iterator[DocumentPiece]:
    """A family whose changes differ: what is the same for all once, then a row for each group."""
    most, cell = row
    yield DocumentPiece(_step(family), PieceRank.STEP)
    common, others = family.changes()
    if common:
        yield DocumentPiece(_difference(common, len(family.whole.steps)), PieceRank.DIFFERENCE)
    shared = [bool(family.shared(sentence)) for sentence in SENTENCES]
    yield DocumentPiece("\n  | step | node | differs in |\n  |--:|---|---|\n", PieceRank.STEP)
    for group, changes in zip(family.groups, others, strict=True):
        own = [
            escape_markdown(group.words(sentence(group.step)))
            for sentence, is_shared in zip(SENTENCES, shared, strict=True)
            if not is_shared and sentence(group.step)
        ]
        own += [
            format_code(shorten_text(f"{line.mark} {line.text}", cell))
            for line in format_changes(changes, most)
        ]
        yield DocumentPiece(
            f"  | {group.numbers} | {escape_markdown(group.nodes)} | {'<br>'.join(own)} |\n", PieceRank.ROW
        )
    yield DocumentPiece("\n", PieceRank.STEP)


def escape_markdown(text: str) -> str:
    """Text within a sentence, shortened and escaped."""
    # Forges read `@name`, `#1` and `!1` even in escaped text; an empty comment after the sign stops them.
    quiet = _PUNCTUATION.sub(r"\\\1", shorten_text(clean_line(text), _LONGEST))
    return _MENTIONS.sub(r"\1<!-- -->", quiet)


def format_code(text: str) -> str:
    """A name as inline code, whatever backticks it has; can be used in a table cell."""
    # GitHub divides a row into cells before it looks for code, so a bar needs its backslash in code, too.
    plain = shorten_text(clean_line(text), _LONGEST).replace("|", "\\|")
    ticks = "`" * (_count_backticks(plain) + 1)
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{ticks}{blank}{plain}{blank}{ticks}" if plain else ""


def format_code_block(text: str, language: str) -> str:
    """Lines as a code block, with more backticks than any in them: they cannot end the block."""
    ticks = "`" * max(3, _count_backticks(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _count_backticks(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
