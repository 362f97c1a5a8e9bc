"""`reconcile watch`: keep nodes in their desired state, as a long-running process."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from reconciler.cli.options import (
    STATUSES,
    HostOptions,
    Keep,
    Only,
    SignerOptions,
    Skip,
    Source,
    SourceOptions,
    State,
    add_command,
    format_columns,
    make_app,
    read_kept_runs,
    read_selection,
)
from reconciler.cli.state_folder import require_state

app = make_app()


class LogFormat(StrEnum):
    """Formats of log lines."""

    CONSOLE = "console"
    JSON = "json"


_STATUSES = {
    "0": "stopped normally, by SIGTERM, SIGINT or SIGHUP",
    "1": STATUSES[1].partition(";")[0],
    "5": "stopped by a second signal or at the end of --grace: the next run reads the nodes for open steps",
}
_ENVIRONMENT = {
    "RECONCILE_WEBHOOK_SECRET": "secret shared with the forge; without it POST /webhook is refused",
    "RECONCILE_WEBHOOK_SECRET_FILE": "a file with this secret",
}
EPILOG = f"""\b
Durations are written like 30s, 5m or 1h30m.

\b
Exit status:
{format_columns(_STATUSES)}

\b
Environment:
{format_columns(_ENVIRONMENT)}"""


@add_command(app, epilog=EPILOG)
def run_watch(
    source: Source = ".",
    *,
    source_options: SourceOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report drift; change no node.")] = False,
    uncommitted: Annotated[
        bool,
        typer.Option(
            "--uncommitted",
            help="In a git work tree, follow files as they are saved instead of the checked-out commit.",
        ),
    ] = False,
    only: Only = None,
    skip: Skip = None,
    interval: Annotated[
        str, typer.Option(metavar="TIME", help="Time from a pass until the next check for drift.")
    ] = "5m",
    poll: Annotated[str, typer.Option(metavar="TIME", help="Time between reads of the source.")] = "30s",
    listen: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Address of /healthz, /readyz, /metrics and /webhook; or off."
        ),
    ] = "127.0.0.1:8642",
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="Time that running steps have to finish after a stop signal.")
    ] = "90s",
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--log-format", help="Log format; default: console on a terminal, else json.", show_default=False
        ),
    ] = None,
    state: State = None,
    keep: Keep = None,
    signer_options: SignerOptions,
    host_options: HostOptions,
) -> int:
    """Keep a fleet's nodes in their desired state until stopped.

    Runs a pass over a cluster when its source has a new revision (found by polling, by watching a folder, or
    through a webhook call of the forge) and after every interval, to find drift. Logs go to standard error.
    """
    import sys

    from reconciler.cli.terminal import may_colour
    from reconciler.host.credentials import WEBHOOK_SECRET, read_credential
    from reconciler.host.interpreter import prepare_long_run
    from reconciler.server import bootstrap, watch_options

    host = host_options.read_host(source)
    folder = require_state(host, state)
    chosen = watch_options.WatchOptions(
        source=source,
        host=host,
        state=folder.path,
        database=folder.database,
        keep=read_kept_runs(host, keep),
        ref=source_options.ref.strip(),
        path=source_options.path,
        sha256=source_options.sha256,
        uncommitted=uncommitted,
        only=read_selection(only, skip),
        dry_run=dry_run,
        interval=watch_options.parse_duration_option(interval, name="--interval"),
        poll=watch_options.parse_duration_option(poll, name="--poll"),
        listen=watch_options.parse_listen_address(listen),
        log_format=log_format.value if log_format else "",
        grace=watch_options.parse_duration_option(grace, name="--grace"),
        secret=read_credential(host.environment, WEBHOOK_SECRET),
        trust=signer_options.read_trust(host),
        colour=may_colour(),
    )
    prepare_long_run()
    return bootstrap.start_watch(chosen, sys.stderr)
