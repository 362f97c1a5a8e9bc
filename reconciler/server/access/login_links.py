"""Links by which a user of this machine logs in with a browser; each works once, for a short time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from reconciler.core.endpoint import SocketAddress, is_ip_address
from reconciler.server.access.secret_texts import digest_secret, make_secret_text

SECONDS: Final = 60.0
"""Seconds in which a link is to be used."""

MOST: Final = 32
"""Links that wait to be used; a new one ends the oldest."""


@dataclass(frozen=True, slots=True)
class LinkedUser:
    """A user of this machine who asked for a link.

    Args:
        name: that the kernel gives.
        groups: of this machine that the user is in.
    """

    name: str
    groups: tuple[str, ...]


@dataclass(slots=True)
class LoginLinks:
    """The links that were given out and not used.

    Args:
        clock: monotonic seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _waiting: OrderedDict[str, tuple[LinkedUser, float]] = field(default_factory=OrderedDict)

    def make(self, name: str, groups: Sequence[str]) -> str:
        """The secret text of a new link."""
        text = make_secret_text()
        self._waiting[digest_secret(text)] = LinkedUser(name, tuple(groups)), self.clock() + SECONDS
        if len(self._waiting) > MOST:
            self._waiting.popitem(last=False)
        return text

    def use(self, text: str) -> LinkedUser | None:
        """Who asked for a link; None if there is none with this text, any more or at all."""
        user, until = self._waiting.pop(digest_secret(text), (None, 0.0))
        return user if self.clock() < until else None


def find_local_address(listen: str) -> SocketAddress | None:
    """Where a browser on this machine reaches what listens at an address; None for nowhere.

    Args:
        listen: `HOST:PORT`, or anything else for no address.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not is_ip_address(host) or not port.isdigit():
        return None
    address = ip_address(host)
    if address.is_unspecified:
        return SocketAddress("127.0.0.1" if address.version == 4 else "::1", int(port))  # noqa: PLR2004
    return SocketAddress(host, int(port)) if address.is_loopback else None
