"""Which part of a store is that of a fleet: chosen as a run chooses it."""

from __future__ import annotations

from dataclasses import replace

from reconciler.api.reader import Reader
from reconciler.desired.fleet import Fleet
from reconciler.ports.store import Store


async def open_fleet_store(reader: Reader, store: Store, fleet: Fleet) -> Store:
    """The store, limited to the memory of a fleet, whose current identity it records.

    Raises:
        FleetRefused: an operator must first decide whose memory it is.
        StateError: the store cannot be used.
    """
    identity, _ = await replace(reader, store=store, is_applying=True).bind(fleet)
    return await store.enter_fleet(identity)
