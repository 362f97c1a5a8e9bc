"""Renamed clusters, whose stored history continues under the new name; pure.

A fleet file has `renamed_from` in the cluster's entry. It may stay there: once the history has moved, there
is nothing left under the former name. A revision from before the rename finds its history by the nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from reconciler.core.entries import ClusterEntry
from reconciler.core.memory import ClusterMemory, FleetMemory, PlaceClaim
from reconciler.core.pins import merge_pins
from reconciler.core.rollout_rules import rename_progress
from reconciler.diagnostic import Diagnostic, Severity

CODE: Final = "rename-unclear"
"""Code of a cluster that would lose its history, or take the history of another cluster."""

T = TypeVar("T")


def read_declared_renames(entries: Sequence[ClusterEntry]) -> dict[str, str]:
    """Cluster -> its former name, as in the fleet file."""
    return {entry.name: entry.renamed_from for entry in entries if entry.renamed_from}


def find_renames(memory: FleetMemory, entries: Sequence[ClusterEntry]) -> dict[str, str]:
    """Cluster -> the former name under which the store has its history, of renamed clusters."""
    names = {entry.name for entry in entries}
    new = [entry for entry in entries if not has_past(memory.cluster_memory.get(entry.name))]
    found: dict[str, str] = {}
    for entry in new:
        former = entry.renamed_from or ""
        before = memory.cluster_memory.get(former)
        if before and former not in names and has_past(before) and before.kind in {"", entry.kind}:
            found[entry.name] = former
    for entry in new:
        if entry.renamed_from:
            continue
        nodes = {node.name for node in entry.members()}
        later_names = [
            name
            for name, later in memory.cluster_memory.items()
            if name not in names and entry.name in later.former_names and later.kind in {"", entry.kind}
            if later.names & nodes and name not in found.values()
        ]
        if len(later_names) == 1:  # with several candidates, a guess could mix two histories
            found[entry.name] = later_names[0]
    return found


def has_past(cluster_memory: ClusterMemory | None) -> bool:
    """Whether something was applied in a cluster; a refused run leaves no history."""
    return cluster_memory is not None and bool(
        cluster_memory.nodes
        or cluster_memory.applied
        or cluster_memory.recent_changes
        or cluster_memory.shown_revisions
    )


def apply_renames(memory: FleetMemory, renames: Mapping[str, str]) -> FleetMemory:
    """The same memory, with the history of renamed clusters under their new names.

    Args:
        memory: of the fleet.
        renames: cluster -> former name, from `find_renames`.
    """
    if not renames:
        return memory
    facts, cluster_memory = dict(memory.facts), dict(memory.cluster_memory)
    for name, former in renames.items():
        merged: dict[str, dict[str, str]] = defaultdict(dict)
        # Facts under the new name are newer, so they come last and win.
        for some in (facts.pop(former, {}), facts.pop(name, {})):
            for node, known in some.items():
                merged[node] |= known
        facts[name] = dict(merged)
        before = cluster_memory.pop(former, ClusterMemory())
        own = cluster_memory.get(name, ClusterMemory())
        cluster_memory[name] = replace(
            before,
            former_names=tuple(dict.fromkeys((*before.former_names, former))),
            suspended=(*before.suspended, *own.suspended),
            rejected={**before.rejected, **own.rejected},
            rejected_contents={**before.rejected_contents, **own.rejected_contents},
            pin=merge_pins(before.pin, own.pin, name),
            progress=rename_progress(before.progress, former, name) if before.progress else None,
            reservations=(
                *(replace(one, cluster=name) for one in before.reservations),
                *own.reservations,
            ),
        )
    now = {former: name for name, former in renames.items()}

    def rename(claim: PlaceClaim) -> PlaceClaim:
        # Another fleet may have a cluster of the same name.
        is_own = claim.fleet == memory.fleet
        return replace(claim, cluster=now.get(claim.cluster, claim.cluster)) if is_own else claim

    return replace(
        memory,
        facts=facts,
        cluster_memory=cluster_memory,
        claims={place: rename(one) for place, one in memory.claims.items()},
        pending_calls=tuple(
            replace(one, cluster=now.get(one.cluster, one.cluster)) for one in memory.pending_calls
        ),
        renames=renames,
    )


def translate_prior_names(clusters: Mapping[str, T], renames: Mapping[str, str]) -> dict[str, T]:
    """Values of an earlier fleet file's clusters, by their present names.

    Args:
        clusters: earlier name -> value.
        renames: cluster -> former name.
    """
    now = {former: name for name, former in renames.items() if name not in clusters}
    return {now.get(name, name): value for name, value in clusters.items()}


def find_refused_renames(memory: FleetMemory, entries: Sequence[ClusterEntry]) -> dict[str, Diagnostic]:
    """Cluster -> a violation, if it has `renamed_from` and cannot take over that history.

    Args:
        memory: of the fleet, from `apply_renames`.
        entries: all clusters of the fleet file.
    """
    found: dict[str, Diagnostic] = {}
    for entry in entries:
        former = entry.renamed_from or ""
        before = memory.cluster_memory.get(former)
        if before is None or not has_past(before):
            continue
        if before.kind not in {"", entry.kind}:
            why = f"{former} has the kind {before.kind}, and {entry.name} has the kind {entry.kind}"
        else:
            why = f"{entry.name} was applied under its own name before, so it has its own history"
        found[entry.name] = _make_violation(
            entry.name,
            f"{entry.name} has `renamed_from: {former}`, but cannot take over the history of {former}: {why}",
            f"remove `renamed_from`; to remove {former} on purpose, set an override for cluster-vanished",
        )
    return found


def find_left_behind(
    memory: FleetMemory, places: Mapping[str, Mapping[str, Collection[str]]]
) -> dict[str, Diagnostic]:
    """Cluster -> a violation, if it is new and has nodes of a cluster that the fleet file no longer names.

    Args:
        memory: of the fleet, from `apply_renames`.
        places: cluster -> node -> its place by every address, of all clusters of the fleet file.
    """
    # A change of the name would otherwise be a way round rejections, counted attempts and budgets.
    found: dict[str, Diagnostic] = {}
    for cluster, nodes in places.items():
        # Nodes may move between clusters that both have a history; only a new name can hide one.
        if has_past(memory.cluster_memory.get(cluster)):
            continue
        for node, keys in nodes.items():
            claims = [memory.claims[key] for key in keys if key in memory.claims]
            gone = [one for one in claims if one.fleet == memory.fleet and one.cluster not in places]
            if gone and has_past(memory.cluster_memory.get(gone[0].cluster)):
                former = gone[0].cluster
                found[cluster] = _make_violation(
                    cluster,
                    f"{cluster} is new and has {node}, which is {gone[0].node} of the cluster {former} that "
                    f"the fleet file no longer names: the history of {former} would be lost",
                    f"add `renamed_from: {former}` to {cluster} if it is the same cluster; if not, set "
                    f"an override for {CODE} on {cluster}",
                )
                break
    return found


def _make_violation(cluster: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.ERROR, CODE, message, remedy, target=cluster, hold=True)
