"""`reconcile help`: help of a command, and the page of environment variables and host configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import CommonOptions, add_command, make_app

app = make_app()

ENVIRONMENT_PAGE = "environment"


@add_command(app)
def show_help(
    topic: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help=f"A command, such as `status` or `history show`; or `{ENVIRONMENT_PAGE}`: environment "
            "variables and the host configuration.",
            show_default=False,
        ),
    ] = None,
    *,
    common: CommonOptions,
) -> int:
    """Show the help of a command, or of everything that a host can set."""
    from reconciler.cli.environment_page import render_environment
    from reconciler.cli.main import run_command

    words = topic or []
    if words == [ENVIRONMENT_PAGE]:
        terminal = common.open_terminal()
        terminal.say(render_environment(layout=terminal.layout))
        return 0
    return run_command([*words, "--help"], common.context.obj)
