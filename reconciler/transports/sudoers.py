"""The programs that a file of the host configuration needs, as a file of sudoers names them.

Each line is one complete argument vector without wildcards: the user can do with sudo what the entry needs,
and nothing else. The content comes by standard input, so that no line depends on it.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from reconciler.host.config import HostFile
from reconciler.transports.files import list_programs

_SPECIAL: Final = re.compile(r"[,:=\\*?\[\]!\"# ]")
"""Characters that sudoers reads as its own in an argument."""

_FOLDER: Final = "/usr/bin"


def render_sudoers(name: str, entry: HostFile, *, user: str, node: str = "") -> str:
    """Lines for a file of /etc/sudoers.d on the machine that has the file.

    Args:
        name: of the entry.
        entry: of the host configuration.
        user: who logs in there, or runs this program for a file of this machine.
        node: name of the node, for a path with `{node}`.
    """
    path = PurePosixPath(str(entry.path).replace("{node}", node))
    lines = [f"# The file {name}, see `files` of the host configuration of reconcile."]
    for program, *arguments in list_programs(entry, path):
        command = program if program.startswith("/") else f"{_FOLDER}/{program}"
        words = " ".join(_SPECIAL.sub(lambda mark: f"\\{mark[0]}", argument) for argument in arguments)
        lines.append(f"{user} ALL=(root) NOPASSWD: {command} {words}".rstrip())
    return "".join(f"{line}\n" for line in lines)
