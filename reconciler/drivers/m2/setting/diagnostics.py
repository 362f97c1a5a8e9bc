"""Access to the values of a `setting.json`, and diagnostics with the position of a value; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError

from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.secrets.patterns import is_secret_key
from reconciler.text.json_pointer import make_pointer, split_pointer
from reconciler.text.json_values import is_array, is_object
from reconciler.text.suggestions import find_nearest

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value."""

WRONG_TYPE: Final = "wrong-type"
"""Code of a value of the wrong type."""


def sort_by_position(document: Document, problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The problems with their positions, each once, in the order of these.

    Args:
        document: the file that the pointers of the problems refer to.
        problems: with a pointer and without a position, in any order.
    """
    found = {}
    for problem in problems:
        # The value of a secret may be unknown here, so a rule about it cannot fail; that it is text is known.
        if problem.code != WRONG_TYPE and isinstance(
            get_value(document.value, split_pointer(problem.pointer)), Secret
        ):
            continue
        position = document.position(problem.pointer)
        found[problem.pointer, problem.code, problem.message] = replace(problem, position=position)
    return sorted(found.values(), key=lambda problem: (problem.position, problem.pointer, problem.code))


def get_value(value: Any, path: Iterable[str | int]) -> Any:
    """The value at a path; None where the path does not exist."""
    for part in path:
        if is_object(value):
            value = value.get(part)
        elif is_array(value) and str(part).isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def get_object(value: Any, *path: str | int) -> Mapping[str, Any]:
    """The object at a path; an empty one where there is no object."""
    found = get_value(value, path)
    return found if is_object(found) else {}


def get_items(value: Any, *path: str | int) -> list[tuple[int, Any]]:
    """(index, item) of the list at a path; empty where there is no list."""
    found = get_value(value, path)
    return list(enumerate(found)) if isinstance(found, list | tuple) else []


def get_named_items(value: Any, *path: str | int) -> list[tuple[int, str, Mapping[str, Any]]]:
    """(index, name, item) of those items of a list that are objects with a text as `name`."""
    return [
        (index, item["name"], item)
        for index, item in get_items(value, *path)
        if isinstance(item, Mapping) and isinstance(item.get("name"), str)
    ]


def make_problem(
    path: Path, code: str, message: str, remedy: str = "", severity: Severity = Severity.ERROR
) -> Diagnostic:
    """A diagnostic about the value at a path; `sort_by_position` adds its position."""
    return Diagnostic(severity, code, message, remedy, pointer=make_pointer(path))


def warn(path: Path, code: str, message: str, remedy: str = "") -> Diagnostic:
    """A warning about the value at a path."""
    return make_problem(path, code, message, remedy, Severity.WARNING)


def check_model(model: type[BaseModel], value: Any, base: Path) -> list[Diagnostic]:
    """The problems of a value under a model; values of keys that sound secret are not shown.

    Args:
        model: what the value has to fulfil.
        value: a plain value.
        base: path of the value in its document.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        return translate_model_errors(
            find_model_errors(error, model, value), None, make_pointer(base), is_secret=is_secret_key
        )
    return []


def suggest_known(name: str, known: Iterable[str], kind: str) -> str:
    """A remedy for an unknown name: the nearest known name, or else the first twelve.

    Args:
        name: the unknown name.
        known: the known names.
        kind: what they name, in the plural.
    """
    names = sorted(set(known))
    if nearest := find_nearest(name, names):
        return f'did you mean "{nearest}"?'
    return f"known {kind}: {', '.join(names[:12])}" if names else f"no {kind} are defined"
