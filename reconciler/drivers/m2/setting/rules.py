"""Rules of a `setting.json` that no single value's type can tell: names that must exist, and addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress, is_ip_address, parse_endpoint
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.model_errors import describe_value
from reconciler.drivers.m2.access import FACTORY_ROLES
from reconciler.drivers.m2.address_range import parse_address_range
from reconciler.drivers.m2.setting.diagnostics import (
    Path,
    check_model,
    get_items,
    get_named_items,
    get_object,
    get_value,
    suggest_known,
)
from reconciler.drivers.m2.setting.models import Group
from reconciler.drivers.m2.setting.patterns import CLOUD
from reconciler.text.json_pointer import make_pointer

MANAGEMENT: Final[Path] = ("env", "management")
MEMBERS: Final[Path] = (*MANAGEMENT, "cluster", "discover", "members")

_CLOUD = re.compile(CLOUD)
_MOST_GUESSES: Final = 12
"""Problems of one kind up to which all known names are searched for the one that is meant."""


def check_rules(document: Any) -> Iterator[Diagnostic]:
    """Every breach of these rules in a whole document, whatever else is wrong with it."""
    yield from _version(document)
    yield from _roles(document)
    yield from _allow_list(document)
    yield from find_repeated_names(document, (*MANAGEMENT, "roles"), "role")
    yield from _members(document)
    yield from _stats(document)


def find_repeated_names(document: Any, path: Path, what: str) -> Iterator[Diagnostic]:
    """Items of a list whose name an earlier item has."""
    first: dict[str, int] = {}
    for index, name, _ in get_named_items(document, *path):
        if name in first:
            said = f'the {what} "{name}" is defined twice, first as item {first[name] + 1} of the list'
            yield Diagnostic(
                Severity.ERROR,
                "duplicate-name",
                said,
                "names must be unique",
                pointer=make_pointer((*path, index, "name")),
            )
        first.setdefault(name, index)


def list_known_roles(document: Any) -> set[str]:
    """The names that `role` and `defaultRole` may use; a file without roles has the factory's."""
    if get_value(document, (*MANAGEMENT, "roles")) is None:
        return {str(role["name"]) for role in FACTORY_ROLES}
    return {name for _, name, _ in get_named_items(document, *MANAGEMENT, "roles")}


def _version(document: Any) -> Iterator[Diagnostic]:
    version = get_object(document, "meta").get("version")
    if isinstance(version, bool | list | Mapping):
        said = f"`version` must be text or a number, got {describe_value(version)}"
        yield Diagnostic(Severity.ERROR, "wrong-type", said, pointer=make_pointer(("meta", "version")))


def _roles(document: Any) -> Iterator[Diagnostic]:
    known = list_known_roles(document)
    api = get_object(document, *MANAGEMENT, "api")
    default = api.get("defaultRole", "admin")
    entries = get_items(api, "allowList")
    likely: Iterable[str] = known
    for number, (index, role) in enumerate(_unknown(entries, known)):
        if number == _MOST_GUESSES:  # to find the nearest of many names for each of many takes minutes
            likely = sorted(known)[:_MOST_GUESSES]
        yield _unknown_role((*MANAGEMENT, "api", "allowList", index, "role"), role, likely)
    in_use = not entries or any(get_object(entry).get("role") is None for _, entry in entries)
    if isinstance(default, str) and default not in known and ("defaultRole" in api or in_use):
        yield _unknown_role((*MANAGEMENT, "api", "defaultRole"), default, known)


def _unknown(entries: Sequence[tuple[int, Any]], known: set[str]) -> Iterator[tuple[int, str]]:
    """(index, role) of the entries whose role is not defined."""
    for index, entry in entries:
        role = get_object(entry).get("role")
        if isinstance(role, str) and role not in known:
            yield index, role


def _unknown_role(path: Path, role: str, known: Iterable[str]) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        "unknown-role",
        f'the role "{role}" is not defined',
        suggest_known(role, known, "roles"),
        pointer=make_pointer(path),
    )


def _allow_list(document: Any) -> Iterator[Diagnostic]:
    for index, entry in get_items(document, *MANAGEMENT, "api", "allowList"):
        addr = get_object(entry).get("addr")
        if not isinstance(addr, str):
            continue
        path = (*MANAGEMENT, "api", "allowList", index, "addr")
        try:
            found = parse_address_range(addr)
        except InvalidAddress as error:
            yield Diagnostic(
                Severity.ERROR,
                "bad-address",
                f'"{addr}" {error.message}',
                error.remedy,
                pointer=make_pointer(path),
            )
        else:
            if found.version != 4:  # noqa: PLR2004  (the IP version)
                said = f'"{addr}" is IPv6, which M2\'s pages do not show in an allowList'
                yield Diagnostic(Severity.WARNING, "undocumented-address", said, pointer=make_pointer(path))


def _members(document: Any) -> Iterator[Diagnostic]:
    members = get_items(document, *MEMBERS)
    kinds = {isinstance(item, Mapping) for _, item in members if isinstance(item, str | Mapping)}
    if len(kinds) > 1:
        said = "`members` mixes addresses and groups"
        yield Diagnostic(
            Severity.ERROR,
            "mixed-members",
            said,
            "put every address into the `nodes` of a group",
            pointer=make_pointer(MEMBERS),
        )
    for index, item in members:
        path = (*MEMBERS, index)
        if isinstance(item, str):
            yield from _member(path, item)
        elif isinstance(item, Mapping):
            yield from check_model(Group, item, path)
            for place, node in get_items(item, "nodes"):
                if isinstance(node, str):
                    yield from _member((*path, "nodes", place), node)
        else:
            said = f"item {index + 1} of `members` must be an address or a group, got {describe_value(item)}"
            yield Diagnostic(Severity.ERROR, "wrong-type", said, pointer=make_pointer(path))


def _member(path: Path, text: str) -> Iterator[Diagnostic]:
    """A member is an IP address, perhaps with a port, or a cloud expression behind a `#`."""
    if text.startswith("#"):
        if not _CLOUD.fullmatch(text):
            form = (
                "#aws:vm:tag=K, #oci:vm:tag=K, #aws:vip:tag=K or #oci:vip:tag=K, perhaps with #:8080 behind"
            )
            yield Diagnostic(
                Severity.ERROR,
                "bad-member",
                f'"{text}" is not a cloud expression',
                f"one of {form}",
                pointer=make_pointer(path),
            )
        return
    if re.match(r"(aws|oci):(vm|vip):", text):
        yield Diagnostic(
            Severity.ERROR,
            "bad-member",
            f'"{text}" lacks its mark',
            f"write #{text}",
            pointer=make_pointer(path),
        )
        return
    try:
        host = parse_endpoint(text).host
    except InvalidAddress as error:
        yield Diagnostic(
            Severity.ERROR,
            "bad-member",
            f'"{text}" {error.message}',
            error.remedy,
            pointer=make_pointer(path),
        )
        return
    if "://" in text:
        yield Diagnostic(
            Severity.ERROR, "bad-member", f'"{text}" is a URL', f"write {host}", pointer=make_pointer(path)
        )
    elif not is_ip_address(host):
        said = f'"{text}" is a name, and M2\'s pages show addresses only'
        yield Diagnostic(Severity.WARNING, "named-member", said, pointer=make_pointer(path))


def _stats(document: Any) -> Iterator[Diagnostic]:
    path = (*MANAGEMENT, "cluster", "stats", "listen")
    listen = get_value(document, path)
    if not isinstance(listen, str):
        return
    try:
        place = parse_endpoint(listen.replace("*", "0.0.0.0", 1) if listen.startswith("*:") else listen)  # noqa: S104
    except InvalidAddress as error:
        yield Diagnostic(
            Severity.ERROR,
            "bad-address",
            f'"{listen}" {error.message}',
            "write address:port",
            pointer=make_pointer(path),
        )
    else:
        if place.port is None or "://" in listen:
            yield Diagnostic(
                Severity.ERROR,
                "bad-address",
                f'"{listen}" has no port',
                "write address:port",
                pointer=make_pointer(path),
            )
