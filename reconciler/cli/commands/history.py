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

OfCluster = Annotated[
    str, typer.Option("--cluster", metavar="CLUSTER", help="Only what is about this cluster.")
]
OfUser = Annotated[
    str,
    typer.Option("--user", metavar="NAME", help="Only what this user asked for, or asked --by NAME."),
]
Since = Annotated[
    str,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only since then: 2h, 7d, today, or 2026-12-24T18:00 (UTC).",
    ),
]

LATEST = "latest"
"""Stands for the id of the newest run."""

_ABOVE = "reconciler.cli.commands.history"
"""Key under which the options before `show` and `orders` are kept for them."""


@app.callback(invoke_without_command=True)
@expand_groups
def list_runs(
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Number of runs to show.")] = 20,
    cluster: OfCluster = "",
    user: OfUser = "",
    since: Since = "",
    format: Format = OutputFormat.TEXT,
    state: State = None,
    common: CommonOptions,
) -> int:
    """List the newest runs: time, trigger, revision, result."""
    common.context.meta[_ABOVE] = state, common.host_config
    if common.context.invoked_subcommand:
        return 0
    from reconciler.cli.history_filter import HistoryFilter, parse_since
    from reconciler.cli.render import history, operations
    from reconciler.cli.render.text import Tone
    from reconciler.host import aio
    from reconciler.host.clock import utc_now

    chosen = HistoryFilter(cluster, user, parse_since(since, utc_now()), limit)
    with _open_state(common, state) as access:
        used, store = str(access), access.read()
        runs = aio.run_until_signal(store.runs(chosen.most_read))
        found = aio.run_until_signal(chosen.select_runs(runs, store))
        acts = chosen.select(
            aio.run_until_signal(store.list_past_orders(chosen.most_read)),
            lambda one: (one.actor, one.at, one.cluster),
        )
        asked = chosen.select(
            aio.run_until_signal(store.operations(chosen.most_read)),
            lambda one: (one.actor, one.at, one.cluster),
        )
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

    Suspend, resume, pin by a rollback, unpin, approve, and the use of approvals: who, when and why.
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
        str,
        typer.Argument(metavar="ID", help="Id of a run or an operation, its first characters, or `latest`."),
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
        if run == LATEST:
            newest = aio.run_until_signal(store.runs(1))
            if not newest:
                raise UsageError("there is no run yet", remedy="`reconcile history` lists runs and orders")
            run = newest[0].id
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


@add_command(app, LATEST)
def show_latest_run(
    *, format: Format = OutputFormat.TEXT, full: Full = False, state: State = None, common: CommonOptions
) -> int:
    """Show the newest run in full, like `reconcile history show latest`."""
    return show_run(LATEST, format=format, full=full, state=state, common=common)


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
