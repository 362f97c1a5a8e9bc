"""Turns the state of live nodes into files: reads, edits in memory, and checks the result with a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from reconciler.adopt.file_edits import FileEdits, Member, pointer_to_path
from reconciler.adopt.meaningful_edits import NodeDifference
from reconciler.adopt.new_cluster import make_new_cluster, render_fleet_file
from reconciler.core.canonical import EDITOR_KEY
from reconciler.core.entries import ClusterEntry
from reconciler.core.file_state import FileMatch
from reconciler.core.host_entries import HostEntries
from reconciler.core.observation import Observed
from reconciler.core.plan import Revision, Step
from reconciler.core.secret import find_secrets
from reconciler.desired.fleet import Fleet, load_fleet
from reconciler.desired.glob import is_pattern
from reconciler.diagnostic import Severity
from reconciler.documents.document import KEY_VALUE_SUFFIX
from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.editor import apply_text_edits
from reconciler.documents.key_values import change_key_values
from reconciler.errors import InputError, StateError, UsageError
from reconciler.file_delivery.steps import DISCARD
from reconciler.guards.host_commands import ENTRY
from reconciler.host.aio import gather_all
from reconciler.host.config_fields import PREFIX
from reconciler.planning.masked_transports import mask_transports
from reconciler.planning.plan_pass import Drivers
from reconciler.planning.read_only import restrict_to_reading
from reconciler.planning.routed_transports import route_transports
from reconciler.planning.unknown_entries import find_unknown_entries
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver, LiveState
from reconciler.ports.source import Snapshot, SourceFiles
from reconciler.ports.transport import Transports
from reconciler.secrets.extraction import SecretExtractor
from reconciler.secrets.resolver import SecretResolver

FLEET = "fleet.yaml"
"""The fleet file that is written if there is none."""

_NOWHERE = Revision("import", "0" * 40, "import")


@dataclass(frozen=True, slots=True)
class ImportResult:
    """The files to write so that the desired state is what the nodes show.

    Args:
        before: file -> its bytes now; files that are new are not in it.
        after: file -> its text.
        secrets: environment variable -> the secret that a reference in a new text stands for.
        notes: for the operator, one sentence each.
    """

    before: Mapping[str, bytes]
    after: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverlaidFiles:
    """Files, some of them replaced or added; implements `ports.source.SourceFiles`."""

    below: SourceFiles | None
    texts: Mapping[str, str]

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted({*(self.below.names() if self.below else ()), *self.texts})

    def read(self, path: str) -> bytes:
        """The bytes of a file; FileNotFoundError if there is none."""
        if path in self.texts:
            return self.texts[path].encode()
        if self.below is None:
            raise FileNotFoundError(path)
        return self.below.read(path)

    def over(self, texts: Mapping[str, str]) -> OverlaidFiles:
        """The same with further texts; a file that exists already gets the new one."""
        return replace(self, texts={**self.texts, **texts})


@dataclass(frozen=True, slots=True)
class PendingResolver:
    """A resolver that also knows secrets whose environment variables do not exist yet."""

    resolver: SecretResolver
    named: Mapping[str, str]

    def resolve(self, scheme: str, name: str) -> str:
        """The secret of a reference; see `secrets.resolver.SecretResolver`."""
        is_pending = scheme == "env" and name in self.named
        return self.named[name] if is_pending else self.resolver.resolve(scheme, name)

    def decrypt(self, name: str, data: bytes) -> bytes:
        """The decrypted content of a file."""
        return self.resolver.decrypt(name, data)


@dataclass(frozen=True, slots=True)
class _LiveCluster:
    """One cluster as its nodes show it."""

    cluster_input: ClusterInput
    observed: Observed[Any]
    shown: LiveState
    steps: tuple[Step, ...]
    new: bool
    stamped: frozenset[str]
    meaning: Callable[[Any], str]


async def import_live_state(
    snapshot: Snapshot | None,
    new: Sequence[Mapping[str, Any]],
    *,
    drivers: Drivers,
    transports: Transports,
    resolver: SecretResolver,
    only: str = "",
    host_entries: HostEntries | None = None,
    prefix: str = PREFIX,
) -> ImportResult:
    """Read the nodes, and work out the files.

    Args:
        snapshot: the existing files; None if there are none.
        new: entries of clusters that no file names yet, from `Driver.entry_of`.
        drivers: kind -> product.
        transports: the ways to the nodes; nothing is changed there.
        resolver: gives the secrets to which the files already refer.
        only: the one cluster to import; empty for all.
        host_entries: of this host; None not to compare what the files name with them.
        prefix: of the names of environment variables for new secrets.

    Raises:
        InputError: the existing files are wrong.
        UsageError: there is nothing to read, or a cluster's nodes do not show all that is needed.
        StateError: the new files would not describe the nodes; nothing may be written.
    """
    # All in memory, and proved before anything is written: files that a plan would not accept as the state of
    # the nodes would make the next run change them.
    files = OverlaidFiles(snapshot.files if snapshot else None, {})
    fleet = load_fleet(Snapshot(_NOWHERE, files), drivers, resolver) if snapshot else None
    first = _add_new_clusters(files, fleet, new, drivers)
    fleet = load_fleet(Snapshot(_NOWHERE, first), drivers, resolver)
    transports = mask_transports(route_transports(transports, fleet, drivers), fleet.secrets)
    names = {entry["name"] for entry in new}
    cluster_inputs = [one for one in fleet.cluster_inputs if only in {"", one.entry.name}]
    if not cluster_inputs:
        known = ", ".join(cluster_input.entry.name for cluster_input in fleet.cluster_inputs)
        raise UsageError(f"no cluster is named {only!r}", remedy=f"the clusters are {known}")
    for one in cluster_inputs:
        if one.unread is not None:
            raise UsageError(
                f"{one.entry.name}: its nodes come from an inventory, which an import does not ask",
                remedy="import the other clusters with --only, or list its nodes for the import",
            )
    if host_entries is not None:
        unknown = [find_unknown_entries(each, host_entries) for each in cluster_inputs]
        if wrong := [one for found in unknown for one in found.values() if one.code == ENTRY]:
            raise InputError(wrong)
    live = await gather_all(
        [_read_cluster(one, drivers, transports, new=one.entry.name in names) for one in cluster_inputs]
    )
    _check_complete(live)
    first_error: InputError | UsageError | StateError | None = None
    # First try to change shared files; if a plan then still has differences, give each node its own overlay.
    for shared in (True, False):
        extractor = SecretExtractor(dict(_list_known_secrets(live)), prefix)
        try:
            after = _make_files(first, fleet, live, extractor, shared=shared)
            rest = _find_remaining_nodes(after, live, drivers, PendingResolver(resolver, extractor.named))
        except (InputError, UsageError) as error:
            first_error = first_error or error
            continue
        if not rest:
            return _make_result(files, after, extractor, live)
        node, why = next(iter(rest.items()))
        # What is left with an overlay for each node says more than what is left without.
        is_open = first_error is None or isinstance(first_error, StateError)
        remaining = StateError(
            f"the new files would not describe what {node} shows: {why}",
            remedy="nothing was written; remove the cause, or change the files by hand",
        )
        first_error = remaining if is_open else first_error
    assert first_error is not None
    raise first_error


async def _read_cluster(
    cluster_input: ClusterInput, drivers: Drivers, transports: Transports, *, new: bool
) -> _LiveCluster:
    driver = drivers[cluster_input.entry.kind]
    if not driver.capabilities.imports:
        raise UsageError(f"clusters of the kind {cluster_input.entry.kind} cannot be imported")
    desired = driver.desire(cluster_input)
    # Import is no run: it has no journal and no lock, so its transports must not be able to write.
    reading = restrict_to_reading(transports, driver.reads)
    observed = await driver.observe(desired, reading)
    if new:
        observed = await driver.observe_import(desired, observed, reading)
    steps = driver.plan(desired, observed).steps
    shown = driver.build_live_state(desired, observed)
    stamped, meaning = driver.list_stamp_pointers(cluster_input.entry), driver.fingerprint_meaning
    return _LiveCluster(cluster_input, observed, shown, steps, new, stamped, meaning)


def _check_complete(live: Sequence[_LiveCluster]) -> None:
    """Check that the nodes' state is known in full.

    Raises:
        UsageError: something is missing.
    """
    missing = [(one.cluster_input.entry.name, words) for one in live for words in one.shown.missing]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(
            f"cannot import {missing[0][0]}: {missing[0][1]}{more}",
            remedy="fix this, or choose another cluster with --only; nothing was written",
        )


def _add_new_clusters(
    files: OverlaidFiles, fleet: Fleet | None, new: Sequence[Mapping[str, Any]], drivers: Drivers
) -> OverlaidFiles:
    """The files with new clusters in the fleet file; their settings are still empty."""
    if not new:
        return files
    taken = {cluster_input.entry.name for cluster_input in fleet.cluster_inputs} if fleet else set()
    again = next((entry["name"] for entry in new if entry["name"] in taken), None)
    if again:
        words = f"the fleet already has a cluster {again}"
        raise UsageError(words, remedy="leave it out, or choose another name")
    if fleet is not None and not all(cluster_input.pointer for cluster_input in fleet.cluster_inputs):
        words = f"{fleet.document.name} has no fleet file"
        raise UsageError(words, remedy="import into a separate folder")
    begun = {path: text for entry in new for path, text in _list_begun(entry, drivers[entry["kind"]])}
    if taken_files := sorted(begun.keys() & set(files.names())):
        raise UsageError(f"{taken_files[0]} already exists", remedy="choose another name, or move it away")
    if fleet is None:
        return files.over({FLEET: render_fleet_file(new), **begun})
    name, first = fleet.document.name, len(fleet.cluster_inputs)
    edits = [Edit(("clusters", number), dict(entry)) for number, entry in enumerate(new, first)]
    return files.over({name: apply_text_edits(name, files.read(name).decode(), edits), **begun})


def _list_begun(entry: Mapping[str, Any], driver: Driver[Any, Any]) -> Iterator[tuple[str, str]]:
    """The files that a new cluster names, still empty; none if its entry is wrong: loading reports that."""
    try:
        model = driver.entry.model_validate(entry)
    except ValidationError:
        return
    yield from dict.fromkeys(filter(None, map(model.get_setting_path, model.members())), "{}\n").items()
    yield from ((path, "") for path in model.list_resource_patterns() if not is_pattern(path))


def _make_files(
    files: OverlaidFiles,
    fleet: Fleet,
    live: Sequence[_LiveCluster],
    extractor: SecretExtractor,
    *,
    shared: bool,
) -> OverlaidFiles:
    """All files after the import."""
    file_edits = FileEdits(fleet, files, extractor)
    delivered: dict[str, str] = {}
    for one in live:
        if one.new and (one.shown.documents or one.shown.files):
            place = pointer_to_path(one.cluster_input.pointer)
            own = [Edit((*place, key), value) for key, value in one.shown.entry.items()]
            if one.shown.documents:
                found = make_new_cluster(
                    _complete_entry(fleet, one),
                    one.cluster_input.pointer,
                    one.shown.documents,
                    extractor,
                    individual=one.shown.individual_keys,
                    careful=one.shown.is_careful,
                )
                file_edits.made |= found.made
                own += found.edits
            delivered |= one.shown.files
            taken = {*file_edits.made, *delivered} & set(files.below.names() if files.below else ())
            if taken:
                raise UsageError(
                    f"{min(taken)} already exists", remedy="choose another name, or move it away"
                )
            file_edits.edits.setdefault(fleet.document.name, []).extend(own)
        if one.shown.nodes is not None:
            index = int(one.cluster_input.pointer.rpartition("/")[2])
            raw = fleet.document.value["clusters"][index]["nodes"]
            edits = find_node_list_edits(
                raw, one.shown.nodes, one.cluster_input.pointer, one.shown.updated_keys
            )
            file_edits.edits.setdefault(fleet.document.name, []).extend(edits)
    file_edits.settle(dict(_find_wanted_edits(live)), shared=shared)
    texts = delivered | {name: _render_new_file(name, value) for name, value in file_edits.made.items()}
    for name, edits in file_edits.edits.items():
        if edits:
            texts[name] = apply_text_edits(name, files.read(name).decode(), edits)
    return files.over(texts)


def _complete_entry(fleet: Fleet, live: _LiveCluster) -> ClusterEntry:
    """The entry of a new cluster with what its nodes show."""
    written = fleet.document.value["clusters"][int(live.cluster_input.pointer.rpartition("/")[2])]
    return type(live.cluster_input.entry).model_validate({**written, **live.shown.entry})


def _render_new_file(name: str, value: Any) -> str:
    if PurePosixPath(name).suffix == KEY_VALUE_SUFFIX:
        return change_key_values("", value)
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def find_node_list_edits(
    written: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]],
    pointer: str,
    followed: Sequence[str],
) -> list[Edit]:
    """The edits of a cluster's nodes: keys that differ, then removed nodes, then new nodes.

    Args:
        written: the nodes in the file.
        shown: the live nodes; keys that they do not show stay.
        pointer: of the cluster.
        followed: the keys that are imported.
    """
    place = (*pointer_to_path(pointer), "nodes")
    now = {entry["name"]: entry for entry in shown}
    left = [index for index, entry in enumerate(written) if entry["name"] not in now]
    known = {entry["name"] for entry in written}
    came = [entry for entry in shown if entry["name"] not in known]
    kept = len(written) - len(left)
    return [
        *(
            Edit((*place, index, key), REMOVED if value is None else value)
            for index, entry in enumerate(written)
            if entry["name"] in now
            for key in followed
            if key in now[entry["name"]]
            for value in (now[entry["name"]][key],)
            if (value is not None or entry.get(key)) and entry.get(key) != value
        ),
        *(Edit((*place, index), REMOVED) for index in reversed(left)),
        *(Edit((*place, kept + number), dict(entry)) for number, entry in enumerate(came)),
    ]


def _list_known_secrets(live: Sequence[_LiveCluster]) -> Iterator[tuple[str, str]]:
    """(text, reference) of the secrets that the files name and that are known here."""
    for one in live:
        for document in {id(each): each for each in one.cluster_input.documents.values()}.values():
            for _, secret in find_secrets(document.value):
                if not secret.missing and isinstance(secret.value, str) and secret.value:
                    yield secret.value, secret.reference


def _find_wanted_edits(live: Sequence[_LiveCluster]) -> Iterator[tuple[Member, tuple[Edit, ...]]]:
    """The edits of the rendered settings of each node that differs."""
    for one in live:
        if one.new:
            continue
        changed = {step.node for step in one.steps}
        # Not written into files: the key for editors, and values that the program stamps itself.
        ignored = {(EDITOR_KEY,), *map(pointer_to_path, one.stamped)}
        known: dict[tuple[int, int], tuple[Edit, ...]] = {}  # nodes that share both differ alike
        for node, document in one.shown.documents.items():
            if node in changed:
                rendered = one.cluster_input.documents[node].value
                pair = (id(rendered), id(document))
                if pair not in known:
                    try:
                        known[pair] = NodeDifference(rendered, one.meaning, ignored).edits(document)
                    except UsageError as error:
                        raise UsageError(f"{node}: {error.message}", remedy=error.remedy) from error
                yield (one.cluster_input.entry.name, node), known[pair]


def _find_remaining_nodes(
    files: OverlaidFiles, live: Sequence[_LiveCluster], drivers: Drivers, resolver: SecretResolver
) -> dict[str, str]:
    """The nodes that a plan of the new files would still change -> why; empty if the import is complete.

    Raises:
        InputError: the files would be wrong.
    """
    fleet = load_fleet(Snapshot(_NOWHERE, files), drivers, resolver)
    found: dict[str, str] = {}
    for one in live:
        (cluster_input,) = fleet.part(one.cluster_input.entry.name).cluster_inputs
        driver = drivers[cluster_input.entry.kind]
        desired = driver.desire(cluster_input)
        plan = driver.plan(desired, one.observed)
        # A plan may have to wait with a file that differs: then no step says so.
        errors = {
            finding.target.rpartition("/")[2]: finding.message
            for finding in plan.findings
            if finding.severity is Severity.ERROR
        }
        for node, statuses in driver.list_file_statuses(desired, one.observed).items():
            for status in statuses:
                if status.match is FileMatch.DIFFERS:
                    found[node] = errors.get(node, f"its file {status.entry} differs")
        found |= {
            step.node: step.reason
            for step in plan.steps  # a step that changes only stamped values is no difference
            # Nor is what an earlier run has left beside a file.
            if step.action != DISCARD
            if not step.changes or any(change.pointer not in one.stamped for change in step.changes)
        }
    return found


def _make_result(
    files: OverlaidFiles, after: OverlaidFiles, extractor: SecretExtractor, live: Sequence[_LiveCluster]
) -> ImportResult:
    known = set(files.names())
    before = {name: files.read(name) for name in after.texts if name in known}
    texts = {name: text for name, text in after.texts.items() if before.get(name) != text.encode()}
    notes = [words for one in live if one.new for words in one.shown.open_points]
    return ImportResult(before, texts, dict(extractor.named), tuple(notes))
