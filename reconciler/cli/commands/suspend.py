"""`reconcile suspend`: stop all changes, in one cluster or in all, until `reconcile resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, State, add_command, make_app
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
    common: CommonOptions,
) -> int:
    """Stop all changes by any run on this management host.

    A run in progress finishes its wave and does not begin another. Planning and status still work.
    """
    from reconciler.cli import orders
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.text.one_line import clean_line

    if not reason.strip():
        raise UsageError("a suspension needs a reason", remedy='add --reason "…"')
    if set(cluster) & set("/\\:"):
        raise UsageError(
            f"the argument is the name of a cluster, and {cluster!r} is a path or a URL",
            remedy="for all clusters of all fleets on this host, leave it out",
        )
    terminal = common.open_terminal()
    with common.open_state(state) as access:
        used = str(access)
        if cluster:  # to stop everything, read nothing first: the store may be slow or damaged
            terminal.remark(orders.warn_of_unknown_cluster(cluster, access.read()))
        aio.run_until_signal(access.orders().suspend(cluster, reason.strip(), get_current_actor(claim=by)))
    what = f"Cluster {clean_line(cluster)} is" if cluster else "All clusters are"
    terminal.say(
        f"{what} suspended: {clean_line(reason)}\n  → to end it: {f'reconcile resume {cluster}'.strip()}\n"
    )
    terminal.say(used)
    return 0
