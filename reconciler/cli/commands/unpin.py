"""`reconcile unpin`: let a cluster that was rolled back follow the newest revision again."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, State, Why, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_unpin(
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="Cluster that was rolled back.")],
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    common: CommonOptions,
) -> int:
    """End the pin of a cluster: the newest revision is applied to it again.

    `reconcile rollback` pins each cluster that it takes back. The pin also ends with a commit that changes
    what the cluster gets.
    """
    from contextlib import suppress

    from reconciler.cli import orders
    from reconciler.errors import StateError
    from reconciler.host import aio
    from reconciler.host.actor import get_current_actor
    from reconciler.host.control_socket import send_request
    from reconciler.text.one_line import clean_line

    if not cluster.strip():
        raise UsageError(
            "a pin is of one cluster", remedy="name it; `reconcile status` lists pinned clusters"
        )
    terminal = common.open_terminal()
    actor = get_current_actor(claim=by, why=reason)
    with common.open_state(state) as access:
        used, name = str(access), clean_line(cluster)
        if not access.exists():
            terminal.say(f"{name} was not pinned.\n{used}")
            return 0
        ended = aio.run_until_signal(access.orders().unpin(cluster, actor))
        if not ended:
            terminal.remark(orders.warn_of_unknown_cluster(cluster, access.read()))
            others = [one.cluster for one in orders.read_open_orders(access.read()).pins]
            pinned = f"; pinned: {', '.join(map(clean_line, others))}" if others else ""
            terminal.say(f"{name} was not pinned{pinned}.\n{used}")
            return 0
        terminal.say(
            f"{name} is no longer pinned at {', '.join(map(clean_line, ended))}: the newest revision is "
            "applied to it again.\n"
        )
        for watch in access.watches:
            # Only sooner: the watch finds the end of the pin at its next pass, too.
            with suppress(OSError, StateError):
                send_request(watch.path, {"do": "look", "by": actor.encode()})
    terminal.say(used)
    return 0
