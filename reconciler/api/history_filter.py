"""Selects runs, orders and operations of the history: by cluster, by person, and by time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, TypeVar

from reconciler.core.actor import Actor
from reconciler.core.fields import parse_duration
from reconciler.core.retention import MOST_KEPT_RUNS
from reconciler.core.timestamps import format_second
from reconciler.errors import UsageError
from reconciler.text.one_line import quote_text

if TYPE_CHECKING:
    from reconciler.core.operations import Operation
    from reconciler.ports.store import OrderRecord, RunSummary, StoreReader

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What of the history is asked for; an empty value asks for all.

    Args:
        cluster: its name.
        user: of the operating system, or the name that `--by` gave.
        since: the beginning.
        limit: number of records at most.
        before: id of a run: only older runs; empty for the newest.
        most_searched: number of records that are read at most to find those of a person or a time.
    """

    cluster: str = ""
    user: str = ""
    since: datetime | None = None
    limit: int = 20
    before: str = ""
    most_searched: int = MOST_KEPT_RUNS

    @property
    def is_open(self) -> bool:
        """Whether it asks for the newest records, whatever they are."""
        return not self.cluster and not self.user and self.since is None

    @property
    def most_read(self) -> int:
        """How many records are to be read from the store."""
        return self.limit if self.is_open else self.most_searched

    @property
    def most_read_runs(self) -> int:
        """How many runs are to be read; those of a cluster are found by the store."""
        return self.limit if not self.user and self.since is None else self.most_searched

    def select(self, records: Iterable[_T], get: Callable[[_T], tuple[Actor, datetime, str]]) -> Sequence[_T]:
        """The records that are asked for.

        Args:
            records: newest first.
            get: person, time and cluster of a record; a record without a cluster is of all of them.
        """
        found = []
        for record in records:
            actor, at, cluster = get(record)
            if self._is_wanted(actor, at) and (not self.cluster or cluster in {"", self.cluster}):
                found.append(record)
        return found[: self.limit]

    async def read_page(self, store: StoreReader) -> tuple[tuple[RunSummary, ...], str]:
        """The runs that are asked for, and the id before which the next page begins; empty on the last."""
        found = await replace(self, limit=self.limit + 1).read_runs(store)
        page = tuple(found[: self.limit])
        return page, page[-1].id if len(found) > len(page) else ""

    async def read_runs(self, store: StoreReader) -> Sequence[RunSummary]:
        """The runs that are asked for, newest first; those of a cluster have planned a step of it."""
        found: list[RunSummary] = []
        for run in await store.runs(self.most_read_runs, before=self.before, cluster=self.cluster):
            if len(found) == self.limit:
                break
            if self._is_wanted(run.actor, run.started):
                found.append(run)
        return found

    async def read_orders(self, store: StoreReader) -> Sequence[OrderRecord]:
        """The orders that are asked for, newest first; those of no cluster are of all of them."""
        return self.select(
            await store.list_past_orders(self.most_read), lambda one: (one.actor, one.at, one.cluster)
        )

    async def read_operations(self, store: StoreReader) -> Sequence[Operation]:
        """The operations that are asked for, newest first."""
        return self.select(
            await store.operations(self.most_read), lambda one: (one.actor, one.at, one.cluster)
        )

    @property
    def conditions(self) -> str:
        """What is asked for, in words that begin with a space; empty if all is."""
        asked = [f" of cluster {quote_text(self.cluster)}"] if self.cluster else []
        asked += [f" by {quote_text(self.user)}"] if self.user else []
        asked += [f" since {format_second(self.since)} UTC"] if self.since else []
        return "".join(asked)

    def describe_nothing(self, what: str) -> str:
        """The line that is shown where nothing is found.

        Args:
            what: is listed, in the plural.
        """
        return f"No {what}{self.conditions or ' yet'}.\n"

    def _is_wanted(self, actor: Actor, at: datetime) -> bool:
        names = {actor.user.casefold(), actor.claim.casefold()} - {""}
        is_by = not self.user or self.user.casefold() in names
        return is_by and (self.since is None or at >= self.since)


def parse_since(text: str, now: datetime) -> datetime | None:
    """The moment of `--since`: a duration before now, a day, or a day and time in UTC; None for no text.

    Raises:
        UsageError: it is none of these.
    """
    if not text:
        return None
    word = text.strip().lower()
    midnight = datetime.combine(now.date(), time(), UTC)
    if word in {"today", "yesterday"}:
        return midnight - timedelta(days=word == "yesterday")
    try:
        return now - timedelta(seconds=parse_duration(word))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text.strip())
        since = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"the beginning {quote_text(text)} is no time",
            remedy="write a duration such as 2h or 7d, a day as 2026-12-24, or 2026-12-24T18:00 (UTC)",
        ) from None
    if since > now:
        raise UsageError(
            f"the beginning {quote_text(text)} is later than now, {format_second(now)} UTC",
            remedy="write a moment that has passed; a time without an offset such as +09:00 is in UTC",
        )
    return since
