"""The memory of earlier runs, as typed values, independent of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.fleet_matching import HOST
from reconciler.core.pins import Pin
from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import MergeBase, PriorRevisions
from reconciler.core.reservations import Reservation
from reconciler.core.revision import Ancestry
from reconciler.core.rollout_rules import PendingReturn, RolloutProgress


@dataclass(frozen=True, slots=True)
class AppliedRevision:
    """The revision that a node was last seen to run, and since when."""

    revision: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Suspension:
    """An operator's order that nothing is changed for a while.

    Args:
        cluster: its name; empty for the whole fleet.
    """

    cluster: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ClusterMemory:
    """What the store remembers of a cluster.

    Args:
        nodes: how many nodes the last applied desired state named; 0 if nothing was applied.
        names: their names; empty if an older version of this program stored only their number.
        source: where that desired state was read; empty if it is not known.
        recent_changes: (node, hours ago) of every change that still counts for a budget.
        suspended: suspensions by command that apply to it.
        rejected: revision -> why it failed its gates here.
        rejected_contents: keyed fingerprint of what a rejected revision gave the cluster -> which and why.
        pin: the order that it stays at a revision; None if it is not pinned.
        content: keyed fingerprint of what was applied last; empty if it is not known.
        approved: digests of approved plans.
        applied: the revision that was applied last; None if there is none.
        ancestry: of the revision of this pass, compared with the applied one.
        progress: of a rollout that has not ended; None if none is open.
        shown_revisions: node -> the revision that it was last seen to run.
        references: places in its settings where what was applied referred to secrets.
        kind: the product of its nodes; empty if it is not known.
        former_names: its earlier names, the latest last.
        pending_returns: what is still to do for the offers of failed waves, oldest first.
        reservations: those that are not known to be over.
    """

    nodes: int = 0
    recent_changes: tuple[tuple[str, float], ...] = ()
    suspended: tuple[Suspension, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    rejected_contents: Mapping[str, str] = field(default_factory=dict)
    approved: frozenset[str] = frozenset()
    applied: Revision | None = None
    ancestry: Ancestry = Ancestry.UNKNOWN
    source: str = ""
    names: frozenset[str] = frozenset()
    progress: RolloutProgress | None = None
    shown_revisions: Mapping[str, AppliedRevision] = field(default_factory=dict)
    references: frozenset[tuple[str, ...]] = frozenset()
    pin: Pin | None = None
    content: str = ""
    kind: str = ""
    former_names: tuple[str, ...] = ()
    pending_returns: tuple[PendingReturn, ...] = ()
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceClaim:
    """The node, cluster and fleet to which a place belongs, by a write or because it is as desired already.

    Args:
        fleet: its number.
        label: the fleet's name for people.
    """

    fleet: int
    cluster: str
    node: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that may still take effect: it was not answered, or its effect was not read yet.

    Args:
        step: its id in the run's plan.
        until: when it is over at the latest; of an offer, when it is overdue.
        is_offer: whether the node takes it by itself when it next polls.
    """

    cluster: str
    node: str
    step: str
    run: str
    until: datetime
    is_offer: bool = False

    @property
    def is_undo(self) -> bool:
        """Whether it offers a node what it had before its wave failed."""
        return self.is_offer and self.step.endswith("/undo")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMemory:
    """What is remembered of earlier runs of one fleet, at one moment.

    Args:
        fleet: the number of the fleet.
        facts: cluster -> node -> key -> value: revisions, used confirmations, what steps have found out.
        claims: place (`address:port`) -> to whom it belongs, of all fleets of this host.
        cluster_memory: cluster -> what guards need to know of earlier runs.
        all_clusters: what applies to every cluster: the fleet's suspension, and all approvals.
        at: when it was recalled; expiries are judged by it.
        applied_revisions: (id, short) of the revisions that runs here have applied, the latest last.
        prior: cluster -> its entries in earlier revisions; filled in by
            `planning.prior_revision_reader.read_prior_revisions`.
        base: the base into which the revision is to be merged; None if it is not needed, or not known.
        ancestors: short ids of the revision and of all its ancestors; None if not needed or not known.
        pending_calls: calls that may still take effect at `at`, sorted by cluster and node.
        renames: cluster -> the name under which the store still has its history.
        key: of this host, for fingerprints in the store; empty if there is no store.
    """

    at: datetime
    fleet: int = HOST
    facts: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    cluster_memory: Mapping[str, ClusterMemory] = field(default_factory=dict)
    all_clusters: ClusterMemory = field(default_factory=ClusterMemory)
    applied_revisions: tuple[tuple[str, str], ...] = ()
    ancestors: frozenset[str] | None = None
    pending_calls: tuple[PendingCall, ...] = ()
    claims: Mapping[str, PlaceClaim] = field(default_factory=dict)
    prior: Mapping[str, PriorRevisions] = field(default_factory=dict)
    base: MergeBase | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    # Not in `repr`, which gets into logs: with the key, secrets can be guessed from fingerprints.
    key: bytes = field(default=b"", repr=False, compare=False)

    def list_node_facts(self, cluster: str) -> dict[str, Mapping[str, str]]:
        """Node -> key -> value: all that a driver may know of a cluster."""
        return dict(sorted(self.facts.get(cluster, {}).items()))

    def list_holds(self) -> tuple[Reservation, ...]:
        """The holds of all clusters that were ordered by command."""
        return tuple(
            one for known in self.cluster_memory.values() for one in known.reservations if one.is_hold
        )

    def get_cluster_memory(self, cluster: str) -> ClusterMemory:
        """What guards need to know of one cluster, with what applies to every cluster."""
        own, all_ = self.cluster_memory.get(cluster, ClusterMemory()), self.all_clusters
        return replace(
            own, suspended=(*all_.suspended, *own.suspended), approved=all_.approved | own.approved
        )
