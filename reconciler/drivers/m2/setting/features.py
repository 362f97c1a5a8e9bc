"""Rules of `env.management.server`: types that exist, connections that fit, schedules that can be met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.cron import fault_of
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.fault import Path, at, items, mapping, misfits, named, suggested
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS, NEEDS, types_of
from reconciler.drivers.m2.setting.models import MOST_PROPAGATED
from reconciler.drivers.m2.setting.rules import MANAGEMENT, repeated
from reconciler.text.json_pointer import pointer

SERVER: Final[Path] = (*MANAGEMENT, "server")
BACKUP: Final[Path] = (*SERVER, "events", "onSettingLoad", "backup")
NODELIST: Final[Path] = (*SERVER, "events", "onPurgeRequest", "propagation", "nodelist")
CRON_FIELDS: Final = 6

_ONLY_FEEDBACK: Final = frozenset({"heartbeat"})


def faults(document: Any) -> Iterator[Diagnostic]:
    """Every breach of these rules in a whole document.

    What is wrong in a feature that is not enabled is a warning: the node does not look at it.
    """
    yield from repeated(document, (*SERVER, "connection"), "connection")
    yield from _connections(document)
    for feature, side in FEEDS:
        yield from _side(document, feature, side)
    yield from _backup(document)
    yield from _propagation(document)


def _connections(document: Any) -> Iterator[Diagnostic]:
    for index, item in items(document, *SERVER, "connection"):
        kind = mapping(item).get("type")
        path = (*SERVER, "connection", index)
        if isinstance(kind, str) and kind not in CONNECTIONS:
            said = f'there is no connection type "{kind}"'
            yield Diagnostic(
                Severity.ERROR,
                "unknown-value",
                said,
                suggested(kind, CONNECTIONS, "types"),
                pointer=pointer((*path, "type")),
            )
        elif isinstance(kind, str):
            yield from misfits(CONNECTIONS[kind], mapping(item, "info"), (*path, "info"))


def _side(document: Any, feature: str, side: str) -> Iterator[Diagnostic]:
    """One feed or feedback of one feature."""
    path = (*SERVER, "features", feature, side)
    enabled = at(document, (*SERVER, "features", feature, "enable")) is True
    severity = Severity.ERROR if enabled else Severity.WARNING
    kind = mapping(document, *path).get("type") or ""
    if not isinstance(kind, str):
        return
    if not kind and enabled and side == ("feedback" if feature in _ONLY_FEEDBACK else "feed"):
        said = f'the feature "{feature}" is enabled but its {side} has no type, so nothing happens'
        yield Diagnostic(Severity.WARNING, "idle-feature", said, pointer=pointer((*path, "type")))
    known = FEEDS[feature, side]
    info: Mapping[str, Any] = mapping(document, *path, "info")
    for one in types_of(kind, (feature, side)):
        if one not in known:
            said = f'the {side} of "{feature}" has no type "{one}"'
            yield Diagnostic(
                severity,
                "unknown-value",
                said,
                suggested(one, known, "types"),
                pointer=pointer((*path, "type")),
            )
            continue
        for fault in misfits(known[one], info, (*path, "info")):
            yield replace(fault, severity=severity)
        if one in NEEDS:
            yield from _connect(document, (*path, "info", "connect"), NEEDS[one], severity)
        yield from _schedule((*path, "info", "schedule"), info.get("schedule"), severity)


def _connect(document: Any, path: Path, wanted: str, severity: Severity) -> Iterator[Diagnostic]:
    """`connect` names a connection, and one of the type that can do it."""
    name = at(document, path)
    if not isinstance(name, str):
        return
    types = {known: item.get("type") for _, known, item in named(document, *SERVER, "connection")}
    if name not in types:
        said = f'there is no connection "{name}"'
        yield Diagnostic(
            severity, "unknown-connection", said, suggested(name, types, "connections"), pointer=pointer(path)
        )
    elif types[name] != wanted:
        fitting = sorted(known for known, kind in types.items() if kind == wanted)
        said = f'the connection "{name}" is of type {types[name]}, and {wanted} is needed here'
        remedy = (
            f"connections of that type: {', '.join(fitting)}" if fitting else f"define one of type {wanted}"
        )
        yield Diagnostic(severity, "wrong-connection-type", said, remedy, pointer=pointer(path))


def _schedule(path: Path, text: Any, severity: Severity) -> Iterator[Diagnostic]:
    if not isinstance(text, str):
        return
    count = len(text.split())
    if count != CRON_FIELDS:
        said = f'"{text}" has {count} fields, and M2 reads six, seconds first'
        remedy = f"write 0 {text}" if count == CRON_FIELDS - 1 else "such as */15 * * * * *"
        yield Diagnostic(severity, "bad-schedule", said, remedy, pointer=pointer(path))
        return
    wrong = fault_of(text)
    if wrong:
        said = f'"{text}" is not a schedule: {wrong}'
        yield Diagnostic(severity, "bad-schedule", said, "such as */15 * * * * *", pointer=pointer(path))


def _backup(document: Any) -> Iterator[Diagnostic]:
    enabled = mapping(document, *BACKUP).get("enable") is True
    severity = Severity.ERROR if enabled else Severity.WARNING
    if enabled or mapping(document, *BACKUP).get("connect"):
        yield from _connect(document, (*BACKUP, "connect"), "httpAwsSig4", severity)


def _propagation(document: Any) -> Iterator[Diagnostic]:
    count = len(items(document, *NODELIST))
    if count > MOST_PROPAGATED:
        said = f"`nodelist` names {count} nodes, and a purge is passed on to at most {MOST_PROPAGATED}"
        yield Diagnostic(Severity.ERROR, "too-many-nodes", said, pointer=pointer(NODELIST))
