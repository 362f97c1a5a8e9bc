"""`reconcile unpin`: let a cluster that was rolled back follow the newest revision again."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, Why, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_unpin(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="Cluster that was rolled back.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """End the pin of a cluster: the newest revision is applied to it again.

    `reconcile rollback` pins each cluster that it takes back. The pin also ends with a commit that changes
    what the cluster gets.
    """
    from reconciler.api.acts import UnpinAct, UnpinResult
    from reconciler.cli.order_place import give_order, make_act

    if not cluster.strip():
        raise UsageError(
            "a pin is of one cluster", remedy="name it; `reconcile status` lists pinned clusters"
        )
    act = make_act(UnpinAct, cluster=cluster, reason=reason, by=by)
    with common.open_orders(state, server) as place:
        give_order(act, place, common.open_terminal(), nothing=UnpinResult(cluster))
    return 0
