"""Lints of the settings of an M2 cluster: what is doubtful, though not wrong; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic, Position
from reconciler.drivers.m2.feed_rendering import render_feeds
from reconciler.drivers.m2.lints import buses, groups, members, permissions, ports, server, spelling
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import get_object, sort_by_position
from reconciler.ports.cluster_input import ClusterInput

CODES: Final = (
    permissions.CODES
    | groups.CODES
    | ports.CODES
    | server.CODES
    | members.CODES
    | spelling.CODES
    | buses.CODES
)

claims = members.list_member_claims

Rule = Callable[[Mapping[str, Any]], Iterator[Diagnostic]]

_Cache: TypeAlias = dict[tuple[int | str, ...], list[Diagnostic]]
"""Rule or key, and the identities of the values -> what was found in them."""

_RULES: Final[tuple[tuple[Rule, tuple[str, ...]], ...]] = (
    (permissions.lint_access, ("api", "roles")),
    (groups.lint_groups, ("cluster",)),
    (server.lint_server, ("server",)),
    *((partial(spelling.lint_spelling, key=key), (key,)) for key in ("api", "roles", "server", "cluster")),
)
"""Each with the keys of `env.management` that it reads."""


_WITH_HOSTINGS: Final[tuple[tuple[Rule, tuple[str, ...]], ...]] = (
    (ports.lint_ports, ("api", "cluster")),
    (server.lint_updated_hostings, ("server",)),
)
"""Rules for a whole setting, each with the keys of `env.management` that it reads beside `hosting`."""


def lint(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Warnings about a cluster's settings, each position once however many nodes get it."""
    reported: set[tuple[Position, str, str]] = set()
    cache: _Cache = {}
    polling = cluster_input.entry.polling
    # Kept while their identities are keys of the cache.
    delivered: list[Any] = []
    for document in {id(document): document for document in cluster_input.documents.values()}.values():
        value: Any = document.value
        delivered.append(render_feeds(value, polling) if polling and isinstance(value, Mapping) else value)
        found = _lint_document(delivered[-1], cache)
        for problem in sort_by_position(document, found) if found else ():
            key = (problem.position, problem.code, problem.message)
            if key not in reported:
                reported.add(key)
                yield problem
    yield from members.find_left_out_nodes(cluster_input)
    yield from buses.lint_buses(cluster_input)


def _lint_document(document: Any, cache: _Cache) -> list[Diagnostic]:
    management: Mapping[str, Any] = get_object(document, *MANAGEMENT)
    found: list[Diagnostic] = []
    # Settings from one base share the objects that no overlay changes. Their identity is the key, so that a
    # thousand nodes with small overlays cost one look at the base.
    for number, (rule, keys) in enumerate(_RULES):
        identity = (number, *(id(management.get(key)) for key in keys))
        if identity not in cache:
            cache[identity] = list(rule(management))
        found += cache[identity]
    hosting = id(get_object(document).get("hosting"))
    for number, (rule, keys) in enumerate(_WITH_HOSTINGS, len(_RULES)):
        identity = (number, hosting, *(id(management.get(key)) for key in keys))
        if identity not in cache:
            cache[identity] = list(rule(get_object(document)))
        found += cache[identity]
    found += spelling.lint_top_keys(get_object(document))
    for key, value in get_object(document).items():
        if (key, id(value)) not in cache:
            cache[key, id(value)] = list(spelling.lint_section_keys(value, key))
        found += cache[key, id(value)]
    return found
