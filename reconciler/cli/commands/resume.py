"""`reconcile resume`: ends what `reconcile suspend` began."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, HostConfigFile, NoColor, State, Why, new_app

app = new_app()


@app.command()
def resume(
    context: typer.Context,
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Which cluster; the whole fleet's where left out.")
    ] = "",
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    host_config: HostConfigFile = None,
    no_color: NoColor = False,
) -> int:
    """Let changes be made again, and say what else still stands in their way.

    Stalled nodes, which never showed what they were sent, get their tries again.
    """
    from reconciler.cli import orders  # noqa: PLC0415
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.order_desk import order_desk  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.host.actor import this_actor  # noqa: PLC0415
    from reconciler.text.one_line import clean  # noqa: PLC0415

    terminal = Terminal.here(no_color=no_color)
    with order_desk(read_host(context, host_config), state) as desk:
        used = str(desk)
        if not desk.exists():
            terminal.say(f"Nothing was suspended.\n{used}")
            return 0
        before = orders.standing(desk.read()).suspensions
        taken = desk.orders()
        aio.run(taken.resume(cluster, this_actor(claim=by, why=reason)))
        anew = aio.run(taken.forget_attempts(cluster))
        left = orders.standing(desk.read()).suspensions
    own = [one for one in before if one.cluster == cluster]
    scope = f"cluster {clean(cluster)}" if cluster else "the whole fleet"
    terminal.say(f"Changes of {scope} are resumed.\n" if own else f"There was no suspension of {scope}.\n")
    for node in anew:
        terminal.say(f"To be tried again: {clean(node)}\n")
    for one in left:
        terminal.say(f"Still suspended: {clean(orders.whose(one))}: {clean(one.reason)}\n")
    terminal.say(used)
    return 0
