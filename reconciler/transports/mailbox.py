"""The mailbox of nodes that poll, over the store: an offer is a record, and a reading is what nodes sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.core.timestamps import Clock, format_second
from reconciler.errors import NodeUnreachable, StateError
from reconciler.host.clock import utc_now
from reconciler.ports.node_store import NodeReader, NodeStore
from reconciler.ports.transport import Mailbox, NodeMail, OfferDraft


@dataclass(slots=True)
class _Batch:
    nodes: set[str] = field(default_factory=set)
    result: asyncio.Future[Mapping[str, NodeMail]] | None = None


class MailReader(Mailbox):
    """The reading half, for passes that only plan.

    Calls of one turn of the event loop are one reading of the store: a pass reads thousands of nodes at once.

    Args:
        store: limited to the fleet of the pass; None where there is no state, so that no node was ever heard.
    """

    def __init__(self, store: NodeReader | None) -> None:
        self._reader = store
        self._batches: dict[str, _Batch] = {}

    async def offer(self, draft: OfferDraft) -> str:
        raise NodeUnreachable(draft.node, "this pass only reads")

    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        if self._reader is None:
            return NodeMail()
        batch = self._batches.get(cluster)
        if batch is None:
            batch = self._batches[cluster] = _Batch()
            batch.result = asyncio.ensure_future(self._read_batch(self._reader, cluster, batch))
        batch.nodes.add(node)
        assert batch.result is not None
        try:
            # A caller that is cancelled must not take the reading from the others.
            found = await asyncio.shield(batch.result)
        except StateError as error:
            raise NodeUnreachable(node, f"its mail cannot be read: {error}") from error
        return found.get(node, NodeMail())

    async def _read_batch(self, reader: NodeReader, cluster: str, batch: _Batch) -> Mapping[str, NodeMail]:
        await asyncio.sleep(0)  # the other calls of this turn join
        del self._batches[cluster]
        return await reader.mail(cluster, sorted(batch.nodes))


class StoreMailbox(MailReader):
    """The mailbox of one run.

    Args:
        store: limited to the fleet of the run.
        run: id of the run; see `bind`.
        revision: id of the desired revision.
        closes: when the change window ends; None for no window.
        clock: of this host.
    """

    def __init__(
        self,
        store: NodeStore,
        run: str,
        revision: str,
        closes: datetime | None = None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(store)
        self._store = store
        self._run = run
        self._revision = revision
        self._closes = closes
        self._clock = clock

    async def offer(self, draft: OfferDraft) -> str:
        if self._closes is not None:
            left = (self._closes - self._clock()).total_seconds()
            draft = replace(draft, seconds=min(draft.seconds, left))
        try:
            offer = await self._store.offer(draft, self._run, self._revision)
        except StateError as error:
            raise NodeUnreachable(draft.node, f"the offer may not be stored: {error}") from error
        return f"offer {offer.id} from {format_second(offer.opens)} until {format_second(offer.closes)} UTC"
