"""The clusters of a pass that are pinned, with their desired state at the revision where they are pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.canonical import fingerprint, fingerprint_with_key
from reconciler.core.memory import ClusterMemory, FleetMemory
from reconciler.core.pins import (
    ROLLED_BACK,
    LeftRevision,
    Pin,
    PinEffect,
    PinState,
    is_held,
    list_left_revisions,
)
from reconciler.core.plan import Revision
from reconciler.core.revision import COMMIT, strip_uncommitted
from reconciler.desired.fleet import DesiredCluster, add_desired_state, load_fleet
from reconciler.errors import InputError, SourceError, SourceUnreachable
from reconciler.host.host import Host
from reconciler.planning.withheld_steps import fingerprint_content
from reconciler.ports.driver import Driver
from reconciler.ports.source import Source
from reconciler.secrets.local_resolver import LocalResolver

if TYPE_CHECKING:
    from reconciler.desired.fleet import Fleet

MOST: Final = 4
"""Fleets of earlier revisions that are kept in memory."""

Drivers = Mapping[str, Driver[Any, Any]]


@dataclass(frozen=True, slots=True)
class PinnedFleet:
    """The fleet of a pass, with pinned clusters as the revisions have them where they are pinned.

    Args:
        states: cluster -> its pin.
    """

    fleet: Fleet
    states: Mapping[str, PinState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RevisionFleets:
    """The fleets of earlier revisions, for all passes of a process; read again if their secrets change."""

    _known: dict[str, tuple[Fleet, LocalResolver]] = field(default_factory=dict)

    async def load(self, source: Source, commit: str, drivers: Drivers, host: Host) -> Fleet:
        """The fleet at a commit, with the desired state of its clusters.

        Raises:
            SourceUnreachable: the source does not answer.
            SourceError: it does not have the commit.
            InputError: its files are not valid.
        """
        found = self._known.get(commit)
        if found is not None and not found[1].has_changed():
            return found[0]
        async with source.open_first_parents(commit, 1) as line:
            for snapshot in line:
                resolver = LocalResolver(host)
                fleet = add_desired_state(load_fleet(snapshot, drivers, resolver), drivers)
                if any(one.inventory or one.unread for one in fleet.cluster_inputs):
                    return fleet  # other instances are other nodes of the same commit
                for old in [*self._known][: max(0, len(self._known) - MOST + 1)]:
                    del self._known[old]
                self._known[commit] = fleet, resolver
                return fleet
        raise SourceError(f"the source has no commit {commit}")


@dataclass(frozen=True, slots=True)
class PinReader:
    """Finds out what a revision means for the pins of a fleet's clusters.

    Args:
        fleet: the desired state at the revision of the pass.
        source: where it was read.
        memory: what the store remembers, with renamed clusters under their new names.
        host: gives the values of secrets.
        fleets: of earlier revisions.
        renames: cluster -> its former name.
    """

    fleet: Fleet
    source: Source
    drivers: Drivers
    memory: FleetMemory
    host: Host
    fleets: RevisionFleets
    renames: Mapping[str, str] = field(default_factory=dict)

    async def apply_pins(self) -> PinnedFleet:
        """The fleet with the pinned clusters of this pass as they are where they are pinned.

        Raises:
            SourceUnreachable: the source does not answer.
            InputError: the files of the pass are not valid.
        """
        pins = self._list_pins()
        if not pins:
            return PinnedFleet(self.fleet)
        fleet, states = add_desired_state(self.fleet, self.drivers), dict[str, PinState]()
        replaced: dict[str, DesiredCluster] = {}
        before = await self._list_ancestors(fleet.revision.id)
        wanted = {one.cluster_input.entry.name: one for one in fleet.desired}
        for name, pin in pins.items():
            if not await self._is_held(pin, wanted[name], before):
                states[name] = PinState(pin, PinEffect.ENDS)
                continue
            own, obstacle = None, self._find_override(name)
            if not obstacle:
                own, obstacle = await self._find_pinned_cluster(pin, fleet)
            if own is None:
                states[name] = PinState(pin, PinEffect.HOLDS, obstacle=obstacle)
                continue
            replaced[name] = own
            states[name] = PinState(pin, PinEffect.HOLDS, own.cluster_input.revision)
        secrets = fleet.secrets
        for pin in (states[name].pin for name in replaced):
            secrets = secrets.merge((await self._load(pin.revision)).secrets)
        return PinnedFleet(
            replace(
                fleet,
                cluster_inputs=tuple(
                    replaced[one.entry.name].cluster_input if one.entry.name in replaced else one
                    for one in fleet.cluster_inputs
                ),
                desired=tuple(replaced.get(one.cluster_input.entry.name, one) for one in fleet.desired),
                secrets=secrets,
            ),
            states,
        )

    async def plan_pins(self) -> PinnedFleet:
        """The fleet of a rollback, with the pins that begin or end if it is applied.

        Raises:
            SourceUnreachable: the source does not answer.
            InputError: the files of the pass are not valid.
        """
        fleet = add_desired_state(self.fleet, self.drivers)
        states: dict[str, PinState] = {}
        for one in fleet.desired:
            name = one.cluster_input.entry.name
            cluster_memory = self.memory.cluster_memory.get(name, ClusterMemory())
            content = self._fingerprint_stored(one)
            taken = LeftRevision(fleet.revision.id, fleet.revision.short, content)
            left = await self._find_left_revision(one, cluster_memory, content)
            known = cluster_memory.pin
            if found := list_left_revisions(known, left, taken):
                pin = Pin(name, fleet.revision, found, "", "", self.memory.at)
                states[name] = PinState(pin, PinEffect.BEGINS)
            elif known is not None:
                states[name] = PinState(known, PinEffect.ENDS)
        return PinnedFleet(fleet, states)

    def _list_pins(self) -> dict[str, Pin]:
        names = (cluster_input.entry.name for cluster_input in self.fleet.cluster_inputs)
        known = ((name, self.memory.cluster_memory.get(name)) for name in names)
        return {name: own.pin for name, own in known if own is not None and own.pin is not None}

    async def _list_ancestors(self, revision: str) -> frozenset[str] | None:
        commit = strip_uncommitted(revision)
        if not COMMIT.fullmatch(commit) or not self.source.has_history:
            return None
        # Also because it fetches the history of a remote source, in which the pinned revision is.
        return await self.source.ancestors(commit)

    async def _is_held(self, pin: Pin, wanted: DesiredCluster, before: frozenset[str] | None) -> bool:
        """Whether the revision of the pass leaves a pin in force."""
        revision = self.fleet.revision.id
        content = self._fingerprint_stored(wanted)
        if is_held(pin, revision, content=content, is_older=False):
            return True
        # An older one, as from a mirror that lags behind, ends nothing. Without a history, nobody knows.
        commit, older = strip_uncommitted(revision), False
        for one in pin.left if before is not None else ():
            behind = await self._list_ancestors(one.revision) if one.revision not in (before or ()) else None
            older = older or (behind is not None and commit in behind)
        if older:
            return True
        # A version label alone is no change; but the very content where the cluster is pinned is.
        unchanged = {one.revision for one in pin.left if await self._is_unchanged(one.revision, wanted)}
        relabelled = {
            one.revision
            for one in pin.left
            if await self._is_unchanged(one.revision, wanted, versioned=False)
        }
        if relabelled - unchanged and pin.revision and await self._is_unchanged(pin.revision.id, wanted):
            relabelled = set()
        return is_held(pin, revision, content=content, is_older=False, unchanged=unchanged | relabelled)

    async def _is_unchanged(
        self, revision: str, wanted: DesiredCluster, *, versioned: bool = True
    ) -> bool | None:
        """Whether a cluster gets the same from an earlier revision; None if that cannot be read.

        Args:
            revision: its id.
            wanted: the cluster as this revision has it.
            versioned: whether a version label in its settings counts.
        """
        try:
            former = await self.fleets.load(self.source, revision, self.drivers, self.host)
        except SourceUnreachable:
            raise
        except (SourceError, InputError):
            return None
        own = self._find_cluster(former, wanted.cluster_input.entry.name)
        if own is None:
            return False
        return self._fingerprint_wanted(own, versioned=versioned) == self._fingerprint_wanted(
            wanted, versioned=versioned
        )

    async def _find_left_revision(
        self, wanted: DesiredCluster, cluster_memory: ClusterMemory, content: str
    ) -> LeftRevision | None:
        """The revision from which a rollback takes a cluster back; None if it gets nothing else by it."""
        taken, applied = self.fleet.revision.id, cluster_memory.applied
        if applied is None:
            return None
        if applied.id != taken:
            # A stored fingerprint that differs may be by the revision or a secret alone.
            if cluster_memory.content == content or await self._is_unchanged(applied.id, wanted):
                return None
            return LeftRevision(applied.id, applied.short, cluster_memory.content)
        # The newest revision was tried and took effect nowhere: it is the one that somebody rolls back from.
        newest = next(reversed(self.memory.applied_revisions), ("", ""))
        if newest[0] in {"", taken} or await self._is_unchanged(newest[0], wanted) is not False:
            return None
        return LeftRevision(*newest)

    def _find_override(self, cluster: str) -> str:
        """That an override of the fleet file sets the pin aside; empty if none does."""
        today = self.memory.at.date()
        if any(one.covers(ROLLED_BACK, cluster) and one.until >= today for one in self.fleet.overrides):
            return f"an override for {ROLLED_BACK} asks for the newest revision"
        return ""

    async def _find_pinned_cluster(self, pin: Pin, fleet: Fleet) -> tuple[DesiredCluster | None, str]:
        """The cluster where it is pinned; None, and why, if it cannot be planned there."""
        if pin.revision is None:
            return None, "an older version of this program did not record where it stays"
        try:
            former = await self._load(pin.revision)
        except SourceUnreachable:
            raise
        except (SourceError, InputError) as error:
            return None, f"revision {pin.place} cannot be used: {error.message}"
        own = self._find_cluster(former, pin.cluster)
        (now,) = (one for one in fleet.cluster_inputs if one.entry.name == pin.cluster)
        if own is None or own.cluster_input.entry.kind != now.entry.kind:
            return None, f"revision {pin.place} has no cluster {pin.cluster} of the kind {now.entry.kind}"
        members = {node.name for node in own.cluster_input.entry.members()}
        elsewhere = sorted(
            f"{node.name} is now in {one.entry.name}"
            for one in fleet.cluster_inputs
            if one.entry.name != pin.cluster
            for node in one.entry.members()
            if node.name in members
        )
        if elsewhere:
            return None, f"since revision {pin.place}, nodes have moved: {elsewhere[0]}"
        return self._rename(own, pin), ""

    def _rename(self, own: DesiredCluster, pin: Pin) -> DesiredCluster:
        """The cluster under its present name, with the revision as it was checked when it was pinned."""
        entry, revision = own.cluster_input.entry, own.cluster_input.revision
        checked = pin.revision or revision
        if entry.name != pin.cluster or checked.signed != revision.signed:
            # The signature of the revision was checked for the rollback.
            cluster_input = replace(
                own.cluster_input,
                entry=entry.model_copy(update={"name": pin.cluster, "renamed_from": None}),
                revision=replace(revision, signed=checked.signed, signer=checked.signer),
            )
            driver = self.drivers[entry.kind]
            channels = tuple(driver.list_bus_channels(cluster_input))
            return DesiredCluster(cluster_input, driver.desire(cluster_input), own.endpoints, channels)
        return own

    async def _load(self, revision: Revision | None) -> Fleet:
        assert revision is not None
        commit = strip_uncommitted(revision.id)
        if commit != revision.id or not COMMIT.fullmatch(commit):
            if revision.id == self.fleet.revision.id:
                return add_desired_state(self.fleet, self.drivers)
            if self.source.keeps_revisions:
                return await self.fleets.load(self.source, revision.id, self.drivers, self.host)
            raise SourceError("it is no commit, and this source has another revision now")
        return await self.fleets.load(self.source, commit, self.drivers, self.host)

    def _find_cluster(self, fleet: Fleet, name: str) -> DesiredCluster | None:
        """A cluster of an earlier fleet by its present name."""
        by_name = {one.cluster_input.entry.name: one for one in fleet.desired}
        return by_name.get(name) or by_name.get(self.renames.get(name, ""))

    def _fingerprint_stored(self, cluster: DesiredCluster) -> str:
        """As the store has the content that was applied; empty if the product gives none."""
        found = fingerprint_content(self.drivers[cluster.cluster_input.entry.kind], cluster.state)
        return fingerprint_with_key(self.memory.key, found) if found else ""

    def _fingerprint_wanted(self, cluster: DesiredCluster, *, versioned: bool) -> str:
        """Fingerprint of all that a cluster gets, and where; it is compared, and never stored."""
        driver, state = self.drivers[cluster.cluster_input.entry.kind], cluster.state
        contents = driver.contents(state) if versioned else driver.contents_without_version(state)
        return fingerprint([dict(contents), {node: str(one) for node, one in cluster.endpoints.items()}])
