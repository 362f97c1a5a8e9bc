"""`reconcile hold`: send nothing to one node, until a moment or `reconcile release`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_hold(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name of the node, or CLUSTER/NODE.")],
    *,
    until: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="When it ends by itself: a day (its end), a moment in UTC (2026-12-24T18:00), or a time "
            "from now (4h).",
        ),
    ] = "",
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason, shown to everyone whose change has to wait.")
    ] = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Send nothing to one node, by any run on this management host, until a moment.

    Reading goes on. The node counts as away: for guards, waves, majorities and the question whether another
    node may be stopped. A run in progress begins no further step on it. A node of the same address by another
    name is held, too.
    """
    from reconciler.api.acts import HoldAct
    from reconciler.cli.order_place import give_order, make_act

    if not reason.strip():
        raise UsageError("a hold needs a reason", remedy='add --reason "…"')
    if not until.strip():
        raise UsageError("a hold needs an end", remedy="add --until 4h, or --until 2026-12-24T18:00")
    act = make_act(HoldAct, node=node, until=until, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        give_order(act, place, common.open_terminal())
    return 0
