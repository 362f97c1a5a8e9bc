"""Limits failed attempts of each caller, in bounded memory."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from reconciler.core.endpoint import is_ip_address, unmap_address
from reconciler.server.access.refusal import AccessRefused

FAILURES: Final = 10
"""Failed attempts of one caller within `PERIOD`."""

PERIOD: Final = 60.0
"""Seconds over which failures are counted."""

CALLERS: Final = 4096
"""Callers with a count of their own; the one whose period began first is forgotten for a new one."""

_SHARED_BITS: Final = 64


@dataclass(slots=True)
class _Failures:
    since: float
    count: int = 0


class FailureLimit:
    """Counts failed attempts of callers.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def check(self, caller: str) -> None:
        """Admit another attempt.

        Args:
            caller: its address.

        Raises:
            AccessRefused: there were too many failures; it says when to try again.
        """
        found = self._failures.get(_name_caller(caller))
        if found is None or found.count < FAILURES:
            return
        wait = math.ceil(found.since + PERIOD - self._clock())
        if wait > 0:
            raise AccessRefused(
                "too many failed attempts", remedy=f"try again in {wait} s", status=429, wait=wait
            )

    def count(self, caller: str) -> None:
        """Count a failed attempt."""
        name, now = _name_caller(caller), self._clock()
        found = self._failures.get(name)
        if found is None or now - found.since >= PERIOD:
            self._failures.pop(name, None)
            found = self._failures[name] = _Failures(now)
            if len(self._failures) > CALLERS:
                self._failures.popitem(last=False)
        found.count += 1


def _name_caller(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 network of an IPv6 address."""
    if not is_ip_address(address):
        return ""
    found = unmap_address(ip_address(address))
    # One customer has a whole /64 network, and could use another address for each attempt.
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found), _SHARED_BITS), strict=False))
    return str(found)
