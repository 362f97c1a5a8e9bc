"""Who gives an order, and whether they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.core.actor import Actor
from reconciler.core.roles import AccessRole
from reconciler.server.access.access_control import HOW_TO_ACT
from reconciler.server.access.identity import Identity
from reconciler.server.access.refusal import AccessRefused

_NO_LOGIN: Final = 401


@dataclass(frozen=True, slots=True)
class Caller:
    """Who gives an order.

    Args:
        identity: what they may do.
        actor: who they are, for the history.
        origin: where the order came from, for the log.
    """

    identity: Identity
    actor: Actor
    origin: Mapping[str, object] = field(default_factory=dict)

    def require(self, role: AccessRole, cluster: str = "") -> None:
        """Check that they have a role.

        Args:
            role: that the order needs.
            cluster: that it is about; empty for all clusters.

        Raises:
            AccessRefused: they do not have it, or have not logged in.
        """
        if self.identity.allows(role, cluster):
            return
        self.require_somewhere(role)
        about = f"cluster {cluster}" if cluster else "all clusters"
        raise AccessRefused(
            f"{self.identity.name} does not have the role `{role}` for {about}",
            remedy="ask who writes the host configuration for the role",
        )

    def require_somewhere(self, role: AccessRole) -> None:
        """Check that they have a role for one cluster at least, before names are looked up for them.

        Raises:
            AccessRefused: they do not have it, or have not logged in.
        """
        if not self.identity.name:
            raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=_NO_LOGIN)
        if not any(role in {AccessRole.LOOK, grant.role} for grant in self.identity.grants if grant.clusters):
            raise AccessRefused(
                f"{self.identity.name} does not have the role `{role}`",
                remedy="ask who writes the host configuration for the role",
            )

    def require_to_operate(self, cluster: str) -> None:
        """Check that they may operate a cluster; empty for all.

        Raises:
            AccessRefused: as `require`.
        """
        self.require(AccessRole.OPERATE, cluster)
