"""`reconcile look-again`: let a running watch read its source and run its passes now."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import By, CommonOptions, ServerOptions, State, Why, add_command, make_app
from reconciler.errors import StateError

app = make_app()


@add_command(app)
def run_look_again(
    cluster: Annotated[
        str, typer.Argument(metavar="CLUSTER", help="Cluster to look at; default: all clusters.")
    ] = "",
    *,
    reason: Why = "",
    by: By = "",
    state: State = None,
    server: ServerOptions,
    common: CommonOptions,
) -> int:
    """Let the running watch read its source, and run a pass over every cluster or one, now.

    Without it, a watch does so when its source changes and after each interval.
    """
    from reconciler.api.acts import LookAct, LookResult
    from reconciler.cli.order_place import make_act, tell_result
    from reconciler.host.actor import get_current_actor

    act, terminal = make_act(LookAct, cluster=cluster, reason=reason, by=by), common.open_terminal()
    if (client := server.find_client(common, state=state)) is not None:
        used, result = str(client), client.perform(act)
    else:
        with common.open_state(state) as access:
            if access.watch is None:
                raise StateError(
                    f"no watch runs with the state {access.folder}",
                    remedy="start `reconcile watch`, or run `reconcile` for one pass",
                )
            actor = get_current_actor(claim=by, why=reason)
            answer, _ = access.ask_watch({"do": "look", "cluster": cluster, "by": actor.encode()})
            used, result = str(access), LookResult(tuple(map(str, answer.get("found", ()))))
    tell_result(act, result, terminal)
    terminal.say(used)
    return 0
