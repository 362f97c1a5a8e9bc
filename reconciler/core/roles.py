"""Roles: what somebody may do, and with which clusters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

EVERY_CLUSTER: Final = "*"
"""The pattern of all clusters, and of what concerns no single one."""


class AccessRole(StrEnum):
    """What somebody may do. Every role includes looking; none includes another one."""

    # Who may change a fleet need not be who may approve that change: with one role above the other, one
    # person would always be enough.
    LOOK = "look"
    APPROVE = "approve"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for some clusters.

    Args:
        role: what is granted.
        clusters: names of clusters, or patterns with `*`, `?` and `[…]`.
    """

    role: AccessRole
    clusters: tuple[str, ...] = (EVERY_CLUSTER,)

    def allows(self, role: AccessRole, cluster: str = "") -> bool:
        """Whether it permits what needs a role.

        Args:
            role: that is needed.
            cluster: that it is about; empty for all clusters, which only the pattern `*` permits.
        """
        if role is not AccessRole.LOOK and role is not self.role:
            return False
        return any(
            pattern == EVERY_CLUSTER or (cluster != "" and fnmatchcase(cluster, pattern))
            for pattern in self.clusters
        )


EVERYTHING_ALLOWED: Final = tuple(Grant(role) for role in AccessRole)
"""All roles for all clusters."""


def encode_grants(grants: Iterable[Grant]) -> str:
    """Grants as the store keeps them, and as the control socket takes them."""
    return json.dumps([[grant.role, list(grant.clusters)] for grant in grants])


def load_grants(text: str) -> tuple[Grant, ...]:
    """What `encode_grants` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        return tuple(
            Grant(AccessRole(role), tuple(map(str, clusters))) for role, clusters in json.loads(text)
        )
    except TypeError as error:
        raise ValueError("not grants") from error
