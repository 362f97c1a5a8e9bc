"""Drift: a node changed behind our back since it was last as desired; told apart from a pending commit; pure.

A pass that finds a node as desired remembers what content it had, and what it showed. An intent forgets that:
from then on, this program may be what changed the node.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reconciler.core.diff import Change, Op
from reconciler.core.secret import mask
from reconciler.core.timestamps import format_minute, format_timestamp, parse_timestamp
from reconciler.text.json_pointer import format_pointer
from reconciler.text.one_line import LONGEST_NAME, MOST_QUOTED, make_one_line

BASELINE: Final = "as-desired"
"""Fact of a node: what it had when it was last as desired, as JSON."""

SINCE: Final = "drifted"
"""Fact of a node: when a pass first found that it had drifted."""

DRIFT: Final = "drift"
"""Code of what is said about drift."""

_BETWEEN: Final = "/"
_MOST_PLACES: Final = 3
"""Places that are listed; the desired state has all of them."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A node that was changed behind our back.

    Args:
        since: when a pass first saw it; None if no earlier pass did.
        has_commit: whether a commit, too, changes what the node gets since it was last as desired.
        is_kept: whether it is only reported, so that nothing is sent to the node.
        places: where it differs, and how, for people.
    """

    node: str
    since: datetime | None = None
    has_commit: bool = False
    is_kept: bool = False
    places: str = ""

    @property
    def description(self) -> str:
        """For people: since when, and what becomes of it."""
        since = f"seen since {format_minute(self.since)} UTC" if self.since else "seen now for the first time"
        if self.is_kept:
            fate = f"; it is only reported, by `drift: report`{self.quoted_places}"
        elif self.has_commit:
            fate = "; a commit changes it, too: its whole content is delivered, which undoes the drift"
        else:
            fate = ""
        return f"changed behind our back since it was last as desired ({since}){fate}"

    @property
    def quoted_places(self) -> str:
        """Where it differs, to follow a sentence about it; empty if nothing is known of that."""
        return f"; it differs at {self.places}" if self.places else ""

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "since": format_timestamp(self.since) if self.since else None,
            "with_commit": self.has_commit,
            "only_reported": self.is_kept,
        }


def describe_places(changes: Sequence[Change]) -> str:
    """Where a node differs, and how: `/level: shows "debug", desired "info"`; in short, secrets masked."""
    found = [_describe_place(change) for change in changes[:_MOST_PLACES]]
    if len(changes) > _MOST_PLACES:
        found.append(f"and {len(changes) - _MOST_PLACES} more")
    return "; ".join(found)


def _describe_place(change: Change) -> str:
    place = make_one_line(format_pointer(change.pointer), LONGEST_NAME) or "the whole document"
    old, new = mask(change.old), mask(change.new)
    if change.op is Op.ADD:
        return f"{place}: missing, desired {_quote(new)}"
    if change.op is Op.REMOVE:
        return f"{place}: shows {_quote(old)}, not desired"
    if old == new:
        return f"{place}: another secret (not shown)"
    return f"{place}: shows {_quote(old)}, desired {_quote(new)}"


def _quote(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], str):  # a line of a file
        return make_one_line(value[0], MOST_QUOTED)
    return make_one_line(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str), MOST_QUOTED)


def encode_baseline(content: str, shown: str = "") -> str:
    """The fact of a node that is as desired.

    Args:
        content: keyed fingerprint of its desired content.
        shown: what it showed, see `join_shown`; empty if it was not read since it was changed.
    """
    return json.dumps({"content": content, "shown": shown}, sort_keys=True)


def join_shown(fingerprints: Iterable[str]) -> str:
    """What a node shows as one text: keyed fingerprints of its parts, without those that were not read."""
    return _BETWEEN.join(fingerprints)


def _is_same_reading(seen: str, shown: str) -> bool:
    """Whether two readings show the same in all parts that both have."""
    return bool(seen) and all(
        one == other for one, other in zip(seen.split(_BETWEEN), shown.split(_BETWEEN), strict=False)
    )


def judge_drift(
    node: str, facts: Mapping[str, str], *, content: str, shown: str, keeps: bool
) -> Drift | None:
    """Whether a node that differs from its desired content has drifted; None if not, or if nobody knows.

    Args:
        node: its name.
        facts: what is remembered of it.
        content: keyed fingerprint of its desired content.
        shown: what it shows, see `join_shown`; empty if that depends on other nodes, too.
        keeps: whether drift is only reported in its cluster.
    """
    try:
        known = json.loads(facts.get(BASELINE, ""))
        former, seen = str(known["content"]), str(known["shown"])
    except (ValueError, TypeError, KeyError):
        return None  # it was never as desired, or this program has sent something to it since
    has_commit = former != content
    # A node has changed if it shows something else than when it was as desired: the content alone does not
    # tell, since it leaves out a version that a commit may change. Where what a node shows depends on others,
    # there is no such reading, and whatever differs with the same content is drift.
    if _is_same_reading(seen, shown) if shown else has_commit:
        return None
    if shown and not seen:  # not read since it was changed by this program: nobody knows
        return None
    return Drift(node, _load_since(facts), has_commit, is_kept=keeps and not has_commit)


def _load_since(facts: Mapping[str, str]) -> datetime | None:
    try:
        return parse_timestamp(facts[SINCE])
    except (KeyError, ValueError):
        return None
