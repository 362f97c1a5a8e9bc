"""`reconcile suspend`: from now on nothing is changed, in one cluster or in all, until it is resumed."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, HostConfigFile, NoColor, State, new_app
from reconciler.errors import UsageError

app = new_app()


@app.command()
def suspend(
    context: typer.Context,
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Which cluster; all of them where left out.")
    ] = "",
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever is held up by it.")] = "",
    by: By = "",
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Let nothing be changed any more, by any run on this management host.

    A run that is under way finishes its wave and begins no further one. Planning and status go on.
    """
    from reconciler.cli import orders  # noqa: PLC0415
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.order_desk import order_desk  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.host.actor import this_actor  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    if not reason.strip():
        raise UsageError("a suspension needs its reason", remedy='add --reason "…"')
    terminal = Terminal.here(no_color=no_color)
    with order_desk(read_host(context, host_config), state) as desk:
        used = str(desk)
        if cluster:  # to stop everything, nothing is read first
            terminal.remark(orders.doubt(cluster, orders.names(desk.read())))
        aio.run(desk.orders().suspend(cluster, reason.strip(), this_actor(claim=by)))
    what = f"Cluster {clean(cluster)} is" if cluster else "All clusters are"
    terminal.say(
        f"{what} suspended: {clean(reason)}\n  → {f'reconcile resume {cluster}'.strip()} when it is over\n"
    )
    terminal.say(used)
    return 0
