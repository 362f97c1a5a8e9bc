"""`reconcile status`: the state and the revision of each node; it only reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    Full,
    NoState,
    Only,
    OutputFormat,
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
    from reconciler.planning.status import FleetStatus

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
    signer_options: SignerOptions,
    common: CommonOptions,
) -> int:
    """Compare each node with SOURCE, by the node's own answer.

    Also shows the revision that each node was last seen to run and since when, what blocks changes, and
    the last run. Ends with 1 if a node cannot be read or is stalled; what guards say changes nothing of that.
    """
    from reconciler.cli.dry_run import make_reader
    from reconciler.cli.progress import show_progress
    from reconciler.cli.render.exit_report import report_status_exit
    from reconciler.cli.render.status import render_status, render_status_json
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_history
    from reconciler.cli.state_folder import find_readable_state
    from reconciler.host import aio
    from reconciler.planning.unread_limit import UnreadLimit

    is_text = format is OutputFormat.TEXT
    terminal = common.open_terminal(for_people=is_text, full=full)
    host = common.read_host(source)
    options = RunOptions(
        source=source,
        ref=source_options.ref,
        path=source_options.path,
        sha256=source_options.sha256,
        only=read_selection(only, skip),
        host=host,
        state=find_readable_state(host, state, without=no_state),
        trust=signer_options.read_trust(host),
        unread_limit=UnreadLimit.read(tolerate_unread),
    )

    async def read() -> FleetStatus:
        with (
            open_history(options.state, terminal, always_shown=is_text) as store,
            show_progress(terminal) as listener,
        ):
            reader = replace(make_reader(options), store=store)
            return await reader.status(only=options.only, listener=listener)

    found = aio.run_until_signal(read())
    ended = report_status_exit(found, detailed=detailed_exitcode, limit=options.unread_limit)
    terminal.say(
        render_status(found, layout=terminal.layout) if is_text else render_status_json(found, ended.plain())
    )
    for sentence in ended.describe_tolerance():
        terminal.remark(f"{sentence}.\n")
    return ended.status
