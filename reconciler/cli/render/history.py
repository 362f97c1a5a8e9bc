"""The history as text and as JSON: a list of runs, and one run with all details."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from reconciler.cli.render.json import format_json
from reconciler.cli.render.table import list_table_lines
from reconciler.cli.render.text import MARKS, PLAIN, TerminalLayout, Tone, choose_outcome_tone
from reconciler.core.timestamps import format_minute, format_second
from reconciler.descriptions.changes import SHOWN_CHANGES, format_changes
from reconciler.descriptions.run_results import (
    describe_duration,
    describe_entry,
    describe_run_result,
    group_entries,
)
from reconciler.descriptions.values import format_count, format_value
from reconciler.exit_status import ExitStatus
from reconciler.ports.store import JournalEntry, MessageRecord, OrderRecord, RunRecord, RunSummary
from reconciler.text.node_names import format_node_names, generalise_sentence
from reconciler.text.one_line import SHORT_ID, clean_line

_BODY = 1000


def render_runs(runs: Sequence[RunSummary], *, layout: TerminalLayout = PLAIN) -> str:
    """Runs as a table, newest first; empty if there are none."""
    if not runs:
        return ""
    rows = [("id", "when (UTC)", "trigger", "revision", "result")]
    rows += [
        (
            run.id,
            format_second(run.started),
            clean_line(run.trigger),
            clean_line(run.short),
            describe_run_result(run),
        )
        for run in runs
    ]
    return "\n".join(list_table_lines(rows, layout)) + "\n"


def render_run_record(record: RunRecord, *, layout: TerminalLayout = PLAIN) -> str:
    """One run with the results of its steps, and its messages."""
    head = list(_head(record.summary, layout))
    if record.plan.revision.signer:
        head.insert(2, f"  signed by {clean_line(record.plan.revision.signer)}")
    clusters: dict[str, list[JournalEntry]] = {}
    for entry in record.entries:
        clusters.setdefault(entry.step.cluster, []).append(entry)
    ids = record.plan.ids
    blocks = [head]
    blocks += [
        list(_cluster(name, ids.get(entries[0].step.id.partition("/")[0], ""), entries, layout))
        for name, entries in clusters.items()
    ]
    blocks.append(list(_messages(record.messages, layout)))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def render_runs_json(runs: Sequence[RunSummary]) -> str:
    """Runs as JSON, newest first."""
    return format_json([_to_plain_run(run) for run in runs])


def render_run_record_json(record: RunRecord) -> str:
    """One run as JSON: summary, plan, journal entries and messages."""
    return format_json(
        {
            **_to_plain_run(record.summary),
            "ids": record.plan.ids,
            "plan": record.plan.plain(),
            "steps": [_to_plain_entry(entry) for entry in record.entries],
            "messages": [{**asdict(one), "body": _parse_body(one)} for one in record.messages],
        }
    )


def render_orders(orders: Sequence[OrderRecord], *, layout: TerminalLayout = PLAIN) -> str:
    """Orders of operators, newest first; empty if there are none."""
    lines = [layout.paint("Orders", Tone.STRONG)] if orders else []
    for order in orders:
        target = clean_line(order.cluster)
        if order.digest:
            target = f"plan {order.digest[:SHORT_ID]}{f' of {target}' if target else ''}"
        if order.node:
            until = f" until {format_minute(order.until)} UTC" if order.until else ""
            # The name of a token belongs to no cluster.
            target = f"{target}/" * bool(target) + f"{clean_line(order.node)}{until}"
        who = f" by {clean_line(order.actor.description)}" if order.actor.description else ""
        why = f": {clean_line(order.actor.why)}" if order.actor.why else ""
        lines += layout.wrapped(
            f"{format_second(order.at)} UTC  {order.kind}  {target or 'all clusters'}{who}{why}", 0
        )
    return "\n".join(lines) + "\n" if lines else ""


def render_orders_json(orders: Sequence[OrderRecord]) -> str:
    """Orders of operators as JSON, newest first."""
    return format_json(
        [
            {
                "kind": order.kind,
                "cluster": order.cluster,
                "node": order.node,
                "until": order.until,
                "plan": order.digest,
                "at": order.at,
                "actor": order.actor,
            }
            for order in orders
        ]
    )


def _head(run: RunSummary, layout: TerminalLayout) -> Iterator[str]:
    tone = Tone.ADD if run.exit_status == ExitStatus.DONE else Tone.DANGER
    result, name = describe_run_result(run), layout.paint(f"run {run.id}", Tone.STRONG)
    if len(run.id) + len(result) + 6 <= layout.width:
        yield f"{name}  {layout.paint(result, tone)}"
    else:
        yield name
        yield from layout.wrapped(f"result        {result}", 2, tone, hang=14)
    title = f" “{clean_line(run.title)}”" if run.title else ""
    revision = f"{clean_line(run.short or run.revision)}{title} from {clean_line(run.source)}"
    yield from layout.wrapped(f"revision      {revision}", 2, hang=14)
    who = (
        f"{clean_line(run.actor.description)} ({clean_line(run.trigger)})"
        if run.actor.description
        else clean_line(run.trigger)
    )
    yield from layout.wrapped(f"started by    {who}; reconcile {clean_line(run.program)}", 2, hang=14)
    if run.actor.why:
        yield from layout.wrapped(f"reason        {clean_line(run.actor.why)}", 2)
    yield f"  started       {format_second(run.started)} UTC, {describe_duration(run)}"
    for note in run.note.splitlines():
        yield from layout.wrapped(clean_line(note), 2, Tone.CHANGE)


def _cluster(name: str, plan: str, entries: Sequence[JournalEntry], layout: TerminalLayout) -> Iterator[str]:
    yield f"{layout.paint(clean_line(name), Tone.STRONG)}, plan {plan[:SHORT_ID]}"
    widths = (
        max(len(describe_entry(entry)) for entry in entries),
        max(len(clean_line(entry.step.action)) for entry in entries),
    )

    for group in group_entries(entries):
        yield from _render_entries(group, widths, layout)


def _render_entries(
    group: tuple[JournalEntry, ...], widths: tuple[int, int], layout: TerminalLayout
) -> Iterator[str]:
    first, node = group[0], group[0].step.node
    tone = choose_outcome_tone(first.state)
    state = layout.paint(f"{describe_entry(first):<{widths[0]}}", tone)
    action = f"{clean_line(first.step.action):<{widths[1]}}"
    seconds = max(entry.seconds for entry in group)
    duration = f"  {'at most ' if len(group) > 1 else ''}{seconds:.1f} s" if seconds else ""
    names = format_node_names([entry.step.node for entry in group], full=layout.full)
    yield f"  {state}  {action}  {names}{duration}"

    def describe(text: str) -> str:
        return generalise_sentence(text, node) if len(group) > 1 else clean_line(text)

    indent = widths[0] + 4
    yield from layout.wrapped(describe(first.step.reason), indent)
    for line in format_changes(first.step.changes, None if layout.full else SHOWN_CHANGES):
        yield from layout.wrapped(
            f"{line.mark} {line.text}", indent, MARKS.get(line.mark, Tone.QUIET), hang=4
        )
    if first.reason:
        yield from layout.wrapped(f"result: {describe(first.reason)}", indent, tone)
    if first.answer:
        yield from layout.wrapped(f"answer: {describe(first.answer)}", indent, Tone.QUIET)
    if first.waiting_for_restart:
        fields = ", ".join(clean_line(name) for name in first.waiting_for_restart)
        yield from layout.wrapped(f"waits for a restart: {fields}", indent, Tone.CHANGE)


def _messages(messages: Sequence[MessageRecord], layout: TerminalLayout) -> Iterator[str]:
    if messages:
        yield layout.paint(format_count(len(messages), "feedback message"), Tone.STRONG)
    for message in messages:
        tone = Tone.PLAIN if message.delivered or not message.wanted else Tone.CHANGE
        yield from layout.wrapped(f"{clean_line(message.step)}: {_describe_delivery(message)}", 2, tone)
        yield from layout.wrapped(
            format_value(_parse_body(message), limit=None if layout.full else _BODY), 4, Tone.QUIET
        )


def _describe_delivery(message: MessageRecord) -> str:
    if message.delivered:
        return f"delivered {format_second(message.delivered)} UTC"
    if not message.wanted:
        return "stored only, no sink is configured"
    why = f": {clean_line(message.error)}" if message.error else ""
    return f"not delivered yet, {format_count(message.attempts, 'attempt')}{why}"


def _parse_body(message: MessageRecord) -> Any:
    try:
        return json.loads(message.body)
    except ValueError:
        return message.body


def _to_plain_run(run: RunSummary) -> dict[str, Any]:
    # The digest of the whole plan is internal: operators name the plan of a cluster.
    return {name: getattr(run, name) for name in run.__dataclass_fields__ if name != "digest"}


def _to_plain_entry(entry: JournalEntry) -> dict[str, Any]:
    names = ("state", "intended", "ended", "reason", "answer", "waiting_for_restart")
    plain = {name: getattr(entry, name) for name in names}
    return {**plain, "step": entry.step.id, "seconds": round(entry.seconds, 3)}
