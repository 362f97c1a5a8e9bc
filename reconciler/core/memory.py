"""What is remembered of earlier runs, as typed values: plain data, whatever store it was kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.fleet_identity import HOST
from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import MergeBase, PriorRevisions
from reconciler.core.revision import Ancestry
from reconciler.core.rollout import RolloutProgress


@dataclass(frozen=True, slots=True)
class AppliedRevision:
    """The revision that a node was last seen to run, and since when."""

    revision: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Suspension:
    """Somebody's word, by command, that nothing is changed for a while.

    Args:
        cluster: which; empty for the whole fleet.
    """

    cluster: str
    reason: str
    by: str
    since: datetime


@dataclass(frozen=True, slots=True)
class RollbackHold:
    """What a person rolled a cluster back from, which is not applied again unasked.

    Args:
        revision: its id.
        content: keyed fingerprint of what the cluster was to get at it; empty where it is not known.
        reason: who rolled back, and to what.
    """

    revision: str
    content: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterMemory:
    """What the store remembers of a cluster.

    Args:
        nodes: how many nodes the last applied desired state named; 0 where nothing was applied.
        names: their names; empty where an older version of this program wrote down their number alone.
        source: where that desired state was read; empty where it is not known.
        changed: (node, hours ago) of every change that is still in somebody's window.
        suspended: suspensions by command that hold for it.
        rejected: revision -> why it failed its gates here.
        rolled_back: what it was rolled back from.
        content: keyed fingerprint of what was applied last; empty where it is not known.
        approved: digests of plans that somebody approved.
        applied: the revision that was applied last; none where none was.
        ancestry: how the revision of this pass stands to it.
        progress: how far a rollout of it has come that has not ended; none where none is open.
        runs: node -> the revision that it was last seen to run.
        references: places in its settings where what was applied referred to secrets.
        kind: the product that its nodes run; empty where that is not known.
        former: the names that it had before, the latest last.
    """

    nodes: int = 0
    changed: tuple[tuple[str, float], ...] = ()
    suspended: tuple[Suspension, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    approved: frozenset[str] = frozenset()
    applied: Revision | None = None
    ancestry: Ancestry = Ancestry.UNKNOWN
    source: str = ""
    names: frozenset[str] = frozenset()
    progress: RolloutProgress | None = None
    runs: Mapping[str, AppliedRevision] = field(default_factory=dict)
    references: frozenset[tuple[str, ...]] = frozenset()
    rolled_back: tuple[RollbackHold, ...] = ()
    content: str = ""
    kind: str = ""
    former: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlaceClaim:
    """Who looks after a place, by a write or as desired already: a node of a cluster of a fleet.

    Args:
        fleet: its number.
        label: the fleet as people know it.
    """

    fleet: int
    cluster: str
    node: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that may still take effect: nobody answered for it, or nobody has read its effect yet.

    Args:
        step: its id in the run's plan.
        until: when it is over at the latest.
    """

    cluster: str
    node: str
    step: str
    run: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMemory:
    """What is remembered of earlier runs of one fleet, as it stood at one moment.

    Args:
        fleet: the number of the fleet that it is the memory of.
        facts: cluster -> node -> key -> value: revisions, words that are spent, what steps taught.
        claims: place (`address:port`) -> who has written there last, of all fleets of this host.
        cluster_memory: cluster -> what guards need to know of earlier runs.
        everywhere: what holds for every cluster: the fleet's suspension, and all approvals.
        at: when it was recalled; expiries are judged by it.
        acted: (id, short) of the revisions that runs here have applied, the latest last.
        prior: cluster -> what earlier revisions said of it; filled in by
            `planning.prior_revisions.read_prior_revisions`.
        base: what the revision is to be merged into; None where that was not asked, or is not known.
        lineage: short ids of the revision of this pass and of all that it descends from; None where that
            was not asked, or is not known.
        under_way: calls that may still take effect at `at`, sorted by cluster and node.
        renames: cluster -> the name under which the store has its past still.
        key: of this host, for fingerprints that the store keeps; empty where there is no store.
    """

    at: datetime
    fleet: int = HOST
    facts: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    cluster_memory: Mapping[str, ClusterMemory] = field(default_factory=dict)
    everywhere: ClusterMemory = field(default_factory=ClusterMemory)
    acted: tuple[tuple[str, str], ...] = ()
    lineage: frozenset[str] | None = None
    under_way: tuple[PendingCall, ...] = ()
    claims: Mapping[str, PlaceClaim] = field(default_factory=dict)
    prior: Mapping[str, PriorRevisions] = field(default_factory=dict)
    base: MergeBase | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False, compare=False)

    def recalled(self, cluster: str) -> dict[str, Mapping[str, str]]:
        """Node -> key -> value: all that a driver may know of a cluster."""
        return dict(sorted(self.facts.get(cluster, {}).items()))

    def of(self, cluster: str) -> ClusterMemory:
        """What guards need to know of one cluster, with what holds everywhere."""
        own, all_ = self.cluster_memory.get(cluster, ClusterMemory()), self.everywhere
        return replace(
            own, suspended=(*all_.suspended, *own.suspended), approved=all_.approved | own.approved
        )
