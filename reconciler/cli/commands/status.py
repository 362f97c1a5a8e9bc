"""`reconcile status`: the state and the revision of each node; it only reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    NoState,
    Only,
    OutputFormat,
    SignerOptions,
    Source,
    SourceOptions,
    State,
    add_command,
    make_app,
)

if TYPE_CHECKING:
    from reconciler.planning.status import FleetStatus

app = make_app()

PENDING = 2


@add_command(app)
def run_status(
    source: Source = ".",
    *,
    source_options: SourceOptions,
    only: Only = "",
    format: Format = OutputFormat.TEXT,
    state: State = None,
    no_state: NoState = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Exit with 2 if a node differs from its desired state."),
    ] = False,
    signer_options: SignerOptions,
    common: CommonOptions,
) -> int:
    """Compare each node with SOURCE, by the node's own answer.

    Also shows the revision that each node was last seen to run and since when, what blocks changes, and
    the last run.
    """
    from reconciler.cli.dry_run import make_reader
    from reconciler.cli.progress import show_progress
    from reconciler.cli.render.status import render_status, render_status_json
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_history
    from reconciler.cli.state_folder import find_readable_state
    from reconciler.host import aio

    is_text = format is OutputFormat.TEXT
    terminal = common.open_terminal(for_people=is_text)
    host = common.read_host(source)
    options = RunOptions(
        source=source,
        ref=source_options.ref,
        path=source_options.path,
        sha256=source_options.sha256,
        only=only,
        host=host,
        state=find_readable_state(host, state, without=no_state),
        trust=signer_options.read_trust(host),
    )

    async def read() -> FleetStatus:
        with (
            open_history(options.state, terminal, always_shown=is_text) as store,
            show_progress(terminal) as listener,
        ):
            reader = replace(make_reader(options), store=store)
            return await reader.status(only=only, listener=listener)

    found = aio.run_until_signal(read())
    terminal.say(render_status(found, layout=terminal.layout) if is_text else render_status_json(found))
    return PENDING if detailed_exitcode and not found.is_converged else 0
