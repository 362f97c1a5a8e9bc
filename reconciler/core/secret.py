"""Secrets as a type: compared by value, shown only as a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MASK = "••••••"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value nobody may read.

    Args:
        value: the clear text, or what stands for it.
        reference: how the desired state names it, such as `${env:AWS_KEY}`; empty for a literal.
    """

    value: object
    reference: str = ""

    def __repr__(self) -> str:
        return f"Secret({self.reference or MASK})"

    def __str__(self) -> str:
        return self.reference or MASK


def reveal(value: Any) -> Any:
    """A copy of a plain value with every secret in clear: for the wire and for comparing only."""
    return _replaced(value, lambda secret: secret.value)


def mask(value: Any) -> Any:
    """A copy of a plain value with every secret masked: for everything a person or a file sees."""
    return _replaced(value, str)


def _replaced(value: Any, shown: Any) -> Any:
    if isinstance(value, Secret):
        return shown(value)
    if isinstance(value, Mapping):
        return {key: _replaced(item, shown) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_replaced(item, shown) for item in value]
    return value
