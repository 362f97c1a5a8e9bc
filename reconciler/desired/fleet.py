"""From the files of a revision to the fleet: clusters, their settings and what else the fleet file says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from reconciler.core.cluster_renames import read_declared_renames
from reconciler.core.endpoint import Endpoint
from reconciler.core.entries import FeedbackEntry
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.desired.clusters import ClusterDefaults, ClusterParser, ParsedCluster
from reconciler.desired.file_loader import FileLoader, make_missing_file_problem
from reconciler.desired.fleet_file import FleetFile, find_fleet_file
from reconciler.desired.known_secrets import KnownSecrets
from reconciler.desired.lints import LintedFiles as Written
from reconciler.desired.lints import LintWarning, find_unused_ignores, run_lints, select_unsilenced
from reconciler.desired.overrides import find_idle_overrides as idle_overrides
from reconciler.desired.policies import make_fleet_file_model, make_policy_model
from reconciler.desired.uniqueness import find_repeated_clusters, find_repeated_nodes, find_wrong_renames
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, parse_document
from reconciler.documents.model_errors import ModelError, find_model_errors, translate_model_errors
from reconciler.errors import InputError
from reconciler.guards import registry
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot
from reconciler.secrets.references import find_misplaced_references
from reconciler.secrets.resolver import SecretResolver

Drivers = Mapping[str, Driver[Any, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class DesiredCluster:
    """The desired state of one cluster, in its product's own form.

    Args:
        cluster_input: what it was made from.
        state: what the product's `desire` made of it.
        endpoints: node -> where the files say that it is reached.
    """

    cluster_input: ClusterInput
    state: Any
    endpoints: Mapping[str, Endpoint]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole desired state of one revision.

    Args:
        document: the fleet file, or the lone settings file that stands for one.
        cluster_inputs: one for each cluster, in the file's order.
        warnings: what is worth mending, though it stops nothing.
        overrides: guards set aside for a while, expired or not.
        policies: cluster name -> its limits, the fleet's own where the cluster says nothing else.
        change_rules_by_cluster: cluster name -> when and how it may be changed.
        desired: the desired state of the clusters, sorted by name, once `add_desired_state` has made it.
        name: by which it is told from other fleets; empty where the file says none.
        renamed_from: the name that it had before.
        secrets: masks the fleet's secrets in what nodes are quoted with.
    """

    revision: Revision
    document: Document
    cluster_inputs: tuple[ClusterInput, ...]
    feedback: FeedbackEntry | None = None
    warnings: tuple[Diagnostic, ...] = ()
    overrides: tuple[Override, ...] = ()
    policies: Mapping[str, Policy] = field(default_factory=dict)
    change_rules_by_cluster: Mapping[str, ChangeRules] = field(default_factory=dict)
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
        return read_declared_renames([cluster_input.entry for cluster_input in self.cluster_inputs])

    @property
    def clusters(self) -> frozenset[str]:
        """Names of all clusters of the file, of those too whose desks were taken out to look at a part."""
        return frozenset(
            (
                *(cluster_input.entry.name for cluster_input in self.cluster_inputs),
                *self.policies,
                *self.change_rules_by_cluster,
            )
        )

    def part(self, cluster: str) -> Fleet:
        """The fleet with one cluster alone to be looked at; `clusters` still names all of them."""
        cluster_inputs = tuple(
            cluster_input for cluster_input in self.cluster_inputs if cluster_input.entry.name == cluster
        )
        desired = tuple(one for one in self.desired if one.cluster_input.entry.name == cluster)
        return replace(self, cluster_inputs=cluster_inputs, desired=desired)

    def policy(self, cluster: str) -> Policy:
        """The limits of one cluster."""
        return self.policies.get(cluster) or Policy()

    def change_rules(self, cluster: str) -> ChangeRules:
        """When and how one cluster may be changed."""
        return self.change_rules_by_cluster.get(cluster) or ChangeRules()


@dataclass(frozen=True, slots=True)
class FleetReadResult:
    """What came of reading a revision: a fleet where nothing is wrong, and every problem found.

    Args:
        cluster_inputs: one for each cluster that could be read, nodes whose settings cannot be had without
            them.
        partial: places of the clusters among them in which something wrong was left out.
    """

    fleet: Fleet | None
    problems: tuple[Diagnostic, ...]
    cluster_inputs: tuple[ClusterInput, ...] = ()
    partial: frozenset[str] = frozenset()


def load_fleet(snapshot: Snapshot, drivers: Drivers, resolver: SecretResolver | None = None) -> Fleet:
    """The fleet that a revision's files describe.

    Args:
        snapshot: the files.
        drivers: kind -> product; of each, the model of its entries and its lone file are used.
        resolver: gives the values of secrets; without one they stay references, of unknown value.

    Raises:
        InputError: with every error of every file.
    """
    reading = read_fleet(snapshot, drivers, resolver)
    if reading.fleet is None:
        raise InputError([each for each in reading.problems if each.severity is Severity.ERROR])
    return reading.fleet


def add_desired_state(fleet: Fleet, drivers: Drivers) -> Fleet:
    """The fleet with the desired state of each of its clusters; what was made from the same desk is kept.

    It depends on the files alone, so that one revision's is made once, however many passes work towards it.

    Raises:
        InputError: with the problems of all clusters.
    """
    known = {id(one.cluster_input): one for one in fleet.desired}
    found: list[DesiredCluster] = []
    problems: list[Diagnostic] = []
    for cluster_input in sorted(fleet.cluster_inputs, key=lambda cluster_input: cluster_input.entry.name):
        try:
            driver = drivers[cluster_input.entry.kind]
            found.append(
                known.get(id(cluster_input))
                or DesiredCluster(
                    cluster_input, driver.desire(cluster_input), driver.endpoints(cluster_input)
                )
            )
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(sorted(problems, key=lambda problem: (problem.position, problem.pointer)))
    return replace(fleet, desired=tuple(found))


def read_fleet(
    snapshot: Snapshot, drivers: Drivers, resolver: SecretResolver | None = None
) -> FleetReadResult:
    """Like `load_fleet`, but problems are data: errors and warnings of all files, in the files' order."""
    names = tuple(snapshot.files.names())
    try:
        name, kind = find_fleet_file(names, drivers)
        document = parse_document(name, snapshot.files.read(name))
        raw = drivers[kind].alone(document) if kind else None
    except FileNotFoundError:
        return FleetReadResult(None, (make_missing_file_problem(name),))
    except InputError as error:
        return FleetReadResult(None, error.problems)
    attached = FileLoader(document, snapshot.files, names, resolver)
    if raw is not None:
        return _lone(snapshot.revision, attached, drivers, {"kind": kind, **raw})
    return _fleet(snapshot.revision, attached, drivers)


def _lone(
    revision: Revision, attached: FileLoader, drivers: Drivers, raw: Mapping[str, Any]
) -> FleetReadResult:
    """One cluster made from its settings file, in which places within the entry are nowhere."""
    clusters = ClusterParser(attached.fleet, drivers, ClusterDefaults())
    cluster = clusters.read(raw, "")
    found = [cluster] if cluster else []
    cluster_inputs = [_desk(each, revision, attached) for each in found]
    wrong = [*clusters.problems, *find_repeated_nodes(attached.fleet, found), *attached.wrong()]
    if wrong or not cluster_inputs:
        own = attached.fleet.name
        told = [replace(each, pointer="") if each.position.file == own else each for each in wrong]
        return FleetReadResult(None, sort_problems(told, own), tuple(cluster_inputs), _partial(found))
    policies = {each.entry.name: each.policy for each in found}
    warnings = sort_problems(
        select_unsilenced(_remarks(found, cluster_inputs, drivers, attached), ()), attached.fleet.name
    )
    known = KnownSecrets(attached.written(), attached.marker, cluster_inputs)
    fleet = Fleet(
        revision, attached.fleet, tuple(cluster_inputs), warnings=warnings, policies=policies, secrets=known
    )
    return FleetReadResult(fleet, warnings, fleet.cluster_inputs)


def _remarks(
    clusters: Sequence[ParsedCluster],
    cluster_inputs: Sequence[ClusterInput],
    drivers: Drivers,
    attached: FileLoader,
) -> list[LintWarning]:
    """What lints say of the clusters that are right as far as the fleet file goes."""
    whole = [
        cluster_input
        for cluster, cluster_input in zip(clusters, cluster_inputs, strict=True)
        if cluster.whole
    ]
    return run_lints(whole, drivers, Written(attached.written(), attached.known))


def _fleet(revision: Revision, attached: FileLoader, drivers: Drivers) -> FleetReadResult:
    document = attached.fleet
    limits = make_policy_model(document.value, drivers)
    top, wrong = _top(document, make_fleet_file_model(limits))
    raw = document.value.get("clusters") if isinstance(document.value, Mapping) else None
    entries: Sequence[Any] = raw if isinstance(raw, list) else ()
    reader = ClusterParser(document, drivers, ClusterDefaults(top.defaults(), top.policy or limits(), limits))
    read_ones = [reader.read(entry, f"/clusters/{index}") for index, entry in enumerate(entries)]
    clusters = [cluster for cluster in read_ones if cluster is not None]
    cluster_inputs = tuple(_desk(cluster, revision, attached) for cluster in clusters)
    wrong += reader.problems
    wrong += find_repeated_clusters(document, entries)
    wrong += find_wrong_renames(document, entries)
    wrong += find_repeated_nodes(document, clusters)
    wrong += attached.wrong()
    wrong += find_misplaced_references(document)
    doubts, ignores = _remarks(clusters, cluster_inputs, drivers, attached), top.lint.ignore
    warnings = [*_targets(document, top.overrides, clusters, drivers), *select_unsilenced(doubts, ignores)]
    warnings += find_unused_ignores(doubts, ignores, document, drivers) if not wrong else ()
    told = sort_problems([*wrong, *warnings], document.name)
    if wrong:
        return FleetReadResult(None, told, cluster_inputs, _partial(clusters))
    policies = {cluster.entry.name: cluster.policy for cluster in clusters}
    change_rules_by_cluster = {
        cluster.entry.name: top.change_rules().of(cluster.entry) for cluster in clusters
    }
    fleet = Fleet(
        revision,
        document,
        cluster_inputs,
        top.feedback,
        told,
        top.overrides,
        policies,
        change_rules_by_cluster,
        name=top.name or "",
        renamed_from=top.renamed_from or "",
        secrets=KnownSecrets(attached.written(), attached.marker, cluster_inputs),
    )
    return FleetReadResult(fleet, told, cluster_inputs)


def _partial(clusters: Sequence[ParsedCluster]) -> frozenset[str]:
    return frozenset(cluster.pointer for cluster in clusters if not cluster.whole)


def _top(document: Document, model: type[FleetFile]) -> tuple[FleetFile, list[Diagnostic]]:
    """The top level, as far as it is right, and what is wrong with it."""
    try:
        top = model.model_validate(document.value)
    except ValidationError as error:
        found = find_model_errors(error, model, document.value)
        return _salvaged(document, found, model), translate_model_errors(found, document, "")
    if top.clusters:
        return top, []
    # An empty list may be a slip of the hand: with it, no node would be managed any more.
    message = "the list of clusters is empty"
    remedy = "add at least one cluster, with `name`, `kind` and `nodes`"
    where = document.position("/clusters")
    problem = Diagnostic(Severity.ERROR, "no-clusters", message, remedy, position=where, pointer="/clusters")
    return top, [problem]


def _salvaged(document: Document, found: Sequence[ModelError], model: type[FleetFile]) -> FleetFile:
    """What the top level says apart from the keys in which something is wrong."""
    wrong = {mismatch.path[0] for mismatch in found if mismatch.path}
    value = document.value if isinstance(document.value, Mapping) else {}
    try:
        return model.model_validate(
            {"clusters": []} | {key: inner for key, inner in value.items() if key not in wrong}
        )
    except ValidationError:
        return model(clusters=[])


def _desk(cluster: ParsedCluster, revision: Revision, attached: FileLoader) -> ClusterInput:
    documents = attached.documents(cluster)
    resources, missing, encrypted = attached.resources(cluster)
    return ClusterInput(
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
    document: Document, overrides: Sequence[Override], clusters: Sequence[ParsedCluster], drivers: Drivers
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
    return registry.list_guard_codes(guard for kind in kinds for guard in drivers[kind].guards)


def sort_problems(found: Sequence[Diagnostic], first: str) -> tuple[Diagnostic, ...]:
    """Problems in the order of the files, the fleet file first, and of the places in them."""

    def rank(each: Diagnostic) -> tuple[bool, Position, str, str]:
        return each.position.file != first, each.position, each.pointer, each.code

    return tuple(sorted(found, key=rank))
