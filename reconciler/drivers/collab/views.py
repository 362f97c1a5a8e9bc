"""What Redis and the load balancer of a cluster show; the servers' own view is `status_view.StatusView`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

from reconciler.core.canonical import fingerprint
from reconciler.drivers.collab.status_view import StatusView


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisView:
    """What Redis shows of itself.

    Args:
        run_id: of its process, another one after each start; empty if it may not be read.
        is_loading: whether it does not serve yet.
        accepts: whether it accepts the password that it is to demand, by AUTH; None if none is desired.
        is_open: whether it lets in who shows no password.
        passwords: SHA-256 of each password that it accepts now, as it keeps them; None if that may not be
            read. Never shown, since guesses could be tested against them.
        config: key -> value with which it runs, of the keys that are desired, without `requirepass`; keys
            that may not be read are left out.
        acl_file: its `aclfile`; empty for none.
        is_logged_in: whether a known password, or none, let this host in.
    """

    run_id: str = ""
    is_loading: bool = False
    accepts: bool | None = None
    is_open: bool = False
    passwords: frozenset[str] | None = field(default=None, repr=False)
    config: Mapping[str, str] = field(default_factory=dict)
    acl_file: str = ""
    is_logged_in: bool = True

    @property
    def fingerprint(self) -> str:
        """What a plan file knows it by: nothing from which a password could be guessed."""
        return fingerprint(
            {
                "run": self.run_id,
                "loading": self.is_loading,
                "accepts": self.accepts,
                "open": self.is_open,
                "passwords": None if self.passwords is None else len(self.passwords),
                "config": dict(sorted(self.config.items())),
                "acl": self.acl_file,
                "in": self.is_logged_in,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerView:
    """What is seen through the load balancer.

    Args:
        status: of the one server that it chose; None if `/status` through it is not a server's.
        marker: text of the header by which its loaded file is known; empty without one.
        handshake: status with which it answers the start of a WebSocket at `/socket.io/`; 0 for none.
        problem: why there is no status or no handshake, for people.
    """

    status: StatusView | None = None
    marker: str = ""
    handshake: int = 0
    problem: str = ""

    @property
    def is_working(self) -> bool:
        """Whether both ways through it work."""
        return self.status is not None and self.handshake == HTTPStatus.SWITCHING_PROTOCOLS

    @property
    def fingerprint(self) -> str:
        """What a plan file knows it by; which server it chose does not count."""
        return fingerprint([self.status is not None, self.marker, self.handshake])


CollabView: TypeAlias = StatusView | RedisView | BalancerView
"""What a node of a cluster shows, by its role."""
