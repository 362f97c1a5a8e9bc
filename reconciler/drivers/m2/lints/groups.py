"""Lints of `env.management.cluster`: member groups, the functions they serve, and hashing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.check import MANAGEMENT, MEMBERS
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_object
from reconciler.text.json_pointer import make_pointer

ALL: Final = "all"
"""The word that stands for every function."""

CODES: Final = frozenset({"hidden-group", "unserved-request", "function-case", "hash-without-key"})

Groups: TypeAlias = Sequence[tuple[int, frozenset[str]]]
"""(index, functions) of the groups in their order; no functions are those of a request without any."""

_BALANCE: Final[Path] = (*MANAGEMENT, "cluster", "balance")
_WHOLE: Final = frozenset({"", "http:", "https:"})
_MOST_NAMED: Final = 6


def lint_groups(management: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """All lints of this kind in an `env.management`; also where the cluster is not switched on."""
    members = get_items(management, "cluster", "discover", "members")
    groups = [(index, _functions(item)) for index, item in members if isinstance(item, Mapping)]
    yield from _hidden(groups)
    if groups and len(groups) == len(members):
        yield from _unserved(groups)
    yield from _case(members)
    if "hash" in _modes(management, members):
        yield from _hash(get_object(management, "cluster", "balance"))


def _functions(group: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for _, name in get_items(group, "functions") if isinstance(name, str))


def _hidden(groups: Groups) -> Iterator[Diagnostic]:
    """Groups that no request reaches, because each that they could serve goes to an earlier one."""
    first: dict[str, int] = {}
    plain = -1
    for index, functions in groups:
        why = ""
        if not functions and plain >= 0:
            why = f"group {plain + 1} already takes every request without a function"
        elif functions and ALL in first:
            why = f'group {first[ALL] + 1} is for "all" and stands before it'
        elif functions and functions <= first.keys():
            takers = _listed(sorted({str(first[name] + 1) for name in functions}))
            why = f"every function of it goes to an earlier group ({takers})"
        if why:
            said = f"group {index + 1} can never match: {why}, and groups match in their order"
            path = (*MEMBERS, index, "functions") if functions else (*MEMBERS, index)
            remedy = "move it up, or remove it" if functions else "put its nodes into that group"
            yield _warning(path, "hidden-group", said, remedy)
        plain = index if not functions and plain < 0 else plain
        for name in functions:
            first.setdefault(name, index)


def _unserved(groups: Groups) -> Iterator[Diagnostic]:
    """Requests that no group is for."""
    served = {name for _, functions in groups for name in functions}
    missing, remedies = [], []
    if all(functions for _, functions in groups):
        missing.append("a request without a function")
        remedies.append("a group without `functions`")
    if ALL not in served:
        missing.append(f"a function other than {_listed(sorted(served))}" if served else "a function")
        remedies.append('a last group for "all"')
    if missing:
        said = f"no group is for {' or for '.join(missing)}: the node that receives it serves it itself"
        yield _warning(MEMBERS, "unserved-request", said, f"add {' and '.join(remedies)}")


def _case(members: Sequence[tuple[int, Any]]) -> Iterator[Diagnostic]:
    """Names of functions that are one name but for their case; each later spelling once."""
    spelt: dict[str, str] = {ALL: ALL}
    told: set[str] = set()
    for index, item in members:
        for place, name in get_items(item, "functions"):
            if not isinstance(name, str):
                continue
            other = spelt.setdefault(name.casefold(), name)
            if other == name or name in told:
                continue
            told.add(name)
            word = f'"{other}", which means every function,' if other == ALL else f'"{other}"'
            said = f'"{name}" differs from {word} only in case, and is another name to M2'
            path = (*MEMBERS, index, "functions", place)
            yield _warning(path, "function-case", said, f'write "{other}" if that is meant')


def _modes(management: Mapping[str, Any], members: Sequence[tuple[int, Any]]) -> set[Any]:
    """Every mode of balancing that is in use: the groups' own, and the cluster's."""
    parts = [
        get_object(management, "cluster", "balance"),
        *(get_object(item, "balance") for _, item in members),
    ]
    return {mode for part in parts if isinstance(mode := part.get("mode"), str)}


def _hash(balance: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """The mode `hash` where nothing is left to make a hash of; without a script it is of the URL."""
    script = balance.get("luaPath")
    if isinstance(script, str):
        if not script.strip():
            said = "the mode is `hash` and `luaPath` names no script, though it does not leave it to the URL"
            yield _warning((*_BALANCE, "luaPath"), "hash-without-key", said, "write `null` to hash the URL")
        return
    for index, text in get_items(balance, "urlIgnoreList"):
        if isinstance(text, str) and text.strip().rstrip("/") in _WHOLE:
            said = f'the mode is `hash`, and the hash leaves out the URL from "{text}" on: all of every URL'
            remedy = "name what stands behind the part that tells URLs apart, such as #FUNCTION"
            yield _warning((*_BALANCE, "urlIgnoreList", index), "hash-without-key", said, remedy)
            return


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _warning(path: Path, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(Severity.WARNING, code, message, remedy, pointer=make_pointer(path))
