"""Nodes that somebody else's newer revision was written to: they are left alone until somebody says so.

A node tells by its stamp which revision it runs. One that this host never applied, and that does not come
before the revision at hand, was written by a reconciler that knows more, or another history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from reconciler.core.plan import Finding
from reconciler.core.revision import STAMP, base, short
from reconciler.diagnostic import Severity
from reconciler.ports.records import Memory
from reconciler.store.sqlite.facts import REVISION

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet

FOREIGN = "foreign-change"
"""Code of the finding, and the guard that an override names."""


def foreign(fleet: Fleet, cluster: str, stamps: Mapping[str, str], memory: Memory) -> Iterator[Finding]:
    """A finding for each node to be left alone; none where the revision's history is not known.

    Args:
        fleet: the desired state, whose overrides may set this aside.
        cluster: which of its clusters.
        stamps: node -> the stamp that it shows.
        memory: what this host has applied, and the history of the revision at hand.
    """
    if memory.lineage is None:
        return
    facts = memory.facts.get(cluster, {})
    ours = {fleet.revision.short, *(known for _, known in memory.acted)}
    for node, stamp in sorted(stamps.items()):
        own = facts.get(node, {}).get(REVISION, "")
        if stamp in ours or base(stamp) in memory.lineage or (own and base(stamp) == short(own)):
            continue
        target = f"{cluster}/{node}"
        if not STAMP.fullmatch(stamp) or _set_aside(fleet, target, memory):
            continue
        yield Finding(
            Severity.ERROR,
            FOREIGN,
            target,
            f"{node} runs revision {stamp}, which this host did not apply and which does not come before "
            f"{fleet.revision.short}: another reconciler wrote it, so it is left alone",
            "look who did; then apply a revision that has it, or set an override with an expiry in the "
            "fleet file",
        )


def _set_aside(fleet: Fleet, target: str, memory: Memory) -> bool:
    today = memory.at.date()
    return any(one.until >= today and one.covers(FOREIGN, target) for one in fleet.overrides)
