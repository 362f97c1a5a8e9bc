"""The one table of commands: a name, the module that has it, and a line for `reconcile --help`.

A module of the table has `app`, a `typer.Typer`, whose functions return an exit status or nothing. It is
imported when its command is asked for, so what is heavy belongs inside its functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """Where a command is and what it is for."""

    module: str
    summary: str


DEFAULT = Command("reconciler.cli.run", "plan, and after a confirmation apply")
"""What runs when the first argument names no command."""

COMMANDS: Mapping[str, Command] = {
    "history": Command("reconciler.cli.history", "what earlier runs did, or one run in full"),
    "explain": Command("reconciler.cli.explain", "what a code in brackets means, and what to do about it"),
    "watch": Command("reconciler.cli.watch", "keep nodes as desired: a long-running process"),
    "simulate": Command("reconciler.cli.simulate", "serve stand-ins of a fleet's nodes on this machine"),
    "demo": Command("reconciler.cli.demo", "see it all at work on this machine in a few seconds"),
}
