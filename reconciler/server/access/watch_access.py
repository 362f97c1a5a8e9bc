"""Makes who may of a watch from its host configuration."""

from __future__ import annotations

import grp
from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.host.actor import get_current_actor, get_user_name
from reconciler.host.control_socket import Peer
from reconciler.host.credentials import find_key_file
from reconciler.host.extras import import_extra
from reconciler.host.host import Host
from reconciler.ports.access_store import AccessStore
from reconciler.server.access.access_control import AccessControl
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.oidc_login import OidcLogin
from reconciler.server.access.role_table import RoleTable


@dataclass(frozen=True, slots=True)
class LocalUser:
    """A user of this machine.

    Args:
        identity: with everything that they may do.
        groups: of this machine that the user is in.
    """

    identity: Identity
    groups: tuple[str, ...]


def make_access_control(host: Host, store: AccessStore | None) -> AccessControl:
    """Who may do what at the endpoints of a watch.

    Args:
        host: of the watch.
        store: has tokens and sessions; None for a dry run.
    """
    config = host.config
    owners = frozenset({get_user_name(0), get_current_actor().user})
    roles = RoleTable(config.access.roles, owners, frozenset(config.operators))
    return AccessControl(config.access, store, roles, config.trusted_proxies)


def make_oidc_login(host: Host) -> OidcLogin | None:
    """The login with the provider of the host configuration; None without one.

    Raises:
        UsageError: its libraries are not installed, or its secret cannot be found.
    """
    provider = host.config.access.oidc
    if provider is None:
        return None
    for module in ("authlib.integrations.httpx_client", "joserfc.jwt", "httpx2"):
        import_extra(module, "login", "Logins")
    return OidcLogin(provider, find_key_file(provider.secret, host.environment))


def identify_peer(peer: Peer, roles: RoleTable) -> LocalUser:
    """The user at the other end of the control socket."""
    groups = tuple(sorted(_name_groups(peer.groups)))
    return LocalUser(roles.identify(get_user_name(peer.user), LoginMethod.LOCAL, groups), groups)


def _name_groups(numbers: Iterable[int]) -> set[str]:
    found = set()
    for number in numbers:
        try:
            found.add(grp.getgrgid(number).gr_name)
        except KeyError:  # this host has no such group
            continue
    return found
