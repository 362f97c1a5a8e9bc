"""The contents of offers: each is stored once, encrypted, however many nodes share it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.transaction import Transaction

CACHED_BYTES: Final = 32 * 1024 * 1024
"""Contents that a store keeps decrypted: those that many nodes share are read again and again."""

_PURPOSE: Final = "content part"


class ContentParts:
    """Writes and reads contents; used by the thread of the database alone.

    Args:
        key: of the host.
        limit: bytes that are kept decrypted, the latest used.
    """

    def __init__(self, key: HostKey, limit: int = CACHED_BYTES) -> None:
        self._key = key
        self._limit = limit
        self._size = 0
        self._parts: OrderedDict[str, bytes] = OrderedDict()
        self._digests: dict[int, str] = {}

    def add(self, tx: Transaction, part: bytes) -> tuple[int, str]:
        """Write a content, unless it is there; gives its number and its digest."""
        # The same object comes for each node of a cluster, and hashing a large one takes a millisecond.
        digest = self._digests.get(id(part)) or self._key.make_digest(part, _PURPOSE)
        known = tx.execute("SELECT number FROM content_part WHERE digest = ?", (digest,)).fetchone()
        if known is None:
            known = tx.execute(
                "INSERT INTO content_part (digest, sealed) VALUES (?, ?) RETURNING number",
                (digest, self._key.seal(part, f"{_PURPOSE} {digest}")),
            ).fetchone()
        self._keep(digest, part)
        return known["number"], digest

    def read(self, tx: Transaction, digests: Sequence[str]) -> tuple[bytes, ...] | None:
        """Contents by their digests; None if one is gone, or this host cannot decrypt it."""
        parts = [self._read_part(tx, digest) for digest in digests]
        return None if None in parts else tuple(part for part in parts if part is not None)

    def delete_unused(self, tx: Transaction, numbers: Iterable[int]) -> None:
        """Delete those of these contents that no offer has any more."""
        tx.execute_many(
            "DELETE FROM content_part WHERE number = ?1"
            " AND NOT EXISTS (SELECT 1 FROM offer_part WHERE part = ?1)",
            [(number,) for number in numbers],
        )

    def _read_part(self, tx: Transaction, digest: str) -> bytes | None:
        part = self._parts.get(digest)
        if part is None:
            row = tx.execute("SELECT sealed FROM content_part WHERE digest = ?", (digest,)).fetchone()
            part = self._key.unseal(row["sealed"], f"{_PURPOSE} {digest}") if row else None
        if part is not None:
            self._keep(digest, part)
        return part

    def _keep(self, digest: str, part: bytes) -> None:
        if digest in self._parts:
            self._parts.move_to_end(digest)
            return
        if len(part) > self._limit:
            return
        self._parts[digest] = part
        self._digests[id(part)] = digest  # as long as it is kept, no other object has this number
        self._size += len(part)
        while self._size > self._limit:
            _, old = self._parts.popitem(last=False)
            del self._digests[id(old)]
            self._size -= len(old)
