"""Whether the known parts of a `setting.json` have the types and limits of their models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.fault import WRONG_TYPE, Path
from reconciler.drivers.m2.setting.models import SettingFile
from reconciler.text.json_pointer import pointer

_EXPECTED: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_FOUND: Final = (
    (type(None), "null"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (str, "text"),
    (Mapping, "an object"),
    (Sequence, "a list"),
)

_QUOTED: Final = re.compile('"([^"]*)"')


def faults(document: Any) -> list[Diagnostic]:
    """What the models say of a whole document."""
    return list(misfits(SettingFile, document, ()))


def misfits(model: type[BaseModel], value: Any, base: Path) -> Iterator[Diagnostic]:
    """What a model says of a value that stands at `base`."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            yield _fault(detail, value, base)


def _fault(detail: ErrorDetails, value: Any, base: Path) -> Diagnostic:
    path = _path(detail["loc"], value)
    name = path[-1] if path else base[-1] if base else "the file"
    label = f"item {name + 1}" if isinstance(name, int) else f"`{name}`"
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return Diagnostic(
            Severity.ERROR, "missing-key", f"{label} is missing", pointer=pointer((*base, *path))
        )
    if kind in _EXPECTED:
        found = detail["input"]
        said = f"{label} should be {_EXPECTED[kind]} but is {kind_of(found)}"
        return Diagnostic(
            Severity.ERROR, WRONG_TYPE, said, _unquoted(kind, found), pointer=pointer((*base, *path))
        )
    if kind == "literal_error":
        return Diagnostic(
            Severity.ERROR,
            "unknown-value",
            *_literal(label, context["expected"], detail["input"]),
            pointer=pointer((*base, *path)),
        )
    bounds = {"greater_than_equal": "ge", "less_than_equal": "le"}
    if kind in bounds:
        side = "at least" if kind == "greater_than_equal" else "at most"
        said = f"{label} should be {side} {context[bounds[kind]]} but is {detail['input']}"
        return Diagnostic(Severity.ERROR, "out-of-range", said, pointer=pointer((*base, *path)))
    if kind == "string_too_short":
        return Diagnostic(Severity.ERROR, "empty-text", f"{label} is empty", pointer=pointer((*base, *path)))
    return Diagnostic(
        Severity.ERROR, "wrong-value", f"{label}: {detail['msg']}", pointer=pointer((*base, *path))
    )


def _literal(label: str, expected: str, found: Any) -> tuple[str, str]:
    """What is wrong with a value that is none of those expected (`'rr' or 'hash'`), and the nearest."""
    values = expected.replace("'", '"')
    if not isinstance(found, str):
        return f"{label} should be {values} but is {kind_of(found)}", ""
    close = get_close_matches(found.lower(), _QUOTED.findall(values), n=1)
    meant = f'did you mean "{close[0]}"?' if close else ""
    return f'{label} should be {values} but is "{found}"', meant


def kind_of(value: Any) -> str:
    """What JSON calls the kind of a value."""
    return next((name for kind, name in _FOUND if isinstance(value, kind)), type(value).__name__)


def _path(loc: Sequence[Any], value: Any) -> Path:
    """The part of an error's location that is a path in the document; tags of unions are none."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        if _holds(value, part):
            value = value[part]
        elif isinstance(value, Mapping) and index == len(loc) - 1:
            value = None
        else:
            continue
        path.append(part)
    return tuple(path)


def _holds(value: Any, part: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


def _unquoted(kind: str, found: Any) -> str:
    if not isinstance(found, str):
        return ""
    plain = found.strip().lower()
    if (kind == "bool_type" and plain in {"true", "false"}) or (kind == "int_type" and plain.isdecimal()):
        return f"write {plain} without quotes"
    return ""
