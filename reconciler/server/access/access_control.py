"""Identifies who sends a request, and requires the role that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from reconciler.core.roles import AccessRole
from reconciler.host.config_fields import Network
from reconciler.server.access.arrival import judge_arrival
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity
from reconciler.server.access.refusal import AccessRefused

HOW_TO_ACT = "run `reconcile dashboard` on this machine for a link, or send a token of `reconcile tokens`"
"""What to do about a missing login."""


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Who may do what at the endpoints of one watch.

    Args:
        proxies: networks of trusted proxies.
    """

    proxies: Sequence[Network] = ()

    async def identify(self, request: Request) -> Identity | None:
        """Who sent a request; None if it needs a login.

        Raises:
            AccessRefused: it must not be answered at all.
        """
        return SOMEBODY_LOCAL if judge_arrival(request, self.proxies).is_local else None

    async def require(self, request: Request, role: AccessRole, cluster: str = "") -> Identity:
        """Who sent a request, if they have a role.

        Args:
            request: to look, or to act.
            role: that it needs.
            cluster: that it is about; empty for what concerns all clusters.

        Raises:
            AccessRefused: there is no login (401), or it lacks the role (403).
        """
        identity = await self.identify(request)
        if identity is None or (not identity.name and role is not AccessRole.LOOK):
            raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=401)
        if not identity.allows(role, cluster):
            about = f"cluster {cluster}" if cluster else "all clusters"
            raise AccessRefused(
                f"{identity.name} does not have the role `{role}` for {about}",
                remedy="ask who writes the host configuration for the role",
            )
        return identity

    async def require_act(
        self, request: Request, role: AccessRole, cluster: str = "", *, csrf: str = ""
    ) -> Identity:
        """Who sent a request that changes something, if they have the role.

        Args:
            request: sent by a person, or by a program in their name.
            role: that it needs.
            cluster: that it is about; empty for what concerns all clusters.
            csrf: the hidden field `csrf` of the form; a request without a form has the header `X-CSRF-Token`.
                Not needed with a token, which no browser adds by itself.

        Raises:
            AccessRefused: as `require`, or a page of another origin may have sent it.
        """
        del csrf
        return await self.require(request, role, cluster)

    def make_csrf_token(self, request: Request) -> str:
        """What the forms of a page have in their hidden field `csrf`; empty without a login."""
        del request
        return ""
