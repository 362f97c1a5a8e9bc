"""A source whose snapshots have what the inventory knows: the step before the pure part of planning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from reconciler.desired.inventory_nodes import read_queries
from reconciler.host.host import Host
from reconciler.inventory.cache import InventoryCache
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import NO_INVENTORY, Inventory, InventoryAnswer, InventoryQuery
from reconciler.ports.source import Snapshot, Source
from reconciler.sources.forwarding_source import WrappedSource

_KEPT: Final = 60.0
"""Seconds for which the answer to a further query counts."""


class InventorySource(WrappedSource):
    """Asks the inventory for what each new snapshot needs.

    Earlier revisions are read with the answers for the newest one. What they ask for besides is asked for
    only where one of them is read alone, as a cluster may be pinned to it.

    Args:
        source: of the files.
        resolver: asks the accounts of this host.
        drivers: kind -> product.
    """

    def __init__(
        self, source: Source, resolver: InventoryResolver, drivers: Mapping[str, Driver[Any, Any]]
    ) -> None:
        super().__init__(source)
        self._resolver, self._drivers = resolver, drivers
        self._known: Inventory = NO_INVENTORY
        self._asked: dict[InventoryQuery, tuple[InventoryAnswer, datetime]] = {}

    async def snapshot(self) -> Snapshot:
        """See `ports.source.Source`."""
        found = await super().snapshot()
        # A folder may lose its files at any moment: then the fleet cannot be read either, and says why.
        # In a thread, as the fleet itself: a large file must not stop everything else.
        queries = await asyncio.to_thread(read_queries, found.files, self._drivers)
        if not queries:
            return found
        self._known = await self._resolver.resolve(queries)
        return replace(found, inventory=self._known)

    async def ask(self, queries: Sequence[InventoryQuery]) -> Inventory:
        """What is known of some further queries; an answer counts for a while, for all passes of a watch."""
        now = self._resolver.clock()
        missing = [
            query
            for query in queries
            if query not in self._asked or (now - self._asked[query][1]).total_seconds() > _KEPT
        ]
        if missing:
            found = await self._resolver.resolve(missing)
            self._asked |= {query: (answer, now) for query, answer in found.answers.items()}
        known = {query: self._asked[query][0] for query in queries}
        return Inventory(known, now)

    @asynccontextmanager
    async def open_first_parents(self, revision: str, most: int) -> AsyncIterator[Iterator[Snapshot]]:
        """See `ports.source.Source`."""
        async with super().open_first_parents(revision, most) as found:
            if most > 1:
                yield (replace(one, inventory=self._known) for one in found)
                return
            # One revision that a cluster may be pinned to: it may ask for other instances than the newest.
            yield iter([await self._add_answers(one) for one in found])

    async def _add_answers(self, snapshot: Snapshot) -> Snapshot:
        queries = await asyncio.to_thread(read_queries, snapshot.files, self._drivers)
        missing = [query for query in queries if query not in self._known.answers]
        if not missing:
            return replace(snapshot, inventory=self._known)
        more = await self.ask(missing)
        known = {**self._known.answers, **more.answers}
        return replace(snapshot, inventory=replace(self._known, answers=known))


def add_inventory(
    source: Source,
    host: Host,
    drivers: Mapping[str, Driver[Any, Any]],
    *,
    state: Path | None,
    is_applying: bool = False,
) -> Source:
    """The source with the inventory of this host.

    Args:
        source: of the files.
        host: its accounts and their keys.
        drivers: kind -> product.
        state: the state folder, which has the last known lists; None for none.
        is_applying: whether new lists are kept there; a dry run writes nothing.
    """
    cache = InventoryCache(state, is_writable=is_applying) if state is not None else None
    return InventorySource(source, InventoryResolver(host, cache), drivers)
