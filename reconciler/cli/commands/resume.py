"""`reconcile resume`: end a suspension."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, Why, add_command, make_app

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
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Allow changes again, and show which suspensions are left.

    Stalled nodes, which never showed what was sent to them, are tried again.
    """
    from reconciler.api.acts import ResumeAct
    from reconciler.api.orders import describe_scope
    from reconciler.cli.order_place import make_act
    from reconciler.text.one_line import clean_line

    act = make_act(ResumeAct, cluster=cluster, reason=reason, by=by)
    terminal = common.open_terminal()
    with common.open_orders(state, server) as place:
        used = place.description
        if place.is_empty:
            terminal.say(f"Nothing was suspended.\n{used}")
            return 0
        result = place.give(act)
    scope = f"cluster {clean_line(cluster)}" if cluster else "the whole fleet"
    terminal.say(
        f"Changes to {scope} are allowed again.\n"
        if result.was_suspended
        else f"There was no suspension of {scope}.\n"
    )
    for node in result.retried:
        terminal.say(f"Will be tried again: {clean_line(node)}\n")
    for one in result.left:
        terminal.say(f"Still suspended: {clean_line(describe_scope(one))}: {clean_line(one.reason)}\n")
    terminal.say(used)
    return 0
