"""`reconcile history`: earlier runs and orders, and one run in full."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import SETTINGS, Format, HostConfigFile, NoColor, OutputFormat, State, make_app

if TYPE_CHECKING:
    from reconciler.cli.state_access import StateAccess

app = make_app()

_ABOVE = "reconciler.cli.commands.history"
"""Key under which the options before `show` and `orders` are kept for them."""


@app.callback(invoke_without_command=True)
def list_runs(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of runs to show.")] = 20,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """List the newest runs: time, trigger, revision, result."""
    context.meta[_ABOVE] = state, host_config
    if context.invoked_subcommand:
        return 0
    from reconciler.cli.host_loader import read_host
    from reconciler.cli.render import history
    from reconciler.cli.state_access import open_state
    from reconciler.cli.terminal import Terminal
    from reconciler.host import aio

    with open_state(read_host(context, host_config), state) as access:
        used, store = str(access), access.read()
        found, acts = aio.run_until_signal(store.runs(limit)), aio.run_until_signal(store.acts(limit))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_runs_json(found) if as_json else history.render_runs(found, layout=terminal.layout)
    )
    if not as_json:
        terminal.say(history.render_orders(acts, layout=terminal.layout))
        terminal.say(used)
    return 0


@app.command("orders", context_settings=SETTINGS)
def list_orders(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of orders to show.")] = 20,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """List the newest orders of operators.

    Suspend, resume, approve, and the use of approvals: who, when and why.
    """
    from reconciler.cli.render import history
    from reconciler.cli.terminal import Terminal
    from reconciler.host import aio

    with _open_state(context, host_config, state) as access:
        found = aio.run_until_signal(access.read().acts(limit))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_orders_json(found) if as_json else history.render_orders(found, layout=terminal.layout)
    )
    return 0


@app.command("show", context_settings=SETTINGS)
def show_run(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="ID", help="Run id, or its first characters.")],
    *,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Show one run in full.

    Who started it, its steps with their changes and outcomes, and its messages.
    """
    from reconciler.cli.render import history
    from reconciler.cli.terminal import Terminal
    from reconciler.host import aio

    with _open_state(context, host_config, state) as access:
        record = aio.run_until_signal(access.read().run(run))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_run_record_json(record)
        if as_json
        else history.render_run_record(record, layout=terminal.layout)
    )
    return 0


def _open_state(
    context: typer.Context, host_config: Path | None, state: Path | None
) -> AbstractContextManager[StateAccess]:
    """The state by a subcommand's own options, else by those of `history` before it."""
    from reconciler.cli.host_loader import read_host
    from reconciler.cli.state_access import open_state

    state_above, host_config_above = context.meta[_ABOVE]
    return open_state(read_host(context, host_config or host_config_above), state or state_above)
