"""Check of one `setting.json`: types, limits, names and addresses, each problem with its position; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.cron import find_cron_error
from reconciler.core.editor_key import strip_editor_key
from reconciler.core.endpoint import InvalidAddress, is_ip_address, parse_endpoint
from reconciler.core.json_reader import JsonError, JsonLimits, check_size
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
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
    sort_by_position,
    suggest_known,
)
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS, NEEDS, split_types
from reconciler.drivers.m2.setting.models import MOST_PROPAGATED, Group, SettingFile
from reconciler.drivers.m2.setting.patterns import CLOUD
from reconciler.text.json_pointer import make_pointer

LIMITS: Final = JsonLimits(size=8 * 1024 * 1024, values=200_000)
"""Bounds on a setting, on what a node shows as on what a file has."""

MANAGEMENT: Final[Path] = ("env", "management")
MEMBERS: Final[Path] = (*MANAGEMENT, "cluster", "discover", "members")
SERVER: Final[Path] = (*MANAGEMENT, "server")
BACKUP: Final[Path] = (*SERVER, "events", "onSettingLoad", "backup")
NODELIST: Final[Path] = (*SERVER, "events", "onPurgeRequest", "propagation", "nodelist")
CRON_FIELDS: Final = 6

_ONLY_FEEDBACK: Final = frozenset({"heartbeat"})
_CLOUD = re.compile(CLOUD)
_MOST_GUESSES: Final = 12
"""Problems of one kind up to which all known names are searched for the one that is meant."""


def check_setting(document: Document) -> list[Diagnostic]:
    """All problems of one file, errors and warnings, in the order of their positions.

    Secrets count as text; what would be wrong with their values cannot be known here.
    """
    value = mask(document.value)
    if too_large := _unreadable(value):
        return sort_by_position(document, [too_large])
    return sort_by_position(
        document,
        [*check_model(SettingFile, value, ()), *check_rules(value), *check_features(value)],
    )


def _unreadable(value: Any) -> Diagnostic | None:
    """What is wrong with a setting that could be sent, and never be read back from a node."""
    try:
        check_size(encode_canonical(strip_editor_key(value)), LIMITS)
    except JsonError as error:
        return Diagnostic(
            Severity.ERROR,
            "setting-too-large",
            f"the setting cannot be read back from a node: {error}",
            "leave out what the node does not need, or spread `hosting` over several clusters",
        )
    return None


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


def check_features(document: Any) -> Iterator[Diagnostic]:
    """Every breach of these rules in a whole document.

    What is wrong in a feature that is not enabled is a warning: the node does not look at it.
    """
    yield from find_repeated_names(document, (*SERVER, "connection"), "connection")
    yield from _connections(document)
    for feature, side in FEEDS:
        yield from _side(document, feature, side)
    yield from _backup(document)
    yield from _propagation(document)


def _connections(document: Any) -> Iterator[Diagnostic]:
    for index, item in get_items(document, *SERVER, "connection"):
        kind = get_object(item).get("type")
        path = (*SERVER, "connection", index)
        if isinstance(kind, str) and kind not in CONNECTIONS:
            said = f'there is no connection type "{kind}"'
            yield Diagnostic(
                Severity.ERROR,
                "unknown-value",
                said,
                suggest_known(kind, CONNECTIONS, "types"),
                pointer=make_pointer((*path, "type")),
            )
        elif isinstance(kind, str):
            yield from check_model(CONNECTIONS[kind], get_object(item, "info"), (*path, "info"))


def _side(document: Any, feature: str, side: str) -> Iterator[Diagnostic]:
    """One feed or feedback of one feature."""
    path = (*SERVER, "features", feature, side)
    enabled = get_value(document, (*SERVER, "features", feature, "enable")) is True
    severity = Severity.ERROR if enabled else Severity.WARNING
    kind = get_object(document, *path).get("type") or ""
    if not isinstance(kind, str):
        return
    if not kind and enabled and side == ("feedback" if feature in _ONLY_FEEDBACK else "feed"):
        said = f'the feature "{feature}" is enabled but its {side} has no type, so nothing happens'
        yield Diagnostic(Severity.WARNING, "idle-feature", said, pointer=make_pointer((*path, "type")))
    known = FEEDS[feature, side]
    info: Mapping[str, Any] = get_object(document, *path, "info")
    for one in split_types(kind, (feature, side)):
        if one not in known:
            said = f'the {side} of "{feature}" has no type "{one}"'
            yield Diagnostic(
                severity,
                "unknown-value",
                said,
                suggest_known(one, known, "types"),
                pointer=make_pointer((*path, "type")),
            )
            continue
        for fault in check_model(known[one], info, (*path, "info")):
            yield replace(fault, severity=severity)
        if one in NEEDS:
            yield from _connect(document, (*path, "info", "connect"), NEEDS[one], severity)
        yield from _schedule((*path, "info", "schedule"), info.get("schedule"), severity)


def _connect(document: Any, path: Path, wanted: str, severity: Severity) -> Iterator[Diagnostic]:
    """`connect` names a connection, and one of the type that can do it."""
    name = get_value(document, path)
    if not isinstance(name, str):
        return
    types = {known: item.get("type") for _, known, item in get_named_items(document, *SERVER, "connection")}
    if name not in types:
        said = f'there is no connection "{name}"'
        yield Diagnostic(
            severity,
            "unknown-connection",
            said,
            suggest_known(name, types, "connections"),
            pointer=make_pointer(path),
        )
    elif types[name] != wanted:
        fitting = sorted(known for known, kind in types.items() if kind == wanted)
        said = f'the connection "{name}" is of type {types[name]}, and {wanted} is needed here'
        remedy = (
            f"connections of that type: {', '.join(fitting)}" if fitting else f"define one of type {wanted}"
        )
        yield Diagnostic(severity, "wrong-connection-type", said, remedy, pointer=make_pointer(path))


def _schedule(path: Path, text: Any, severity: Severity) -> Iterator[Diagnostic]:
    if not isinstance(text, str):
        return
    count = len(text.split())
    if count != CRON_FIELDS:
        said = f'"{text}" has {count} fields, and M2 reads six, seconds first'
        remedy = f"write 0 {text}" if count == CRON_FIELDS - 1 else "such as */15 * * * * *"
        yield Diagnostic(severity, "bad-schedule", said, remedy, pointer=make_pointer(path))
        return
    wrong = find_cron_error(text)
    if wrong:
        said = f'"{text}" is not a schedule: {wrong}'
        yield Diagnostic(severity, "bad-schedule", said, "such as */15 * * * * *", pointer=make_pointer(path))


def _backup(document: Any) -> Iterator[Diagnostic]:
    enabled = get_object(document, *BACKUP).get("enable") is True
    severity = Severity.ERROR if enabled else Severity.WARNING
    if enabled or get_object(document, *BACKUP).get("connect"):
        yield from _connect(document, (*BACKUP, "connect"), "httpAwsSig4", severity)


def _propagation(document: Any) -> Iterator[Diagnostic]:
    count = len(get_items(document, *NODELIST))
    if count > MOST_PROPAGATED:
        said = f"`nodelist` names {count} nodes, and a purge is passed on to at most {MOST_PROPAGATED}"
        yield Diagnostic(Severity.ERROR, "too-many-nodes", said, pointer=make_pointer(NODELIST))
