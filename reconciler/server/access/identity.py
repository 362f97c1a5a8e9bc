"""Who sent a request, and what they may do (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole, Grant


class LoginMethod(StrEnum):
    """How it is known who somebody is."""

    NONE = "none"
    """Somebody on this machine, without a login."""
    TOKEN = "token"  # noqa: S105  (the name of a method)
    OIDC = "oidc"
    PROXY = "proxy"
    LOCAL = "local"
    """The kernel named the user: at the control socket, or by a link that was asked for there."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who sends requests.

    Args:
        name: of the user, or of the token; unique for one method only.
        method: how the name is known.
        grants: what they may do.
    """

    name: str
    method: LoginMethod
    grants: tuple[Grant, ...] = ()

    def allows(self, role: AccessRole, cluster: str = "") -> bool:
        """Whether they have a role.

        Args:
            role: that is needed.
            cluster: that it is about; empty for what concerns all clusters.
        """
        return any(grant.allows(role, cluster) for grant in self.grants)

    @property
    def may_look(self) -> bool:
        """Whether they may look at one cluster at least."""
        return bool(self.grants)

    def make_actor(self, *, host: str = "", why: str = "", claim: str = "") -> Actor:
        """Who did an act, for the history.

        Args:
            host: that the act was done on.
            why: the reason that they give.
            claim: on whose behalf they say that they act.
        """
        # The operating system knows a local user. Every other name is from elsewhere: `kim` of a login must
        # not look like the user `kim` of this machine.
        known = self.name if self.method is LoginMethod.LOCAL else f"{self.method}:{self.name}"
        return Actor(user=known, host=host, claim=claim, why=why)


SOMEBODY_LOCAL: Final = Identity("", LoginMethod.NONE, (Grant(AccessRole.LOOK),))
"""Somebody on this machine without a login: may look."""
