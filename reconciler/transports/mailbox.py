"""The mailbox of nodes that poll, over the store: an offer is a record, and a reading is what nodes sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from reconciler.core.timestamps import Clock, format_second
from reconciler.errors import NodeUnreachable, StateError
from reconciler.host.clock import utc_now
from reconciler.ports.node_store import NodeReader, NodeStore
from reconciler.ports.transport import Mailbox, NodeMail, OfferDraft


class MailReader(Mailbox):
    """The reading half, for passes that only plan.

    Args:
        store: limited to the fleet of the pass.
    """

    def __init__(self, store: NodeReader) -> None:
        self._reader = store

    async def offer(self, draft: OfferDraft) -> str:
        raise NodeUnreachable(draft.node, "this pass only reads")

    async def read_mail(self, cluster: str, node: str) -> NodeMail:
        try:
            return (await self._reader.mail(cluster, [node]))[node]
        except StateError as error:
            raise NodeUnreachable(node, f"its mail cannot be read: {error}") from error


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
