"""Options of the simulators on the command line, such as `m2.match=union`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.ports.driver import Driver
from reconciler.simulation.products import list_simulated_kinds

_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False}


def parse_choices(texts: Iterable[str], drivers: Mapping[str, Driver[Any, Any]]) -> dict[str, Any]:
    """Kind -> its `Choices`, changed by texts of the form `KIND.OPTION=VALUE`.

    Raises:
        UsageError: unknown option or invalid value.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        kind, _, option = name.partition(".")
        simulator = drivers[kind].simulator() if kind in drivers else None
        if simulator is None or not option:
            raise UsageError(
                f"invalid choice {text!r}: expected KIND.OPTION=VALUE",
                remedy=f"KIND is one of {', '.join(list_simulated_kinds(drivers))}",
            )
        current = found.get(kind) or simulator.options
        option = option.replace("-", "_")
        known = [each.name for each in fields(current)] if current is not None else []
        if option not in known:
            raise UsageError(f"unknown choice {option!r} of {kind}", remedy=f"one of {', '.join(known)}")
        found[kind] = replace(current, **{option: _parse_value(name, value, getattr(current, option))})
    return found


def _parse_value(name: str, text: str, like: Any) -> Any:
    """Convert a text to the type of the option's default."""
    if isinstance(like, Enum):
        kinds = type(like)
        if text not in [each.value for each in kinds]:
            raise UsageError(
                f"{name} cannot be {text!r}", remedy=f"one of {', '.join(each.value for each in kinds)}"
            )
        return kinds(text)
    if isinstance(like, bool):
        if text not in _WORDS:
            raise UsageError(f"{name} cannot be {text!r}", remedy="use true or false")
        return _WORDS[text]
    if isinstance(like, int):
        if not text.isdecimal():
            raise UsageError(f"{name} cannot be {text!r}", remedy="use a whole number")
        return int(text)
    return text
