"""Nodes that another reconciler has written to: they are not changed without an override.

The stamp of a node names the revision that changed its content last. If this host never applied that revision
and it is no ancestor of the current one, a reconciler with a newer revision or another history wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from reconciler.core.memory import FleetMemory
from reconciler.core.plan import Revision
from reconciler.core.policy import Override
from reconciler.core.revision import STAMP, shorten_commit, strip_uncommitted
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.merge_base import BEHIND
from reconciler.text.one_line import join_some

FOREIGN = "foreign-change"
"""Code of the finding, and the guard that an override names."""

UNKNOWN: Final = "unknown-stamp"
"""Code of the report that only the host that applies can know whether it wrote to a node."""

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class RevisionTraces:
    """What the source knows of revisions that are no ancestors of the current one and were not applied here.

    Args:
        continued: stamps whose content the revision or an ancestor has: after a squash or rebase.
        unknown: stamps of commits that the source does not have, if this host has no memory and another host
            applies: that host may have written them itself.
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
    """Node -> stamp, for stamps that are no ancestors of the revision and were not applied here.

    Args:
        cluster: name of the cluster of the nodes.
        stamps: node -> the stamp that it shows.
        memory: what this host has applied, and the ancestors of the revision. If they are unknown, the result
            is empty.
        revision: the current one.
        overrides: of the fleet file; one that is valid today removes its nodes from the result.
    """
    if memory.ancestors is None:  # without the history every stamp would look foreign
        return {}
    runs = memory.get_cluster_memory(cluster).shown_revisions
    known = {revision.short, *(stamp for _, stamp in memory.applied_revisions)}
    found: dict[str, str] = {}
    for node, stamp in sorted(stamps.items()):
        last = runs.get(node)  # what this host wrote to the node itself, by the journal
        if (
            stamp in known
            or strip_uncommitted(stamp) in memory.ancestors
            or (last and strip_uncommitted(stamp) == shorten_commit(last.revision))
        ):
            continue
        is_overridden = any(
            one.until >= memory.at.date() and one.covers(FOREIGN, f"{cluster}/{node}") for one in overrides
        )
        if STAMP.fullmatch(stamp) and not is_overridden:  # another form is a version written by hand
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
    """A finding for each node that must not be changed.

    Args:
        cluster: name of the cluster of the nodes.
        given: the result of `find_foreign_stamps`.
        memory: has the merge target of the revision, if there is one.
        revision: the current one.
        traces: what the source knows of the stamps.
    """
    merge = memory.base
    for node, stamp in given.items():
        target, is_continued = f"{cluster}/{node}", stamp in traces.continued
        if (
            merge
            and strip_uncommitted(stamp) in merge.lacking
            and (cluster in merge.changed or not is_continued)
        ):
            yield Diagnostic(
                Severity.ERROR,
                BEHIND,
                f"{node} has the content of commit {stamp} of {merge.ref}, which this revision lacks, so "
                "nothing is planned for it",
                f"merge {merge.ref} into the branch, or rebase it, and plan again",
                target=target,
            )
        elif not is_continued and stamp not in traces.unknown:
            yield Diagnostic(
                Severity.ERROR,
                FOREIGN,
                f"{node} has revision {stamp}, which this host did not apply and which is not an ancestor of "
                f"{revision.short}: another reconciler wrote it, so the node is left unchanged",
                "find out who wrote it; then apply a revision that descends from it, or set an override with "
                "an expiry in the fleet file",
                target=target,
            )


def report_unknown_stamps(
    cluster: str, given: Mapping[str, str], traces: RevisionTraces
) -> Iterator[Diagnostic]:
    """A warning for each stamp that the host that applies may have written itself."""
    for stamp, nodes in _by_stamp(given):
        if stamp in traces.unknown:
            yield Diagnostic(
                Severity.WARNING,
                UNKNOWN,
                f"{_name_nodes(nodes)} the stamp {stamp}, which no commit here has: a branch was squashed or "
                "rebased, or another reconciler wrote to the nodes. The host that applies knows whether it "
                "wrote the stamp itself; if it did not, it leaves these nodes unchanged",
                "to be sure, plan on that host",
                target=cluster,
            )


def report_assumed_stamps(cluster: str, given: Mapping[str, str]) -> Iterator[Diagnostic]:
    """A note for each unknown stamp on nodes that do not show their files."""
    for stamp, nodes in _by_stamp(given):
        yield Diagnostic(
            Severity.NOTE,
            UNKNOWN,
            f"{_name_nodes(nodes)} the stamp {stamp}, which no commit here has, and not the package; only "
            "the host that applies knows which files they have, so no change of files is planned",
            "to be sure, plan on that host",
            target=cluster,
        )


def _by_stamp(given: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    return [
        (stamp, [node for node, its in given.items() if its == stamp]) for stamp in sorted({*given.values()})
    ]


def _name_nodes(nodes: Sequence[str]) -> str:
    return f"{join_some(nodes, _MOST_NAMED)} {'shows' if len(nodes) == 1 else 'show'}"
