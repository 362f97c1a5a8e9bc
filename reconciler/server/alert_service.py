"""The loop that tells people what the watch finds; it never delays a pass or a step."""

from __future__ import annotations

import asyncio
import platform
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from reconciler.core.alerts import Alert, AlertEvent, AlertSeverity, Notice
from reconciler.desired.fleet import Fleet
from reconciler.errors import ReconcilerError, StateError
from reconciler.host.host import Host
from reconciler.host.notification_rules import NotificationRules
from reconciler.notifications.notice_sender import DeliveryReport, NoticeSender
from reconciler.notifications.routing import make_router
from reconciler.ports.notification_store import AlertScope, NotificationStore, TellingRules
from reconciler.server.cluster_pass import PATIENCE
from reconciler.server.logs import Log
from reconciler.server.pass_alerts import list_host_alerts, list_pass_alerts, list_source_alerts
from reconciler.server.pass_result import PassSummary
from reconciler.server.supervision import is_set_within
from reconciler.server.watch_state import WatchedSource, WatchState
from reconciler.text.urls import strip_secrets

LOOK_SECONDS: Final = 2.0
"""Seconds between looks at the history and the outbox."""

OUTAGE_SECONDS: Final = 30.0
"""Seconds after which a store that cannot be written is told, past the outbox, which is in it."""

_MOST_PASSES: Final = 10
"""Passes of one cluster that are kept until the store can be written; the oldest go first."""

_HOSTS_SECONDS: Final = 30.0
_MOST_DIRECT: Final = 5
"""Attempts to tell an outage of the store, which nothing remembers."""

BindStore: TypeAlias = Callable[[Fleet], Awaitable[NotificationStore]]
"""Gives the store limited to a fleet; raises `ReconcilerError` if that fleet cannot be found out."""


class AlertService:
    """Finds what is worth telling in passes, source, history and hosts, and delivers the outbox.

    Args:
        rules: of the host configuration.
        host: with the environment.
        store: of the host.
        bind: gives the store of a fleet.
        watch_state: what the loops have found.
        log: of the watch.
        place: of the source, as the operator wrote it.
    """

    def __init__(
        self,
        rules: NotificationRules,
        host: Host,
        store: NotificationStore,
        bind: BindStore,
        *,
        watch_state: WatchState,
        log: Log,
        place: str,
    ) -> None:
        self._store, self._bind = store, bind
        self._watch_state, self._log = watch_state, log
        self._place, self._host = strip_secrets(place), platform.node() or "this host"
        self._telling = TellingRules(make_router(rules), timedelta(seconds=rules.steady))
        self._sender = NoticeSender(rules, host.environment, store, self._log_delivery)
        self._passes: dict[str, deque[tuple[Fleet, AlertScope, tuple[Alert, ...]]]] = {}
        self._bound: tuple[Fleet, NotificationStore] | None = None
        self._source: WatchedSource | None = None
        self._silent: tuple[str, ...] | None = None
        self._hosts_due = 0.0
        self._outage = StoreOutage()
        self._problems: dict[str, str] = {}

    def note_pass(self, cluster: str, fleet: Fleet, summary: PassSummary) -> None:
        """Take the result of a pass, to be recorded by the loop in the order of the passes."""
        noted = list_pass_alerts(cluster, summary, datetime.now(UTC))
        if noted is not None:
            # Each one, not only the latest: what a pass finds and corrects is gone in the next one.
            self._passes.setdefault(cluster, deque(maxlen=_MOST_PASSES)).append((fleet, *noted))

    async def serve(self, stop: asyncio.Event) -> None:
        """Record and deliver until the watch stops."""
        try:
            while not stop.is_set():
                self._watch_state.heartbeats["notifications"] = time.monotonic() + LOOK_SECONDS + PATIENCE
                try:
                    await self._record()
                    self._watch_state.addresses = await self._sender.look()
                except StateError:
                    pass  # the check of the store tells it; everything is still noted
                await self._tell_outage()
                await is_set_within(stop, LOOK_SECONDS)
        finally:
            await self._sender.aclose()
            self._watch_state.heartbeats.pop("notifications", None)

    async def _record(self) -> None:
        """Record what has changed since the last look."""
        for noted in list(self._passes.values()):
            while noted:
                first = noted[0]
                fleet, scope, found = first
                store = await self._enter_fleet(fleet)
                await store.record_alerts(scope, found, self._telling)
                if noted and noted[0] is first:  # else it had no more room meanwhile
                    noted.popleft()
        if (source := self._watch_state.source) != self._source:
            for scope, found in list_source_alerts(source, self._place, self._host):
                await self._store.record_alerts(scope, found, self._telling)
            self._source = source
        if time.monotonic() >= self._hosts_due:
            silent = tuple(await self._store.list_silent_hosts())
            if silent != self._silent:
                await self._store.record_alerts(*list_host_alerts(silent), self._telling)
            self._silent, self._hosts_due = silent, time.monotonic() + _HOSTS_SECONDS
        await self._store.tell_history(self._telling)

    async def _enter_fleet(self, fleet: Fleet) -> NotificationStore:
        """The store of a fleet; that of the host if it is not known which fleet it is."""
        if self._bound is None or self._bound[0] is not fleet:
            try:
                store = await self._bind(fleet)
            except StateError:
                raise
            except ReconcilerError:
                return self._store
            await store.forget_alerts([one.entry.name for one in fleet.cluster_inputs])
            self._bound = fleet, store
        return self._bound[1]

    async def _tell_outage(self) -> None:
        """Tell that the store cannot be written, and that it can again."""
        notice = self._outage.choose_notice(self._watch_state.store, self._host, time.monotonic())
        if notice is None:
            return
        results = await self._sender.send_directly([notice])
        for address, problem in results.items():
            self._log_delivery(DeliveryReport(address, problem, 1))
        if not results or not all(results.values()):
            self._outage.end_telling()

    def _log_delivery(self, report: DeliveryReport) -> None:
        """Log what came of an attempt if it differs from the last one."""
        address = report.address
        if report.given_up:
            self._log.warning(
                "notices given up",
                address=address,
                notices=report.given_up,
                message=report.problem,
                remedy="correct the address, or try `reconcile notify --test`; they are not sent any more",
            )
        if report.problem and self._problems.get(address) != report.problem:
            self._log.warning("notices not delivered", address=address, message=report.problem)
        elif not report.problem and address in self._problems:
            self._log.info("notices delivered again", address=address, notices=report.notices)
        if report.problem:
            self._problems[address] = report.problem
        else:
            self._problems.pop(address, None)


class StoreOutage:
    """When an outage of the store is told; kept in memory, because there is no store to keep it."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._due = 0.0
        self._attempts = 0
        self._is_told = False
        self._is_telling_end = False

    def choose_notice(self, problem: str, host: str, now: float) -> Notice | None:
        """What is to be told now; None if nothing is.

        Args:
            problem: why the store cannot be written; empty if it can.
            host: name of this host.
            now: monotonic seconds.
        """
        if problem and self._since is None:
            self._since, self._due, self._attempts = now, now + OUTAGE_SECONDS, 0
        if not problem and self._since is not None:
            self._since, self._attempts, self._due = None, 0, now
            self._is_telling_end = self._is_told
        is_open = (bool(problem) and not self._is_told) or self._is_telling_end
        if not is_open or now < self._due or self._attempts >= _MOST_DIRECT:
            return None
        self._attempts += 1
        self._due = now + OUTAGE_SECONDS * 2**self._attempts
        title = f"{host} has lost its store: it changes nothing until it can be written"
        if not problem:
            title = f"{host} can write its store again"
        return Notice(
            AlertEvent.STORE_FAILED,
            AlertSeverity.CRITICAL,
            title,
            datetime.now(UTC),
            details=(problem,) if problem else (),
            remedy="check the database, or the disk of the state folder" if problem else "",
            is_over=not problem,
        )

    def end_telling(self) -> None:
        """What was chosen last has been told."""
        self._is_told = not self._is_telling_end
        self._is_telling_end = False
