"""From the files of a revision to the fleet: clusters, their settings and what else the fleet file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from reconciler.core.change_rules import Conduct
from reconciler.core.cluster_renames import declared
from reconciler.core.endpoint import Endpoint
from reconciler.core.plan import Revision
from reconciler.core.policy import Override, Policy
from reconciler.core.spec import FeedbackEntry
from reconciler.desired.clusters import Cluster, Clusters, Defaults
from reconciler.desired.file_loader import Attached, vanished
from reconciler.desired.fleet_file import FleetFile, find
from reconciler.desired.known_secrets import KnownSecrets
from reconciler.desired.lint import Files as Written
from reconciler.desired.lint import Remark, heard, idle, remarks
from reconciler.desired.overrides import idle as idle_overrides
from reconciler.desired.policies import fleet_file_with, policy_for
from reconciler.desired.uniqueness import repeated_clusters, repeated_nodes, wrong_renames
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, parse
from reconciler.documents.model_errors import Mismatch, mismatches, problems
from reconciler.errors import InputError
from reconciler.guards import registry
from reconciler.ports.desk import Desk
from reconciler.ports.driver import Driver
from reconciler.ports.source import Files, Snapshot
from reconciler.secrets.references import misplaced
from reconciler.secrets.resolver import Vault

Drivers = Mapping[str, Driver[Any, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class DesiredCluster:
    """The desired state of one cluster, in its product's own form.

    Args:
        desk: what it was made from.
        state: what the product's `desire` made of it.
        endpoints: node -> where the files say that it is reached.
    """

    desk: Desk
    state: Any
    endpoints: Mapping[str, Endpoint]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole desired state of one revision.

    Args:
        document: the fleet file, or the lone settings file that stands for one.
        desks: one for each cluster, in the file's order.
        warnings: what is worth mending, though it stops nothing.
        overrides: guards set aside for a while, expired or not.
        policies: cluster name -> its limits, the fleet's own where the cluster says nothing else.
        conducts: cluster name -> when and how it may be changed.
        desired: the desired state of the clusters, sorted by name, once `with_desired` has made it.
        name: by which it is told from other fleets; empty where the file says none.
        renamed_from: the name that it had before.
        secrets: masks the fleet's secrets in what nodes are quoted with.
    """

    revision: Revision
    document: Document
    desks: tuple[Desk, ...]
    feedback: FeedbackEntry | None = None
    warnings: tuple[Diagnostic, ...] = ()
    overrides: tuple[Override, ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    conducts: Mapping[str, Conduct] = field(default_factory=dict)
    desired: tuple[DesiredCluster, ...] = field(default=(), repr=False, compare=False)
    name: str = ""
    renamed_from: str = ""
    secrets: KnownSecrets = field(default_factory=KnownSecrets, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The fleet as people know it."""
        return self.name or self.revision.source

    @property
    def renames(self) -> dict[str, str]:
        """Cluster -> the name that it had before, as the fleet file says."""
        return declared([desk.entry for desk in self.desks])

    @property
    def clusters(self) -> frozenset[str]:
        """Names of all clusters of the file, of those too whose desks were taken out to look at a part."""
        return frozenset((*(desk.entry.name for desk in self.desks), *self.policies, *self.conducts))

    def part(self, cluster: str) -> Fleet:
        """The fleet with one cluster alone to be looked at; `clusters` still names all of them."""
        desks = tuple(desk for desk in self.desks if desk.entry.name == cluster)
        desired = tuple(one for one in self.desired if one.desk.entry.name == cluster)
        return replace(self, desks=desks, desired=desired)

    def policy(self, cluster: str) -> Policy:
        """The limits of one cluster."""
        return self.policies.get(cluster) or Policy()

    def conduct(self, cluster: str) -> Conduct:
        """When and how one cluster may be changed."""
        return self.conducts.get(cluster) or Conduct()


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a revision: a fleet where nothing is wrong, and every problem found.

    Args:
        desks: one for each cluster that could be read, nodes whose settings cannot be had without them.
        partial: places of the clusters among them in which something wrong was left out.
    """

    fleet: Fleet | None
    problems: tuple[Diagnostic, ...]
    desks: tuple[Desk, ...] = ()
    partial: frozenset[str] = frozenset()


def load(snapshot: Snapshot, drivers: Drivers, vault: Vault | None = None) -> Fleet:
    """The fleet that a revision's files describe.

    Args:
        snapshot: the files.
        drivers: kind -> product; of each, the model of its entries and its lone file are used.
        vault: gives the values of secrets; without one they stay references, of unknown value.

    Raises:
        InputError: with every error of every file.
    """
    reading = read(snapshot, drivers, vault)
    if reading.fleet is None:
        raise InputError([each for each in reading.problems if each.severity is Severity.ERROR])
    return reading.fleet


def with_desired(fleet: Fleet, drivers: Drivers) -> Fleet:
    """The fleet with the desired state of each of its clusters; what was made from the same desk is kept.

    It depends on the files alone, so that one revision's is made once, however many passes work towards it.

    Raises:
        InputError: with the problems of all clusters.
    """
    known = {id(one.desk): one for one in fleet.desired}
    found: list[DesiredCluster] = []
    problems: list[Diagnostic] = []
    for desk in sorted(fleet.desks, key=lambda desk: desk.entry.name):
        try:
            found.append(known.get(id(desk)) or _made(desk, drivers[desk.entry.kind]))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(sorted(problems, key=lambda problem: (problem.position, problem.pointer)))
    return replace(fleet, desired=tuple(found))


def _made(desk: Desk, driver: Driver[Any, Any]) -> DesiredCluster:
    return DesiredCluster(desk, driver.desire(desk), driver.endpoints(desk))


def read(snapshot: Snapshot, drivers: Drivers, vault: Vault | None = None) -> Reading:
    """Like `load`, but problems are data: errors and warnings of all files, in the files' order."""
    names = tuple(snapshot.files.names())
    try:
        name, kind = find(names, drivers)
        document = parse(name, _contents(snapshot.files, name))
        raw = drivers[kind].alone(document) if kind else None
    except InputError as error:
        return Reading(None, error.problems)
    attached = Attached(document, snapshot.files, names, vault)
    if raw is not None:
        return _lone(snapshot.revision, attached, drivers, {"kind": kind, **raw})
    return _fleet(snapshot.revision, attached, drivers)


def _contents(files: Files, name: str) -> bytes:
    try:
        return files.read(name)
    except FileNotFoundError:
        raise InputError([vanished(name)]) from None


def _lone(revision: Revision, attached: Attached, drivers: Drivers, raw: Mapping[str, Any]) -> Reading:
    """One cluster made from its settings file, in which places within the entry are nowhere."""
    clusters = Clusters(attached.fleet, drivers, Defaults())
    cluster = clusters.read(raw, "")
    found = [cluster] if cluster else []
    desks = [_desk(each, revision, attached) for each in found]
    wrong = [*clusters.problems, *repeated_nodes(attached.fleet, found), *attached.wrong()]
    if wrong or not desks:
        own = attached.fleet.name
        told = [replace(each, pointer="") if each.position.file == own else each for each in wrong]
        return Reading(None, ordered(told, own), tuple(desks), _partial(found))
    policies = {each.entry.name: each.policy for each in found}
    warnings = ordered(heard(_remarks(found, desks, drivers, attached), ()), attached.fleet.name)
    known = KnownSecrets(attached.written(), attached.marker, desks)
    fleet = Fleet(revision, attached.fleet, tuple(desks), warnings=warnings, policies=policies, secrets=known)
    return Reading(fleet, warnings, fleet.desks)


def _remarks(
    clusters: Sequence[Cluster], desks: Sequence[Desk], drivers: Drivers, attached: Attached
) -> list[Remark]:
    """What lints say of the clusters that are right as far as the fleet file goes."""
    whole = [desk for cluster, desk in zip(clusters, desks, strict=True) if cluster.whole]
    return remarks(whole, drivers, Written(attached.written(), attached.known))


def _fleet(revision: Revision, attached: Attached, drivers: Drivers) -> Reading:
    document = attached.fleet
    limits = policy_for(document.value, drivers)
    top, wrong = _top(document, fleet_file_with(limits))
    raw = document.value.get("clusters") if isinstance(document.value, Mapping) else None
    entries: Sequence[Any] = raw if isinstance(raw, list) else ()
    reader = Clusters(document, drivers, Defaults(top.defaults(), top.policy or limits(), limits))
    read_ones = [reader.read(entry, f"/clusters/{index}") for index, entry in enumerate(entries)]
    clusters = [cluster for cluster in read_ones if cluster is not None]
    desks = tuple(_desk(cluster, revision, attached) for cluster in clusters)
    wrong += reader.problems
    wrong += repeated_clusters(document, entries)
    wrong += wrong_renames(document, entries)
    wrong += repeated_nodes(document, clusters)
    wrong += attached.wrong()
    wrong += misplaced(document)
    doubts, ignores = _remarks(clusters, desks, drivers, attached), top.lint.ignore
    warnings = [*_targets(document, top.overrides, clusters, drivers), *heard(doubts, ignores)]
    warnings += idle(doubts, ignores, document, drivers) if not wrong else ()
    told = ordered([*wrong, *warnings], document.name)
    if wrong:
        return Reading(None, told, desks, _partial(clusters))
    policies = {cluster.entry.name: cluster.policy for cluster in clusters}
    conducts = {cluster.entry.name: top.conduct().of(cluster.entry) for cluster in clusters}
    fleet = Fleet(
        revision,
        document,
        desks,
        top.feedback,
        told,
        top.overrides,
        policies,
        conducts,
        name=top.name or "",
        renamed_from=top.renamed_from or "",
        secrets=KnownSecrets(attached.written(), attached.marker, desks),
    )
    return Reading(fleet, told, desks)


def _partial(clusters: Sequence[Cluster]) -> frozenset[str]:
    return frozenset(cluster.pointer for cluster in clusters if not cluster.whole)


def _top(document: Document, model: type[FleetFile]) -> tuple[FleetFile, list[Diagnostic]]:
    """The top level, as far as it is right, and what is wrong with it."""
    try:
        top = model.model_validate(document.value)
    except ValidationError as error:
        found = mismatches(error, model, document.value)
        return _salvaged(document, found, model), problems(found, document, "")
    return top, [] if top.clusters else [_no_clusters(document)]


def _salvaged(document: Document, found: Sequence[Mismatch], model: type[FleetFile]) -> FleetFile:
    """What the top level says apart from the keys in which something is wrong."""
    wrong = {mismatch.path[0] for mismatch in found if mismatch.path}
    value = document.value if isinstance(document.value, Mapping) else {}
    try:
        return model.model_validate(
            {"clusters": []} | {key: inner for key, inner in value.items() if key not in wrong}
        )
    except ValidationError:
        return model(clusters=[])


def _no_clusters(document: Document) -> Diagnostic:
    message = "the list of clusters is empty, so that no node would be looked at or after"
    remedy = "name at least one cluster, with `name`, `kind` and `nodes`"
    where = document.position("/clusters")
    return Diagnostic(Severity.ERROR, "no-clusters", message, remedy, position=where, pointer="/clusters")


def _desk(cluster: Cluster, revision: Revision, attached: Attached) -> Desk:
    documents = attached.documents(cluster)
    resources, missing, encrypted = attached.resources(cluster)
    return Desk(
        cluster.entry,
        attached.fleet,
        cluster.pointer,
        revision,
        documents,
        resources,
        missing=missing,
        encrypted=encrypted,
    )


def _targets(
    document: Document, overrides: Sequence[Override], clusters: Sequence[Cluster], drivers: Drivers
) -> list[Diagnostic]:
    """Warnings of overrides that do nothing."""
    if not overrides:
        return []
    kinds = {cluster.entry.kind for cluster in clusters}
    guards = _guards(kinds, drivers)
    if any(override.guard not in guards for override in overrides):
        # asked last: a product is imported where it is asked for something, and that takes its time
        guards = _guards({*kinds, *drivers}, drivers)
    return idle_overrides(document, overrides, sorted({cluster.entry.name for cluster in clusters}), guards)


def _guards(kinds: Iterable[str], drivers: Drivers) -> tuple[str, ...]:
    return registry.codes(guard for kind in kinds for guard in drivers[kind].guards)


def ordered(found: Sequence[Diagnostic], first: str) -> tuple[Diagnostic, ...]:
    """Problems in the order of the files, the fleet file first, and of the places in them."""

    def rank(each: Diagnostic) -> tuple[bool, Position, str, str]:
        return each.position.file != first, each.position, each.pointer, each.code

    return tuple(sorted(found, key=rank))
