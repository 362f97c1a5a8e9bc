"""Nodes that somebody else's newer revision was written to: they are left alone until somebody says so.

A node tells by its stamp which revision changed its content last. One that this host never applied, and that
does not come before the revision at hand, was written by a reconciler that knows more, or another history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.core.memory import FleetMemory
from reconciler.core.plan import Revision
from reconciler.core.policy import Override
from reconciler.core.prior_revisions import MergeBase
from reconciler.core.revision import STAMP, get_base_commit, shorten_commit
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.merge_base import BEHIND

FOREIGN = "foreign-change"
"""Code of the finding, and the guard that an override names."""

UNKNOWN: Final = "unknown-stamp"
"""Code of what is said where only the host that applies knows whether it wrote to a node."""

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class RevisionTraces:
    """What the source tells of revisions that neither came before the one at hand nor were applied here.

    Args:
        continued: stamps whose content the revision has, or one that it comes from: after a squash or rebase.
        unknown: stamps of commits that the source does not have, where nothing is remembered here and
            another host applies: it may have written them itself.
    """

    continued: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


def find_foreign_stamps(
    cluster: str,
    stamps: Mapping[str, str],
    memory: FleetMemory,
    *,
    revision: Revision,
    overrides: Sequence[Override],
) -> dict[str, str]:
    """Node -> stamp, of those that neither come before the revision nor were applied here.

    Args:
        cluster: whose nodes.
        stamps: node -> the stamp that it shows.
        memory: what this host has applied, and the history of the revision at hand; where that is not known,
            there are none.
        revision: the one at hand.
        overrides: of the fleet file; one that holds today sets this aside.
    """
    if memory.lineage is None:
        return {}
    runs = memory.of(cluster).runs
    ours = {revision.short, *(known for _, known in memory.acted)}
    found: dict[str, str] = {}
    for node, stamp in sorted(stamps.items()):
        own = runs.get(node)
        if (
            stamp in ours
            or get_base_commit(stamp) in memory.lineage
            or (own and get_base_commit(stamp) == shorten_commit(own.revision))
        ):
            continue
        if STAMP.fullmatch(stamp) and not _set_aside(overrides, f"{cluster}/{node}", memory):
            found[node] = stamp
    return found


def find_foreign_changes(
    cluster: str,
    given: Mapping[str, str],
    memory: FleetMemory,
    *,
    revision: Revision,
    traces: RevisionTraces = RevisionTraces(),
) -> Iterator[Diagnostic]:
    """A finding for each node to be left alone.

    Args:
        cluster: whose nodes.
        given: what `find_foreign_stamps` gave.
        memory: what the revision is to be merged into.
        revision: the one at hand.
        traces: what the source tells of the stamps.
    """
    merge = memory.base
    for node, stamp in given.items():
        target, is_continued = f"{cluster}/{node}", stamp in traces.continued
        if (
            merge
            and get_base_commit(stamp) in merge.lacking
            and (cluster in merge.changed or not is_continued)
        ):
            yield _lacking(node, stamp, merge, target)
        elif not is_continued and stamp not in traces.unknown:
            yield Diagnostic(
                Severity.ERROR,
                FOREIGN,
                f"{node} runs revision {stamp}, which this host did not apply and which does not come before "
                f"{revision.short}: another reconciler wrote it, so it is left alone",
                "look who did; then apply a revision that has it, or set an override with an expiry in the "
                "fleet file",
                target=target,
            )


def report_unknown_stamps(
    cluster: str, given: Mapping[str, str], traces: RevisionTraces
) -> Iterator[Diagnostic]:
    """A warning for each stamp of which only the host that applies knows whether it wrote it."""
    for stamp, nodes in _by_stamp(given):
        if stamp in traces.unknown:
            yield Diagnostic(
                Severity.WARNING,
                UNKNOWN,
                f"{_named(nodes)} the stamp {stamp}, and no commit here has it: a branch that was squashed "
                "or rebased looks so, and so does the work of another reconciler. Only the host that applies "
                "knows whether it wrote it; if it did not, it leaves these nodes alone",
                "plan on that host to be sure",
                target=cluster,
            )


def report_assumed_stamps(cluster: str, given: Mapping[str, str]) -> Iterator[Diagnostic]:
    """A note for each stamp whose files are not known, while the nodes do not show theirs."""
    for stamp, nodes in _by_stamp(given):
        yield Diagnostic(
            Severity.NOTE,
            UNKNOWN,
            f"{_named(nodes)} the stamp {stamp}, which no commit here has, and not the package: whether the "
            "files of this revision are there, only the host that applies knows; no change is planned",
            "plan on that host to be sure",
            target=cluster,
        )


def _by_stamp(given: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    return [
        (stamp, [node for node, its in given.items() if its == stamp]) for stamp in sorted({*given.values()})
    ]


def _named(nodes: Sequence[str]) -> str:
    more = f" and {len(nodes) - _MOST_NAMED} more" if len(nodes) > _MOST_NAMED else ""
    return f"{', '.join(nodes[:_MOST_NAMED])}{more} {'shows' if len(nodes) == 1 else 'show'}"


def _lacking(node: str, stamp: str, merge: MergeBase, target: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        BEHIND,
        f"{node} has the content of commit {stamp} of {merge.ref}, which this revision lacks, so nothing is "
        "planned for it",
        f"merge {merge.ref} into the branch, or rebase it, and plan again",
        target=target,
    )


def _set_aside(overrides: Sequence[Override], target: str, memory: FleetMemory) -> bool:
    today = memory.at.date()
    return any(one.until >= today and one.covers(FOREIGN, target) for one in overrides)
