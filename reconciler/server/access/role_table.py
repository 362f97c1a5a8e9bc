"""What the host configuration lets users do (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.core.roles import EVERYTHING_ALLOWED, AccessRole, Grant
from reconciler.host.access_rules import RoleRule
from reconciler.server.access.identity import Identity, LoginMethod


@dataclass(frozen=True, slots=True)
class RoleTable:
    """The roles of users.

    Args:
        rules: `access.roles` of the host configuration.
        owners: users of this machine with all roles: root and the user of the watch.
        operators: groups of this machine, `operators` of the host configuration.
    """

    rules: tuple[RoleRule, ...] = ()
    owners: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()

    def identify(self, name: str, method: LoginMethod, groups: Iterable[str] = ()) -> Identity:
        """A user with everything that they may do; without any grant, they may do nothing.

        Args:
            name: of the user.
            method: how the name is known.
            groups: of the user, as known by the same method.
        """
        own = frozenset(groups)
        if method is LoginMethod.LOCAL and name in self.owners:
            return Identity(name, method, EVERYTHING_ALLOWED)
        grants = tuple(
            Grant(AccessRole(rule.role), rule.clusters)
            for rule in self.rules
            if method in rule.login and _fits(rule, name, own)
        )
        if not grants and method is LoginMethod.LOCAL and own & self.operators:
            return Identity(name, method, EVERYTHING_ALLOWED)
        return Identity(name, method, grants)


def _fits(rule: RoleRule, name: str, groups: frozenset[str]) -> bool:
    return name in rule.users or not groups.isdisjoint(rule.groups)
