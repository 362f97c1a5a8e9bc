"""`reconcile retry`: try a stalled node, or a rejected revision, again."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, State, Why, add_command, make_app

app = make_app()


@add_command(app)
def run_retry(
    name: Annotated[str, typer.Argument(metavar="CLUSTER|NODE", help="A cluster, a node, or CLUSTER/NODE.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """Try again what failed, although its content has not changed.

    Of a node: what it never showed is sent to it again (a stalled node, or one that waits for its next
    attempt). Of a cluster: all its nodes, and the revision that it rejected because a wave failed its gates,
    such as after nodes were away for a while.
    """
    from reconciler.cli import held_nodes, orders
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.text.one_line import clean_line

    terminal = common.open_terminal()
    with common.open_state(state) as access:
        used, store = str(access), access.read()
        cluster, node = name, ""
        if orders.warn_of_unknown_cluster(name, store):
            known = aio.run_until_signal(held_nodes.find_known_node(name, store))
            cluster, node = known.cluster, known.node
        actor = get_current_actor(claim=by, why=reason)
        found = aio.run_until_signal(access.orders().retry(cluster, node, actor))
        access.wake_watch()
    for one in found:
        terminal.say(f"Will be tried again: {clean_line(one)}\n")
    if not found:
        terminal.say(f"Nothing of {clean_line(name)} was given up: the next run tries it anyway.\n")
    terminal.say(used)
    return 0
