"""Operations as text, Markdown and JSON: a plan, one operation with its results, and a list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.cli.render.json import format_json
from reconciler.cli.render.markdown import LIMIT, escape_markdown, format_code
from reconciler.cli.render.table import list_table_lines
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone
from reconciler.core.finding_groups import group_findings
from reconciler.core.operations import Operation, OperationState
from reconciler.core.reservations import ALLOW_STOP, ANSWERED_KINDS, RELEASE
from reconciler.core.timestamps import format_second, format_timestamp
from reconciler.descriptions.act_results import summarise_operation_plan
from reconciler.descriptions.values import format_count
from reconciler.planning.plan_operation import OperationPlan, PlannedOperation
from reconciler.text.node_names import format_node_names, generalise_urls
from reconciler.text.one_line import SHORT_ID, clean_line

SHOWN_TARGETS: Final = 20
"""Targets that text and Markdown show; JSON has all of them."""

_TONES: Final = {
    OperationState.DONE: Tone.ADD,
    OperationState.FAILED: Tone.DANGER,
    OperationState.OVERDUE: Tone.CHANGE,
    OperationState.SKIPPED: Tone.CHANGE,
}

_ANSWERS: Final = {
    OperationState.DONE: "yes",
    OperationState.FAILED: "no",
    OperationState.SKIPPED: "not found out",
}

_ORDER: Final = (
    OperationState.FAILED,
    OperationState.OVERDUE,
    OperationState.SKIPPED,
    OperationState.PENDING,
    OperationState.OFFERED,
    OperationState.SENT,
    OperationState.DONE,
)


def render_operation_plan(plan: OperationPlan, *, layout: TerminalLayout = PLAIN) -> str:
    """A planned operation for a terminal; the last line is the summary."""
    title = f"{plan.kind.capitalize()} of {format_count(len(plan.targets), 'target')}"
    blocks = [[layout.paint(title, Tone.STRONG), *_targets(plan, layout)]]
    blocks += [list(_planned(planned, layout)) for planned in plan.clusters]
    for group in group_findings(plan.violations, full=layout.full):
        blocks.append(list(layout.problem("on hold", group.text, group.finding, Tone.CHANGE)))
    blocks.append(list(layout.wrapped(summarise_operation_plan(plan), 0, Tone.STRONG)))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def render_operation(operation: Operation, *, layout: TerminalLayout = PLAIN) -> str:
    """One operation with its results."""
    tone = Tone.ADD if _is_complete(operation) else Tone.CHANGE
    head = f"{operation.kind} {operation.id}"
    lines = [
        f"{layout.paint(clean_line(head), Tone.STRONG)}  {layout.paint(describe_states(operation), tone)}",
        f"  cluster       {clean_line(operation.cluster)}",
        f"  asked for by  {clean_line(operation.actor.description) or 'unknown'}",
    ]
    if operation.actor.why:
        lines += layout.wrapped(f"reason        {clean_line(operation.actor.why)}", 2)
    way = "" if operation.kind in ANSWERED_KINDS else f", {_describe_way(operation)}"
    lines.append(f"  asked for     {format_second(operation.at)} UTC{way}")
    most = len(operation.targets) if layout.full else SHOWN_TARGETS
    lines += (f"  target        {clean_line(target)}" for target in operation.targets[:most])
    if (more := len(operation.targets) - most) > 0:
        lines.append(f"  and {more:,} more targets; --full shows all")
    if totals := describe_totals(operation.add_totals()):
        lines.append(f"  in all        {totals}")
    for state, reason, nodes in _group_results(operation):
        word = _ANSWERS[state] if operation.kind == ALLOW_STOP else state.value
        text = f"{word}: {format_node_names(nodes, full=layout.full)}" + (
            f": {clean_line(reason)}" if reason else ""
        )
        lines += layout.wrapped(text, 2, _TONES.get(state, Tone.PLAIN), hang=2)
    return "\n".join(lines) + "\n"


def render_operations(operations: Sequence[Operation], *, layout: TerminalLayout = PLAIN) -> str:
    """Operations as a table, newest first; empty if there are none."""
    if not operations:
        return ""
    rows = [("id", "when (UTC)", "what", "cluster", "result")]
    rows += [
        (
            clean_line(one.id),
            format_second(one.at),
            _describe_subject(one),
            clean_line(one.cluster),
            describe_states(one),
        )
        for one in operations
    ]
    return "\n".join(list_table_lines(rows, layout)) + "\n"


def render_operations_json(
    operations: Sequence[Operation], plan: OperationPlan | None = None, *, status: int | None = None
) -> str:
    """Operations as JSON; with a plan, the output of the command that asked for them."""
    found = [to_plain_operation(one) for one in operations]
    if plan is None:
        return format_json(found)
    return format_json({"plan": plan.plain(), "operations": found, "exit_status": status})


def to_plain_operation(operation: Operation) -> Mapping[str, Any]:
    """One operation as plain JSON, with its counts."""
    return {**operation.plain(), **summarise_operation(operation)}


def summarise_operation(operation: Operation) -> Mapping[str, Any]:
    """One operation as plain JSON, without its targets and nodes."""
    states = operation.count_states()
    return {
        "id": operation.id,
        "kind": operation.kind,
        "cluster": operation.cluster,
        "at": format_timestamp(operation.at),
        "is_over": operation.is_over,
        "counts": {state.value: states[state] for state in _ORDER if states.get(state)},
        "totals": operation.add_totals(),
    }


def render_operation_plan_markdown(plan: OperationPlan, operations: Sequence[Operation] = ()) -> str:
    """A planned operation, and what came of it, as Markdown of bounded length."""
    lines = [f"### {escape_markdown(summarise_operation_plan(plan))}", ""]
    for target in plan.targets[:SHOWN_TARGETS]:
        extent = f" — **{escape_markdown(target.extent)}**" if target.extent else ""
        lines.append(f"- {format_code(target.text)}{extent}")
    if (more := len(plan.targets) - SHOWN_TARGETS) > 0:
        lines.append(f"- and {more:,} more")
    lines += ["", "| cluster | nodes | way | waves | result |", "| --- | --- | --- | --- | --- |"]
    found = {operation.cluster: operation for operation in operations}
    for planned in plan.clusters:
        own = planned.operation
        result = "; ".join(group.text for group in group_findings(planned.violations))
        if own.cluster in found:
            result = describe_states(found[own.cluster])
            if totals := describe_totals(found[own.cluster].add_totals()):
                result += f" ({totals})"
        cells = (own.cluster, f"{len(own.nodes):,}", _describe_way(own), f"{len(own.waves):,}", result)
        lines.append(f"| {' | '.join(escape_markdown(cell) for cell in cells)} |")
    for operation in operations:
        for state, reason, nodes in _group_results(operation):
            if state is not OperationState.DONE:
                names = escape_markdown(format_node_names(nodes))
                why = f": {escape_markdown(reason)}" if reason else ""
                lines.append(f"\n**{state.value}** in {escape_markdown(operation.cluster)}: {names}{why}")
    text = "\n".join(lines) + "\n"
    return text if len(text) <= LIMIT else f"{text[: LIMIT - 40].rpartition(chr(10))[0]}\n\nand more\n"


def describe_states(operation: Operation) -> str:
    """How many nodes are in each state: `38 done, 1 failed`."""
    states = operation.count_states()
    if operation.kind == ALLOW_STOP:
        return ", ".join(_ANSWERS[state] for state in states)
    if operation.kind == RELEASE:
        return "released"
    return ", ".join(f"{states[state]:,} {state.value}" for state in reversed(_ORDER) if states.get(state))


def _describe_subject(operation: Operation) -> str:
    if operation.kind in ANSWERED_KINDS:
        return clean_line(f"{operation.kind} {' '.join(operation.targets)}")
    return f"{clean_line(operation.kind)} of {format_count(len(operation.targets), 'target')}"


def describe_totals(totals: Mapping[str, float]) -> str:
    """Totals in one line: `count 24, size 3,747,491`."""

    def describe(value: float) -> str:
        return f"{value:,.1f}" if value % 1 else f"{int(value):,}"

    return ", ".join(f"{clean_line(name)} {describe(value)}" for name, value in totals.items())


def _targets(plan: OperationPlan, layout: TerminalLayout) -> Iterator[str]:
    # What is of high risk first: of ten thousand targets, that one must be seen.
    most = len(plan.targets) if layout.full else SHOWN_TARGETS
    for target in sorted(plan.targets, key=lambda one: not one.extent)[:most]:
        if target.extent:
            text = f"{clean_line(target.text)}  high risk: {clean_line(target.extent)}"
            yield f"  {layout.paint(text, Tone.DANGER)}"
        else:
            yield f"  {clean_line(target.text)}"
    if (more := len(plan.targets) - most) > 0:
        yield f"  and {more:,} more; --full shows all"


def _planned(planned: PlannedOperation, layout: TerminalLayout) -> Iterator[str]:
    operation = planned.operation
    count = format_count(len(operation.nodes), "node")
    yield f"{layout.paint(clean_line(operation.cluster), Tone.STRONG)}: {count}, {_describe_way(operation)}"
    if len(operation.waves) > 1:
        sizes = ", ".join(str(len(wave)) for wave in operation.waves[:SHOWN_TARGETS])
        more = ", …" if len(operation.waves) > SHOWN_TARGETS else ""
        yield from layout.wrapped(f"in {len(operation.waves)} waves: {sizes}{more}; a failed wave ends it", 2)
    for remark in planned.remarks:
        yield from layout.wrapped(clean_line(remark), 2, Tone.CHANGE)
    if planned.is_approved:
        yield f"  approved; its id is {operation.digest[:SHORT_ID]}"


def _describe_way(operation: Operation) -> str:
    return "called directly" if operation.direct else "at their next poll"


def _is_complete(operation: Operation) -> bool:
    return all(operation.result(node).state is OperationState.DONE for node in operation.nodes)


def _group_results(operation: Operation) -> list[tuple[OperationState, str, list[str]]]:
    """Nodes with the same state and reason; what needs attention first."""
    groups: dict[tuple[OperationState, str], list[str]] = defaultdict(list)
    for node in operation.nodes:
        result = operation.result(node)
        groups[result.state, generalise_urls(result.reason)].append(node)
    found = [
        (state, operation.result(nodes[0]).reason if len(nodes) == 1 else reason, nodes)
        for (state, reason), nodes in groups.items()
    ]
    return sorted(found, key=lambda one: (_ORDER.index(one[0]), one[1]))
