"""All errors and warnings of a revision's files; asks no node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.desired.fleet import Drivers, FleetReadResult, read_fleet, sort_problems
from reconciler.desired.merge_patch import get_member, has_member
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import parse_document
from reconciler.errors import InputError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import EXAMPLES
from reconciler.ports.source import FLEET_FILES, Snapshot
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.json_pointer import split_pointer


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The result of checking a revision's files.

    Args:
        problems: errors and warnings, each once, by file and position.
        clusters: how many clusters could be read.
        nodes: how many nodes they have together.
    """

    problems: tuple[Diagnostic, ...]
    clusters: int = 0
    nodes: int = 0

    def count(self, severity: Severity) -> int:
        """How many problems have this severity."""
        return sum(problem.severity is severity for problem in self.problems)

    @property
    def valid(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return not self.count(Severity.ERROR)

    def make_strict(self) -> ValidationResult:
        """The same with warnings as errors; notes stay what they are."""
        raised = (
            replace(problem, severity=Severity.ERROR) if problem.severity is Severity.WARNING else problem
            for problem in self.problems
        )
        return replace(self, problems=tuple(raised))


def validate_files(
    snapshot: Snapshot, drivers: Drivers, resolver: SecretResolver | None = None
) -> ValidationResult:
    """All problems of all files of a revision's fleet; never raises, whatever they contain.

    Args:
        snapshot: the files.
        drivers: kind -> product.
        resolver: gives the values of secrets; without one they stay references.
    """
    # Files are valid or not whatever instances there are: an example stands for those of each expression.
    snapshot = replace(snapshot, inventory=EXAMPLES)
    reading = read_fleet(snapshot, drivers, resolver)
    found = list(reading.problems)
    # A wrong value often breaks a rule of the product too: the error of its model is enough.
    wrong = (problem for problem in reading.problems if problem.severity is Severity.ERROR)
    reported = {(problem.position.file, problem.pointer) for problem in wrong}
    for cluster_input in reading.cluster_inputs:
        whole = cluster_input.pointer not in reading.partial
        by_product = _examine(cluster_input, drivers[cluster_input.entry.kind], whole=whole)
        found += (each for each in by_product if (each.position.file, each.pointer) not in reported)
    if not reading.cluster_inputs:
        found += _check_lone_files(reading, snapshot, drivers)
    first = reading.problems[0].position.file if reading.problems else FLEET_FILES[0]
    if reading.cluster_inputs:
        first = reading.cluster_inputs[0].fleet.name
    nodes = sum(len(cluster_input.entry.members()) for cluster_input in reading.cluster_inputs)
    return ValidationResult(
        sort_problems(list(dict.fromkeys(found)), first), len(reading.cluster_inputs), nodes
    )


def _examine(cluster_input: ClusterInput, driver: Driver[Any, Any], *, whole: bool) -> Iterator[Diagnostic]:
    """The problems that the product finds in a cluster.

    If parts were left out, only those of the named files and of single values of the entry: a value that the
    product misses may be one that was left out.
    """
    for problem in driver.examine(cluster_input):
        is_elsewhere = problem.position.file != cluster_input.fleet.name
        if whole or is_elsewhere or _is_single_value(cluster_input, problem.pointer):
            yield problem


def _is_single_value(cluster_input: ClusterInput, pointer: str) -> bool:
    """Whether a text or a number is at a pointer, in an entry without nodes left out."""
    raw = _get_value(cluster_input.fleet.value, cluster_input.pointer)
    listed = raw.get("nodes") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(listed, list):
        return False
    singles = [key for key in cluster_input.entry.single_nodes if raw.get(key) is not None]
    if len(listed) + len(singles) != len(cluster_input.entry.members()):
        return False
    return isinstance(_get_value(cluster_input.fleet.value, pointer), str | int | float)


def _get_value(value: Any, pointer: str) -> Any:
    """The value at a pointer; None if there is none."""
    for part in split_pointer(pointer):
        if not has_member(value, part):
            return None
        value = get_member(value, part)
    return value


def _check_lone_files(
    reading: FleetReadResult, snapshot: Snapshot, drivers: Mapping[str, Driver[Any, Any]]
) -> list[Diagnostic]:
    """Settings files that cannot be parsed, if no readable fleet file names any."""
    if not any(
        problem.position.file in FLEET_FILES and problem.position.line for problem in reading.problems
    ):
        return []
    lone = {driver.lone_file for driver in drivers.values()} - {""}
    found: list[Diagnostic] = []
    for name in snapshot.files.names():
        if name.rpartition("/")[2] in lone:
            try:
                parse_document(name, snapshot.files.read(name))
            except InputError as error:
                found += error.problems
            except FileNotFoundError:
                continue  # it went away meanwhile, and nothing names it
    return found
