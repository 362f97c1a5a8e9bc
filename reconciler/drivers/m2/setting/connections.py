"""Check of connections and of what uses them: brokers, keys, the bucket of backups, tags; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.core.endpoint import InvalidAddress, format_url_host, parse_endpoint
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.diagnostics import (
    Path,
    check_model,
    get_items,
    get_named_items,
    get_object,
    get_value,
    make_problem,
    suggest_known,
    warn,
)
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS, NEEDS, Aws, split_types
from reconciler.drivers.m2.setting.hostings import check_port
from reconciler.drivers.m2.setting.patterns import TOPIC
from reconciler.text.one_line import join_some

SERVER: Final[Path] = ("env", "management", "server")
CONNECTION: Final[Path] = (*SERVER, "connection")
BACKUP: Final[Path] = (*SERVER, "events", "onSettingLoad", "backup")
BACKUP_TYPE: Final = "httpAwsSig4"
"""Type of the connection that a backup needs (M2 manual, Events)."""

_OPTIONAL: Final = frozenset(
    {"bucket", "authDomain", "databaseUrl", "storageBucket", "messagingSenderId", "clientId", "brokers"}
)
"""Keys that a connection may do without; the model demands `brokers` of Kafka, and a backup its bucket."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    kind: tuple(
        alias for field in model.model_fields.values() if (alias := str(field.alias)) not in _OPTIONAL
    )
    for kind, model in CONNECTIONS.items()
}
"""Type of a connection -> keys without which its service refuses it."""

_ADVISED: Final = frozenset({"apiKey", "appId"})
"""Of these, keys that only identify an app to its project: a warning at most, as an emulator needs none."""

_PAIR: Final = tuple(str(field.alias) for field in Aws.model_fields.values())[:2]
"""The id of a key and the key itself."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]")
_TOPIC = re.compile(TOPIC)
_KAFKA_PORT: Final = 9092
_TAG_LENGTHS: Final = (128, 256)
"""Characters of a tag's key and of its value at most, in both clouds or in the wider one."""

_TAG_FORM: Final = "write KEY=VALUE; for each tag, or KEY=; for any value, such as type=parent;type=child;"


def check_connections(document: Any) -> Iterator[Diagnostic]:
    """The connections: their types, and what each type needs."""
    users = _find_users(document)
    for index, item in get_items(document, *CONNECTION):
        kind, path = get_object(item).get("type"), (*CONNECTION, index)
        if isinstance(kind, str) and kind not in CONNECTIONS:
            message = f'unknown connection type "{kind}"'
            remedy = suggest_known(kind, CONNECTIONS, "types")
            yield make_problem((*path, "type"), "unknown-value", message, remedy)
        elif isinstance(kind, str):
            yield from check_model(CONNECTIONS[kind], get_object(item, "info"), (*path, "info"))
            name = str(get_object(item).get("name") or "")
            yield from _check_keys((*path, "info"), name, kind, get_object(item, "info"), users.get(name, []))
        yield from _check_brokers((*path, "info", "brokers"), get_items(item, "info", "brokers"))


def _find_users(document: Any) -> dict[str, list[str]]:
    """Name of a connection -> what is enabled and uses it."""
    users: dict[str, list[str]] = {}
    for feature, side in FEEDS:
        part = get_object(document, *SERVER, "features", feature)
        kind = get_object(part, side).get("type")
        name = get_object(part, side, "info").get("connect")
        is_used = isinstance(kind, str) and any(one in NEEDS for one in split_types(kind, (feature, side)))
        if part.get("enable") is True and is_used and isinstance(name, str):
            users.setdefault(name, []).append(f"{feature}.{side}")
    backup = get_object(document, *BACKUP)
    if backup.get("enable") is True and isinstance(backup.get("connect"), str):
        users.setdefault(backup["connect"], []).append("onSettingLoad.backup")
    return users


def _check_keys(
    path: Path, name: str, kind: str, info: Mapping[str, Any], users: list[str]
) -> Iterator[Diagnostic]:
    """Keys that a type needs; an error if something that is enabled uses the connection."""
    for key in _REQUIRED.get(kind, ()):
        value = info.get(key)
        severity = Severity.ERROR if users and key not in _ADVISED else Severity.WARNING
        if (value is not None and not isinstance(value, str)) or (isinstance(value, str) and value.strip()):
            continue
        why = f"which a connection of type {kind} needs"
        other = next((one for one in _PAIR if key in _PAIR and one != key), "")
        if other and info.get(other):
            why = f"although it has `{other}`: the two belong together"
        state = "no" if value is None else "an empty"
        used = f"; `{join_some(users, 3)}` uses it" if users else "; nothing that is enabled uses it yet"
        message = f'the connection "{name}" has {state} `{key}`, {why}{used}'
        remedy = f"write `{key}` into its `info`; for a secret, a reference such as ${{env:NAME}}"
        yield make_problem((*path, key), "connection-without-key", message, remedy, severity)


def _check_brokers(path: Path, brokers: list[tuple[int, Any]]) -> Iterator[Diagnostic]:
    first: dict[str, int] = {}
    for index, broker in brokers:
        if not isinstance(broker, str):
            continue
        problems = [*check_port((*path, index), broker)] or [*_check_broker((*path, index), broker)]
        yield from problems
        if problems:
            continue
        place = parse_endpoint(broker)
        known = first.setdefault(f"{place.host}:{place.port}", index)
        if known != index:
            message = f'the broker "{broker}" is listed twice, first as item {known + 1} of the list'
            yield warn((*path, index), "duplicate-broker", message, "remove one of the two")


def _check_broker(path: Path, broker: str) -> Iterator[Diagnostic]:
    """A broker is HOST:PORT, and one text names one broker (M2 manual, Connections)."""
    text = broker.strip()
    form = f"write HOST:PORT, such as kafka-1.example.com:{_KAFKA_PORT} or [2001:db8::1]:{_KAFKA_PORT}"
    if not text:
        yield make_problem(path, "bad-broker", "the broker is an empty text", form)
        return
    if "," in text or ";" in text:
        message, remedy = f'"{broker}" names several brokers', "write each broker as an item of the list"
        yield make_problem(path, "bad-broker", message, remedy)
        return
    if "://" in text:
        message, remedy = f'"{broker}" is a URL', f"write {text.partition('://')[2].rstrip('/')}"
        yield make_problem(path, "bad-broker", message, remedy)
        return
    try:
        place = parse_endpoint(broker)
    except InvalidAddress as error:
        yield make_problem(path, "bad-broker", f'the broker "{broker}" {error.message}', form)
        return
    if place.port is None:
        message = f'the broker "{broker}" has no port'
        remedy = f"write {format_url_host(place.host)}:{_KAFKA_PORT} if it listens at Kafka's usual port"
        yield make_problem(path, "bad-broker", message, remedy)


def check_connect(document: Any, path: Path, wanted: str, severity: Severity) -> Iterator[Diagnostic]:
    """`connect` names a connection of the type that the feature needs (M2 manual, Connections)."""
    name = get_value(document, path)
    if not isinstance(name, str):
        return
    types = {known: item.get("type") for _, known, item in get_named_items(document, *CONNECTION)}
    if name not in types:
        remedy = suggest_known(name, types, "connections")
        message = f'the connection "{name}" is not defined' if name else "`connect` is empty"
        yield make_problem(path, "unknown-connection", message, remedy, severity)
    elif types[name] != wanted:
        fitting = sorted(known for known, kind in types.items() if kind == wanted)
        message = f'the connection "{name}" has the type {types[name]}, expected {wanted}'
        remedy = (
            f"connections of that type: {', '.join(fitting)}" if fitting else f"define one of type {wanted}"
        )
        yield make_problem(path, "wrong-connection-type", message, remedy, severity)


def check_backup(document: Any) -> Iterator[Diagnostic]:
    """The backup names a connection of its type, and that one a bucket."""
    backup = get_object(document, *BACKUP)
    enabled, name = backup.get("enable") is True, backup.get("connect")
    if not enabled and not name:
        return
    severity = Severity.ERROR if enabled else Severity.WARNING
    if name is None:
        message = "the backup is enabled, and `connect` names no connection with a bucket"
        remedy = f"write the name of a connection of the type {BACKUP_TYPE}"
        yield make_problem((*BACKUP, "connect"), "unknown-connection", message, remedy)
    yield from check_connect(document, (*BACKUP, "connect"), BACKUP_TYPE, severity)
    for index, known, item in get_named_items(document, *CONNECTION):
        if known != name or item.get("type") != BACKUP_TYPE:
            continue
        bucket, path = get_object(item, "info").get("bucket"), (*CONNECTION, index, "info", "bucket")
        if bucket is None or (isinstance(bucket, str) and not bucket.strip()):
            state = "no" if bucket is None else "an empty"
            message = f'the connection "{known}" has {state} `bucket`, and the backup is stored in it'
            remedy = "write the name of the bucket"
            yield make_problem(path, "empty-bucket", message, remedy, severity)
        elif isinstance(bucket, str) and not _BUCKET.fullmatch(bucket):
            message = f'"{bucket}" is not a name that a bucket can have'
            remedy = "write its name alone: 3 to 63 lower-case letters, digits, dots and hyphens"
            yield make_problem(path, "bad-bucket", message, remedy, Severity.WARNING)


def check_names(path: Path, info: Mapping[str, Any], severity: Severity) -> Iterator[Diagnostic]:
    """Names of what a connection is used for: topics and documents."""
    for keys in (("topic",), ("subscribe", "topic"), ("doc",), ("groupId",)):
        value = get_value(info, keys)
        if not isinstance(value, str):
            continue
        key = keys[-1]
        if not value.strip():
            yield make_problem(
                (*path, *keys), "empty-text", f"`{key}` is empty", f"write the {key} that is meant", severity
            )
        elif key == "topic" and not _TOPIC.fullmatch(value):
            message = f'"{value}" is not a name that a topic can have'
            remedy = "use at most 249 letters, digits, dots, hyphens and underscores"
            yield make_problem((*path, *keys), "bad-topic", message, remedy, severity)


def check_tag(path: Path, text: Any, severity: Severity) -> Iterator[Diagnostic]:
    """`tag` is a list of `key=value;` or `key=;` (M2 manual, nodelist)."""
    if not isinstance(text, str):
        return
    parts = text.split(";")
    if text.strip() and parts[-1].strip():
        message = f'"{text}" does not end in ";", as every tag does'
        yield make_problem(path, "bad-tag", message, f"write {text};", Severity.WARNING)
    else:
        parts.pop()
    if not parts:
        yield make_problem(path, "bad-tag", "`tag` is empty, so it selects nothing", _TAG_FORM, severity)
    seen: set[str] = set()
    for number, part in enumerate(parts, 1):
        if wrong := _find_tag_error(part):
            where = f'the tag "{part}"' if part.strip() else f'tag {number} of "{text}"'
            yield make_problem(path, "bad-tag", f"{where} {wrong}", _TAG_FORM, severity)
        elif part in seen:
            yield warn(path, "bad-tag", f'the tag "{part}" is listed twice', "remove one of the two")
        seen.add(part)


def _find_tag_error(part: str) -> str:
    """What is wrong with one tag, to follow it in a sentence; empty for a good one."""
    key, mark, value = part.partition("=")
    if not part.strip():
        return "is empty"
    if not mark:
        return 'has no "="'
    if not key.strip():
        return "has no key"
    if key != key.strip() or value != value.strip():
        return "begins or ends with a blank, and so does its key or its value then"
    if len(key) > _TAG_LENGTHS[0] or len(value) > _TAG_LENGTHS[1]:
        return f"is too long: a key has at most {_TAG_LENGTHS[0]} characters, a value {_TAG_LENGTHS[1]}"
    return ""
