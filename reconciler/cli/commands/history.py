"""`reconcile history`: earlier runs and orders, and one run in full."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    OutputFormat,
    State,
    add_command,
    expand_groups,
    make_app,
)

if TYPE_CHECKING:
    from reconciler.cli.state_access import StateAccess

app = make_app()

_ABOVE = "reconciler.cli.commands.history"
"""Key under which the options before `show` and `orders` are kept for them."""


@app.callback(invoke_without_command=True)
@expand_groups
def list_runs(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of runs to show.")] = 20,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    common: CommonOptions,
) -> int:
    """List the newest runs: time, trigger, revision, result."""
    common.context.meta[_ABOVE] = state, common.host_config
    if common.context.invoked_subcommand:
        return 0
    from reconciler.cli.render import history
    from reconciler.host import aio

    with _open_state(common, state) as access:
        used, store = str(access), access.read()
        found, acts = (
            aio.run_until_signal(store.runs(limit)),
            aio.run_until_signal(store.list_past_orders(limit)),
        )
    terminal = common.open_terminal()
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_runs_json(found) if as_json else history.render_runs(found, layout=terminal.layout)
    )
    if not as_json:
        terminal.say(history.render_orders(acts, layout=terminal.layout))
        terminal.say(used)
    return 0


@add_command(app, "orders")
def list_orders(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of orders to show.")] = 20,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    common: CommonOptions,
) -> int:
    """List the newest orders of operators.

    Suspend, resume, approve, and the use of approvals: who, when and why.
    """
    from reconciler.cli.render import history
    from reconciler.host import aio

    with _open_state(common, state) as access:
        found = aio.run_until_signal(access.read().list_past_orders(limit))
    terminal = common.open_terminal()
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_orders_json(found) if as_json else history.render_orders(found, layout=terminal.layout)
    )
    return 0


@add_command(app, "show")
def show_run(
    run: Annotated[str, typer.Argument(metavar="ID", help="Run id, or its first characters.")],
    *,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Show one run in full.

    Who started it, its steps with their changes and outcomes, and its messages.
    """
    from reconciler.cli.render import history
    from reconciler.host import aio

    with _open_state(common, state) as access:
        record = aio.run_until_signal(access.read().run(run))
    terminal = common.open_terminal()
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_run_record_json(record)
        if as_json
        else history.render_run_record(record, layout=terminal.layout)
    )
    return 0


def _open_state(common: CommonOptions, state: Path | None) -> AbstractContextManager[StateAccess]:
    """The state by a subcommand's own options, else by those of `history` before it."""
    state_above, host_config_above = common.context.meta[_ABOVE]
    return replace(common, host_config=common.host_config or host_config_above).open_state(
        state or state_above
    )
