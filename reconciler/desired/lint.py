"""All lints of a fleet: the products' own, those that span clusters, and what the fleet file silences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.core.lint import Ignore
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.spec import ClusterEntry
from reconciler.desired.glob import fitting
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.ports.desk import Desk
from reconciler.ports.driver import Claim, Driver
from reconciler.secrets import scan
from reconciler.text.one_line import quoted
from reconciler.text.suggest import nearest

CODES: Final = frozenset({scan.CODE, "shared-member"})
"""The codes of lints that no product has to know."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A lint's warning and the clusters that it is about."""

    problem: Diagnostic
    clusters: frozenset[str]

    def silenced(self, ignore: Ignore) -> bool:
        """Whether an entry of the fleet file speaks of it."""
        if ignore.code != self.problem.code:
            return False
        target = ignore.target
        return not target or target in self.clusters or bool(fitting(target, [self.problem.position.file]))


@dataclass(frozen=True, slots=True)
class Files:
    """What the clusters' files are, as they were written.

    Args:
        documents: the fleet file, settings and overlays.
        plain: names of all files of the revision; a resource that is none of them was decrypted.
    """

    documents: Sequence[Document]
    plain: frozenset[str]


def remarks(desks: Sequence[Desk], drivers: Mapping[str, Driver[Any, Any]], files: Files) -> list[Remark]:
    """Everything that lints say of these clusters, silenced or not."""
    found: list[Remark] = []
    for desk in desks:
        driver, name = drivers[desk.entry.kind], frozenset({desk.entry.name})
        found += (Remark(problem, name) for problem in driver.lint(desk))
    for kind in sorted({desk.entry.kind for desk in desks}):
        driver = drivers[kind]
        alike = [desk for desk in desks if desk.entry.kind == kind]
        if len(alike) > 1:
            found += _shared([(desk, driver.claims(desk)) for desk in alike])
    return [*found, *_clear(desks, files)]


def heard(found: Iterable[Remark], ignores: Sequence[Ignore]) -> list[Diagnostic]:
    """The warnings that are not silenced, each once however many clusters it is about."""
    told: dict[tuple[Any, ...], Diagnostic] = {}
    for remark in found:
        if not any(remark.silenced(ignore) for ignore in ignores):
            problem = remark.problem
            told.setdefault((problem.position, problem.code, problem.message), problem)
    return list(told.values())


def idle(
    found: Sequence[Remark],
    ignores: Sequence[Ignore],
    fleet: Document,
    drivers: Mapping[str, Driver[Any, Any]],
) -> Iterator[Diagnostic]:
    """Warnings about entries that silence nothing."""
    for index, ignore in enumerate(ignores):
        if not any(remark.silenced(ignore) for remark in found):
            yield _idle(fleet, index, ignore, known(drivers))  # only now does every product have to be loaded


def known(drivers: Mapping[str, Driver[Any, Any]]) -> frozenset[str]:
    """The codes of all lints."""
    own = (driver.lint_codes for driver in drivers.values())
    return CODES.union(*own)


def _idle(fleet: Document, index: int, ignore: Ignore, codes: frozenset[str]) -> Diagnostic:
    place = f"/lint/ignore/{index}"
    if ignore.code not in codes:
        meant = nearest(ignore.code, codes)
        said = f"there is no lint {quoted(ignore.code)}, so nothing is silenced"
        remedy = f"did you mean `{meant}`?" if meant else f"the lints are {', '.join(sorted(codes))}"
        where = fleet.position(f"{place}/code")
        return Diagnostic(
            Severity.WARNING, "unknown-lint", said, remedy, position=where, pointer=f"{place}/code"
        )
    there = f" for {quoted(ignore.target)}" if ignore.target else ""
    said = f"{quoted(ignore.code)} has nothing to say{there}, so nothing is silenced"
    remedy = "remove it" if not ignore.target else "remove it, or name a cluster or a file that it is about"
    return Diagnostic(
        Severity.WARNING, "unused-ignore", said, remedy, position=fleet.position(place), pointer=place
    )


def _shared(claimed: Sequence[tuple[Desk, Iterable[Claim]]]) -> Iterator[Remark]:
    """Members of two clusters of one kind; those that two clusters share are one remark."""
    first: dict[str, tuple[str, Claim]] = {}
    for desk, claims in claimed:
        name = desk.entry.name
        shared: dict[str, list[tuple[Claim, Claim]]] = {}
        for claim in claims:
            other, earlier = first.setdefault(claim.name, (name, claim))
            if other != name:
                shared.setdefault(other, []).append((claim, earlier))
        for other, pairs in shared.items():
            yield Remark(_in_two(name, other, pairs), frozenset({name, other}))


def _in_two(name: str, other: str, pairs: Sequence[tuple[Claim, Claim]]) -> Diagnostic:
    claim, earlier = pairs[0]
    where, there = claim.document.position(claim.pointer), earlier.document.position(earlier.pointer)
    who = (
        f"{claim.name} is a member"
        if len(pairs) == 1
        else f"{claim.name} and {len(pairs) - 1} more are members"
    )
    same = "by the same line" if where == there else f"there at {there}"
    said = f"{who} of two clusters, {quoted(name)} and {quoted(other)} ({same})"
    remedy = "give each cluster members of its own, or make them one cluster"
    further = () if where == there else (there,)
    return Diagnostic(
        Severity.WARNING,
        "shared-member",
        said,
        remedy,
        position=where,
        pointer=claim.pointer,
        related=further,
    )


def _clear(desks: Sequence[Desk], files: Files) -> Iterator[Remark]:
    """Secrets in the files that clusters use, and in the fleet file itself."""
    users: dict[str, set[str]] = {}
    resources: dict[str, bytes] = {}
    for desk in desks:
        resources |= desk.resources
        for path in {*_named(desk.entry), *desk.resources}:
            users.setdefault(path, set()).add(desk.entry.name)
    for document in files.documents:
        for problem in scan.in_document(document):
            yield Remark(problem, frozenset(users.get(document.name, ())))
    for path in sorted(resources.keys() & files.plain):
        for problem in scan.in_resource(path, resources[path]):
            yield Remark(problem, frozenset(users[path]))


def _named(entry: ClusterEntry) -> Iterator[str]:
    """Paths of the settings and overlays that a cluster names."""
    nodes = entry.members()
    stacks = [node.overlays for node in nodes if isinstance(node, OverlaidNode)]
    if isinstance(entry, OverlaidCluster):
        stacks = [entry.overlays, *(group.overlays for group in entry.groups), *stacks]
    texts = [*(entry.setting_of(node) for node in nodes), *(one for stack in stacks for one in stack)]
    yield from (str(PurePosixPath(text)) for text in texts if isinstance(text, str) and text)
