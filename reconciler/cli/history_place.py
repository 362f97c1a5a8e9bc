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

_MOST = 1_000
"""Records of one answer of a server."""


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
        return self.client.read("/runs", RunsAnswer, _make_parameters(chosen)).runs

    def read_orders(self, chosen: HistoryFilter) -> Sequence[OrderRecord]:
        return self.client.read("/past-orders", PastOrdersAnswer, _make_parameters(chosen)).orders

    def read_operations(self, chosen: HistoryFilter) -> Sequence[Operation]:
        return self.client.read("/operations", OperationsAnswer, _make_parameters(chosen)).operations

    def read_run(self, text: str) -> RunRecord:
        return self.client.read(f"/runs/{quote(text, safe='')}", RunAnswer).load()

    def find_operation(self, text: str) -> Operation | None:
        return _find(lambda: self.client.read(f"/operations/{quote(text, safe='')}", Operation))


def _find(read: Callable[[], Operation]) -> Operation | None:
    try:
        return read()
    except (UsageError, ServerRefused):
        return None


def _make_parameters(chosen: HistoryFilter) -> dict[str, str]:
    return {
        "limit": str(min(chosen.limit, _MOST)),
        "cluster": chosen.cluster,
        "user": chosen.user,
        "since": chosen.since.isoformat() if chosen.since else "",
    }
