"""`reconcile retry`: try a stalled node, or a rejected revision, again."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, Why, add_command, make_app

app = make_app()


@add_command(app)
def run_retry(
    name: Annotated[str, typer.Argument(metavar="CLUSTER|NODE", help="A cluster, a node, or CLUSTER/NODE.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Try again what failed, although its content has not changed.

    Of a node: what it never showed is sent to it again (a stalled node, or one that waits for its next
    attempt). Of a cluster: all its nodes, and the revision that it rejected because a wave failed its gates,
    such as after nodes were away for a while.
    """
    from reconciler.api.acts import RetryAct
    from reconciler.cli.order_place import give_order, make_act

    act = make_act(RetryAct, target=name, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        give_order(act, place, common.open_terminal())
    return 0
