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
    from reconciler.api.acts import ReleaseAct
    from reconciler.cli.order_place import make_act
    from reconciler.text.one_line import clean_line

    act = make_act(ReleaseAct, node=node, reason=reason, by=by)
    terminal = common.open_terminal()
    with common.open_orders(state, server) as place:
        used = place.description
        result = None if place.is_empty else place.give(act)
    if result is None or not result.ended:
        terminal.say(f"{clean_line(node)} is not held by `reconcile hold`; nothing was done.\n")
    for name in result.ended if result else ():
        terminal.say(f"{clean_line(name)} is changed again by the next run.\n")
    for one in result.left if result else ():
        name = f"{one.cluster}/{one.node}"
        terminal.say(f"Still {clean_line(one.description)}: {clean_line(name)}\n")
    terminal.say(used)
    return 0
