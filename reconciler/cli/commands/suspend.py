"""`reconcile suspend`: stop all changes, in one cluster or in all, until `reconcile resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_suspend(
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Cluster to suspend; default: all clusters.")
    ] = "",
    *,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Reason, shown to everyone whose change is blocked.")
    ] = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Stop all changes by any run on this management host.

    A run in progress finishes its wave and does not begin another. Planning and status still work.
    """
    from reconciler.api.acts import SuspendAct
    from reconciler.cli.order_place import give_order, make_act

    if not reason.strip():
        raise UsageError("a suspension needs a reason", remedy='add --reason "…"')
    act = make_act(SuspendAct, cluster=cluster, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        give_order(act, place, common.open_terminal())
    return 0
