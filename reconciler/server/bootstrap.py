"""From options to a running watch: the real source, store, drivers and transports."""

from __future__ import annotations

from contextlib import ExitStack, redirect_stderr
from typing import TextIO, cast

from prometheus_client import disable_created_metrics

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.desired.fleet import Fleet, load, with_desired
from reconciler.drivers.registry import DRIVERS, drivers_for
from reconciler.host import aio
from reconciler.host.credentials import known_credentials
from reconciler.host.host import Host
from reconciler.planning.plan_pass import Drivers
from reconciler.ports.source import Snapshot
from reconciler.secrets.local_resolver import LocalVault
from reconciler.server.cluster_loops import chosen
from reconciler.server.log_writer import LogState, LogWriter, is_stand_in
from reconciler.server.logs import open_log
from reconciler.server.options import Options
from reconciler.server.pass_runner import Keeping, Looking
from reconciler.server.watch import Equipment, Watch
from reconciler.sources.locate import locate
from reconciler.store.factory import open_store

CACHE = "sources"
"""Folder below the state directory where copies of sources are kept."""


def watch(options: Options, stream: TextIO) -> int:
    """Watch until told to stop; gives the exit status.

    Args:
        options: checked already.
        stream: where the log goes: a stream over a file descriptor, usually standard error.

    Raises:
        UsageError: an option does not fit the source, or the endpoints cannot listen.
        SourceError: there is no such folder or file.
        StateError: the state directory cannot be used.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter
    state = LogState()
    writer = LogWriter(stream.fileno(), state, closed=is_stand_in(stream))
    log = open_log(writer, form=options.log_format, secrets=known_credentials(options.host.environment))
    source = locate(
        options.source,
        ref=options.ref,
        path=options.path,
        sha256=options.sha256,
        cache=options.state / CACHE,
        trust=options.trust,
        environment=options.host.environment,
        saved=options.uncommitted,
    )
    drivers = drivers_for(options.host.config, DRIVERS)
    with ExitStack() as stack:
        # What anything else writes to standard error goes the same way: a full pipe would hold it up, too.
        stack.enter_context(redirect_stderr(cast("TextIO", writer)))
        stack.callback(writer.drain)
        store = None if options.dry_run else stack.enter_context(open_store(options.state, keep=options.keep))

        reader = Reader(source, host=options.host)
        looking = Looking(reader, options.state, options.only)
        perform = looking if store is None else Keeping(Reconciler(reader, store), options.only)

        def read(snapshot: Snapshot) -> Fleet:
            return read_fleet(snapshot, drivers, options.host, only=options.only)

        return aio.run(Watch(options, Equipment(source, read, perform, store), log, state).run())


def read_fleet(snapshot: Snapshot, drivers: Drivers, host: Host, *, only: str = "") -> Fleet:
    """The fleet of a snapshot with every cluster's desired state, which all passes towards it work from.

    Args:
        snapshot: the files.
        drivers: kind -> product.
        host: gives the values of secrets, which are looked up anew.
        only: one cluster's or node's name; empty for all.

    Raises:
        InputError: with the problems of all clusters; then none of them is touched.
        UsageError: the fleet has nothing that `only` names.
    """
    fleet = load(snapshot, drivers, LocalVault(host))
    chosen(fleet, only)
    return with_desired(fleet, drivers)
