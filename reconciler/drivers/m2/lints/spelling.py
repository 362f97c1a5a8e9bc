"""The lint of keys that are not known: a slip of the pen turns a setting into one that nothing reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, get_args

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.check import MANAGEMENT
from reconciler.drivers.m2.setting.diagnostics import Path, get_object
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS
from reconciler.drivers.m2.setting.models import Discover, Group, Management, SettingFile, SettingPart
from reconciler.text.json_pointer import make_pointer
from reconciler.text.suggestions import find_nearest

CODES: Final = frozenset({"unfamiliar-key"})

Fields: TypeAlias = Mapping[str, type[SettingPart] | None]

_NEAR: Final = 0.85
"""How much a key is like a known one to be a slip, where the product has keys that are not known here."""

_SOME: Final = 0.6
"""The same where all keys are known."""


def lint_spelling(management: Mapping[str, Any], key: str) -> Iterator[Diagnostic]:
    """Keys that are not known at any depth below one key of `env.management`, all of whose keys are."""
    inner = _fields(Management)[key]
    if inner is not None:
        yield from _below(management.get(key), inner, (*MANAGEMENT, key))
    if key == "server":
        yield from _infos(get_object(management, key))


def lint_top_keys(document: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Keys at the top of a document that are nearly a known one."""
    yield from _strange(document, _fields(SettingFile), (), whole=False)


def lint_section_keys(value: Any, key: str) -> Iterator[Diagnostic]:
    """Keys of one top-level section, beside and above those that `lint_spelling` looks at.

    The product is larger there: those alone count that are nearly a known one.
    """
    if key == MANAGEMENT[0]:
        yield from _strange(get_object(value, *MANAGEMENT[1:]), _fields(Management), MANAGEMENT, whole=True)
    inner = _fields(SettingFile).get(key)
    if inner is not None:
        yield from _below(value, inner, (key,), whole=False)


def _below(value: Any, model: type[SettingPart], path: Path, *, whole: bool = True) -> Iterator[Diagnostic]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _below(item, model, (*path, index), whole=whole)
    elif isinstance(value, Mapping):
        yield from _within(value, _fields(model), path, whole=whole)


def _within(value: Mapping[str, Any], fields: Fields, path: Path, *, whole: bool) -> Iterator[Diagnostic]:
    yield from _strange(value, fields, path, whole=whole)
    for key, item in value.items():
        inner = fields.get(key)
        if inner is not None and inner is not Management:
            yield from _below(item, inner, (*path, key), whole=whole)


def _strange(value: Mapping[str, Any], known: Fields, path: Path, *, whole: bool) -> Iterator[Diagnostic]:
    """Keys of one object that are not known; where they are not all known, those that are nearly."""
    for key in value:
        if key in known:
            continue
        names = list(known) if whole else [name for name in known if name not in value]
        near = find_nearest(key, names, cutoff=_SOME if whole else _NEAR)
        if near or whole:
            remedy = f'did you mean "{near}"?' if near else f"the keys here are {', '.join(known)}"
            said = f"`{key}` is not a known key, and goes to the nodes as it stands"
            yield Diagnostic(
                Severity.WARNING, "unfamiliar-key", said, remedy, pointer=make_pointer((*path, key))
            )


def _infos(server: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Keys in the `info` of connections, by their type, and of feeds and feedbacks, of whichever type."""
    path = (*MANAGEMENT, "server")
    connections = server.get("connection")
    for index, item in enumerate(connections if isinstance(connections, list) else ()):
        shape = CONNECTIONS.get(str(get_object(item).get("type")))
        if shape is not None:
            info: Mapping[str, Any] = get_object(item, "info")
            yield from _below(info, shape, (*path, "connection", index, "info"))
    for side, types in FEEDS.items():
        part: Mapping[str, Any] = get_object(server, "features", *side)
        known = {key: inner for shape in types.values() for key, inner in _fields(shape).items()}
        yield from _within(get_object(part, "info"), known, (*path, "features", *side, "info"), whole=True)


@cache
def _fields(model: type[SettingPart]) -> Fields:
    """The keys of a model, each with the model of what stands there, or of the items of its list."""
    found = {field.alias or name: _inner(field.annotation) for name, field in model.model_fields.items()}
    return {**found, "members": Group} if model is Discover else found


def _inner(kind: Any) -> type[SettingPart] | None:
    if isinstance(kind, type) and issubclass(kind, SettingPart):
        return kind
    return next((inner for each in get_args(kind) if (inner := _inner(each)) is not None), None)
