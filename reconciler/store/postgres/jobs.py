"""Jobs of procrastinate: each carries a cluster that is due to one of the hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from reconciler.errors import StateError
from reconciler.host.extras import import_extra
from reconciler.store.postgres.access import PostgresAccess
from reconciler.store.postgres.connection import (
    CONNECT_SECONDS,
    make_postgres_error,
    translate_postgres_errors,
)
from reconciler.store.postgres.job_tables import JOB_SCHEMA, prepare_job_tables
from reconciler.store.postgres.leases import LeaseKeeper

POLL_SECONDS: Final = 1.0
"""Seconds between two looks for a job; a new one is also notified of."""

_HEARTBEAT_SECONDS: Final = 1.5
"""Seconds between two signs of life: a host whose `lease` is shorter than that of this one, so at least 5 s,
must not take this one for dead."""

_CHECK_SECONDS: Final = 10.0
"""Longest time between two looks at what is due that do not depend on the clock of the host."""

_EVERY_SECOND: Final = "* * * * * *"
_CONNECTIONS: Final = 3
_MOST_AT_ONCE: Final = 200
_DISPATCH_PRIORITY: Final = 100
_SCHEDULED: Final = frozenset({"interval", "retry", "offers", "hold-ends"})
"""Causes of passes that wait behind those that somebody requested."""

_HEAD_START: Final = 30
"""Seconds by which a pass that somebody requested goes before one that was due at the same time."""

_YEAR_2020: Final = 1_577_836_800
"""Seconds since 1970: a priority has 32 bits."""


@dataclass(frozen=True, slots=True)
class DueCluster:
    """A cluster whose next pass is due.

    Args:
        cause: trigger of the pass.
        due: seconds since 1970 at which it became due.
    """

    cluster: str
    cause: str
    due: float

    @property
    def priority(self) -> int:
        """Which job is taken first: the higher one.

        Jobs are taken by when they are due. So where commits come faster than passes can begin, no other
        cluster waits behind them without end.
        """
        return _YEAR_2020 - int(self.due) - (_HEAD_START if self.cause in _SCHEDULED else 0)


class JobWorker:
    """Takes the jobs of one queue, and adds a job for each cluster that is due.

    Args:
        access: to the database.
        leases: know whether this host may take passes.
        queue: name of the queue.
        list_due: gives the clusters that are due.
    """

    # A job has no content but its cluster: what is due is in the rows. So a job that is lost is added again,
    # and one too many finds nothing to do.

    def __init__(
        self,
        access: PostgresAccess,
        leases: LeaseKeeper,
        queue: str,
        list_due: Callable[[], Awaitable[list[DueCluster]]],
    ) -> None:
        self._access, self._leases, self._queue = access, leases, queue
        self._list_due = list_due
        self._app: Any = None
        self._procrastinate = import_extra("procrastinate", "postgres", "watches of several hosts")
        self._version = str(self._procrastinate.__version__)

    async def serve(
        self, run: Callable[[str], Awaitable[None]], passes: int, on_ready: Callable[[], None]
    ) -> None:
        """Run jobs until this is cancelled; see `PassQueue.serve`."""
        await self._leases.confirm_rules(self._version)
        await asyncio.to_thread(prepare_job_tables, self._access, self._version)
        app = self._make_app(run)
        try:
            with self._translate_errors(), translate_postgres_errors(self._access.address):
                async with app.open_async():
                    self._app = app
                    on_ready()
                    await self._work(app, passes)
        finally:
            self._app = None

    async def dispatch(self) -> None:
        """Add a job for each cluster that is due and has none, and for those of hosts that have ended."""
        if self._app is not None:  # else another host does it within a second or two
            with self._translate_errors():
                await self._dispatch(self._app)

    async def _dispatch(self, app: Any) -> None:
        manager = app.job_manager
        # Removed and added again, instead of retried: the host that had the job may have been frozen, and
        # when it goes on it must not end the job of its successor, which would have the same number.
        for job in await manager.get_stalled_jobs(
            queue=self._queue, seconds_since_heartbeat=self._access.lease
        ):
            with suppress(self._procrastinate.exceptions.ConnectorException):  # another host was faster
                await manager.finish_job(job, status=self._procrastinate.jobs.Status.ABORTED, delete_job=True)
        taken = {one["name"] for one in await manager.list_locks_async(queue=self._queue)}
        due = [one for one in await self._list_due() if self._name_lock(one.cluster) not in taken]
        for first in range(0, len(due), _MOST_AT_ONCE):
            jobs = [self._make_job(app, one) for one in due[first : first + _MOST_AT_ONCE]]
            try:
                await manager.batch_defer_jobs_async(jobs)
            except self._procrastinate.exceptions.AlreadyEnqueued:
                # Another host has added some of them meanwhile: then none of the others was added.
                for job in jobs:
                    with suppress(self._procrastinate.exceptions.AlreadyEnqueued):
                        await manager.defer_job_async(job)

    def _make_job(self, app: Any, due: DueCluster) -> Any:
        lock = self._name_lock(due.cluster)
        deferrer = app.configure_task(
            "pass",
            queue=self._queue,
            lock=lock,
            queueing_lock=lock,
            priority=due.priority,
        )
        return deferrer.job.evolve(task_kwargs={"cluster": due.cluster})

    def _name_lock(self, cluster: str) -> str:
        # Of this queue only: jobs that a queue without hosts has left would keep the cluster from all others.
        # The lease keeps hosts with other selections apart.
        return f"{self._queue}/{cluster}"

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except self._procrastinate.exceptions.ProcrastinateException as error:
            cause = error.__cause__
            shown = cause if isinstance(cause, Exception) else error
            raise make_postgres_error(self._access.address, shown) from error

    def _make_app(self, run: Callable[[str], Awaitable[None]]) -> Any:
        async def dispatch(timestamp: int) -> None:  # noqa: ARG001  (given by the library)
            _retrieve_error_of_job()
            with suppress(StateError):
                await self.dispatch()

        async def run_pass(cluster: str) -> None:
            _retrieve_error_of_job()
            await run(cluster)

        async def use_schema(connection: Any) -> None:
            await connection.execute(f"SET search_path = {JOB_SCHEMA}")
            await connection.commit()

        app = self._procrastinate.App(
            connector=self._procrastinate.PsycopgConnector(
                kwargs=self._access.address.parameters(CONNECT_SECONDS),
                configure=use_schema,
                min_size=1,
                max_size=_CONNECTIONS,
                timeout=CONNECT_SECONDS,
            )
        )
        app.task(name="pass", queue=self._queue)(run_pass)
        periodic = app.task(
            name="dispatch",
            queue=self._queue,
            priority=_DISPATCH_PRIORITY,
            queueing_lock=f"{self._queue} dispatch",
        )(dispatch)
        app.periodic(
            cron=_EVERY_SECOND,
            periodic_id=self._queue,
            queue=self._queue,
            priority=_DISPATCH_PRIORITY,
            queueing_lock=f"{self._queue} dispatch",
        )(periodic)
        return app

    async def _work(self, app: Any, passes: int) -> None:
        lease = self._access.lease
        check = min(lease / 3, _CHECK_SECONDS)
        worker = asyncio.ensure_future(
            app.run_worker_async(
                queues=[self._queue],
                name=self._access.host.name,
                concurrency=passes,
                fetch_job_polling_interval=POLL_SECONDS,
                abort_job_polling_interval=lease,
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=min(lease / 3, _HEARTBEAT_SECONDS),
                stalled_worker_timeout=lease,
            )
        )
        try:
            while not worker.done():
                await asyncio.wait({worker}, timeout=check)
                await self._leases.confirm_rules(self._version)
                # The library's periodic task stands still if the clock of this host was set back.
                await self.dispatch()
        finally:
            # The library takes no further job then, and waits for those that run.
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
        # It ended by itself, after an error that it has logged.
        raise StateError(
            f"the database {self._access.address}: the connection to it was lost",
            remedy="passes go on when the database answers again",
        )


def _retrieve_error_of_job() -> None:
    """Retrieve the error with which the running job ends, if its end cannot be written.

    The library does not, while the database is away: the event loop would log each such job with a
    traceback. The worker ends with the same cause, and the job is taken up again.
    """
    job = asyncio.current_task()
    assert job is not None
    job.add_done_callback(_retrieve_error)


def _retrieve_error(job: asyncio.Task[None]) -> None:
    if not job.cancelled():
        job.exception()
