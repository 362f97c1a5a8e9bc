"""Builds a running watch from its options: source, store, drivers, log."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack, redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TextIO, cast

from prometheus_client import disable_created_metrics

from reconciler.api.operator import Operator
from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.api_login import check_token
from reconciler.core.selection import EVERYTHING, Selection, format_selection
from reconciler.desired.fleet import Fleet, add_desired_state, load_fleet
from reconciler.desired.input_digests import compute_input_digests
from reconciler.drivers.registry import DRIVERS, select_drivers
from reconciler.errors import StateError
from reconciler.forges.connection import open_forge
from reconciler.forges.forge import PUBLIC_GITHUB, Forge, ForgeKind, ForgeRepository
from reconciler.host import aio
from reconciler.host.actor import get_current_actor
from reconciler.host.credentials import find_key_file, list_known_credentials, read_key_text
from reconciler.host.host import Host
from reconciler.message_bus.factory import list_bus_entries
from reconciler.planning.inventory_source import add_inventory
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.central_server import CentralServer
from reconciler.ports.pass_queue import PassQueue
from reconciler.ports.source import Snapshot, Source
from reconciler.ports.store import Store
from reconciler.secrets.local_resolver import LocalResolver
from reconciler.server.alert_service import AlertService
from reconciler.server.cluster_loops import select_clusters
from reconciler.server.commit_status_writer import CommitStatusWriter
from reconciler.server.log_writer import LogState, LogWriter, find_open_file, is_null_device
from reconciler.server.logs import Log, open_log
from reconciler.server.nodes.callers import CallerRules
from reconciler.server.nodes.node_server import NodeServerOptions
from reconciler.server.nodes.node_server_process import NodeServerProcess
from reconciler.server.pass_runner import ApplyPass, DryRunPass, TracedPass
from reconciler.server.watch import AlertServiceStart, NodeServerStart, Watch
from reconciler.server.watch_options import WatchOptions
from reconciler.server.watch_state import WatchState
from reconciler.sources import CACHE_FOLDER
from reconciler.sources.git.source import GitSource
from reconciler.sources.http_routes import make_http_transport
from reconciler.sources.locate import locate_source
from reconciler.sources.output_check import WrittenFile
from reconciler.store.factory import open_store
from reconciler.text.urls import strip_userinfo
from reconciler.tracing.delivery import SpanDelivery
from reconciler.tracing.factory import open_tracing
from reconciler.transports.bundle import make_pool, open_transports
from reconciler.transports.connection_pool import ConnectionPool
from reconciler.transports.machines.host_machines import HostMachines


def start_watch(options: WatchOptions, stream: TextIO) -> int:
    """Watch until stopped; gives the exit status.

    Args:
        options: checked already.
        stream: where the log goes; it must have a file descriptor.

    Raises:
        UsageError: an option does not fit the source, or the endpoints cannot listen.
        SourceError: there is no such folder or file.
        StateError: the state folder cannot be used.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter
    state = LogState()
    writer = LogWriter(stream.fileno(), state, closed=is_null_device(stream))
    host = options.host
    known = list_known_credentials(host.environment, host.config.secrets.variables)
    log = open_log(writer, form=options.log_format, secrets=known, colour=options.colour)
    # A log inside the watched folder would trigger a read with each of its lines: `writes` refuses that.
    located = locate_source(
        options.source,
        ref=options.ref,
        path=options.path,
        sha256=options.sha256,
        cache=options.state / CACHE_FOLDER,
        trust=options.trust,
        environment=options.host.environment,
        accounts=options.host.config.aws,
        saved=options.uncommitted,
        state=options.state,
        writes=[WrittenFile("the log", log_file)] if (log_file := find_open_file(stream.fileno())) else [],
    )
    drivers = select_drivers(options.host.config, DRIVERS)
    source = add_inventory(located, host, drivers, state=options.state, is_applying=not options.dry_run)
    with ExitStack() as stack:
        # Anything else that writes to standard error uses the writer too: a full pipe would block it as well.
        stack.enter_context(redirect_stderr(cast("TextIO", writer)))
        stack.callback(writer.drain)
        store = None if options.dry_run else stack.enter_context(open_store(options.store, keep=options.keep))

        # One pool for all passes: one that confirms a change uses the connections of the one that made it.
        pool, machines = make_pool(), HostMachines(options.host)
        delivery = SpanDelivery(partial(_log_span_delivery, log))
        tracer = stack.enter_context(open_tracing(options.host, delivery=delivery))
        connect = tracer.trace_calls(partial(open_transports, pool=pool, machines=machines))
        reader = Reader(source, host=options.host, connect=connect, tracer=tracer)
        reconciler = Reconciler(reader, store, actor=get_current_actor()) if store is not None else None
        perform = (
            DryRunPass(reader, options.store, options.only)
            if reconciler is None
            else ApplyPass(reconciler, options.only)
        )

        fleets = FleetReader(drivers, options.host, options.only)
        watch = Watch(
            options,
            log,
            state,
            source=source,
            located=located,
            load=fleets.load,
            is_stale=fleets.is_stale,
            perform=TracedPass(perform, tracer),
            store=store,
            node_server=None if store is None else choose_node_server(options, drivers),
            operator=Operator(reader, store) if store is not None else None,
            drivers=drivers,
            open_queue=partial(open_pass_queue, reconciler, options.only)
            if reconciler is not None and options.database is not None
            else None,
            reader=reader,
            make_status_writer=choose_status_writer(options, located, store, log),
            alerts=choose_alerts(options, reconciler),
        )
        return aio.run_until_signal(run_with_pool(watch, pool, machines))


def _log_span_delivery(log: Log, problem: str) -> None:
    if problem:
        remedy = "look at `traces` of the host configuration and at the collector; passes are not affected"
        log.warning("traces are not delivered", problem=problem, remedy=remedy)
    else:
        log.info("traces are delivered again")


async def open_pass_queue(reconciler: Reconciler, only: Selection, fleet: Fleet) -> PassQueue:
    """The queue of a fleet; hosts with another selection have another queue.

    Raises:
        ReconcilerError: the identity of the fleet is not known, or the store cannot be used.
    """
    store = await enter_fleet_store(reconciler, fleet)
    digest = hashlib.sha256(format_selection(only).encode()).hexdigest()[:12]
    queue = store.open_pass_queue("all" if only.is_everything else digest)
    if queue is None:
        raise StateError("the passes of this store are not shared")
    return queue


async def run_with_pool(watch: Watch, pool: ConnectionPool, machines: HostMachines) -> int:
    """Run a watch, then close the connections to nodes that its passes left open."""
    try:
        return await watch.run()
    finally:
        await asyncio.gather(machines.aclose(), pool.aclose())


def choose_status_writer(
    options: WatchOptions, located: Source, store: Store | None, log: Log
) -> Callable[[WatchState], CommitStatusWriter] | None:
    """What makes the writer of commit statuses for this source; None if the host configuration has none.

    A dry run writes nothing. Only a git source has commits.
    """
    host, wanted = options.host, _name_repository(options.source)
    found = [one for one in host.config.commit_statuses if _name_repository(one.source) == wanted]
    if not found or store is None or not isinstance(located, GitSource):
        return None
    rules = found[0]
    repository = ForgeRepository(ForgeKind(rules.forge), rules.api or PUBLIC_GITHUB, rules.repository)
    routes = host.environment if repository.api.startswith("https:") else {}

    def open_with_token() -> AbstractAsyncContextManager[Forge]:
        file = find_key_file(rules.token, host.environment)
        what = "the file with the token for commit statuses"
        token = check_token(read_key_text(file, what).strip(), f"{what} {file}")
        return open_forge(repository, token, partial(make_http_transport, routes))

    place = f"{repository.api} {repository.name} {rules.context}"
    return lambda watch_state: CommitStatusWriter(
        rules, watch_state, log, open_forge=open_with_token, lock=partial(store.lock_statuses, place)
    )


def _name_repository(source: str) -> str:
    """A source without what different spellings of one repository differ in."""
    return strip_userinfo(source).rstrip("/").removesuffix(".git")


def choose_alerts(options: WatchOptions, reconciler: Reconciler | None) -> AlertServiceStart | None:
    """What makes the part that tells people; None if this host tells nobody, as in a dry run."""
    rules = options.host.config.notifications
    if rules is None or reconciler is None:
        return None
    return partial(
        AlertService,
        rules,
        options.host,
        reconciler.store,
        partial(enter_fleet_store, reconciler),
        place=options.source,
    )


async def enter_fleet_store(reconciler: Reconciler, fleet: Fleet) -> Store:
    """The store limited to a fleet.

    Raises:
        ReconcilerError: the identity of the fleet is not known, or the store cannot be used.
    """
    identity, _ = await reconciler.reader.bind(fleet)
    return await reconciler.store.enter_fleet(identity) if identity else reconciler.store


def choose_node_server(options: WatchOptions, drivers: Drivers) -> NodeServerStart | None:
    """What makes the server for nodes that poll; None if this host has none."""
    rules = options.host.config.nodes
    if rules is None:
        return None
    node_options = NodeServerOptions(
        rules.listen,
        rules.certificate,
        rules.key,
        CallerRules(rules.allow, rules.proxies),
        rules.rate,
        rules.downloads,
        list_bus_entries(options.host.config, options.host.environment),
    )

    def find_central_server(kind: str) -> CentralServer | None:
        return drivers[kind].central_server() if kind in drivers else None

    return partial(
        NodeServerProcess,
        node_options,
        options.store,
        options.keep,
        kinds=frozenset(drivers),
        find_product=find_central_server,
    )


@dataclass(slots=True)
class FleetReader:
    """Loads the fleet of each snapshot, and knows which secrets the last one used.

    Args:
        drivers: kind -> product.
        host: where secrets are resolved, again for each snapshot.
        only: what it is restricted to.
    """

    drivers: Drivers
    host: Host
    only: Selection = EVERYTHING
    _resolver: LocalResolver | None = field(default=None, repr=False)

    def load(self, snapshot: Snapshot) -> Fleet:
        """The fleet with the desired state of every cluster, for all passes of this revision.

        Raises:
            InputError: with the problems of all clusters; no cluster is changed then.
            UsageError: the fleet has no cluster or node named `only`.
        """
        resolver = LocalResolver(self.host)
        fleet = load_fleet(snapshot, self.drivers, resolver)
        # Only at the start: a later revision may remove what is left out.
        select_clusters(fleet, self.only, is_lenient=self._resolver is not None)
        fleet = add_desired_state(fleet, self.drivers)
        fleet = replace(fleet, input_digests=compute_input_digests(fleet, self.drivers))
        self._resolver = resolver
        return fleet

    def is_stale(self) -> bool:
        """Whether a file with a secret of the last fleet was written, changed or removed since."""
        return self._resolver is not None and self._resolver.has_changed()
