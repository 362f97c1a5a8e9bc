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
    Full,
    OutputFormat,
    State,
    add_command,
    expand_groups,
    make_app,
)
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.cli.state_access import StateAccess
    from reconciler.core.operations import Operation
    from reconciler.ports.store import StoreReader

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
    from reconciler.cli.render import history, operations
    from reconciler.cli.render.text import Tone
    from reconciler.host import aio

    with _open_state(common, state) as access:
        used, store = str(access), access.read()
        found, acts = (
            aio.run_until_signal(store.runs(limit)),
            aio.run_until_signal(store.list_past_orders(limit)),
        )
        asked = aio.run_until_signal(store.operations(limit))
    terminal = common.open_terminal()
    as_json = format is OutputFormat.JSON
    terminal.say(
        history.render_runs_json(found) if as_json else history.render_runs(found, layout=terminal.layout)
    )
    if not as_json:
        terminal.say(history.render_orders(acts, layout=terminal.layout))
        if asked:
            title = terminal.layout.paint("Operations", Tone.STRONG)
            terminal.say(f"{title}\n{operations.render_operations(asked, layout=terminal.layout)}")
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


@add_command(app, "operations")
def list_operations(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of operations to show.")] = 20,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    common: CommonOptions,
) -> int:
    """List the newest operations, such as purges: time, cluster, result."""
    from reconciler.cli.render import operations
    from reconciler.host import aio

    with _open_state(common, state) as access:
        found = aio.run_until_signal(access.read().operations(limit))
    terminal = common.open_terminal()
    as_json = format is OutputFormat.JSON
    terminal.say(
        operations.render_operations_json(found)
        if as_json
        else operations.render_operations(found, layout=terminal.layout)
    )
    return 0


@add_command(app, "show")
def show_run(
    run: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a run or an operation, or its first characters.")
    ],
    *,
    format: Format = OutputFormat.TEXT,
    full: Full = False,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Show one run or one operation in full.

    Who started it, its steps with their changes and outcomes, and its messages; of an operation, its targets
    and the result of each node.
    """
    from reconciler.cli.render import history, operations
    from reconciler.cli.render.json import format_json
    from reconciler.host import aio

    as_json = format is OutputFormat.JSON
    with _open_state(common, state) as access:
        store, terminal = access.read(), common.open_terminal(full=full)
        if (operation := aio.run_until_signal(_find_operation(store, run))) is not None:
            terminal.say(
                format_json(operations.to_plain_operation(operation))
                if as_json
                else operations.render_operation(operation, layout=terminal.layout)
            )
            return 0
        record = aio.run_until_signal(store.run(run))
    terminal.say(
        history.render_run_record_json(record)
        if as_json
        else history.render_run_record(record, layout=terminal.layout)
    )
    return 0


async def _find_operation(store: StoreReader, text: str) -> Operation | None:
    """The operation with this id, or the only one whose id begins with it; None if it may be a run."""
    try:
        found = await store.operation(text)
    except UsageError:
        return None
    try:
        await store.run(text)
    except UsageError:
        return found
    # Both begin with it: the message of the run names the longer ids.
    return found if found.id == text else None


def _open_state(common: CommonOptions, state: Path | None) -> AbstractContextManager[StateAccess]:
    """The state by a subcommand's own options, else by those of `history` before it."""
    state_above, host_config_above = common.context.meta[_ABOVE]
    return replace(common, host_config=common.host_config or host_config_above).open_state(
        state or state_above
    )
