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
    from reconciler.api.acts import UnpinAct
    from reconciler.cli.order_place import make_act
    from reconciler.text.one_line import clean_line

    if not cluster.strip():
        raise UsageError(
            "a pin is of one cluster", remedy="name it; `reconcile status` lists pinned clusters"
        )
    act = make_act(UnpinAct, cluster=cluster, reason=reason, by=by)
    terminal = common.open_terminal()
    with common.open_orders(state, server) as place:
        used, name = place.description, clean_line(cluster)
        if place.is_empty:
            terminal.say(f"{name} was not pinned.\n{used}")
            return 0
        result = place.give(act)
    if not result.ended:
        if result.warning:
            terminal.remark(f"{clean_line(result.warning)}\n")
        pinned = f"; pinned: {', '.join(map(clean_line, result.pinned))}" if result.pinned else ""
        terminal.say(f"{name} was not pinned{pinned}.\n{used}")
        return 0
    terminal.say(
        f"{name} is no longer pinned at {', '.join(map(clean_line, result.ended))}: the newest revision is "
        f"applied to it again.\n{used}"
    )
    return 0
