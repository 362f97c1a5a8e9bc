"""Which of two revisions is newer, as far as the source of this host knows: its own, or the target of all."""

from __future__ import annotations

from contextlib import suppress

from reconciler.core.revision import COMMIT, strip_uncommitted
from reconciler.errors import SourceError
from reconciler.ports.source import Source


async def is_behind(source: Source, revision: str, target: str) -> bool:
    """Whether another host has read a newer revision than this one; False where revisions have no order."""
    own, other = strip_uncommitted(revision), strip_uncommitted(target)
    if not source.has_history or not COMMIT.fullmatch(own) or not COMMIT.fullmatch(other):
        return False
    with suppress(SourceError):
        before = await source.ancestors(own)
        if before is not None and other in before:
            return False
        before = await source.ancestors(other)
        return before is None or own in before
    return True  # a commit that this host's copy does not have


async def is_before(source: Source, target: str, revision: str) -> bool:
    """Whether a target is empty, or an ancestor of the revision of this host."""
    other, own = strip_uncommitted(target), strip_uncommitted(revision)
    if not target:
        return True
    if not source.has_history or not COMMIT.fullmatch(own) or own == other:
        return False
    with suppress(SourceError):
        before = await source.ancestors(own)
        return before is not None and other in before
    return False
