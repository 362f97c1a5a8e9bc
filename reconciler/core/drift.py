"""Drift: a node changed behind our back since it was last as desired; told apart from a pending commit; pure.

A pass that finds a node as desired remembers what content it had, and what it showed. An intent forgets that:
from then on, this program may be what changed the node.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reconciler.core.timestamps import format_minute, format_timestamp, parse_timestamp

BASELINE: Final = "as-desired"
"""Fact of a node: what it had when it was last as desired, as JSON."""

SINCE: Final = "drifted"
"""Fact of a node: when a pass first found that it had drifted."""

DRIFT: Final = "drift"
"""Code of what is said about drift."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A node that was changed behind our back.

    Args:
        since: when a pass first saw it; None if no earlier pass did.
        has_commit: whether a commit, too, changes what the node gets since it was last as desired.
        is_kept: whether it is only reported, so that nothing is sent to the node.
    """

    node: str
    since: datetime | None = None
    has_commit: bool = False
    is_kept: bool = False

    @property
    def description(self) -> str:
        """For people: since when, and what becomes of it."""
        since = f"seen since {format_minute(self.since)} UTC" if self.since else "seen now for the first time"
        if self.is_kept:
            fate = "; it is only reported, by `drift: report`"
        elif self.has_commit:
            fate = "; a commit changes it, too: its whole content is delivered, which undoes the drift"
        else:
            fate = ""
        return f"changed behind our back since it was last as desired ({since}){fate}"

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "since": format_timestamp(self.since) if self.since else None,
            "with_commit": self.has_commit,
            "only_reported": self.is_kept,
        }


def encode_baseline(content: str, shown: str = "") -> str:
    """The fact of a node that is as desired.

    Args:
        content: keyed fingerprint of its desired content.
        shown: keyed fingerprint of what it showed; empty if it was not read since it was changed.
    """
    return json.dumps({"content": content, "shown": shown}, sort_keys=True)


def judge_drift(
    node: str, facts: Mapping[str, str], *, content: str, shown: str, keeps: bool
) -> Drift | None:
    """Whether a node that differs from its desired content has drifted; None if not, or if nobody knows.

    Args:
        node: its name.
        facts: what is remembered of it.
        content: keyed fingerprint of its desired content.
        shown: keyed fingerprint of what it shows; empty if that depends on other nodes, too.
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
    if seen == shown if shown else has_commit:
        return None
    if shown and not seen:  # not read since it was changed by this program: nobody knows
        return None
    return Drift(node, _load_since(facts), has_commit, is_kept=keeps and not has_commit)


def _load_since(facts: Mapping[str, str]) -> datetime | None:
    try:
        return parse_timestamp(facts[SINCE])
    except (KeyError, ValueError):
        return None
