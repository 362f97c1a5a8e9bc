"""Finds out whether a database has lost writes that it had confirmed, as a failover or a restored dump does.

Each transaction of a process that takes passes counts in its row of `host`. A database that has confirmed a
count, and shows a lower one later, has forgotten what was written since: perhaps the intents of calls that
nodes got. Only the process that wrote can notice this, and only while it runs.
"""

from __future__ import annotations

from typing import Final

from reconciler.host.clock import read_boot_clock

KEPT_SECONDS: Final = 86_400.0
"""How long the row of a host is kept after it was seen last."""

_SAFE_SECONDS: Final = KEPT_SECONDS / 2
"""After so long without a write, a row that is missing may have been deleted by another host."""


class ConfirmedWrites:
    """The number of transactions of this process that the database has confirmed.

    Args:
        holder: key of its row; empty for a process that takes no passes, which has none.
    """

    def __init__(self, holder: str) -> None:
        self._confirmed = 0
        self._at = 0.0
        literal = "'" + holder.replace("'", "''") + "'"
        # Also seen: other hosts must not remove the row of one that writes but takes no pass.
        self.count = f"UPDATE host SET writes = writes + 1, seen = clock_timestamp() WHERE holder = {literal}"  # noqa: S608
        """Statement that counts a transaction."""
        self.column = f"(SELECT writes FROM host WHERE holder = {literal}) AS writes"  # noqa: S608
        """Expression for the number that counts the transaction; null without a row."""

    def count_lost(self, writes: int | None) -> int:
        """How many confirmed transactions are missing, at least; 0 for none.

        Args:
            writes: what the database gave for `column`, in a transaction after `count`.
        """
        if writes is None:
            if read_boot_clock() - self._at > _SAFE_SECONDS:
                self._confirmed = 0
            return self._confirmed
        return max(0, self._confirmed + 1 - writes)

    def confirm(self, writes: int | None) -> None:
        """The database has confirmed the transaction with this number."""
        # Without a row, the former number counts on: while a dump is being restored, the tables are empty at
        # first, and what was written then may be gone when the row of the dump comes.
        if writes is not None:
            self._confirmed, self._at = writes, read_boot_clock()
