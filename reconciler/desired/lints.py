"""All lints of a fleet: those of the products, those across clusters, and the entries that silence them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.core.entries import ClusterEntry
from reconciler.core.overlays import OverlaidCluster, OverlaidNode
from reconciler.core.policy import Ignore
from reconciler.core.unmanaged import UNMATCHED
from reconciler.desired.glob import match_names
from reconciler.desired.unmanaged_check import lint_unmanaged
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Driver, MemberClaim
from reconciler.secrets import scan
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_warn = partial(make_diagnostic, severity=Severity.WARNING)

CODES: Final = frozenset({scan.CODE, "shared-member", UNMATCHED, "day-or-weekday", "idle-removal"})
"""The codes of lints that belong to no product."""


@dataclass(frozen=True, slots=True)
class LintWarning:
    """A lint's warning and the clusters that it is about."""

    problem: Diagnostic
    clusters: frozenset[str]

    def is_silenced_by(self, ignore: Ignore) -> bool:
        """Whether an entry of the fleet file silences it."""
        if ignore.code != self.problem.code:
            return False
        target = ignore.target
        return (
            not target or target in self.clusters or bool(match_names(target, [self.problem.position.file]))
        )


@dataclass(frozen=True, slots=True)
class LintedFiles:
    """The clusters' files as they are stored.

    Args:
        documents: the fleet file, settings and overlays.
        plain: names of all files of the revision; a resource with another name was decrypted.
    """

    documents: Sequence[Document]
    plain: frozenset[str]


def run_lints(
    cluster_inputs: Sequence[ClusterInput], drivers: Mapping[str, Driver[Any, Any]], files: LintedFiles
) -> list[LintWarning]:
    """All warnings about these clusters, silenced or not."""
    found: list[LintWarning] = []
    for cluster_input in cluster_inputs:
        driver, name = drivers[cluster_input.entry.kind], frozenset({cluster_input.entry.name})
        found += (LintWarning(problem, name) for problem in driver.lint(cluster_input))
        found += (LintWarning(problem, name) for problem in lint_unmanaged(cluster_input, driver))
    for kind in sorted({cluster_input.entry.kind for cluster_input in cluster_inputs}):
        alike = [cluster_input for cluster_input in cluster_inputs if cluster_input.entry.kind == kind]
        if len(alike) > 1:
            found += _find_shared_members([(each, drivers[kind].claims(each)) for each in alike])
    return [*found, *_find_plain_secrets(cluster_inputs, files)]


def select_unsilenced(found: Iterable[LintWarning], ignores: Sequence[Ignore]) -> list[Diagnostic]:
    """The warnings that are not silenced, each once however many clusters it is about."""
    problems: dict[tuple[Any, ...], Diagnostic] = {}
    for warning in found:
        if not any(warning.is_silenced_by(ignore) for ignore in ignores):
            problem = warning.problem
            problems.setdefault((problem.position, problem.code, problem.message), problem)
    return list(problems.values())


def find_unused_ignores(
    found: Sequence[LintWarning],
    ignores: Sequence[Ignore],
    fleet: Document,
    drivers: Mapping[str, Driver[Any, Any]],
) -> Iterator[Diagnostic]:
    """Warnings about entries that silence nothing."""
    for index, ignore in enumerate(ignores):
        if not any(warning.is_silenced_by(ignore) for warning in found):
            # Only here every product is loaded, which takes time.
            yield _make_unused_ignore(fleet, index, ignore, list_lint_codes(drivers))


def list_lint_codes(drivers: Mapping[str, Driver[Any, Any]]) -> frozenset[str]:
    """The codes of all lints."""
    own = (driver.lint_codes for driver in drivers.values())
    return CODES.union(*own)


def _make_unused_ignore(fleet: Document, index: int, ignore: Ignore, codes: frozenset[str]) -> Diagnostic:
    place = f"/lint/ignore/{index}"
    if ignore.code not in codes:
        meant = find_nearest(ignore.code, codes)
        message = f"there is no lint {quote_text(ignore.code)}, so this entry has no effect"
        remedy = f"did you mean `{meant}`?" if meant else f"the lints are {', '.join(sorted(codes))}"
        return _warn(fleet, f"{place}/code", "unknown-lint", message, remedy)
    there = f" for {quote_text(ignore.target)}" if ignore.target else ""
    message = f"{quote_text(ignore.code)} gives no warning{there}, so this entry has no effect"
    remedy = f"remove it{', or name a cluster or file that has this warning' if ignore.target else ''}"
    return _warn(fleet, place, "unused-ignore", message, remedy)


def _find_shared_members(
    claimed: Sequence[tuple[ClusterInput, Iterable[MemberClaim]]],
) -> Iterator[LintWarning]:
    """Members of two clusters of one kind; one warning for each pair of clusters."""
    first: dict[str, tuple[str, MemberClaim]] = {}
    for cluster_input, claims in claimed:
        name = cluster_input.entry.name
        shared: dict[str, list[tuple[MemberClaim, MemberClaim]]] = {}
        for claim in claims:
            other, earlier = first.setdefault(claim.name, (name, claim))
            if other != name:
                shared.setdefault(other, []).append((claim, earlier))
        for other, pairs in shared.items():
            yield LintWarning(_make_shared_member(name, other, pairs), frozenset({name, other}))


def _make_shared_member(
    name: str, other: str, pairs: Sequence[tuple[MemberClaim, MemberClaim]]
) -> Diagnostic:
    claim, earlier = pairs[0]
    where, there = claim.document.position(claim.pointer), earlier.document.position(earlier.pointer)
    more = len(pairs) - 1
    who = f"{claim.name} and {more} more are members" if more else f"{claim.name} is a member"
    same = "on the same line" if where == there else f"there at {there}"
    message = f"{who} of two clusters, {quote_text(name)} and {quote_text(other)} ({same})"
    remedy = "give each cluster its own members, or merge the clusters"
    further = () if where == there else (there,)
    return _warn(claim.document, claim.pointer, "shared-member", message, remedy, related=further)


def _find_plain_secrets(cluster_inputs: Sequence[ClusterInput], files: LintedFiles) -> Iterator[LintWarning]:
    """Secrets in the files that clusters use, and in the fleet file itself."""
    users: dict[str, set[str]] = {}
    resources: dict[str, bytes] = {}
    for cluster_input in cluster_inputs:
        resources |= cluster_input.resources
        for path in {*_list_named_files(cluster_input.entry), *cluster_input.resources}:
            users.setdefault(path, set()).add(cluster_input.entry.name)
    for document in files.documents:
        for problem in scan.scan_document(document):
            yield LintWarning(problem, frozenset(users.get(document.name, ())))
    # Only files that are stored as they are delivered: others were decrypted here.
    for path in sorted(resources.keys() & files.plain):
        for problem in scan.scan_resource(path, resources[path]):
            yield LintWarning(problem, frozenset(users[path]))


def _list_named_files(entry: ClusterEntry) -> Iterator[str]:
    """Paths of the settings and overlays that a cluster names."""
    nodes = entry.members()
    stacks = [node.overlays for node in nodes if isinstance(node, OverlaidNode)]
    if isinstance(entry, OverlaidCluster):
        stacks = [entry.overlays, *(group.overlays for group in entry.groups), *stacks]
    texts = [*(entry.get_setting_path(node) for node in nodes), *(one for stack in stacks for one in stack)]
    yield from (str(PurePosixPath(text)) for text in texts if isinstance(text, str) and text)
