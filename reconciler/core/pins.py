"""Pins: a cluster stays at the revision that somebody rolled it back to, until something ends that; pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from reconciler.core.plan import Revision
from reconciler.core.timestamps import format_minute, format_timestamp

ROLLED_BACK: Final = "rolled-back"
"""Code of the hold on a pinned cluster that cannot be compared with the revision where it is pinned."""


@dataclass(frozen=True, slots=True)
class LeftRevision:
    """A revision that a cluster was rolled back from.

    Args:
        content: keyed fingerprint of the cluster's content at it; empty if it is not known.
    """

    revision: str
    short: str = ""
    content: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return self.short or self.revision


@dataclass(frozen=True, slots=True)
class Pin:
    """An operator's order, given by a rollback, that a cluster stays at a revision.

    Args:
        revision: where it stays; None if a version of this program that did not record it rolled back.
        left: the revisions that it was rolled back from, the latest last.
        reason: that the operator gave; may be empty.
    """

    cluster: str
    revision: Revision | None
    left: tuple[LeftRevision, ...]
    by: str
    reason: str
    since: datetime

    @property
    def place(self) -> str:
        """Name of the revision where it stays, for people."""
        return (self.revision.short or self.revision.id) if self.revision else "an earlier revision"

    @property
    def left_names(self) -> str:
        """Names of the revisions that it was rolled back from, for people."""
        return ", ".join(one.name for one in self.left)

    def describe(self) -> str:
        """`at d926d54c198e since 2026-11-30 10:12 UTC by kim, rolled back from f7dd587ea1da: reason`."""
        why = f": {self.reason}" if self.reason else ""
        since = f"since {format_minute(self.since)} UTC by {self.by or 'somebody'}"
        return f"at {self.place} {since}, rolled back from {self.left_names}{why}"

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "cluster": self.cluster,
            "revision": self.revision.id if self.revision else None,
            "short": self.place if self.revision else None,
            "since": format_timestamp(self.since),
            "by": self.by,
            "reason": self.reason,
            "rolled_back_from": [one.revision for one in self.left],
        }


class PinEffect(StrEnum):
    """What a revision means for a pin."""

    BEGINS = "begins"
    """The plan is a rollback, which pins the cluster."""

    HOLDS = "holds"
    """The revision is not applied: the cluster stays where it is pinned."""

    ENDS = "ends"
    """The revision changes what the cluster gets: when it is applied, the pin ends."""


@dataclass(frozen=True, slots=True)
class PinState:
    """The pin of a cluster in one pass.

    Args:
        pin: of a rollback that is only planned, without the operator.
        effect: of the revision of the pass.
        revision: the one that the cluster is compared with, if that is not the revision of the pass.
        obstacle: why it cannot be compared with the revision where it is pinned, so that nothing is sent to
            it; empty if it can.
    """

    pin: Pin
    effect: PinEffect
    revision: Revision | None = None
    obstacle: str = ""


def is_held(
    pin: Pin, revision: str, *, content: str, is_older: bool, unchanged: AbstractSet[str] = frozenset()
) -> bool:
    """Whether a pin stays in force in view of a revision.

    It does if the revision is one that the cluster was rolled back from, is older than one of these, or gives
    the cluster the same content as one of these.

    Args:
        pin: of the cluster.
        revision: id of the newest revision.
        content: keyed fingerprint of the cluster's content at it; empty if the product gives none.
        is_older: whether one that was left descends from it.
        unchanged: ids of the left revisions whose content is the same, by the source itself. The stored
            fingerprint alone would end a pin when a secret changes that both revisions refer to.
    """
    return is_older or any(
        one.revision == revision or one.revision in unchanged or bool(one.content and one.content == content)
        for one in pin.left
    )


def list_left_revisions(
    pin: Pin | None, left: LeftRevision | None, taken: LeftRevision
) -> tuple[LeftRevision, ...]:
    """The revisions that a cluster is rolled back from, once it goes back to another one; empty for no pin.

    Args:
        pin: that it has before.
        left: the revision that it leaves; None if it leaves none.
        taken: the revision that it goes to.
    """

    def is_taken(one: LeftRevision) -> bool:
        # By content too: the same content under another id, as after a rebase, is what the operator wants.
        return one.revision == taken.revision or bool(one.content and one.content == taken.content)

    known = pin.left if pin is not None else ()
    kept = tuple(one for one in known if not is_taken(one))
    # Forward again to what was left before: the revision between them was no mistake.
    if left is None or len(kept) < len(known) or is_taken(left):
        return kept
    return (*(one for one in kept if one.revision != left.revision), left)


def merge_pins(former: Pin | None, own: Pin | None, cluster: str) -> Pin | None:
    """The pin of a renamed cluster, from those under both names; the newer one counts."""
    known = [one for one in (former, own) if one is not None]
    newest = max(known, key=lambda one: one.since, default=None)
    return replace(newest, cluster=cluster) if newest is not None else None
