"""`reconcile completion`: completion for shells, of commands, options, and names from the state."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from reconciler.cli.options import add_command, make_app

app = make_app()


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@add_command(app)
def print_completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_default=False)],
    line: Annotated[
        str,
        typer.Argument(metavar="LINE", help="A line to complete, for the scripts.", show_default=False),
    ] = "",
    *,
    context: typer.Context,
) -> int:
    """Print a script that completes commands, options, and the names of clusters and nodes of the last state.

    For bash put `eval "$(reconcile completion bash)"` into ~/.bashrc; for zsh put
    `eval "$(reconcile completion zsh)"` after `compinit` into ~/.zshrc; for fish write the output to
    ~/.config/fish/completions/reconcile.fish.
    """
    from reconciler.cli.shell_completion import SCRIPTS, complete_line
    from reconciler.cli.terminal import Terminal

    terminal = Terminal.here(for_people=False)
    if not line:
        terminal.say(SCRIPTS[shell.value])
        return 0
    try:
        found = complete_line(line, shell.value, context)
    except Exception:  # noqa: BLE001  (whatever is wrong: a message would be written into the line that is typed)
        found = ""
    terminal.say(found)
    return 0
