"""A sink of feedback in a Firestore collection: each message becomes a document with its keys as fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from reconciler.errors import UsageError
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.firestore_client import CallProblem, close_firestore, explain_error, open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.ports.store import OutboxMessage


class FirestoreSink(Sink):
    """Creates one document for each message, whose id is that of the message.

    A second delivery of a message finds its document, which counts as delivered, so that a listener sees each
    message once.

    Args:
        entry: name of the entry, and the entry of the host configuration.
        collection: path of the collection.
        timeout: seconds for one delivery.
        environment: of the process.
    """

    def __init__(
        self,
        entry: tuple[str, FirestoreProject],
        collection: str,
        timeout: float,
        environment: Mapping[str, str],
    ) -> None:
        self.name = f"firestore.{entry[0]} (collection {collection})"
        self._entry = entry
        self._collection = collection
        self._timeout = timeout
        self._environment = environment
        self._client: Any = None

    async def send(self, message: OutboxMessage) -> Delivery:
        try:
            if self._client is None:
                self._client = await asyncio.to_thread(open_firestore, *self._entry, self._environment)
            # Not the library's asynchronous client: it binds itself to the first event loop of the process.
            await asyncio.to_thread(self._create, message)
        except UsageError as error:
            return Delivery(error.message, remedy=error.remedy)
        except Exception as error:  # noqa: BLE001  (raised again unless the library means it as an answer)
            problem, words = explain_error(error)
            if problem is CallProblem.EXISTS:
                return Delivery()
            return Delivery(words, is_refused=problem is CallProblem.REFUSED)
        return Delivery()

    def _create(self, message: OutboxMessage) -> None:
        document = self._client.collection(self._collection).document(message.id)
        # One attempt: the sender decides about further ones, so that the end of a run is not delayed.
        document.create(json.loads(message.body), retry=None, timeout=self._timeout)

    async def aclose(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await asyncio.to_thread(close_firestore, client)
