"""The table of commands: name, module, and a line for `reconcile --help`.

Each module has `app`, a `typer.Typer` whose functions return an exit status or nothing. It is imported only
when its command runs; heavy imports belong inside its functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """The module of a command and a summary of it."""

    module: str
    summary: str


DEFAULT = Command("reconciler.cli.commands.reconcile", "plan, and apply after confirmation")
"""The command that runs if the first argument is not the name of one."""

COMMANDS: Mapping[str, Command] = {
    "history": Command("reconciler.cli.commands.history", "list earlier runs, or show one in full"),
    "status": Command(
        "reconciler.cli.commands.status", "show the state of each node and the revision that it runs"
    ),
    "apply": Command("reconciler.cli.commands.apply", "apply exactly the plan in a plan file"),
    "approve": Command("reconciler.cli.commands.approve", "approve a waiting plan, for one run"),
    "suspend": Command("reconciler.cli.commands.suspend", "stop all changes, in one cluster or in all"),
    "resume": Command("reconciler.cli.commands.resume", "allow changes again"),
    "state": Command(
        "reconciler.cli.commands.state", "list the fleets that this host remembers; back up, restore, check"
    ),
    "check": Command(
        "reconciler.cli.commands.check", "explore every possible execution of a plan, with faults"
    ),
    "rollback": Command("reconciler.cli.commands.rollback", "apply an earlier revision"),
    "validate": Command(
        "reconciler.cli.commands.validate", "show all errors in the files, without reading a node"
    ),
    "import": Command(
        "reconciler.cli.commands.import_live", "write the desired state from what running nodes show"
    ),
    "render": Command(
        "reconciler.cli.commands.render", "show the settings of a node, and where each value comes from"
    ),
    "schemas": Command(
        "reconciler.cli.commands.schemas", "print JSON Schemas of all files and messages, for editors"
    ),
    "secrets": Command(
        "reconciler.cli.commands.secrets", "encrypt secrets with age, so that they can be stored in git"
    ),
    "explain": Command(
        "reconciler.cli.commands.explain", "explain a code in brackets, and what to do about it"
    ),
    "watch": Command(
        "reconciler.cli.commands.watch", "keep nodes in the desired state: a long-running process"
    ),
    "simulate": Command(
        "reconciler.cli.commands.simulate", "serve simulated nodes of a fleet on this machine"
    ),
    "demo": Command(
        "reconciler.cli.commands.demo", "show the program at work on this machine, in a few seconds"
    ),
}
