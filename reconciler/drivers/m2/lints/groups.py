"""Lints of `env.management.cluster`: member groups, the functions they serve, and hashing; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.check import MANAGEMENT, MEMBERS
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_object, warn
from reconciler.text.one_line import join_some

ALL: Final = "all"
"""The name that means every function (M2 manual, Cluster)."""

CODES: Final = frozenset(
    {"hidden-group", "unserved-request", "function-case", "hash-without-key", "unused-script"}
)

Groups: TypeAlias = Sequence[tuple[int, frozenset[str]]]
"""(index, functions) of the groups in their order; a group without functions takes requests without one."""

_BALANCE: Final[Path] = (*MANAGEMENT, "cluster", "balance")
_WHOLE: Final = frozenset({"", "http:", "https:"})
_MOST_NAMED: Final = 6


def lint_groups(management: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """The lints of an `env.management`, also where the cluster is not enabled."""
    members = get_items(management, "cluster", "discover", "members")
    groups = [
        (index, frozenset(name for _, name in get_items(item, "functions") if isinstance(name, str)))
        for index, item in members
        if isinstance(item, Mapping)
    ]
    yield from _find_hidden_groups(groups)
    if groups and len(groups) == len(members):
        yield from _find_unserved_requests(groups)
    yield from _find_case_differences(members)
    balance = get_object(management, "cluster", "balance")
    modes = [part.get("mode") for part in (balance, *(get_object(item, "balance") for _, item in members))]
    if "hash" in modes:
        yield from _find_hash_without_key(balance)
    elif isinstance(balance.get("luaPath"), str) and balance["luaPath"].strip():
        message = "`luaPath` is used only by the mode `hash`, and the mode is `rr`"
        remedy = "set the mode to `hash`, or `luaPath` to null"
        yield warn((*_BALANCE, "luaPath"), "unused-script", message, remedy)


def _find_hidden_groups(groups: Groups) -> Iterator[Diagnostic]:
    """Groups that no request reaches: groups match in the order in which they are declared."""
    first: dict[str, int] = {}
    plain = -1
    for index, functions in groups:
        why = ""
        if not functions and plain >= 0:
            why = f"group {plain + 1} already takes every request without a function"
        elif functions and ALL in first:
            why = f'group {first[ALL] + 1} is for "all" and comes first'
        elif functions and functions <= first.keys():
            takers = join_some(sorted({str(first[name] + 1) for name in functions}), _MOST_NAMED)
            why = f"all its functions are in earlier groups ({takers})"
        if why:
            message = (
                f"group {index + 1} never matches: {why}; groups match in the order in which they are listed"
            )
            path = (*MEMBERS, index, "functions") if functions else (*MEMBERS, index)
            remedy = "move it up, or remove it" if functions else "move its nodes to that group"
            yield warn(path, "hidden-group", message, remedy)
        plain = index if not functions and plain < 0 else plain
        for name in functions:
            first.setdefault(name, index)


def _find_unserved_requests(groups: Groups) -> Iterator[Diagnostic]:
    """Requests that match no group; the node that receives one serves it (M2 manual, Cluster)."""
    served = {name for _, functions in groups for name in functions}
    missing, remedies = [], []
    if all(functions for _, functions in groups):
        missing.append("a request without a function")
        remedies.append("a group without `functions`")
    if ALL not in served:
        known = join_some(sorted(served), _MOST_NAMED)
        missing.append(f"a function other than {known}" if served else "a function")
        remedies.append('a last group for "all"')
    if missing:
        message = f"no group matches {' or '.join(missing)}; the node that receives such a request serves it"
        yield warn(MEMBERS, "unserved-request", message, f"add {' and '.join(remedies)}")


def _find_case_differences(members: Sequence[tuple[int, Any]]) -> Iterator[Diagnostic]:
    """Function names that differ from an earlier one only in case; each spelling once."""
    # "all" counts as seen first: "All" in a file is most often meant as every function.
    spelt: dict[str, str] = {ALL: ALL}
    reported: set[str] = set()
    for index, item in members:
        for place, name in get_items(item, "functions"):
            if not isinstance(name, str):
                continue
            other = spelt.setdefault(name.casefold(), name)
            if other == name or name in reported:
                continue
            reported.add(name)
            known = f'"{other}", which means every function,' if other == ALL else f'"{other}"'
            message = f'"{name}" differs from {known} only in case; to M2 it is another name'
            path = (*MEMBERS, index, "functions", place)
            yield warn(path, "function-case", message, f'write "{other}" if that is meant')


def _find_hash_without_key(balance: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """The mode `hash` with nothing to hash: without a script, M2 hashes the URL (M2 manual, Cluster)."""
    script = balance.get("luaPath")
    if isinstance(script, str):
        if not script.strip():
            message = (
                "the mode is `hash` and `luaPath` is blank, so there is neither a script nor a URL to hash"
            )
            yield warn(
                (*_BALANCE, "luaPath"), "hash-without-key", message, "write `null`, so that M2 hashes the URL"
            )
        return
    for index, text in get_items(balance, "urlIgnoreList"):
        if isinstance(text, str) and text.strip().rstrip("/") in _WHOLE:
            message = (
                f'the mode is `hash`, and "{text}" in `urlIgnoreList` removes the whole URL from the hash'
            )
            remedy = "list only text that follows the part in which URLs differ, for example #FUNCTION"
            yield warn((*_BALANCE, "urlIgnoreList", index), "hash-without-key", message, remedy)
            return
