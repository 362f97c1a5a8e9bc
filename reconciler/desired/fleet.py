"""Reads the files of a revision as a fleet: clusters, their settings, and the rest of the fleet file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from operator import is_
from typing import Any, Final

from pydantic import ValidationError

from reconciler.core.cluster_renames import read_declared_renames
from reconciler.core.endpoint import Endpoint, is_ip_address
from reconciler.core.entries import FeedbackEntry
from reconciler.core.expiry import EXPIRY_WARNING
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.desired.clusters import ClusterDefaults, ClusterParser, ParsedCluster
from reconciler.desired.file_loader import FileLoader, make_missing_file_problem
from reconciler.desired.fleet_file import FleetFile, find_fleet_file, make_fleet_file_model, make_policy_model
from reconciler.desired.inventory_nodes import find_shared_instances
from reconciler.desired.known_secrets import KnownSecrets
from reconciler.desired.lints import (
    LintedFiles,
    LintWarning,
    find_unused_ignores,
    run_lints,
    select_unsilenced,
)
from reconciler.desired.overrides import find_idle_overrides
from reconciler.desired.schemas.judge import SchemaEntry, judge_documents
from reconciler.desired.schemas.loader import LoadedSchema, SchemaLoader
from reconciler.desired.uniqueness import (
    find_repeated_clusters,
    find_repeated_nodes,
    find_wrong_order,
    find_wrong_renames,
)
from reconciler.desired.unmanaged_check import check_unmanaged
from reconciler.desired.window_lints import find_window_lints
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, make_diagnostic, parse_document
from reconciler.documents.model_errors import ModelError, find_model_errors, translate_model_errors
from reconciler.errors import InputError
from reconciler.guards import registry
from reconciler.guards.place_conflicts import NodePlace
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import NO_INVENTORY, Inventory
from reconciler.ports.source import FLEET_FILES, Snapshot
from reconciler.secrets.references import find_misplaced_references
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.one_line import quote_path

Drivers = Mapping[str, Driver[Any, Any]]


_INSIDE_FLEET: Final = "inside-fleet"
_RESOURCES: Final = "resources"


@dataclass(frozen=True, slots=True, eq=False)
class DesiredCluster:
    """The desired state of one cluster, in its product's own form.

    Args:
        cluster_input: what it was made from.
        state: from the product's `desire`.
        endpoints: node -> its endpoint in the files.
        channels: of message buses that its settings name.
        places: of these nodes, before names are resolved.
        host_names: the names among their hosts, which are no addresses.
        is_routed: see `ClusterEntry.is_routed`.
    """

    cluster_input: ClusterInput
    state: Any
    endpoints: Mapping[str, Endpoint]
    channels: tuple[NamedChannel, ...]
    places: tuple[NodePlace, ...] = field(init=False, repr=False)
    host_names: frozenset[str] = field(init=False, repr=False)
    is_routed: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Once for a revision: each pass over one cluster compares its places with those of the whole fleet.
        entry = self.cluster_input.entry
        ways = entry.ways
        places = (
            NodePlace(entry.name, node, one, via=ways.get(node, "")) for node, one in self.endpoints.items()
        )
        hosts = {one.host for one in self.endpoints.values()}
        object.__setattr__(self, "places", tuple(places))
        object.__setattr__(self, "is_routed", entry.is_routed)
        object.__setattr__(self, "host_names", frozenset(one for one in hosts if not is_ip_address(one)))


@dataclass(frozen=True, slots=True)
class Fleet:
    """The whole desired state of one revision.

    Args:
        document: the fleet file, or the single settings file used instead.
        cluster_inputs: one for each cluster, in the file's order.
        warnings: problems that stop nothing.
        overrides: expired ones too.
        policies: cluster name -> its limits, completed with those of the fleet.
        change_rules_by_cluster: cluster name -> when and how it may be changed.
        desired: the desired state of the clusters, sorted by name, once `add_desired_state` has made it.
        name: of the fleet; may be empty.
        renamed_from: its previous name.
        secrets: masks the fleet's secrets in quotations of nodes.
        expiry_warning: seconds before its end at which what expires is named.
        inventory: what was known of instances when its nodes were listed.
        schema_files: the JSON Schemas of its own that judged its settings.
        input_digests: cluster -> digest of all that a pass over it takes from the files; see `input_digests`.
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
    expiry_warning: float = EXPIRY_WARNING
    inventory: Inventory = field(default=NO_INVENTORY, repr=False, compare=False)
    schema_files: tuple[Document, ...] = field(default=(), repr=False, compare=False)
    input_digests: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The name of the fleet for people."""
        return self.name or self.revision.source

    @property
    def renames(self) -> dict[str, str]:
        """Cluster -> its previous name by the fleet file."""
        return read_declared_renames([cluster_input.entry for cluster_input in self.cluster_inputs])

    @property
    def clusters(self) -> frozenset[str]:
        """Names of all clusters of the file, also of those that `part` left out."""
        names = (cluster_input.entry.name for cluster_input in self.cluster_inputs)
        return frozenset((*names, *self.policies, *self.change_rules_by_cluster))

    def part(self, cluster: str) -> Fleet:
        """The fleet with the input of one cluster only; `clusters` still names all of them."""
        cluster_inputs = tuple(each for each in self.cluster_inputs if each.entry.name == cluster)
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
    """The result of reading a revision: a fleet if there is no error, and every problem.

    Args:
        cluster_inputs: one for each readable cluster; settings that cannot be read are missing in it.
        partial: pointers of the clusters with wrong parts left out.
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
        resolver: gives the values of secrets; without it they stay references of unknown value.

    Raises:
        InputError: with every error of every file.
    """
    reading = read_fleet(snapshot, drivers, resolver)
    if reading.fleet is None:
        # A setting that was read alone, but is a part of a fleet, has its errors for that reason.
        shown = [
            one for one in reading.problems if one.severity is Severity.ERROR or one.code == _INSIDE_FLEET
        ]
        raise InputError(shown)
    return reading.fleet


def add_desired_state(fleet: Fleet, drivers: Drivers) -> Fleet:
    """The fleet with the desired state of each of its clusters; states made of the same input are kept.

    The desired state depends on the files alone, so it is made once for a revision, not once for each pass.

    Raises:
        InputError: with the problems of all clusters.
    """
    # By identity: the inputs of an unchanged revision are the same objects.
    known = {id(one.cluster_input): one for one in fleet.desired}
    found: list[DesiredCluster] = []
    problems: list[Diagnostic] = []
    for cluster_input in sorted(fleet.cluster_inputs, key=lambda cluster_input: cluster_input.entry.name):
        try:
            driver, made = drivers[cluster_input.entry.kind], known.get(id(cluster_input))
            if made is None:
                state, endpoints = driver.desire(cluster_input), driver.endpoints(cluster_input)
                channels = tuple(driver.list_bus_channels(cluster_input))
                made = DesiredCluster(cluster_input, state, endpoints, channels)
            found.append(made)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(sorted(problems, key=lambda problem: (problem.position, problem.pointer)))
    # The same object if nothing was made: what is found from all of it is found once, by identity.
    is_same = len(found) == len(fleet.desired) and all(map(is_, found, fleet.desired))
    return fleet if is_same else replace(fleet, desired=tuple(found))


def read_fleet(
    snapshot: Snapshot, drivers: Drivers, resolver: SecretResolver | None = None
) -> FleetReadResult:
    """Like `load_fleet`, but problems are data: errors and warnings of all files, in the files' order."""
    names = tuple(snapshot.files.names())
    try:
        name, kind = find_fleet_file(names, drivers)
        document = parse_document(name, snapshot.files.read(name))
    except FileNotFoundError:
        return FleetReadResult(None, (make_missing_file_problem(name),))
    except InputError as error:
        return FleetReadResult(None, error.problems)
    try:
        raw = drivers[kind].build_lone_entry(document) if kind else None
    except InputError as error:
        warnings = (_warn_of_fleet_above(name, snapshot.above),) if snapshot.above else ()
        return FleetReadResult(None, (*error.problems, *warnings))
    loader = FileLoader(document, snapshot.files, names, resolver)
    reader = _FleetReader(snapshot.revision, loader, drivers, snapshot.inventory, snapshot.is_package)
    if raw is None:
        return reader.read_fleet_file()
    others = [escape(one) for one in names if one != name]
    if snapshot.is_package and others and _RESOURCES in drivers[kind].entry.model_fields:
        raw = {_RESOURCES: others, **raw}
    return reader.read_lone_file({"kind": kind, **raw}, snapshot.above)


@dataclass(frozen=True, slots=True)
class _FleetReader:
    """Reads one revision, once its fleet file is found and parsed."""

    revision: Revision
    loader: FileLoader
    drivers: Drivers
    inventory: Inventory
    is_package: bool = False

    def read_lone_file(self, raw: Mapping[str, Any], above: str) -> FleetReadResult:
        """One cluster made from a single settings file; the entry itself has no position in a file.

        Args:
            raw: the entry.
            above: a fleet file in a folder above; empty for none.
        """
        reading, own = self._read([("", raw)], FleetFile(clusters=[raw]), Policy, []), self.loader.fleet.name
        if above:
            warning = _warn_of_fleet_above(own, above)
            fleet = reading.fleet and replace(reading.fleet, warnings=(warning, *reading.fleet.warnings))
            reading = replace(reading, fleet=fleet, problems=(warning, *reading.problems))
        if reading.fleet is not None:
            return reading
        wrong = [each for each in reading.problems if each.severity is Severity.ERROR]
        problems = [replace(each, pointer="") if each.position.file == own else each for each in wrong]
        return replace(reading, problems=sort_problems(problems, own))

    def read_fleet_file(self) -> FleetReadResult:
        """All clusters of the fleet file."""
        document = self.loader.fleet
        limits = make_policy_model(document.value, self.drivers)
        top, wrong = _read_top_level(document, make_fleet_file_model(limits))
        # From the file, not from the model: with a wrong top level the entries are checked all the same.
        raw = document.value.get("clusters") if isinstance(document.value, Mapping) else None
        entries: Sequence[Any] = raw if isinstance(raw, list) else ()
        wrong += find_repeated_clusters(document, entries)
        wrong += find_wrong_renames(document, entries)
        wrong += find_wrong_order(document, entries)
        wrong += find_misplaced_references(document)
        placed = [(f"/clusters/{index}", entry) for index, entry in enumerate(entries)]
        return self._read(placed, top, limits, wrong)

    def _read(
        self,
        entries: Iterable[tuple[str, Any]],
        top: FleetFile,
        limits: type[Policy],
        wrong: list[Diagnostic],
    ) -> FleetReadResult:
        """The fleet with these (pointer, entry), or every problem; `wrong`: the errors found so far."""
        loader, document = self.loader, self.loader.fleet
        defaults = ClusterDefaults(top.defaults(), top.policy or limits(), limits)
        parser = ClusterParser(document, self.drivers, defaults, self.inventory)
        parsed = [parser.read(entry, pointer) for pointer, entry in entries]
        clusters = _drop_shared_instances([cluster for cluster in parsed if cluster is not None])
        cluster_inputs = tuple(self._make_input(cluster) for cluster in clusters)
        judged, idle = self._judge_by_schemas(top, cluster_inputs)
        wrong = [
            *wrong,
            *parser.problems,
            *find_repeated_nodes(document, clusters),
            *loader.list_problems(),
            *judged,
            *(
                problem
                for each in cluster_inputs
                for problem in check_unmanaged(each, self.drivers[each.entry.kind])
            ),
        ]
        # Lints of a cluster with parts left out would warn about what the file has.
        whole = [each for cluster, each in zip(clusters, cluster_inputs, strict=True) if cluster.whole]
        lint_warnings = [
            *run_lints(whole, self.drivers, self._list_linted_files()),
            *find_window_lints(document, top.windows, clusters),
            *(LintWarning(problem, names) for problem, names in loader.renderer.list_idle_removals()),
        ]
        ignores = top.lint.ignore
        warnings = [
            *_check_overrides(document, top.overrides, clusters, self.drivers),
            *select_unsilenced(lint_warnings, ignores),
            *idle,
        ]
        # With errors, lints saw a part of the fleet: an entry may only seem to silence nothing.
        warnings += find_unused_ignores(lint_warnings, ignores, document, self.drivers) if not wrong else ()
        problems = sort_problems([*wrong, *warnings], document.name)
        if wrong:
            partial = frozenset(cluster.pointer for cluster in clusters if not cluster.whole)
            return FleetReadResult(None, problems, cluster_inputs, partial)
        rules = top.change_rules()
        fleet = Fleet(
            self.revision,
            document,
            cluster_inputs,
            top.feedback,
            problems,
            top.overrides,
            policies={cluster.entry.name: cluster.policy for cluster in clusters},
            change_rules_by_cluster={cluster.entry.name: rules.of(cluster.entry) for cluster in clusters},
            name=top.name or "",
            renamed_from=top.renamed_from or "",
            expiry_warning=float(top.expiry_warning),
            secrets=KnownSecrets(loader.list_documents(), loader.marker, cluster_inputs),
            inventory=self.inventory,
            schema_files=tuple(loader.list_schemas()),
        )
        return FleetReadResult(fleet, problems, cluster_inputs)

    def _list_linted_files(self) -> LintedFiles:
        # A node packs the values of its secrets: that they are in plain text there is no mistake of anybody.
        if self.is_package:
            return LintedFiles((), frozenset())
        return LintedFiles(self.loader.list_documents(), self.loader.known)

    def _judge_by_schemas(
        self, top: FleetFile, cluster_inputs: Sequence[ClusterInput]
    ) -> tuple[list[Diagnostic], list[Diagnostic]]:
        """The errors and the warnings of the fleet's own schemas."""
        if not top.schemas:
            return [], []
        fleet, schemas = self.loader.fleet, SchemaLoader(self.loader.open_schema)
        problems: list[Diagnostic] = []
        entries: list[tuple[SchemaEntry, LoadedSchema | None]] = []
        for index, entry in enumerate(top.schemas):
            opened, loaded = self.loader.open_schema(entry.schema_), None
            if isinstance(opened, tuple):
                problems.append(make_diagnostic(fleet, f"/schemas/{index}/schema", "no-such-file", *opened))
            else:
                loaded = schemas.load(opened)
            entries.append((entry, loaded))
        documents = {id(one): one for each in cluster_inputs for one in each.documents.values()}
        found = list(judge_documents(documents.values(), entries, fleet))
        problems += schemas.list_problems()
        errors = [problem for problem in found if problem.severity is Severity.ERROR]
        return [*problems, *errors], [problem for problem in found if problem.severity is not Severity.ERROR]

    def _make_input(self, cluster: ParsedCluster) -> ClusterInput:
        fleet, documents = self.loader.fleet, self.loader.documents(cluster)
        delivered = self.loader.resources(cluster)
        unmanaged = self.loader.unmanaged(cluster)
        return ClusterInput(
            cluster.entry,
            fleet,
            cluster.pointer,
            self.revision,
            documents,
            *delivered,
            unmanaged,
            cluster.node_pointers,
            cluster.inventory,
            cluster.unread,
        )


def _drop_shared_instances(clusters: list[ParsedCluster]) -> list[ParsedCluster]:
    """The clusters, those without nodes that have an instance of an inventory in common."""
    # Tags are no part of a revision: a wrong one must not make the whole fleet invalid.
    shared = find_shared_instances({one.entry.name: one.inventory for one in clusters if one.inventory})
    return [one.drop_nodes(shared[one.entry.name]) if one.entry.name in shared else one for one in clusters]


def _read_top_level(document: Document, model: type[FleetFile]) -> tuple[FleetFile, list[Diagnostic]]:
    """The valid part of the top level, and its problems."""
    try:
        top = model.model_validate(document.value)
    except ValidationError as error:
        found = find_model_errors(error, model, document.value)
        return _salvage_top_level(document, found, model), translate_model_errors(found, document, "")
    if top.clusters:
        return top, []
    # An empty list may be a slip of the hand: with it, no node would be managed any more.
    message = "the list of clusters is empty"
    remedy = "add at least one cluster, with `name`, `kind` and `nodes`"
    return top, [make_diagnostic(document, "/clusters", "no-clusters", message, remedy)]


def _salvage_top_level(document: Document, found: Sequence[ModelError], model: type[FleetFile]) -> FleetFile:
    """The top level without the keys that have errors."""
    wrong = {model_error.path[0] for model_error in found if model_error.path}
    value = document.value if isinstance(document.value, Mapping) else {}
    try:
        return model.model_validate(
            {"clusters": []} | {key: inner for key, inner in value.items() if key not in wrong}
        )
    except ValidationError:
        return model(clusters=[])


def _check_overrides(
    document: Document, overrides: Sequence[Override], clusters: Sequence[ParsedCluster], drivers: Drivers
) -> list[Diagnostic]:
    """Warnings of overrides that do nothing."""
    if not overrides:
        return []
    kinds = {cluster.entry.kind for cluster in clusters}
    guards = _list_guard_codes(kinds, drivers)
    if any(override.guard not in guards for override in overrides):
        # Only now, because asking a product for its guards imports it, which takes time.
        guards = _list_guard_codes({*kinds, *drivers}, drivers)
    names = sorted({cluster.entry.name for cluster in clusters})
    return list(find_idle_overrides(document, overrides, names, guards))


def _list_guard_codes(kinds: Iterable[str], drivers: Drivers) -> tuple[str, ...]:
    return registry.list_guard_codes(guard for kind in kinds for guard in drivers[kind].guards)


def sort_problems(found: Sequence[Diagnostic], first: str) -> tuple[Diagnostic, ...]:
    """Problems by file, the fleet file first, and by position."""

    def rank(each: Diagnostic) -> tuple[bool, Position, str, str]:
        return each.position.file != first, each.position, each.pointer, each.code

    return tuple(sorted(found, key=rank))


def _warn_of_fleet_above(own: str, above: str) -> Diagnostic:
    folder = above.rpartition("/")[0]
    return Diagnostic(
        Severity.WARNING,
        _INSIDE_FLEET,
        f"{quote_path(above)} describes a fleet, and this file below it is read as a fleet of its own",
        f"name the folder {folder} as the source; to keep it apart, write a {FLEET_FILES[0]} beside it",
        position=Position(own),
    )
