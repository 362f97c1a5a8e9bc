"""`reconcile release`: end the hold of a node before its time."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, State, Why, add_command, make_app

app = make_app()


@add_command(app)
def run_release(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name of the held node, or CLUSTER/NODE.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """Allow changes of a held node again, and show which holds are left.

    Ends every hold of the node by `reconcile hold`. One in the fleet file ends there; a reservation of
    `reconcile allow-stop` ends with `reconcile allow-stop NODE --release`.
    """
    from reconciler.cli import held_nodes, orders
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    with common.open_state(state) as access:
        used = str(access)
        before = orders.read_open_orders(access.read()).holds if access.exists() else ()
        found = held_nodes.find_named_holds(node, before)
        ended: list[str] = []
        if found:
            actor = get_current_actor(claim=by, why=reason)
            writer = access.orders()
            ended = list(aio.run_until_signal(writer.end_holds([one.id for one in found], actor)))
            access.wake_watch()
    if not ended:
        terminal.say(f"{clean_line(node)} is not held by `reconcile hold`; nothing was done.\n")
    for name in ended:
        terminal.say(f"{clean_line(name)} is changed again by the next run.\n")
    for one in before:
        if one not in found:
            name = f"{one.cluster}/{one.node}"
            terminal.say(f"Still {clean_line(one.description)}: {clean_line(name)}\n")
    terminal.say(used)
    return 0
