"""`reconcile status`: the state and the revision of each node; it only reads."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    Full,
    NoState,
    Only,
    OutputFormat,
    ServerOptions,
    SignerOptions,
    Skip,
    Source,
    SourceOptions,
    State,
    TolerateUnread,
    add_command,
    make_app,
    read_selection,
)

if TYPE_CHECKING:
    from reconciler.cli.terminal import Terminal
    from reconciler.planning.status import FleetStatus
    from reconciler.planning.unread_limit import UnreadLimit

app = make_app()


@add_command(app)
def run_status(
    source: Source = ".",
    *,
    source_options: SourceOptions,
    only: Only = None,
    skip: Skip = None,
    format: Format = OutputFormat.TEXT,
    full: Full = False,
    state: State = None,
    no_state: NoState = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode", help="Exit with 2 if a node that was read differs from its desired state."
        ),
    ] = False,
    tolerate_unread: TolerateUnread = "",
    server: ServerOptions,
    signer_options: SignerOptions,
    common: CommonOptions,
) -> int:
    """Compare each node with SOURCE, by the node's own answer.

    Also shows the revision that each node was last seen to run and since when, what blocks changes, and
    the last run. Ends with 1 if a node cannot be read or is stalled; what guards say changes nothing of that.
    """
    from reconciler.cli.dry_run import make_reader
    from reconciler.cli.progress import show_progress
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_history
    from reconciler.cli.state_folder import find_readable_state
    from reconciler.host import aio
    from reconciler.planning.status import FleetStatus
    from reconciler.planning.unread_limit import UnreadLimit

    is_text = format is OutputFormat.TEXT
    terminal = common.open_terminal(for_people=is_text, full=full)
    limit, selection = UnreadLimit.read(tolerate_unread), read_selection(only, skip)
    given = {**asdict(source_options), "state": state, "no_state": no_state}
    if (client := server.find_client(common, source=source if source != "." else "", **given)) is not None:
        terminal.remark(str(client))
        asked = {"only": selection.only, "skip": selection.skip}
        return _show(client.read("/status", FleetStatus, asked), terminal, format, limit, detailed_exitcode)
    host = common.read_host(source)
    options = RunOptions(
        source=source,
        ref=source_options.ref,
        path=source_options.path,
        sha256=source_options.sha256,
        only=selection,
        host=host,
        state=find_readable_state(host, state, without=no_state),
        trust=signer_options.read_trust(host),
        unread_limit=limit,
    )

    async def read() -> FleetStatus:
        with (
            open_history(options.state, terminal, always_shown=is_text) as store,
            show_progress(terminal) as listener,
        ):
            reader = replace(make_reader(options), store=store)
            return await reader.status(only=options.only, listener=listener)

    return _show(aio.run_until_signal(read()), terminal, format, limit, detailed_exitcode)


def _show(
    found: FleetStatus,
    terminal: Terminal,
    form: OutputFormat,
    limit: UnreadLimit,
    detailed: bool,  # noqa: FBT001  (the option)
) -> int:
    """Show a status; gives the exit status."""
    from reconciler.cli.render.exit_report import report_status_exit
    from reconciler.cli.render.status import render_status, render_status_json

    is_text = form is OutputFormat.TEXT
    ended = report_status_exit(found, detailed=detailed, limit=limit)
    terminal.say(
        render_status(found, layout=terminal.layout) if is_text else render_status_json(found, ended.plain())
    )
    for sentence in ended.describe_tolerance():
        terminal.remark(f"{sentence}.\n")
    return ended.status
