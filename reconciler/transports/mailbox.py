"""The mailbox of nodes that poll, over the store: an offer is a record, and a reading is what nodes sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from reconciler.core.timestamps import Clock, format_second
from reconciler.errors import NodeUnreachable, StateError
from reconciler.host.clock import utc_now
from reconciler.ports.transport import Mailbox, NodeMail, OfferDraft

if TYPE_CHECKING:
    from reconciler.ports.node_store import NodeReader, NodeStore

_TOGETHER: Final = 200
"""Nodes of one reading: the contents of more would wait in memory."""


class MailReader(Mailbox):
    """The reading half, for passes that only plan.

    Calls of one turn of the event loop are one reading of the store: a pass reads thousands of nodes at once.

    Args:
        store: limited to the fleet of the pass; None where there is no state, so that no node was ever heard.
    """

    def __init__(self, store: NodeReader | None) -> None:
        self._reader = store
        self._waiting: dict[str, tuple[list[str], asyncio.Task[Mapping[str, NodeMail]]]] = {}

    async def offer(self, draft: OfferDraft) -> str:
        raise NodeUnreachable(draft.node, "this pass only reads")

    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        if self._reader is None:
            return NodeMail()
        try:
            return (await self._join_reading(self._reader, cluster, node))[node]
        except StateError as error:
            raise NodeUnreachable(node, f"its mail cannot be read: {error}") from error

    async def _join_reading(self, reader: NodeReader, cluster: str, node: str) -> Mapping[str, NodeMail]:
        """The mail of all nodes of a cluster that are asked for at the same time, in one reading."""
        if cluster not in self._waiting:
            nodes: list[str] = []
            self._waiting[cluster] = nodes, asyncio.create_task(self._read(reader, cluster, nodes))
        nodes, reading = self._waiting[cluster]
        nodes.append(node)
        if len(nodes) >= _TOGETHER:
            del self._waiting[cluster]
        # Shielded: the reading is that of other nodes too.
        return await asyncio.shield(reading)

    async def _read(self, reader: NodeReader, cluster: str, nodes: list[str]) -> Mapping[str, NodeMail]:
        # A new task runs after those that are ready, so that all of them have asked.
        if self._waiting.get(cluster, (None,))[0] is nodes:
            del self._waiting[cluster]
        return await reader.mail(cluster, nodes)


class StoreMailbox(MailReader):
    """The mailbox of one run.

    Args:
        store: limited to the fleet of the run.
        run: id of the run.
        revision: id of the desired revision.
        closes: when the change window ends; None for no window.
        despite: codes of the holds on changes that were set aside for this run.
        clock: of this host.
    """

    def __init__(
        self,
        store: NodeStore,
        run: str,
        revision: str,
        closes: datetime | None = None,
        clock: Clock = utc_now,
        *,
        despite: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(store)
        self._store = store
        self._run = run
        self._revision = revision
        self._closes = closes
        self._clock = clock
        self._despite = despite

    async def offer(self, draft: OfferDraft) -> str:
        if self._closes is not None:
            left = (self._closes - self._clock()).total_seconds()
            draft = replace(draft, seconds=min(draft.seconds, left))
        draft = replace(draft, despite=self._despite)
        try:
            offer = await self._store.offer(draft, self._run, self._revision)
        except StateError as error:
            raise NodeUnreachable(draft.node, f"the offer may not be stored: {error}") from error
        where = f" on {offer.channel.label}" if offer.channel is not None else ""
        times = f"from {format_second(offer.opens)} until {format_second(offer.closes)} UTC"
        return f"offer {offer.id}{where} {times}"
