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
    from reconciler.api.acts import ResumeAct, ResumeResult
    from reconciler.cli.order_place import give_order, make_act

    act = make_act(ResumeAct, cluster=cluster, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        nothing = ResumeResult(cluster, was_suspended=False)
        give_order(act, place, common.open_terminal(), nothing=nothing)
    return 0
