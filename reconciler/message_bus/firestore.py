"""A Firestore database as a message bus, over google-cloud-firestore; see `ports.message_bus`.

A channel with an even number of segments is a document: its fields are the keys of the newest message. One
with an odd number is a collection, to which each message is added as a document. The library blocks, so that
writes run in threads, and `FirestoreListener` has a thread for what is received.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from reconciler.core.bus_channels import BusId
from reconciler.core.firestore_paths import find_path_problem, is_collection
from reconciler.host.firestore_client import close_firestore, explain_error
from reconciler.message_bus.firestore_listener import FirestoreListener, FirestoreMessage
from reconciler.ports.message_bus import PUBLISH_SECONDS, BusError, BusMessage, MessageBus, Publication

_WRITERS: Final = 4
"""Writes at the same time."""

_CLOSE_SECONDS: Final = 3.0


class FirestoreBus(MessageBus):
    """One Firestore database; see `ports.message_bus.MessageBus`.

    Args:
        bus: the entry of the host configuration.
        client: of `open_firestore`, which is closed with the bus.
        removes: whether documents of collections are deleted once their reports are recorded.
    """

    def __init__(self, bus: BusId, client: Any, *, removes: bool) -> None:
        self.id = bus
        self._client = client
        self._listener = FirestoreListener(client, removes=removes)
        self._loop = asyncio.get_running_loop()
        self._sending = ThreadPoolExecutor(_WRITERS, f"{bus} writer")
        self._receiving = ThreadPoolExecutor(1, f"{bus} reader")
        self._closed = False

    @property
    def problem(self) -> str:  # type: ignore[override]  # what the listener's thread says, at any time
        """Why it is not connected."""
        return self._listener.problem

    @property
    def warning(self) -> str:  # type: ignore[override]
        """What is wrong with some of its channels."""
        return self._listener.warning

    async def publish(self, publication: Publication) -> None:
        channel = publication.channel
        reason = find_path_problem(channel)
        if reason:
            reason = f"the path {reason}"
        elif "#" in channel:  # a reference of the product that nobody has replaced
            reason = "the path has a placeholder whose value is not known"
        if not reason:
            reason = await self._call(self._sending, lambda: self._write(publication))
        if reason:
            raise BusError(
                f"{self.id}: the message to {channel} is not published: {reason}",
                remedy="check the database, the path, and what this host may write there",
            )

    def _write(self, publication: Publication) -> None:
        path = publication.channel
        # By the id of the offer: one that is published again takes the place of itself.
        where = f"{path}/{publication.id}" if is_collection(path) else path
        # One attempt: whoever publishes decides about the next one.
        self._client.document(where).set(json.loads(publication.body), retry=None, timeout=PUBLISH_SECONDS)

    async def listen(self, channels: frozenset[str]) -> None:
        self._listener.listen(channels)

    async def receive(self, seconds: float) -> Sequence[BusMessage]:
        return await self._loop.run_in_executor(self._receiving, self._listener.take, seconds)

    async def acknowledge(self, messages: Sequence[BusMessage]) -> None:
        removed = [one for one in messages if isinstance(one, FirestoreMessage) and one.is_removable]
        reasons = await asyncio.gather(
            *(
                self._call(self._sending, lambda one=one: self._listener.remove(one))  # type: ignore[misc]
                for one in removed
            )
        )
        if reason := next(filter(None, reasons), ""):
            raise BusError(f"{self.id}: documents that are recorded cannot be deleted: {reason}")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._listener.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.to_thread(self._listener.join, _CLOSE_SECONDS)
                await asyncio.to_thread(close_firestore, self._client)
        # Not waited for: a database that does not answer must not hold up the stop.
        self._sending.shutdown(wait=False, cancel_futures=True)
        self._receiving.shutdown(wait=False, cancel_futures=True)

    async def _call(self, executor: ThreadPoolExecutor, work: Callable[[], Any]) -> str:
        """Make a call in a thread; gives why it failed, empty if it did not."""
        try:
            await self._loop.run_in_executor(executor, work)
        except Exception as error:  # noqa: BLE001  (raised again unless the library means it as an answer)
            return explain_error(error)[1]
        return ""
