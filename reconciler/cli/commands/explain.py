"""`reconcile explain`: what a code in brackets means, why it matters and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import NoColor, make_app
from reconciler.errors import UsageError

app = make_app()


@app.command()
def run_explain(
    code: Annotated[
        str,
        typer.Argument(
            metavar="CODE", help="Code such as `frozen`, or `host`; without it, all codes are listed."
        ),
    ] = "",
    *,
    no_color: NoColor = False,
) -> int:
    """Explain a code that a message shows in brackets.

    `host` shows every key of the host configuration.
    """
    from reconciler.cli.explanations import list_codes, read_page, read_title  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415  (--help stays quick)

    terminal = Terminal.here(no_color=no_color)
    word = code.strip("[]`")
    if not word:
        width = max(map(len, list_codes()))
        terminal.say("".join(f"{known:<{width}}  {read_title(known)}\n" for known in list_codes()))
        return 0
    if word == "host":
        from reconciler.cli.render.host_reference import render_host_reference  # noqa: PLC0415

        terminal.say(render_host_reference())
        return 0
    try:
        terminal.say(read_page(word))
    except FileNotFoundError:
        raise _unknown(word, list_codes()) from None
    return 0


def _unknown(word: str, known: tuple[str, ...]) -> UsageError:
    from reconciler.text.suggestions import find_similar  # noqa: PLC0415

    near = find_similar(word, known)
    remedy = f"did you mean {' or '.join(near)}?" if near else "`reconcile explain` lists all codes"
    return UsageError(f"unknown code {word!r}", remedy=remedy)
