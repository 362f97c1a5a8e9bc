"""`reconcile resume`: end a suspension."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, State, Why, add_command, make_app

app = make_app()


@add_command(app)
def run_resume(
    cluster: Annotated[
        str,
        typer.Argument(
            metavar="CLUSTER", help="Cluster to resume; default: the suspension of the whole fleet."
        ),
    ] = "",
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """Allow changes again, and show which suspensions are left.

    Stalled nodes, which never showed what was sent to them, are tried again.
    """
    from reconciler.cli import orders
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    with common.open_state(state) as access:
        used = str(access)
        if not access.exists():
            terminal.say(f"Nothing was suspended.\n{used}")
            return 0
        before = orders.read_open_orders(access.read()).suspensions
        writer = access.orders()
        aio.run_until_signal(writer.resume(cluster, get_current_actor(claim=by, why=reason)))
        retried = aio.run_until_signal(writer.forget_attempts(cluster))
        left = orders.read_open_orders(access.read()).suspensions
    was_suspended = any(one.cluster == cluster for one in before)
    scope = f"cluster {clean_line(cluster)}" if cluster else "the whole fleet"
    terminal.say(
        f"Changes to {scope} are allowed again.\n"
        if was_suspended
        else f"There was no suspension of {scope}.\n"
    )
    for node in retried:
        terminal.say(f"Will be tried again: {clean_line(node)}\n")
    for one in left:
        terminal.say(f"Still suspended: {clean_line(orders.describe_scope(one))}: {clean_line(one.reason)}\n")
    terminal.say(used)
    return 0
