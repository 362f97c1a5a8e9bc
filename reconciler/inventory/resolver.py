"""Finds out the instances of queries: a complete new list, the last known one, or that they are not known.

An error, an answer that is cut and an answer without an instance never mean that there are no nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from reconciler.core.timestamps import format_age
from reconciler.errors import InventoryError, UsageError
from reconciler.host.clock import utc_now
from reconciler.host.host import Host
from reconciler.inventory.cache import InventoryCache
from reconciler.ports.inventory import (
    Instance,
    Inventory,
    InventoryAnswer,
    InventoryList,
    InventoryQuery,
    UnreadInventory,
)

if TYPE_CHECKING:
    from reconciler.inventory.accounts import InventoryAccount

LIMIT: Final = 60.0
"""Seconds for the complete list of one query."""

MOST_QUERIES: Final = 100
"""Queries of one revision at most."""

_AT_ONCE: Final = 4
_MOST_REFUSED: Final = 20
"""Instances outside the allowed networks that are named one by one."""


def _find_account(host: Host, query: InventoryQuery) -> InventoryAccount | UnreadInventory:
    from reconciler.inventory.accounts import find_account  # noqa: PLC0415  (few fleets have an inventory)

    return find_account(host, query)


@dataclass(frozen=True, slots=True)
class InventoryResolver:
    """Asks the accounts of this host.

    Args:
        host: its accounts and their keys.
        cache: the lists that were read last; None if there are none.
        clock: tells the time.
        find: finds the account of a query.
    """

    host: Host
    cache: InventoryCache | None = None
    clock: Callable[[], datetime] = utc_now
    find: Callable[[Host, InventoryQuery], InventoryAccount | UnreadInventory] = field(default=_find_account)

    async def resolve(self, queries: Iterable[InventoryQuery]) -> Inventory:
        """What is known of the instances of some queries; each is asked once, at the same time."""
        wanted = list(dict.fromkeys(queries))
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(query: InventoryQuery) -> InventoryAnswer:
            async with gate:
                return await self._resolve_one(query)

        answers = await asyncio.gather(*(ask(query) for query in wanted[:MOST_QUERIES]))
        found = dict(zip(wanted, answers, strict=False))
        beyond = UnreadInventory(
            f"more than {MOST_QUERIES} different expressions are used in one revision", "use fewer tags"
        )
        return Inventory(found | dict.fromkeys(wanted[MOST_QUERIES:], beyond), self.clock())

    async def _resolve_one(self, query: InventoryQuery) -> InventoryAnswer:
        account = self.find(self.host, query)
        if isinstance(account, UnreadInventory):
            return account
        key = f"{account.place} {query.expression}"
        try:
            found = _check(await self._ask(query, account), query, account, self.clock())
        except (InventoryError, UsageError) as error:
            return self._recall(key, account, error.message, error.remedy)
        if self.cache is not None:
            self.cache.keep(key, found)
        return found

    async def _ask(self, query: InventoryQuery, account: InventoryAccount) -> tuple[Instance, ...]:
        try:
            async with asyncio.timeout(LIMIT), account.connect() as client:
                return await client.list_instances(query.expression)
        except TimeoutError as error:
            raise InventoryError(f"{account.label} did not give its list within {LIMIT:g} s") from error

    def _recall(self, key: str, account: InventoryAccount, why: str, remedy: str) -> InventoryAnswer:
        """The last known list if it is young enough."""
        now, most = self.clock(), account.rules.max_age
        known = self.cache.read(key, now) if self.cache is not None else None
        if known is None:
            return UnreadInventory(f"{why}, and no earlier list is known", remedy, is_asked=True)
        age = (now - known.read_at).total_seconds()
        if age > most:
            return UnreadInventory(
                f"{why}, and the last known list is {format_age(age)} old, more than the "
                f"{format_age(most)} of `{account.pointer}.max_age`",
                remedy,
                is_asked=True,
            )
        counted, refused = _filter_networks(known.instances, account)
        if not counted:
            return UnreadInventory(
                f"{why}, and no instance of the last known list is in an allowed network", remedy
            )
        return replace(known, instances=counted, refused=refused, failure=why, account=account.name)


def _check(
    listed: tuple[Instance, ...], query: InventoryQuery, account: InventoryAccount, now: datetime
) -> InventoryList:
    """The list of an answer, without instances that do not count.

    Raises:
        InventoryError: none is left.
    """
    counted, refused = _filter_networks(listed, account)
    if not listed:
        raise InventoryError(
            f"{account.label} finds no running instance for {query.expression}",
            remedy="check the tags of the instances, the region and the permissions of the account; an empty "
            "answer is never taken for a cluster without nodes",
        )
    if not counted:
        raise InventoryError(
            f"{account.label} finds only instances outside `{account.pointer}.networks`: {refused[0]}",
            remedy=f"add their network to `{account.pointer}.networks` of the host configuration",
        )
    return InventoryList(counted, now, refused=refused, account=account.name)


def _filter_networks(
    listed: Iterable[Instance], account: InventoryAccount
) -> tuple[tuple[Instance, ...], tuple[str, ...]]:
    """The instances in the allowed networks, and sentences about the others."""
    counted: list[Instance] = []
    outside: list[Instance] = []
    for one in listed:
        try:
            address = ip_address(one.address)
        except ValueError:  # of a file that was damaged
            continue
        is_inside = any(address in network for network in account.rules.networks)
        (counted if is_inside else outside).append(one)
    told = [
        f"the instance {one.id} at {one.address} is outside `{account.pointer}.networks`"
        for one in outside[:_MOST_REFUSED]
    ]
    if len(outside) > _MOST_REFUSED:
        more = len(outside) - _MOST_REFUSED
        told.append(f"{more} further instances are outside `{account.pointer}.networks`")
    return tuple(counted), tuple(told)
