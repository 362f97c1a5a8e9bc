"""Where the history of a command is read: in the state of this host, or from a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from reconciler.api.answers import OperationsAnswer, PastOrdersAnswer, RunAnswer, RunsAnswer
from reconciler.api.history_filter import HistoryFilter
from reconciler.cli.server_client import ServerClient, ServerRefused
from reconciler.core.operations import Operation
from reconciler.errors import UsageError
from reconciler.host import aio
from reconciler.ports.store import OrderRecord, RunRecord, RunSummary, StoreReader

MOST_AT_ONCE = 1_000
"""Records of one answer of a server; runs are asked for page by page."""


class HistoryPlace(Protocol):
    """Where runs, orders and operations are read."""

    def read_runs(self, chosen: HistoryFilter) -> Sequence[RunSummary]:
        """The runs that are asked for."""

    def read_orders(self, chosen: HistoryFilter) -> Sequence[OrderRecord]:
        """The orders that are asked for."""

    def read_operations(self, chosen: HistoryFilter) -> Sequence[Operation]:
        """The operations that are asked for."""

    def read_run(self, text: str) -> RunRecord:
        """One run by its id or its first characters.

        Raises:
            ReconcilerError: there is none, or several begin with it.
        """

    def find_operation(self, text: str) -> Operation | None:
        """One operation by its id or its first characters; None if there is none, or several."""


@dataclass(frozen=True, slots=True)
class HistoryHere:
    """The history in the state of this host."""

    store: StoreReader

    def read_runs(self, chosen: HistoryFilter) -> Sequence[RunSummary]:
        return aio.run_until_signal(chosen.read_runs(self.store))

    def read_orders(self, chosen: HistoryFilter) -> Sequence[OrderRecord]:
        return aio.run_until_signal(chosen.read_orders(self.store))

    def read_operations(self, chosen: HistoryFilter) -> Sequence[Operation]:
        return aio.run_until_signal(chosen.read_operations(self.store))

    def read_run(self, text: str) -> RunRecord:
        return aio.run_until_signal(self.store.run(text))

    def find_operation(self, text: str) -> Operation | None:
        return _find(lambda: aio.run_until_signal(self.store.operation(text)))


@dataclass(frozen=True, slots=True)
class HistoryOfServer:
    """The history of a server."""

    client: ServerClient

    def read_runs(self, chosen: HistoryFilter) -> Sequence[RunSummary]:
        found: list[RunSummary] = []
        before = chosen.before
        while (left := chosen.limit - len(found)) > 0:
            parameters = {**_make_parameters(chosen, min(left, MOST_AT_ONCE)), "before": before}
            answer = self.client.read("/runs", RunsAnswer, parameters)
            found += answer.runs[:left]
            # A server whose pages lead nowhere must not keep the command asking.
            if not answer.runs or answer.next in {"", before}:
                break
            before = answer.next
        return tuple(found)

    def read_orders(self, chosen: HistoryFilter) -> Sequence[OrderRecord]:
        return self.client.read("/past-orders", PastOrdersAnswer, self._ask(chosen, "orders")).orders

    def read_operations(self, chosen: HistoryFilter) -> Sequence[Operation]:
        return self.client.read("/operations", OperationsAnswer, self._ask(chosen, "operations")).operations

    def _ask(self, chosen: HistoryFilter, what: str) -> dict[str, str]:
        # A list that is cut without a word would look whole.
        if chosen.limit > MOST_AT_ONCE:
            raise UsageError(
                f"a server tells at most {MOST_AT_ONCE:,} {what} at once",
                remedy=f"give --limit {MOST_AT_ONCE} at most, and choose with --since, --cluster or --user",
            )
        return _make_parameters(chosen, chosen.limit)

    def read_run(self, text: str) -> RunRecord:
        return self.client.read(f"/runs/{quote(text, safe='')}", RunAnswer).load()

    def find_operation(self, text: str) -> Operation | None:
        return _find(lambda: self.client.read(f"/operations/{quote(text, safe='')}", Operation))


def _find(read: Callable[[], Operation]) -> Operation | None:
    try:
        return read()
    except (UsageError, ServerRefused):
        return None


def _make_parameters(chosen: HistoryFilter, limit: int) -> dict[str, str]:
    return {
        "limit": str(limit),
        "cluster": chosen.cluster,
        "user": chosen.user,
        "since": chosen.since.isoformat() if chosen.since else "",
    }
