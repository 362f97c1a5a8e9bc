"""`reconcile status`: the state and the revision of each node; it only reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    AllowedSigners,
    Format,
    HostConfigFile,
    NoColor,
    NoState,
    Only,
    OutputFormat,
    PlanFormat,
    Ref,
    RequireSigned,
    RevokedSigners,
    Sha256,
    Source,
    State,
    Within,
    make_app,
)

if TYPE_CHECKING:
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.terminal import Terminal
    from reconciler.planning.status import FleetStatus

app = make_app()

PENDING = 2


@app.command()
def run_status(
    context: typer.Context,
    source: Source = ".",
    *,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    only: Only = "",
    format: Format = OutputFormat.TEXT,
    state: State = None,
    no_state: NoState = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Exit with 2 if a node differs from its desired state."),
    ] = False,
    require_signed: RequireSigned = None,
    allowed_signers: AllowedSigners = None,
    revoked_signers: RevokedSigners = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Compare each node with SOURCE, by the node's own answer.

    Also shows the revision that each node was last seen to run and since when, what blocks changes, and
    the last run.
    """
    from reconciler.cli.render.status import render_status, render_status_json
    from reconciler.cli.run_options import RunOptions, build_run_options
    from reconciler.cli.terminal import Terminal
    from reconciler.host import aio

    terminal = Terminal.here(no_color=no_color, for_people=format is OutputFormat.TEXT)
    options = build_run_options(
        context,
        RunOptions(
            source=source, ref=ref, path=path, sha256=sha256, only=only, format=PlanFormat(format.value)
        ),
        writes=False,
        host_config=host_config,
        state=state,
        no_state=no_state,
        require_signed=require_signed,
        allowed_signers=allowed_signers,
        revoked_signers=revoked_signers,
    )
    found = aio.run_until_signal(_read_status(options, terminal))
    terminal.say(
        render_status_json(found)
        if format is OutputFormat.JSON
        else render_status(found, layout=terminal.layout)
    )
    return PENDING if detailed_exitcode and not found.converged else 0


async def _read_status(options: RunOptions, terminal: Terminal) -> FleetStatus:
    from dataclasses import replace

    from reconciler.cli.commands.plan import make_reader
    from reconciler.cli.progress import show_progress
    from reconciler.cli.state_access import open_history

    is_text = options.format is PlanFormat.TEXT
    with open_history(options, terminal, always_shown=is_text) as store, show_progress(terminal) as listener:
        reader = replace(make_reader(options), store=store)
        return await reader.status(only=options.only, listener=listener)
