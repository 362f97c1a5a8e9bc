"""The answer to the question whether a node may be stopped, as text and JSON; and reservations in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.cli.render.json import format_json
from reconciler.cli.render.text import PLAIN, TerminalLayout, Tone
from reconciler.core.reservations import Reservation, StopAnswer, StopReply
from reconciler.descriptions.act_results import (
    STOP_ANSWERS,
    describe_stop_release,
    describe_stop_reservation,
)
from reconciler.text.one_line import clean_line

_TONES: Final = {
    StopAnswer.YES: Tone.ADD,
    StopAnswer.NO: Tone.DANGER,
    StopAnswer.UNKNOWN: Tone.CHANGE,
}


def render_reply(reply: StopReply, *, layout: TerminalLayout = PLAIN) -> str:
    """The answer with its reasons, what is left on the node, and its reservation."""
    return "\n".join(_list_lines(reply, layout)) + "\n"


def render_reply_json(reply: StopReply, *, status: int) -> str:
    """The answer as JSON."""
    return format_json({**reply.plain(), "exit_status": status})


def list_reservation_lines(
    reservations: Sequence[Reservation], layout: TerminalLayout = PLAIN
) -> Iterator[str]:
    """A line for each reserved node."""
    for one in reservations:
        yield from layout.wrapped(f"{one.cluster}/{one.node}: {clean_line(one.description)}", 2, Tone.CHANGE)


def list_hold_lines(holds: Sequence[Reservation], layout: TerminalLayout = PLAIN) -> Iterator[str]:
    """A line for each hold, with what ends it."""
    for one in holds:
        name = clean_line(f"{one.cluster}/{one.node}")
        yield from layout.wrapped(f"{name}: {clean_line(one.description)}", 2, Tone.CHANGE)
        yield from layout.wrapped(f"→ {clean_line(one.remedy)}", 4)


def _list_lines(reply: StopReply, layout: TerminalLayout) -> Iterator[str]:
    name = layout.paint(clean_line(f"{reply.cluster}/{reply.node}"), Tone.STRONG)
    decision = reply.decision
    if decision is None:
        yield f"{name}: {describe_stop_release(reply)}"
        return
    yield f"{name}: {layout.paint(STOP_ANSWERS[decision.answer], _TONES[decision.answer])}"
    for reason in decision.reasons:
        yield from layout.wrapped(clean_line(reason), 2)
    for fact in decision.facts:
        yield from layout.wrapped(f"note: {clean_line(fact)}", 2)
    for finding in decision.findings:
        yield from layout.problem(finding.severity.value, clean_line(finding.message), finding, Tone.CHANGE)
    if reply.until is not None:
        yield describe_stop_reservation(reply.until)
        yield f"  → once it is back: reconcile allow-stop {clean_line(reply.node)} --release"
