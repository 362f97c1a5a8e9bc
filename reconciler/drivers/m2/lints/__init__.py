"""What is doubtful, though not wrong, in the settings of an M2 cluster; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic, Position
from reconciler.drivers.m2.lints import access, groups, members, server, spelling
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import get_object, sort_by_position
from reconciler.ports.cluster_input import ClusterInput

CODES: Final = access.CODES | groups.CODES | server.CODES | members.CODES | spelling.CODES

claims = members.list_member_claims

Rule = Callable[[Mapping[str, Any]], Iterator[Diagnostic]]

_Known: TypeAlias = dict[tuple[int | str, ...], list[Diagnostic]]
"""What was looked at, by the identity of its parts -> what was found."""

_RULES: Final[tuple[tuple[Rule, tuple[str, ...]], ...]] = (
    (access.lint_access, ("api", "roles")),
    (groups.lint_groups, ("cluster",)),
    (server.lint_server, ("server",)),
    *((partial(spelling.lint_spelling, key=key), (key,)) for key in ("api", "roles", "server", "cluster")),
)
"""Each with the keys of `env.management` that it looks at."""


def lint(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Warnings about a cluster's settings, each place once however many nodes get it.

    Settings that come from one base share what no overlay changes, and that is looked at once.
    """
    told: set[tuple[Position, str, str]] = set()
    known: _Known = {}
    for document in {id(document): document for document in cluster_input.documents.values()}.values():
        found = [*_faults(get_object(document.value, *MANAGEMENT), known), *_sections(document.value, known)]
        for problem in sort_by_position(document, found) if found else ():
            key = (problem.position, problem.code, problem.message)
            if key not in told:
                told.add(key)
                yield problem
    yield from members.find_left_out_nodes(cluster_input)


def _sections(document: Any, known: _Known) -> list[Diagnostic]:
    """Keys that are not known outside `env.management`."""
    found = list(spelling.lint_top_keys(get_object(document)))
    for key, value in get_object(document).items():
        same = (key, id(value))
        if same not in known:
            known[same] = list(spelling.lint_section_keys(value, key))
        found += known[same]
    return found


def _faults(management: Mapping[str, Any], known: _Known) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    for number, (rule, keys) in enumerate(_RULES):
        same = (number, *(id(management.get(key)) for key in keys))
        if same not in known:
            known[same] = list(rule(management))
        found += known[same]
    return found
