"""Makes and revokes tokens for callers of the control socket."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reconciler.core.roles import AccessRole, load_grants
from reconciler.core.timestamps import parse_timestamp
from reconciler.host.access_rules import AccessRules
from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessStore, AccessToken, check_access_token
from reconciler.server.acts.caller import Caller
from reconciler.server.acts.checked_orders import OrderDenied
from reconciler.server.logs import Log

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TokenOrders:
    """Orders about tokens.

    Args:
        store: has the tokens; None for a dry run.
        rules: of the host configuration.
        log: gets a line for each order.
    """

    store: AccessStore | None
    rules: AccessRules
    log: Log

    async def give(self, order: str, text: Callable[[str], str], caller: Caller) -> None:
        """Make or revoke a token.

        Args:
            order: `create token` or `revoke token`.
            text: gives a value of the request.
            caller: needs every role for all clusters, since the token could have them.

        Raises:
            AccessRefused: the caller lacks a role.
            OrderDenied: the watch is a dry run, or the host accepts no tokens.
            UsageError: the token is not valid, or there is none of this name.
            ValueError: the request is not valid.
        """
        for role in AccessRole:
            caller.require(role)
        if self.store is None:
            raise OrderDenied("a dry run has no tokens", remedy="ask a watch that applies changes")
        name = text("name")
        if order == "revoke token":
            await self.store.revoke_access_token(name, caller.actor)
        elif order != "create token":
            raise OrderDenied(
                f"unknown request {order!r}", remedy="use the same program version as the watch"
            )
        else:
            if not self.rules.tokens:
                raise OrderDenied(
                    "this host accepts no tokens", remedy="set `access.tokens` in the host configuration"
                )
            digest = text("digest")
            if not _DIGEST.fullmatch(digest):
                raise ValueError("not a digest")
            now, expires = utc_now(), parse_timestamp(text("expires"))
            token = AccessToken(name, load_grants(text("grants")), expires, now, caller.actor)
            check_access_token(token)
            await self.store.create_access_token(digest, token)
        self.log.info("order accepted", order=order, token=name, user=caller.actor.user, **caller.origin)
