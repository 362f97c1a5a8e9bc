"""What a product brings to the conformance suite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Life:
    """One product's fleet: `machines` run from the start, `first` and `second` are desired in turn."""

    machines: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]
    shows: Callable[[Any, str], Any]
