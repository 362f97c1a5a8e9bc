"""Check of one `setting.json`: types, limits, names and addresses, each problem with its position; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.canonical import EDITOR_KEY, encode_canonical, strip_editor_key
from reconciler.core.cron import find_cron_error
from reconciler.core.endpoint import InvalidAddress, is_ip_address, parse_endpoint
from reconciler.core.json_reader import JsonError, JsonLimits, check_size
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.documents.model_errors import describe_value
from reconciler.drivers.m2.address_range import parse_address_range
from reconciler.drivers.m2.setting.connections import (
    SERVER,
    check_backup,
    check_connect,
    check_connections,
    check_names,
    check_tag,
)
from reconciler.drivers.m2.setting.diagnostics import (
    Path,
    check_model,
    get_items,
    get_named_items,
    get_object,
    get_value,
    make_problem,
    sort_by_position,
    suggest_known,
    warn,
)
from reconciler.drivers.m2.setting.feeds import FEEDS, NEEDS, split_types
from reconciler.drivers.m2.setting.hostings import check_hostings, check_port
from reconciler.drivers.m2.setting.models import FACTORY_ROLES, MOST_PROPAGATED, Group, SettingFile
from reconciler.drivers.m2.setting.patterns import CLOUD, URL
from reconciler.text.suggestions import find_nearest

LIMITS: Final = JsonLimits(size=8 * 1024 * 1024, values=200_000)
"""Limits of a setting, in a file and in a node's answer."""

MANAGEMENT: Final[Path] = ("env", "management")
MEMBERS: Final[Path] = (*MANAGEMENT, "cluster", "discover", "members")
NODELIST: Final[Path] = (*SERVER, "events", "onPurgeRequest", "propagation", "nodelist")
CRON_FIELDS: Final = 6

TOP_KEYS: Final = ("meta", "env", "functions", "hosting")
"""The documented keys at the top of a setting."""

_WRITTEN_OUT: Final = {
    "environment": "env",
    "environments": "env",
    "envs": "env",
    "metadata": "meta",
    "host": "hosting",
    "hosts": "hosting",
    "hostings": "hosting",
    "virtualHosts": "hosting",
    "vhosts": "hosting",
}
_NEAR_TOP_KEY: Final = 0.75  # `setting` is almost `hosting`, and another word
_ONLY_FEEDBACK: Final = frozenset({"heartbeat"})
_REPORTING_CALLS: Final = frozenset({"setting", "purge"})
"""Features whose feedback also reports calls of the node's API (M2 manual, `action.event`)."""
_CLOUD = re.compile(CLOUD)
_URL = re.compile(URL)
_MAX_GUESSES: Final = 12
"""Number of unknown names for which the nearest of all known ones is suggested."""


def check_setting(document: Document, delivered: Any = None) -> list[Diagnostic]:
    """All problems of one file, errors and warnings, in the order of their positions.

    Secrets count as text; what would be wrong with their values cannot be known here.

    Args:
        document: the file.
        delivered: its value with what this program adds; None where it adds nothing.
    """
    value = mask(document.value if delivered is None else delivered)
    try:
        # A setting beyond the limits could be sent, but never be read back from a node.
        check_size(encode_canonical(strip_editor_key(value)), LIMITS)
    except JsonError as error:
        message = f"the setting cannot be read back from a node: {error}"
        remedy = "remove what the node does not need, or split `hosting` over several clusters"
        return sort_by_position(document, [make_problem((), "setting-too-large", message, remedy)])
    problems = [
        *check_model(SettingFile, value, ()),
        *_check_top_level(value),
        *_check_version(value),
        *_check_roles(value),
        *_check_allow_list(value),
        *_find_repeated_names(value, (*MANAGEMENT, "roles"), "role"),
        *_check_members(value),
        *_check_stats(value),
        *_find_repeated_names(value, (*SERVER, "connection"), "connection"),
        *check_connections(value),
        *(problem for feature, side in FEEDS for problem in _check_side(value, feature, side)),
        *_check_events(value),
        *check_hostings(value),
    ]
    return sort_by_position(document, problems)


def list_members(document: Any) -> Iterator[tuple[Path, str]]:
    """(path, text) of every member of the cluster, in groups or not."""
    for index, item in get_items(document, *MEMBERS):
        if isinstance(item, str):
            yield (*MEMBERS, index), item
        for place, node in get_items(item, "nodes"):
            if isinstance(node, str):
                yield (*MEMBERS, index, "nodes", place), node


def get_host(text: str) -> str:
    """The host of an address; empty where the address is invalid."""
    try:
        return parse_endpoint(text).host
    except InvalidAddress:
        return ""


def _find_repeated_names(document: Any, path: Path, kind: str) -> Iterator[Diagnostic]:
    """Items of a list whose name an earlier item has."""
    first: dict[str, int] = {}
    for index, name, _ in get_named_items(document, *path):
        if name in first:
            message = f'the {kind} "{name}" is defined twice, first as item {first[name] + 1} of the list'
            yield make_problem((*path, index, "name"), "duplicate-name", message, "names must be unique")
        first.setdefault(name, index)


def _check_top_level(document: Any) -> Iterator[Diagnostic]:
    """A key at the top that is a misspelt one, where the right one is missing: all below it has no effect."""
    given = document if isinstance(document, Mapping) else {}
    for key in [key for key in given if key not in TOP_KEYS][:_MAX_GUESSES]:
        meant = find_top_key(key)
        if meant and meant not in given:
            message = f"`{key}` is not a key at the top of a setting, and what is below it has no effect"
            yield make_problem((key,), "unknown-key", message, f"did you mean `{meant}`?")


def find_top_key(key: str) -> str:
    """The key at the top of a setting that an unknown one is similar to; empty for none or a known one."""
    if key in TOP_KEYS or key == EDITOR_KEY:
        return ""
    # `environment` is similar to no key by its letters: what people write out is listed.
    known = {key: key for key in TOP_KEYS} | _WRITTEN_OUT
    return known.get(find_nearest(key, known, cutoff=_NEAR_TOP_KEY), "")


def _check_version(document: Any) -> Iterator[Diagnostic]:
    version = get_object(document, "meta").get("version")
    if isinstance(version, bool | list | Mapping):
        message = f"`version` must be text or a number, got {describe_value(version)}"
        yield make_problem(("meta", "version"), "wrong-type", message)


def _check_roles(document: Any) -> Iterator[Diagnostic]:
    """Roles of allowList entries, and `defaultRole` where it is used, are defined.

    A file without roles has the factory's.
    """
    if get_value(document, (*MANAGEMENT, "roles")) is None:
        known = {str(role["name"]) for role in FACTORY_ROLES}
    else:
        known = {name for _, name, _ in get_named_items(document, *MANAGEMENT, "roles")}
    api = get_object(document, *MANAGEMENT, "api")
    default = api.get("defaultRole", "admin")
    entries = get_items(api, "allowList")
    suggested: Iterable[str] = known
    number_unknown = 0
    for index, entry in entries:
        role = get_object(entry).get("role")
        if isinstance(role, str) and role not in known:
            # The nearest of many names for each of many entries takes minutes: a file could stall the check.
            if number_unknown == _MAX_GUESSES:
                suggested = sorted(known)[:_MAX_GUESSES]
            number_unknown += 1
            yield _unknown_role((*MANAGEMENT, "api", "allowList", index, "role"), role, suggested)
    in_use = not entries or any(get_object(entry).get("role") is None for _, entry in entries)
    if isinstance(default, str) and default not in known and ("defaultRole" in api or in_use):
        yield _unknown_role((*MANAGEMENT, "api", "defaultRole"), default, known)


def _unknown_role(path: Path, role: str, known: Iterable[str]) -> Diagnostic:
    return make_problem(
        path, "unknown-role", f'the role "{role}" is not defined', suggest_known(role, known, "roles")
    )


def _check_allow_list(document: Any) -> Iterator[Diagnostic]:
    for index, entry in get_items(document, *MANAGEMENT, "api", "allowList"):
        addr = get_object(entry).get("addr")
        if not isinstance(addr, str):
            continue
        path = (*MANAGEMENT, "api", "allowList", index, "addr")
        try:
            found = parse_address_range(addr)
        except InvalidAddress as error:
            yield make_problem(path, "bad-address", f'"{addr}" {error.message}', error.remedy)
        else:
            if found.version != 4:  # noqa: PLR2004  (the IP version)
                message = (
                    f'"{addr}" is an IPv6 address, which the M2 manual does not document for an allowList'
                )
                yield warn(path, "undocumented-address", message)


def _check_members(document: Any) -> Iterator[Diagnostic]:
    members = get_items(document, *MEMBERS)
    kinds = {isinstance(item, Mapping) for _, item in members if isinstance(item, str | Mapping)}
    if len(kinds) > 1:
        remedy = "put every address into the `nodes` of a group"
        yield make_problem(MEMBERS, "mixed-members", "`members` mixes addresses and groups", remedy)
    for index, item in members:
        path = (*MEMBERS, index)
        if isinstance(item, str):
            yield from _check_member(path, item)
        elif isinstance(item, Mapping):
            yield from check_model(Group, item, path)
            for place, node in get_items(item, "nodes"):
                if isinstance(node, str):
                    yield from _check_member((*path, "nodes", place), node)
        else:
            message = (
                f"item {index + 1} of `members` must be an address or a group, got {describe_value(item)}"
            )
            yield make_problem(path, "wrong-type", message)


def _check_member(path: Path, text: str) -> Iterator[Diagnostic]:
    """A member is an IP address, with or without a port, or a cloud expression after `#`."""
    if text.startswith("#"):
        if not _CLOUD.fullmatch(text):
            message = f'"{text}" is not a cloud expression'
            remedy = (
                "write #aws:vm:tag=K, #oci:vm:tag=K, #aws:vip:tag=K or #oci:vip:tag=K, "
                "with #:8080 at the end for a port"
            )
            yield make_problem(path, "bad-member", message, remedy)
        return
    if re.match(r"(aws|oci):(vm|vip):", text):
        yield make_problem(path, "bad-member", f'"{text}" must begin with "#"', f"write #{text}")
        return
    try:
        host = parse_endpoint(text).host
    except InvalidAddress as error:
        yield make_problem(path, "bad-member", f'"{text}" {error.message}', error.remedy)
        return
    if "://" in text:
        yield make_problem(path, "bad-member", f'"{text}" is a URL', f"write {host}")
    elif not is_ip_address(host):
        message = f'"{text}" is a host name, and the M2 manual documents addresses only'
        yield warn(path, "named-member", message)


def _check_stats(document: Any) -> Iterator[Diagnostic]:
    path = (*MANAGEMENT, "cluster", "stats", "listen")
    listen = get_value(document, path)
    if not isinstance(listen, str):
        return
    try:
        # `*` means all addresses of the node; an endpoint of a client has no such form.
        place = parse_endpoint(listen.replace("*", "0.0.0.0", 1) if listen.startswith("*:") else listen)  # noqa: S104
    except InvalidAddress as error:
        yield make_problem(path, "bad-address", f'"{listen}" {error.message}', "write address:port")
    else:
        if place.port is None or "://" in listen:
            yield make_problem(path, "bad-address", f'"{listen}" has no port', "write address:port")


def _check_side(document: Any, feature: str, side: str) -> Iterator[Diagnostic]:
    """One feed or feedback of one feature.

    In a feature that is not enabled everything is a warning: the node does not look at it.
    """
    path = (*SERVER, "features", feature, side)
    enabled = get_value(document, (*SERVER, "features", feature, "enable")) is True
    severity = Severity.ERROR if enabled else Severity.WARNING
    kind = get_object(document, *path).get("type") or ""
    if not isinstance(kind, str):
        return
    # A feedback also reports what the node is told by its API, without a feed.
    also_reports = feature in _REPORTING_CALLS and bool(
        get_value(document, (*SERVER, "features", feature, "feedback", "type"))
    )
    main = "feedback" if feature in _ONLY_FEEDBACK else "feed"
    if not kind and enabled and side == main and not also_reports:
        message = f'the feature "{feature}" is enabled but its {side} has no type, so it does nothing'
        yield warn((*path, "type"), "idle-feature", message)
    known = FEEDS[feature, side]
    info: Mapping[str, Any] = get_object(document, *path, "info")
    for one in split_types(kind, (feature, side)):
        if one not in known:
            message = f'unknown {side} type "{one}" for the feature "{feature}"'
            remedy = suggest_known(one, known, "types")
            yield make_problem((*path, "type"), "unknown-value", message, remedy, severity)
            continue
        for problem in check_model(known[one], info, (*path, "info")):
            yield replace(problem, severity=severity)
        if one in NEEDS:
            yield from check_connect(document, (*path, "info", "connect"), NEEDS[one], severity)
            yield from check_names((*path, "info"), info, severity)
            yield from check_tag((*path, "info", "tag"), info.get("tag"), severity)
        yield from _check_schedule((*path, "info", "schedule"), info.get("schedule"), severity)
        yield from _check_url((*path, "info", "url"), info.get("url"), severity)


def _check_schedule(path: Path, text: Any, severity: Severity) -> Iterator[Diagnostic]:
    if not isinstance(text, str):
        return
    example = "for example */15 * * * * *"
    if (count := len(text.split())) != CRON_FIELDS:
        message = f'"{text}" has {count} fields; a schedule has six, seconds first'
        remedy = f"write 0 {text}" if count == CRON_FIELDS - 1 else example
        yield make_problem(path, "bad-schedule", message, remedy, severity)
    elif wrong := find_cron_error(text):
        yield make_problem(path, "bad-schedule", f'"{text}" is not a schedule: {wrong}', example, severity)


def _check_url(path: Path, text: Any, severity: Severity) -> Iterator[Diagnostic]:
    """What a node calls is a URL with a host."""
    if not isinstance(text, str) or _URL.fullmatch(text):
        return
    # Not quoted: what is no URL may be a password in the wrong place.
    message = "`url` is empty" if not text else "`url` is not a URL with a host that a node can call"
    yield make_problem(path, "bad-url", message, "write http://HOST/PATH or https://HOST/PATH", severity)


def _check_events(document: Any) -> Iterator[Diagnostic]:
    """The connection of the backup, and the number of nodes to which a purge is propagated."""
    yield from check_backup(document)
    for index, address in get_items(document, *NODELIST):
        yield from check_port((*NODELIST, index), address)
    count = len(get_items(document, *NODELIST))
    if count > MOST_PROPAGATED:
        message = f"`nodelist` names {count} nodes; M2 propagates a purge to at most {MOST_PROPAGATED}"
        yield make_problem(NODELIST, "too-many-nodes", message)
