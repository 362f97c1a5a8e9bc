"""Requests and answers of M2's management API as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote

from reconciler.core.canonical import write_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.choices import Choices

Reply: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""

CLOSED: Final[Reply] = (0, {}, b"")
"""No answer at all: the connection is closed."""

VERSION: Final = "1.1.0"
"""The product version that simulated nodes tell, that of the product's own examples."""

JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class M2Request:
    """One request.

    Args:
        target: path and query as they stand in the request line.
        headers: names in lower case.
        peer: the caller's IP address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str

    @property
    def path(self) -> str:
        """The path without query, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """The last value of each query parameter."""
        return {name: values[-1] for name, values in parse_qs(self.target.partition("?")[2]).items()}


@dataclass(frozen=True, slots=True)
class AllowedCall:
    """A request to a node that is allowed to make it.

    Args:
        reloaded: when the node accepted its last setting, in seconds since the epoch.
    """

    node: machine.M2NodeState
    request: M2Request
    choices: Choices
    reloaded: float


def make_envelope(method: str, status: str, result: Any) -> dict[str, Any]:
    """The object that every JSON answer is, but for settings themselves."""
    return {"version": VERSION, "method": method, "status": status, "result": result}


def make_failure(status: int, reason: str, method: str = "") -> Reply:
    """An answer that says no."""
    return status, JSON, write_json(make_envelope(method, "Fail", reason))
