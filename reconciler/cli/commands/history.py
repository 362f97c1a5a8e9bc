"""`reconcile history`: what earlier runs did, and one run in full."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import SETTINGS, HostConfigFile, NoColor, Shape, State, new_app

if TYPE_CHECKING:
    from reconciler.cli.order_desk import OrderDesk

app = new_app()

Written = Annotated[Shape, typer.Option("--format", help="How to write it.")]


_ABOVE = "reconciler.cli.commands.history"
"""Where the options before `show` and `orders` are kept for them."""


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the newest runs.")] = 20,
    format: Written = Shape.TEXT,  # noqa: A002  (the option's name)
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """List the newest runs: when, what asked for them, which revision, how they ended."""
    context.meta[_ABOVE] = state, host_config
    if context.invoked_subcommand:
        return 0
    from reconciler.cli.host import read_host  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.order_desk import order_desk  # noqa: PLC0415
    from reconciler.cli.render import history  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415

    with order_desk(read_host(context, host_config), state) as desk:
        used, store = str(desk), desk.read()
        found, acts = aio.run(store.runs(limit)), aio.run(store.acts(limit))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is Shape.JSON
    terminal.say(history.runs_plain(found) if as_json else history.render_runs(found, layout=terminal.layout))
    if not as_json:
        terminal.say(history.render_acts(acts, layout=terminal.layout))
        terminal.say(used)
    return 0


@app.command(context_settings=SETTINGS)
def orders(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the newest orders.")] = 20,
    format: Written = Shape.TEXT,  # noqa: A002  (the option's name)
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """List what people ordered: suspensions and their ends, approvals and their use; who, when and why."""
    from reconciler.cli.render import history  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415

    with _desk(context, host_config, state) as desk:
        found = aio.run(desk.read().acts(limit))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is Shape.JSON
    terminal.say(history.acts_plain(found) if as_json else history.render_acts(found, layout=terminal.layout))
    return 0


@app.command(context_settings=SETTINGS)
def show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the beginning of it.")],
    *,
    format: Written = Shape.TEXT,  # noqa: A002  (the option's name)
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Show one run: who asked for it, its steps with their differences, how each ended, its messages."""
    from reconciler.cli.render import history  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415

    with _desk(context, host_config, state) as desk:
        record = aio.run(desk.read().run(run))
    terminal = Terminal.here(no_color=no_color)
    as_json = format is Shape.JSON
    terminal.say(history.run_plain(record) if as_json else history.render_run(record, layout=terminal.layout))
    return 0


def _desk(
    context: typer.Context, host_config: Path | None, state: Path | None
) -> AbstractContextManager[OrderDesk]:
    """Where a subcommand reads: by its own options, or else by those before it."""
    from reconciler.cli.host import read_host  # noqa: PLC0415  (--help stays quick)
    from reconciler.cli.order_desk import order_desk  # noqa: PLC0415

    state_above, host_config_above = context.meta[_ABOVE]
    return order_desk(read_host(context, host_config or host_config_above), state or state_above)
