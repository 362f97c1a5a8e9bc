"""Attempts: how often the same content was sent to a node, and when it may be sent again; pure.

A node that never shows what it was sent would get it at every pass. So every attempt is counted in the store,
over all runs and restarts, and attempts end: after a definite refusal at once, otherwise after
`MOST_ATTEMPTS` of them with growing pauses. The node is then stalled, until its desired content changes, or
until what it shows at the differing places changes and stays changed for two readings. A node that by itself
writes a key again, which it was not sent, is stalled in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from reconciler.core.canonical import fingerprint
from reconciler.core.diff import Change, Op
from reconciler.core.outcome import Outcome
from reconciler.core.plan import Step
from reconciler.core.secret import mask
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.text.one_line import make_one_line

FACT: Final = "attempt/"
"""Prefix of the keys of these facts; see `make_attempt_key`."""

DISTANCES: Final = (60.0, 600.0)
"""Seconds between the first and the second attempt, and between the second and the third."""

MOST_ATTEMPTS: Final = 1 + len(DISTANCES)
"""How often the same content is sent to a node that does not show it."""

WAKES: Final = 3
"""How often a change at one place may end a stall: a value that changes by itself would end every stall."""

PLACES: Final = 50
"""Differing places that are remembered separately; the others count as one."""

WRITES_AGAIN: Final = "it showed that each time, and then had again what it was not sent"
"""The reason of a stalled node that undoes each attempt by itself."""

_SHORT: Final = 16
_LONGEST: Final = 200
_REASON: Final = 500

Prints = Mapping[str, str]
"""Place -> a short fingerprint of what the node shows there."""


def make_attempt_key(step: Step) -> str:
    """The key of the fact that has a node's attempts by steps like this one, as JSON."""
    # The content is in the value (`purpose`), not in the key: other content takes the place of the old count,
    # so that a node has one fact for each action (and file), however many revisions it is sent.
    return find_attempt_key(step.id, step.node)


def find_attempt_key(step: str, node: str) -> str:
    """As `make_attempt_key`, by the id of a step and its node."""
    return f"{FACT}{step.partition('/')[2].removeprefix(f'{node}/')}"


class AttemptDecision(StrEnum):
    """What may be done about a step now."""

    DUE = "due"
    LATER = "later"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempts to give a node the same content.

    Args:
        purpose: fingerprint of the content, without the stamp of its revision.
        count: how often it was sent.
        last: when it was sent last.
        reason: why the last attempt failed, masked; empty while that is not known.
        refused: whether it was definitely refused.
        rollout: fingerprint of the cluster's desired content; a stall counts as failed for this rollout.
        shown: what the node showed at the differing places when the attempts had ended; None before that.
        change: a change of `shown` in one reading, which the next reading has to confirm.
        wakes: place -> how often a change there has ended a stall.
    """

    purpose: str
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
        stored = {**asdict(self), "last": format_timestamp(self.last) if self.last else None}
        stored["aim"] = stored.pop("purpose")  # the stored key, which earlier versions wrote too
        return json.dumps(stored, sort_keys=True)

    @property
    def is_over(self) -> bool:
        """Whether no attempt is left."""
        return self.refused or self.count >= MOST_ATTEMPTS

    @property
    def next_time(self) -> datetime | None:
        """When the next attempt may be made; None if at once, or never."""
        # Without a reason the run was killed: that shows nothing about the node, so nothing waits.
        if self.last is None or not self.reason or not 0 < self.count < MOST_ATTEMPTS:
            return None
        return self.last + timedelta(seconds=DISTANCES[self.count - 1])


def load_attempt(text: str, aim: str) -> Attempt:
    """The attempt in a fact; a new one if there is none, or if it was for other content."""
    found = _read(text)
    return found if found is not None and found.purpose == aim else Attempt(aim)


def read_rollout(text: str) -> str:
    """Fingerprint of the cluster's content that the attempt in a fact was made for; empty for none."""
    found = _read(text)
    return found.rollout if found is not None else ""


def _read(text: str) -> Attempt | None:
    """The attempt in a fact; None if there is none, or another version of this program wrote it."""
    try:
        value = json.loads(text)
        last = parse_timestamp(value["last"]) if value["last"] else None
        return Attempt(purpose=value.pop("aim"), **{**value, "last": last})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def fingerprint_places(changes: Iterable[Change], *, but: str = "") -> dict[str, str]:
    """What a node shows at the places where it differs.

    Args:
        changes: from its observed to its desired content. Secrets count by their mask: a store may be read.
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
    if not attempt.is_over:
        due = attempt.next_time
        # `last <= now`: if the clock was put back behind the last attempt, the wait could last for hours.
        is_early = due is not None and attempt.last is not None and attempt.last <= now < due
        return (AttemptDecision.LATER if is_early else AttemptDecision.DUE), attempt
    if attempt.shown is None:
        return AttemptDecision.STALLED, replace(attempt, shown=dict(shown))
    moved = {
        place: shown.get(place, "")
        for place in sorted({*shown, *attempt.shown})
        if shown.get(place) != attempt.shown.get(place) and attempt.wakes.get(place, 0) < WAKES
    }
    confirmed = [place for place, seen in moved.items() if attempt.change.get(place) == seen]
    if not confirmed:  # one reading is not enough: a value that changes at every reading is never seen twice
        return AttemptDecision.STALLED, replace(attempt, change=moved)
    wakes = {**attempt.wakes, **{place: attempt.wakes.get(place, 0) + 1 for place in confirmed}}
    # One attempt, not all of them: somebody has changed the node, and it is not known whether that helps.
    return AttemptDecision.DUE, replace(
        attempt, wakes=wakes, shown=None, change={}, count=MOST_ATTEMPTS - 1, refused=False
    )


def count_attempt(attempt: Attempt, now: datetime, rollout: str) -> Attempt:
    """The attempts with one more, which is about to be made."""
    return replace(
        attempt, count=attempt.count + 1, last=now, reason="", refused=False, rollout=rollout, shown=None
    )


def note_success(text: str, outcome: Outcome) -> str:
    """The fact after a successful attempt; empty if the next difference is a new one.

    A step that only takes away what the node has in addition may be one of many: a node that writes a key by
    itself shows what it was sent, and soon has the key again. So these attempts count on, until a reading for
    a plan shows the node as desired.
    """
    attempt, changes = _read(text), outcome.step.changes
    if attempt is None or not changes or any(change.op is not Op.REMOVE for change in changes):
        return ""
    # Without a reason nothing waits for the next attempt: the node did show it.
    return replace(attempt, reason=WRITES_AGAIN if attempt.is_over else "").plain()


def note_failure(text: str, outcome: Outcome) -> str:
    """The fact after a failed attempt; empty if it was the first and nothing was sent."""
    attempt = _read(text)
    if attempt is None:
        return text
    # Counted with the intent, before the call: taken back if nothing reached the node.
    if not outcome.sent:
        fewer = replace(attempt, count=attempt.count - 1)
        return fewer.plain() if fewer.count > 0 else ""
    if outcome.killed:
        return text
    return replace(attempt, reason=make_one_line(outcome.reason, _REASON), refused=outcome.refused).plain()
