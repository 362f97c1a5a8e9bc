"""How often the same thing was sent to a node, and when it may be sent again: pure rules over plain data.

A node that never shows what it was sent would be sent it at every pass. So every try is counted in the
store, over all runs and restarts, and the tries end: after a definite refusal at once, otherwise after
`TRIES` of them with growing distance. The node is then stalled, until the content that it is to get
changes, or until what it shows at the differing places changes and stays so for two readings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from reconciler.core.canonical import fingerprint
from reconciler.core.diff import Change
from reconciler.core.outcome import Outcome
from reconciler.core.secret import mask
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.text.one_line import make_one_line

FACT: Final = "attempt/"
"""What the keys of facts of tries begin with; see `make_attempt_key`."""

DISTANCES: Final = (60.0, 600.0)
"""Seconds that the second and the third try keep from the one before."""

TRIES: Final = 1 + len(DISTANCES)
"""How often the same content is sent to a node that does not show it."""

WAKES: Final = 3
"""How often a change at one place may end a stall: a value that changes by itself would end it for ever."""

PLACES: Final = 50
"""Differing places that are remembered one by one; the others count as one."""

_SHORT: Final = 16
_LONGEST: Final = 200
_REASON: Final = 500

Prints = Mapping[str, str]
"""Place -> a short fingerprint of what the node shows there."""


def make_attempt_key(action: str) -> str:
    """The fact of a node that says what was tried for it by steps of an action, as JSON."""
    # The content is in the value (`aim`), not in the key: other content takes the place of the old count, so
    # that a node has one fact for each action, however many revisions it is sent.
    return f"{FACT}{action}"


class AttemptDecision(StrEnum):
    """What may be done about a step now."""

    DUE = "due"
    LATER = "later"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried to give a node the same content.

    Args:
        aim: fingerprint of the content, without the stamp of its revision.
        count: how often it was sent.
        last: when it was sent last.
        reason: why the last try failed, masked; empty while that is not known.
        refused: whether it was definitely refused.
        rollout: fingerprint of all that the cluster was to get; a stall counts as failed for it.
        shown: what the node showed at the differing places when the tries had ended; none before that.
        change: a change of that which one reading has shown, and which the next has to confirm.
        wakes: place -> how often a change there has ended a stall.
    """

    aim: str
    count: int = 0
    last: datetime | None = None
    reason: str = ""
    refused: bool = False
    rollout: str = ""
    shown: Prints | None = None
    change: Prints = field(default_factory=dict)
    wakes: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> str:
        """The fact's text."""
        return json.dumps(
            {**asdict(self), "last": format_timestamp(self.last) if self.last else None}, sort_keys=True
        )

    @property
    def ended(self) -> bool:
        """Whether no try is left."""
        return self.refused or self.count >= TRIES

    @property
    def due(self) -> datetime | None:
        """When the next try may be made; none where at once, or not at all.

        Nothing is waited for after a run of ours that was killed: it counts, and says nothing of the node.
        """
        if self.last is None or not self.reason or not 0 < self.count < TRIES:
            return None
        return self.last + timedelta(seconds=DISTANCES[self.count - 1])


def load_attempt(text: str, aim: str) -> Attempt:
    """The attempt that a fact tells of; a new one where there is none, or where it was for other content."""
    found = _read(text)
    return found if found is not None and found.aim == aim else Attempt(aim)


def _read(text: str) -> Attempt | None:
    """The attempt of a fact; None where there is none, or another version of this program wrote it."""
    try:
        value = json.loads(text)
        return Attempt(**{**value, "last": parse_timestamp(value["last"]) if value["last"] else None})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def fingerprint_places(changes: Iterable[Change], *, but: str = "") -> dict[str, str]:
    """What a node shows at the places where it differs.

    Args:
        changes: from what it shows to what it is to have. Secrets count by their mask: a store may be read.
        but: a place that does not count, such as that of the stamp.
    """
    found = sorted(
        (change.pointer[:_LONGEST], fingerprint([change.op, mask(change.old)])[:_SHORT])
        for change in changes
        if not but or change.pointer != but
    )
    rest = found[PLACES:]
    return {**dict(found[:PLACES]), **({"*": fingerprint(rest)[:_SHORT]} if rest else {})}


def decide_attempt(attempt: Attempt, shown: Prints, now: datetime) -> tuple[AttemptDecision, Attempt]:
    """Whether a step may be sent now, and the attempt as it is to be remembered after this reading.

    Args:
        attempt: for the step's content.
        shown: what the node shows at the differing places.
        now: the present moment.
    """
    if not attempt.ended:
        due = attempt.due
        is_early = due is not None and attempt.last is not None and attempt.last <= now < due
        return (
            AttemptDecision.LATER if is_early else AttemptDecision.DUE
        ), attempt  # a clock that was put back holds up nothing
    if attempt.shown is None:
        return AttemptDecision.STALLED, replace(attempt, shown=dict(shown))
    moved = {
        place: shown.get(place, "")
        for place in sorted({*shown, *attempt.shown})
        if shown.get(place) != attempt.shown.get(place) and attempt.wakes.get(place, 0) < WAKES
    }
    confirmed = [place for place, seen in moved.items() if attempt.change.get(place) == seen]
    if not confirmed:  # a value that moves at every reading is never seen twice
        return AttemptDecision.STALLED, replace(attempt, change=moved)
    wakes = {**attempt.wakes, **{place: attempt.wakes.get(place, 0) + 1 for place in confirmed}}
    return AttemptDecision.DUE, replace(
        attempt, wakes=wakes, shown=None, change={}, count=TRIES - 1, refused=False
    )


def count_try(attempt: Attempt, now: datetime, rollout: str) -> Attempt:
    """The attempt with one more try, which is about to be made."""
    return replace(
        attempt, count=attempt.count + 1, last=now, reason="", refused=False, rollout=rollout, shown=None
    )


def note_failure(text: str, outcome: Outcome) -> str:
    """The fact after a try that failed; empty where nothing was sent, so that no try is counted."""
    attempt = _read(text)
    if attempt is None:
        return text
    if not outcome.sent:
        fewer = replace(attempt, count=attempt.count - 1)
        return fewer.plain() if fewer.count > 0 else ""
    if outcome.killed:
        return text
    return replace(attempt, reason=make_one_line(outcome.reason, _REASON), refused=outcome.refused).plain()
