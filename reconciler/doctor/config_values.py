"""Walks through a checked configuration: each value with its place; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel


def list_values(value: Any, place: str = "", *, without: Collection[str] = ()) -> Iterator[tuple[str, Any]]:
    """The place and the value of everything that has no parts.

    Args:
        value: a model, or what is in one.
        place: of the value: `section.entry.key`. Items of a list have that of the list.
        without: places that are left out, with all below them.
    """
    if place in without:
        return
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from list_values(getattr(value, name), f"{place}.{name}".strip("."), without=without)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from list_values(one, f"{place}.{name}", without=without)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from list_values(one, place, without=without)
    else:
        yield place, value
