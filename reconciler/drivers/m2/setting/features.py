"""Rules of `env.management.server`: types that exist, connections that fit, schedules that can be met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.cron import find_cron_error
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.diagnostics import (
    Path,
    check_model,
    get_items,
    get_named_items,
    get_object,
    get_value,
    suggest_known,
)
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS, NEEDS, split_types
from reconciler.drivers.m2.setting.models import MOST_PROPAGATED
from reconciler.drivers.m2.setting.rules import MANAGEMENT, find_repeated_names
from reconciler.text.json_pointer import make_pointer

SERVER: Final[Path] = (*MANAGEMENT, "server")
BACKUP: Final[Path] = (*SERVER, "events", "onSettingLoad", "backup")
NODELIST: Final[Path] = (*SERVER, "events", "onPurgeRequest", "propagation", "nodelist")
CRON_FIELDS: Final = 6

_ONLY_FEEDBACK: Final = frozenset({"heartbeat"})


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
