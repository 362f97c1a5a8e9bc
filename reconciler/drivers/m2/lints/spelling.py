"""The lint of unknown keys: with a typing error in its key, a setting has no effect; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, get_args

from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.check import MANAGEMENT, find_top_key
from reconciler.drivers.m2.setting.diagnostics import Path, get_items, get_object, warn
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS
from reconciler.drivers.m2.setting.models import Discover, Group, Management, SettingFile, SettingPart
from reconciler.text.suggestions import find_nearest

CODES: Final = frozenset({"unfamiliar-key"})

Fields: TypeAlias = Mapping[str, type[SettingPart] | None]

_NEAR: Final = 0.85
"""Similarity from which a key counts as a misspelt known key, where the models do not have all keys of M2."""

_MOST_GUESSES: Final = 20

_SOMEWHAT_NEAR: Final = 0.6
"""The same where the models have all keys."""


def lint_spelling(management: Mapping[str, Any], key: str) -> Iterator[Diagnostic]:
    """Unknown keys at any depth below one key of `env.management`, where the models have all keys."""
    model = _list_fields(Management)[key]
    if model is not None:
        yield from _lint_value(management.get(key), model, (*MANAGEMENT, key))
    if key == "server":
        yield from _lint_infos(get_object(management, key))


def lint_top_keys(document: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Misspelt keys at the top of a document; `check` reports one that stands in place of a known key."""
    unknown = [key for key in document if key not in _list_fields(SettingFile)]
    for key in unknown[:_MOST_GUESSES]:
        if (meant := find_top_key(key)) and meant in document:
            message = f"unknown key `{key}` at the top of the setting; it is sent to the nodes unchanged"
            yield warn((key,), "unfamiliar-key", message, f'did you mean "{meant}"?')


def lint_section_keys(value: Any, key: str) -> Iterator[Diagnostic]:
    """Unknown keys of `env.management` itself, and misspelt keys elsewhere in one top-level section."""
    if key == MANAGEMENT[0]:
        management: Mapping[str, Any] = get_object(value, *MANAGEMENT[1:])
        yield from _lint_keys(management, _list_fields(Management), MANAGEMENT, complete=True)
    model = _list_fields(SettingFile).get(key)
    if model is not None:
        yield from _lint_value(value, model, (key,), complete=False)


def _lint_value(
    value: Any, model: type[SettingPart], path: Path, *, complete: bool = True
) -> Iterator[Diagnostic]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _lint_value(item, model, (*path, index), complete=complete)
    elif isinstance(value, Mapping):
        yield from _lint_object(value, _list_fields(model), path, complete=complete)


def _lint_object(
    value: Mapping[str, Any], fields: Fields, path: Path, *, complete: bool
) -> Iterator[Diagnostic]:
    yield from _lint_keys(value, fields, path, complete=complete)
    for key, item in value.items():
        model = fields.get(key)
        if model is not None and model is not Management:
            yield from _lint_value(item, model, (*path, key), complete=complete)


def _lint_keys(
    value: Mapping[str, Any], known: Fields, path: Path, *, complete: bool
) -> Iterator[Diagnostic]:
    """Unknown keys of one object; where `known` is not complete, only those that are almost a known key."""
    for key in value:
        if key in known:
            continue
        # A key that the object has already is not what another one was meant to be.
        names = list(known) if complete else [name for name in known if name not in value]
        near = find_nearest(key, names, cutoff=_SOMEWHAT_NEAR if complete else _NEAR)
        if near or complete:
            remedy = f'did you mean "{near}"?' if near else f"known keys: {', '.join(known)}"
            message = f"unknown key `{key}`; it is sent to the nodes unchanged"
            yield warn((*path, key), "unfamiliar-key", message, remedy)


def _lint_infos(server: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Unknown keys in the `info` of connections, by their type, and of feeds and feedbacks, by all types."""
    path = (*MANAGEMENT, "server")
    for index, item in get_items(server, "connection"):
        model = CONNECTIONS.get(str(get_object(item).get("type")))
        if model is not None:
            info: Mapping[str, Any] = get_object(item, "info")
            yield from _lint_value(info, model, (*path, "connection", index, "info"))
    # By all types: a file may keep the keys of a type that it does not use at present.
    for side, types in FEEDS.items():
        part: Mapping[str, Any] = get_object(server, "features", *side)
        known = {key: inner for model in types.values() for key, inner in _list_fields(model).items()}
        place = (*path, "features", *side, "info")
        yield from _lint_object(get_object(part, "info"), known, place, complete=True)


@cache
def _list_fields(model: type[SettingPart]) -> Fields:
    """Key -> the model of its value or of the items of its list; None where the value has no model."""
    found = {field.alias or name: _find_model(field.annotation) for name, field in model.model_fields.items()}
    return {**found, "members": Group} if model is Discover else found


def _find_model(annotation: Any) -> type[SettingPart] | None:
    if isinstance(annotation, type) and issubclass(annotation, SettingPart):
        return annotation
    return next((model for each in get_args(annotation) if (model := _find_model(each)) is not None), None)
