"""`reconcile explain`: what a code in brackets means, why it matters and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_explain(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE", help="Code such as `frozen`, or `host`; without it, all codes are listed."
        ),
    ] = "",
) -> int:
    """Explain a code that a message shows in brackets.

    `host` shows every key of the host configuration.
    """
    from reconciler.cli.explanations import list_codes, read_page, read_title
    from reconciler.cli.render.pages import wrap_page
    from reconciler.cli.terminal import Terminal
    from reconciler.text.suggestions import find_similar, join_choices

    terminal = Terminal.here()
    name = code.strip("[]`")
    if not name:
        width = max(map(len, list_codes()))
        terminal.say("".join(f"{known:<{width}}  {read_title(known)}\n" for known in list_codes()))
        return 0
    if name == "host":
        from reconciler.cli.render.host_reference import render_host_reference

        terminal.say(render_host_reference())
        return 0
    try:
        terminal.say(wrap_page(read_page(name), terminal.layout))
    except FileNotFoundError:
        near = find_similar(name, list_codes())
        remedy = f"did you mean {join_choices(near)}?" if near else "`reconcile explain` lists all codes"
        raise UsageError(f"unknown code {name!r}", remedy=remedy) from None
    return 0
