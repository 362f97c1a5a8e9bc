"""`reconcile history`: earlier runs and orders, and one run in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    Full,
    OutputFormat,
    ServerOptions,
    State,
    add_command,
    expand_groups,
    make_app,
)
from reconciler.core.retention import MOST_KEPT_RUNS
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.api.history_filter import HistoryFilter
    from reconciler.cli.history_place import HistoryPlace
    from reconciler.cli.terminal import Terminal
    from reconciler.core.operations import Operation
    from reconciler.ports.store import RunRecord

app = make_app()

Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=MOST_KEPT_RUNS, help="Number to show.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """Options that select what of the history is shown; `history` and its subcommands take them."""

    cluster: Annotated[
        str, typer.Option("--cluster", metavar="CLUSTER", help="Only what is about this cluster.")
    ] = ""
    user: Annotated[
        str,
        typer.Option("--user", metavar="NAME", help="Only what this user asked for, or asked --by NAME."),
    ] = ""
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Only since then: 2h, 7d, today, or 2026-12-24T18:00 (UTC)."
        ),
    ] = ""

    def make_filter(self, common: CommonOptions, limit: int) -> HistoryFilter:
        """What is asked for, with what stands before the name of a subcommand."""
        from reconciler.api.history_filter import HistoryFilter, parse_since
        from reconciler.host.clock import utc_now

        above = _read_above(common)
        since = parse_since(self.since or above.filters.since, utc_now())
        if above.limit and not is_given(common.context, "limit"):
            limit = above.limit
        return HistoryFilter(
            self.cluster or above.filters.cluster, self.user or above.filters.user, since, limit
        )


@dataclass(frozen=True, slots=True)
class _Above:
    """The options between `history` and the name of a subcommand; the subcommand's own options come first.

    Args:
        limit: 0 if it is not given.
    """

    state: str | None
    server: ServerOptions
    host_config: Path | None
    filters: FilterOptions
    limit: int


LATEST = "latest"
"""Stands for the id of the newest run."""

_ABOVE = "reconciler.cli.commands.history"
"""Key under which the options before the name of a subcommand are kept for it."""


@app.callback(invoke_without_command=True)
@expand_groups
def list_runs(
    *,
    limit: Limit = 20,
    filters: FilterOptions,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """List the newest runs: time, trigger, revision, result; with the orders and operations beside them."""
    common.context.meta[_ABOVE] = _Above(
        state, server, common.host_config, filters, limit if is_given(common.context, "limit") else 0
    )
    if common.context.invoked_subcommand:
        return 0
    from reconciler.cli.history_place import MOST_AT_ONCE
    from reconciler.cli.render import history, operations
    from reconciler.cli.render.text import Tone

    chosen = filters.make_filter(common, limit)
    with _open_history(common, state, server) as (used, place):
        beside = replace(chosen, limit=min(chosen.limit, MOST_AT_ONCE))
        found, acts, asked = place.read_runs(chosen), place.read_orders(beside), place.read_operations(beside)
    terminal = common.open_terminal()
    if format is OutputFormat.JSON:
        terminal.say(history.render_runs_json(found))
    else:
        terminal.say(history.render_runs(found, layout=terminal.layout) or chosen.describe_nothing("runs"))
        terminal.say(history.render_orders(acts, layout=terminal.layout))
        if asked:
            title = terminal.layout.paint("Operations", Tone.STRONG)
            terminal.say(f"{title}\n{operations.render_operations(asked, layout=terminal.layout)}")
        if beside.limit < chosen.limit and beside.limit in {len(acts), len(asked)}:
            terminal.remark(f"Orders and operations: the newest {beside.limit:,}.\n")
        terminal.say(used)
    return 0


@add_command(app, "orders")
def list_orders(
    *,
    limit: Limit = 20,
    filters: FilterOptions,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """List the newest orders of operators.

    Suspend, resume, pin by a rollback, unpin, approve, and the use of approvals: who, when and why.
    """
    from reconciler.cli.render import history

    chosen, terminal = filters.make_filter(common, limit), common.open_terminal()
    with _open_history(common, state, server) as (_, place):
        found = place.read_orders(chosen)
    if format is OutputFormat.JSON:
        shown = history.render_orders_json(found)
    else:
        shown = history.render_orders(found, layout=terminal.layout) or chosen.describe_nothing("orders")
    terminal.say(shown)
    return 0


@add_command(app, "operations")
def list_operations(
    *,
    limit: Limit = 20,
    filters: FilterOptions,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """List the newest operations, such as purges: time, cluster, result."""
    from reconciler.cli.render import operations

    chosen, terminal = filters.make_filter(common, limit), common.open_terminal()
    with _open_history(common, state, server) as (_, place):
        found = place.read_operations(chosen)
    if format is OutputFormat.JSON:
        shown = operations.render_operations_json(found)
    else:
        layout = terminal.layout
        shown = operations.render_operations(found, layout=layout) or chosen.describe_nothing("operations")
    terminal.say(shown)
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
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Show one run or one operation in full.

    Who started it, its steps with their changes and outcomes, and its messages; of an operation, its targets
    and the result of each node.
    """
    from reconciler.cli.render import operations
    from reconciler.cli.render.json import format_json

    _refuse_filters(common)
    with _open_history(common, state, server) as (_, place):
        terminal = common.open_terminal(full=full)
        if run == LATEST:
            run = _find_latest(FilterOptions().make_filter(common, 1), place)
        if (operation := _find_operation(place, run)) is not None:
            terminal.say(
                format_json(operations.to_plain_operation(operation))
                if format is OutputFormat.JSON
                else operations.render_operation(operation, layout=terminal.layout)
            )
            return 0
        record = place.read_run(run)
    return _show_record(record, terminal, format)


@add_command(app, LATEST)
def show_latest_run(
    *,
    filters: FilterOptions,
    format: Format = OutputFormat.TEXT,
    full: Full = False,
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Show the newest run in full, also of one cluster or user."""
    chosen = replace(filters.make_filter(common, 1), limit=1)
    with _open_history(common, state, server) as (_, place):
        record = place.read_run(_find_latest(chosen, place))
    return _show_record(record, common.open_terminal(full=full), format)


def _show_record(record: RunRecord, terminal: Terminal, format: OutputFormat) -> int:
    from reconciler.cli.render import history

    terminal.say(
        history.render_run_record_json(record)
        if format is OutputFormat.JSON
        else history.render_run_record(record, layout=terminal.layout)
    )
    return 0


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a person wrote this option of the command."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _read_above(common: CommonOptions) -> _Above:
    above: _Above = common.context.meta[_ABOVE]
    return above


def _refuse_filters(common: CommonOptions) -> None:
    """What selects among runs has no meaning where one is named."""
    above = _read_above(common)
    given = [f"--{name}" for name, value in asdict(above.filters).items() if value]
    given += ["--limit"] if above.limit else []
    if given:
        raise UsageError(
            f"`reconcile history show` takes no {given[0]}: it shows the run that you name",
            remedy="`reconcile history latest` takes --cluster, --user and --since",
        )


def _find_latest(chosen: HistoryFilter, place: HistoryPlace) -> str:
    """The id of the newest run that is asked for.

    Raises:
        UsageError: there is none.
    """
    found = place.read_runs(chosen)
    if not found:
        raise UsageError(
            f"there are no runs{chosen.conditions or ' yet'}",
            remedy="`reconcile history` lists runs and orders",
        )
    return found[0].id


def _find_operation(place: HistoryPlace, text: str) -> Operation | None:
    """The operation with this id, or the only one whose id begins with it; None if it may be a run."""
    from reconciler.cli.server_client import ServerRefused

    found = place.find_operation(text)
    if found is None:
        return None
    try:
        place.read_run(text)
    except (UsageError, ServerRefused):
        return found
    # Both begin with it: the message of the run names the longer ids.
    return found if found.id == text else None


@contextmanager
def _open_history(
    common: CommonOptions, state: str | None, server: ServerOptions
) -> Iterator[tuple[str, HistoryPlace]]:
    """The history by a subcommand's own options, else by those of `history` before it, and where it is."""
    from reconciler.cli.history_place import HistoryHere, HistoryOfServer

    above = _read_above(common)
    common = replace(common, host_config=common.host_config or above.host_config)
    chosen = ServerOptions(
        server=server.server or above.server.server, token_file=server.token_file or above.server.token_file
    )
    if (client := chosen.find_client(common, state=state or above.state)) is not None:
        yield str(client), HistoryOfServer(client)
        return
    with common.open_state(state or above.state) as access:
        yield str(access), HistoryHere(access.read())
