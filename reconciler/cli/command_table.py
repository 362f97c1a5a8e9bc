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


DEFAULT = Command("reconciler.cli.commands.reconcile", "plan, and after a confirmation apply")
"""What runs when the first argument names no command."""

COMMANDS: Mapping[str, Command] = {
    "history": Command("reconciler.cli.commands.history", "what earlier runs did, or one run in full"),
    "status": Command(
        "reconciler.cli.commands.status", "what each node shows, the content of which revision, since when"
    ),
    "apply": Command("reconciler.cli.commands.apply", "apply exactly the plan in a file, or nothing of it"),
    "approve": Command(
        "reconciler.cli.commands.approve", "let a plan that waits for an approval be applied, once"
    ),
    "suspend": Command("reconciler.cli.commands.suspend", "let nothing be changed, in one cluster or in all"),
    "resume": Command("reconciler.cli.commands.resume", "let changes be made again"),
    "state": Command(
        "reconciler.cli.commands.state", "what this host remembers: its fleets; backup, restore, check"
    ),
    "check": Command(
        "reconciler.cli.commands.check", "explore every possible execution of a plan, with faults"
    ),
    "rollback": Command(
        "reconciler.cli.commands.rollback", "go back to an earlier revision, like any change"
    ),
    "validate": Command(
        "reconciler.cli.commands.validate", "everything wrong in all files, without asking a node"
    ),
    "import": Command("reconciler.cli.commands.import_live", "write the desired state that live nodes show"),
    "render": Command(
        "reconciler.cli.commands.render", "what a node gets, and where each value of it came from"
    ),
    "schemas": Command(
        "reconciler.cli.commands.schemas", "JSON Schemas of all files and messages, for editors"
    ),
    "secrets": Command(
        "reconciler.cli.commands.secrets", "encrypt secrets with age, so that they can stand in git"
    ),
    "explain": Command(
        "reconciler.cli.commands.explain", "what a code in brackets means, and what to do about it"
    ),
    "watch": Command("reconciler.cli.commands.watch", "keep nodes as desired: a long-running process"),
    "simulate": Command(
        "reconciler.cli.commands.simulate", "serve stand-ins of a fleet's nodes on this machine"
    ),
    "demo": Command("reconciler.cli.commands.demo", "see it all at work on this machine in a few seconds"),
}
