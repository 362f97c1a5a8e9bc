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
    from reconciler.cli.order_place import make_act
    from reconciler.text.one_line import clean_line

    if not reason.strip():
        raise UsageError("a suspension needs a reason", remedy='add --reason "…"')
    act = make_act(SuspendAct, cluster=cluster, reason=reason, by=by)
    terminal = common.open_terminal()
    with common.open_orders(state, server) as place:
        result = place.give(act)
        if result.warning:
            terminal.remark(f"{clean_line(result.warning)}\n")
    what = f"Cluster {clean_line(cluster)} is" if cluster else "All clusters are"
    terminal.say(
        f"{what} suspended: {clean_line(reason)}\n  → to end it: {f'reconcile resume {cluster}'.strip()}\n"
    )
    terminal.say(place.description)
    return 0
