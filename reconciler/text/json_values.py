"""Which kind of JSON value a Python value is.

The types that JSON itself has, which almost every value is of, are tested first: the test against an abstract
class takes ten times as long, and comparing settings does hardly anything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard


def is_object(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a JSON object."""
    kind = type(value)
    if kind is dict:
        return True
    if kind is str or kind is list or kind is int or kind is bool or value is None:
        return False
    return isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a JSON array."""
    kind = type(value)
    if kind is list or kind is tuple:
        return True
    if kind is str or kind is dict or kind is int or kind is bool or value is None:
        return False
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
