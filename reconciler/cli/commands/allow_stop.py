"""`reconcile allow-stop`: may this node be stopped now? A yes reserves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from reconciler.cli.options import (
    By,
    CommonOptions,
    Format,
    OutputFormat,
    ServerOptions,
    SignerOptions,
    State,
    WatchedSource,
    Why,
    Within,
    add_command,
    make_app,
)

app = make_app()


@add_command(app)
def run_allow_stop(
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name of the node, or CLUSTER/NODE.")],
    *,
    time: Annotated[
        str,
        typer.Option(
            "--for", metavar="TIME", help="How long a yes counts, such as 30m; 1 minute to 24 hours."
        ),
    ] = "15m",
    release: Annotated[
        bool, typer.Option("--release", help="End the reservation of the node, once it is back.")
    ] = False,
    cluster: Annotated[
        str, typer.Option(metavar="CLUSTER", help="Its cluster, if several have a node of this name.")
    ] = "",
    source: WatchedSource = "",
    path: Within = "",
    format: Format = OutputFormat.TEXT,
    state: State = None,
    server: ServerOptions,
    signer_options: SignerOptions,
    by: By = "",
    reason: Why = "",
    common: CommonOptions,
) -> int:
    """Say whether a node may be stopped now, and reserve it if so.

    Asks the nodes anew. Exit status 0 is a yes; 6 is a no; 7 says that it could not be found out, and so
    does 1 after an error: then the node must not be stopped. A yes reserves the node: until its time is
    over, and after that until the node is seen back, the node counts as away for further questions and for
    every change.
    """
    from reconciler.cli.run_options import RunOptions
    from reconciler.cli.state_access import open_writable_state
    from reconciler.cli.state_folder import find_state
    from reconciler.cli.stop_question import answer_question, ask_server, read_time
    from reconciler.core.reservations import StopRequest

    request = StopRequest(node, cluster, read_time(time), release=release)
    terminal, as_json = (
        common.open_terminal(for_people=format is OutputFormat.TEXT),
        format is OutputFormat.JSON,
    )
    if (client := server.find_client(common, state=state, source=source, path=path)) is not None:
        terminal.remark(str(client))
        return ask_server(request, client, terminal, by=by, reason=reason, as_json=as_json)
    host = common.read_host(source or ".")
    folder = find_state(host, state)
    options = RunOptions.for_writing(host, folder, signer_options, by=by, why=reason)
    options = replace(options, source=source, path=path)
    with open_writable_state(folder) as access:
        terminal.remark(str(access))
        return answer_question(request, options, access, terminal, as_json=as_json)
