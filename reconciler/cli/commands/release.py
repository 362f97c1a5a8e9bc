"""`reconcile release`: end the hold of a node before its time."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, Why, add_command, make_app

app = make_app()


@add_command(app)
def run_release(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name of the held node, or CLUSTER/NODE.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Allow changes of a held node again, and show which holds are left.

    Ends every hold of the node by `reconcile hold`. One in the fleet file ends there; a reservation of
    `reconcile allow-stop` ends with `reconcile allow-stop NODE --release`.
    """
    from reconciler.api.acts import ReleaseAct, ReleaseResult
    from reconciler.cli.order_place import give_order, make_act

    act = make_act(ReleaseAct, node=node, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        give_order(act, place, common.open_terminal(), nothing=ReleaseResult(node))
    return 0
