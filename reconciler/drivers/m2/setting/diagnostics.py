"""What is wrong in a `setting.json` gets its position; and what the rules about settings share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ValidationError

from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.secrets.patterns import sounds_secret
from reconciler.text.json_pointer import make_pointer, split_pointer
from reconciler.text.suggestions import find_nearest

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the top of a document to a value."""


WRONG_TYPE: Final = "wrong-type"
"""Code of a value of another type than belongs there."""


def sort_by_position(document: Document, faults: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Faults as problems, each once, in the order of their positions.

    A fault at a secret is dropped: its value is not known here. But it is text, so that it is wrong where
    no text may stand.

    Args:
        document: the file that the pointers go into.
        faults: with a pointer alone, in any order.
    """
    found = {}
    for fault in faults:
        if fault.code != WRONG_TYPE and isinstance(
            get_value(document.value, split_pointer(fault.pointer)), Secret
        ):
            continue
        place = document.position(fault.pointer)
        found[fault.pointer, fault.code, fault.message] = replace(fault, position=place)
    return sorted(found.values(), key=lambda problem: (problem.position, problem.pointer, problem.code))


def get_value(value: Any, path: Iterable[str | int]) -> Any:
    """The value at a path; None where there is none, or where something of another shape is in the way."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and str(part).isdecimal():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def get_object(value: Any, *path: str | int) -> Mapping[str, Any]:
    """The object at a path; an empty one where there is none."""
    found = get_value(value, path)
    return found if isinstance(found, Mapping) else {}


def get_items(value: Any, *path: str | int) -> list[tuple[int, Any]]:
    """The numbered items of the list at a path; none where there is no list."""
    found = get_value(value, path)
    return list(enumerate(found)) if isinstance(found, list | tuple) else []


def get_named_items(value: Any, *path: str | int) -> list[tuple[int, str, Mapping[str, Any]]]:
    """(index, name, item) of the items of a list that are objects with a name."""
    return [
        (index, item["name"], item)
        for index, item in get_items(value, *path)
        if isinstance(item, Mapping) and isinstance(item.get("name"), str)
    ]


def check_model(model: type[BaseModel], value: Any, base: Path) -> list[Diagnostic]:
    """What a model says of a value at `base`; what stands under a key that sounds secret is not shown."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return translate_model_errors(
            find_model_errors(error, model, value), None, make_pointer(base), is_secret=sounds_secret
        )
    return []


def suggest_known(name: str, known: Iterable[str], what: str) -> str:
    """A remedy for an unknown name: the nearest known one, and all of them where they are few."""
    names = sorted(set(known))
    if meant := find_nearest(name, names):
        return f'did you mean "{meant}"?'
    return f"known {what}: {', '.join(names[:12])}" if names else f"no {what} are defined"
