"""`reconcile dashboard`: a link to the pages of a running watch, with which this user is logged in."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import CommonOptions, State, add_command, make_app
from reconciler.errors import StateError

app = make_app()


@add_command(app)
def print_dashboard_link(
    *,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the link in the browser of this machine.")
    ] = False,
    state: State = None,
    common: CommonOptions,
) -> int:
    """Print a link to the pages of the running watch.

    It works once, within a minute, with a browser on this machine. Whoever opens it is logged in as the user
    who runs this command, with the roles that the host configuration gives to that user.
    """
    terminal = common.open_terminal()
    with common.open_state(state) as access:
        terminal.remark(str(access))
        if access.watch is None:
            raise StateError("no running watch uses this state", remedy="start one: `reconcile watch SOURCE`")
        answer, _ = access.ask_watch({"do": "link"})
    url = str(answer.get("url", ""))
    if open_browser:
        import webbrowser

        # Not printed: the screen, or a log of it, would show a login that is not used yet.
        if webbrowser.open(url):
            terminal.say("The browser shows the pages of the watch.\n")
            return 0
        terminal.remark("This machine has no browser that can be opened.\n")
    terminal.say(f"{url}\n")
    return 0
