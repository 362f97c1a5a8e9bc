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


_SUMMARIES = {
    "history": "list earlier runs, or show one in full",
    "status": "show the state of each node and the revision that it runs",
    "apply": "apply exactly the plan in a plan file",
    "approve": "approve a waiting plan, for one run",
    "suspend": "stop all changes, in one cluster or in all",
    "resume": "allow changes again",
    "retry": "try a stalled node or a rejected revision again",
    "hold": "send nothing to one node for a while",
    "release": "end the hold of a node before its time",
    "state": "list the fleets that this host remembers; back up, restore, check",
    "check": "explore every possible execution of a plan, with faults",
    "rollback": "apply an earlier revision",
    "unpin": "let a cluster that was rolled back follow the newest revision again",
    "purge": "remove content from the caches of nodes",
    "allow-stop": "say whether a node may be stopped now, and reserve it if so",
    "enroll": "write the file by which a node begins to poll, or give it a new token",
    "dashboard": "print a link to the pages of a running watch, with which you are logged in",
    "tokens": "make, list and revoke tokens, by which programs act at a running watch",
    "doctor": "check this machine and everything that it has to reach",
    "notify": "send a test message to those who are told what the watch finds",
    "validate": "show all errors in the files, without reading a node",
    "comment": "keep the plan of a dry run in one comment of a pull request",
    "commit-status": "set the status of a commit at GitHub, GitLab or Gitea",
    "import": "write the desired state from what running nodes show",
    "render": "show the settings of a node, and where each value comes from",
    "schemas": "print JSON Schemas of all files and messages, for editors",
    "secrets": "encrypt secrets with age, so that they can be stored in git",
    "explain": "explain a code in brackets, and what to do about it",
    "unit": "print what the systemd unit must open for local files and sudo",
    "sudoers": "print the lines of sudoers that files and commands with sudo need",
    "look-again": "let the running watch run a pass now",
    "watch": "keep nodes in the desired state: a long-running process",
    "health": "ask whether a running watch works, for health checks",
    "simulate": "serve simulated nodes of a fleet on this machine",
    "demo": "show the program at work on this machine, in a few seconds",
    "completion": "print the completion of commands, options and names for bash, zsh or fish",
    "help": "show the help of a command, or `help environment`: variables and host configuration",
    "version": "show the version",
}
_FOLDER = "reconciler.cli.commands."
_MODULES = {
    "import": "import_live",
    "allow-stop": "allow_stop",
    "commit-status": "commit_status",
    "look-again": "look_again",
}  # Python cannot import a module with the name of a keyword, or with a hyphen

DEFAULT = Command(f"{_FOLDER}reconcile", "plan, and apply after confirmation")
"""The command that runs if the first argument is not the name of one."""

COMMANDS: Mapping[str, Command] = {
    name: Command(f"{_FOLDER}{_MODULES.get(name, name)}", summary) for name, summary in _SUMMARIES.items()
}
