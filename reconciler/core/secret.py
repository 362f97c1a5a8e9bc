"""The type of secrets: compared by value, shown only as a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.text.json_values import is_array, is_object

# The same for every secret: not even its length shows.
MASK = "••••••"

_PLAIN = frozenset({str, int, float, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is never shown.

    Args:
        value: the plain text, or a placeholder for it.
        reference: its name in the desired state, such as `${env:AWS_KEY}`; empty for a literal.
        missing: why its value is not known here, and what would supply it; empty if it is known.
    """

    value: object
    reference: str = ""
    missing: str = ""

    def __repr__(self) -> str:
        return f"Secret({self.reference or MASK})"

    def __str__(self) -> str:
        return self.reference or MASK


def reveal(value: Any) -> Any:
    """A plain value with every secret in plain text: only to send it and to compare it."""
    return _replace_secrets(value, lambda secret: secret.value)


def mask(value: Any) -> Any:
    """A plain value with every secret masked: for everything that is shown or stored."""
    return _replace_secrets(value, str)


def make_secret(value: Any) -> Secret:
    """Any value as a secret: for a value at a place where there is, or was, a secret."""
    return value if isinstance(value, Secret) else Secret(value)


def find_secrets(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Secret]]:
    """(path, secret) of every secret in a plain value."""
    if isinstance(value, Secret):
        yield path, value
        return
    items: Iterable[tuple[Any, Any]] = ()
    if is_object(value):
        items = value.items()
    elif is_array(value):
        items = enumerate(value)
    for place, item in items:
        if type(item) not in _PLAIN:  # most of a value are leaves: no generator is needed for them
            yield from find_secrets(item, (*path, place))


def _replace_secrets(value: Any, shown: Any) -> Any:
    """The value without its secrets; objects and lists that hold none are the same objects, not copies."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    found = value
    if kind is dict:
        found = _replace_within(value, value.items(), shown)
    elif kind is list:
        found = _replace_within(value, enumerate(value), shown)
    elif isinstance(value, Secret):
        found = shown(value)
    elif is_object(value):
        found = {key: _replace_secrets(item, shown) for key, item in value.items()}
    elif is_array(value):
        found = [_replace_secrets(item, shown) for item in value]
    return found


def _replace_within(value: Any, items: Iterable[tuple[Any, Any]], shown: Any) -> Any:
    found = value
    for place, item in items:
        if type(item) not in _PLAIN and (new := _replace_secrets(item, shown)) is not item:
            found = value.copy() if found is value else found
            found[place] = new
    return found
