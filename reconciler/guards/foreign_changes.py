"""Nodes that somebody else's newer revision was written to: they are left alone until somebody says so.

A node tells by its stamp which revision changed its content last. One that this host never applied, and that
does not come before the revision at hand, was written by a reconciler that knows more, or another history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reconciler.core.history import Memory
from reconciler.core.plan import Revision
from reconciler.core.policy import Override
from reconciler.core.prior import MergeBase
from reconciler.core.revision import STAMP, base, short
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.merge_base import BEHIND

FOREIGN = "foreign-change"
"""Code of the finding, and the guard that an override names."""


def foreign(
    cluster: str,
    stamps: Mapping[str, str],
    memory: Memory,
    *,
    revision: Revision,
    overrides: Sequence[Override],
) -> Iterator[Diagnostic]:
    """A finding for each node to be left alone; none where the revision's history is not known.

    Args:
        cluster: whose nodes.
        stamps: node -> the stamp that it shows.
        memory: what this host has applied, and the history of the revision at hand.
        revision: the one at hand.
        overrides: of the fleet file; one that holds today sets this aside.
    """
    if memory.lineage is None:
        return
    runs = memory.of(cluster).runs
    ours = {revision.short, *(known for _, known in memory.acted)}
    for node, stamp in sorted(stamps.items()):
        own = runs.get(node)
        if stamp in ours or base(stamp) in memory.lineage or (own and base(stamp) == short(own.revision)):
            continue
        target = f"{cluster}/{node}"
        if not STAMP.fullmatch(stamp) or _set_aside(overrides, target, memory):
            continue
        if memory.base is not None and base(stamp) in memory.base.lacking:
            yield _lacking(node, stamp, memory.base, target)
            continue
        yield Diagnostic(
            Severity.ERROR,
            FOREIGN,
            f"{node} runs revision {stamp}, which this host did not apply and which does not come before "
            f"{revision.short}: another reconciler wrote it, so it is left alone",
            "look who did; then apply a revision that has it, or set an override with an expiry in the "
            "fleet file",
            target=target,
        )


def _lacking(node: str, stamp: str, merge: MergeBase, target: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        BEHIND,
        f"{node} has the content of commit {stamp} of {merge.ref}, which this revision lacks, so nothing is "
        "planned for it",
        f"merge {merge.ref} into the branch, or rebase it, and plan again",
        target=target,
    )


def _set_aside(overrides: Sequence[Override], target: str, memory: Memory) -> bool:
    today = memory.at.date()
    return any(one.until >= today and one.covers(FOREIGN, target) for one in overrides)
