"""How a revision is related to the one that was applied last: pure arithmetic of ancestors."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from enum import StrEnum

from reconciler.text.one_line import SHORT_ID

COMMIT = re.compile(r"[0-9a-f]{40}")
"""The full id of a commit."""

STAMP = re.compile(r"[0-9a-f]{12}(\+[0-9a-f]{8})?")
"""A revision as people, and the nodes that carry its stamp, know it."""


class Ancestry(StrEnum):
    """How a revision is related to the one that was applied last."""

    UNKNOWN = "unknown"
    """Nothing was applied yet, or the source has no order that is known."""

    SAME = "same"
    NEWER = "newer"
    """It descends from the applied one."""

    OLDER = "older"
    """The applied one descends from it."""

    DIVERGED = "diverged"
    """Neither descends from the other: the branch was rewritten."""


BACK = frozenset({Ancestry.OLDER, Ancestry.DIVERGED})
"""These would take back what was applied."""


def strip_uncommitted(revision: str) -> str:
    """The commit of a revision that may have uncommitted changes on top of it."""
    return revision.partition("+")[0]


def shorten_commit(revision: str) -> str:
    """A commit's id as a stamp has it."""
    return strip_uncommitted(revision)[:SHORT_ID]


def compare_revisions(
    revision: str, applied: str, before: AbstractSet[str] | None, before_applied: AbstractSet[str] | None
) -> Ancestry:
    """How a revision is related to the applied one; uncommitted changes on a commit count as that commit.

    Args:
        revision: its id.
        applied: the id of the one that was applied last.
        before: ids of the revision's commit and of all that it descends from; None if they are not known.
        before_applied: the same of the applied one; None if the source does not know it.
    """
    if revision == applied:
        return Ancestry.SAME
    # Only commits have an order: the digest of a folder's files is neither older nor newer than another.
    if (
        before is None
        or strip_uncommitted(revision) == strip_uncommitted(applied)
        or not COMMIT.fullmatch(strip_uncommitted(applied))
    ):
        return Ancestry.UNKNOWN
    if strip_uncommitted(applied) in before:
        return Ancestry.NEWER
    older = before_applied is not None and strip_uncommitted(revision) in before_applied
    return Ancestry.OLDER if older else Ancestry.DIVERGED
