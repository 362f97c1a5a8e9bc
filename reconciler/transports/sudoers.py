"""The programs that entries of the host configuration run with sudo, as a file of sudoers names them.

Each line is one complete argument vector without wildcards: the user can do with sudo what the entry needs,
and nothing else. The content of files comes by standard input, so that no line depends on it. Where a fleet
file gives a value, the line is a regular expression of what such a value can be (sudo 1.9.10 or later).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from reconciler.host.config import HostCommand, HostConfig, HostFile
from reconciler.transports.command import TOKEN
from reconciler.transports.files import list_programs

_SPECIAL: Final = re.compile(r"[,:=\\*?\[\]!\"# ]")
"""Characters that sudoers reads as its own in an argument."""

_PATTERN_SPECIAL: Final = re.compile(r"[\\.\[\](){}*+?^$|#]")
"""Characters that have a meaning in a regular expression of sudoers."""

_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f]")

_VALUE: Final = "[0-9A-Za-z_.:@+][0-9A-Za-z_.:@+=,%-]*"
"""What the transport of commands fills a placeholder with: no blank, and no option."""

_NODE: Final = "[0-9A-Za-z][0-9A-Za-z.@_-]*"
"""What the transport of files fills `{node}` with: no slash."""

_PLACEHOLDER: Final = "{node}"

_FOLDER: Final = "/usr/bin"

_LOCAL_USER: Final = "reconciler"
"""User of the systemd unit with the drop-in for sudo."""

_HEAD: Final = """\
# Made by `reconcile sudoers` from the host configuration. Put it into /etc/sudoers.d, owned by root with mode
# 0440, and check it with `visudo -c -f FILE`. A program without a path is taken from /usr/bin: compare with
# `command -v PROGRAM` on the machine.
"""


def render_host_sudoers(config: HostConfig, *, way: str | None = None, node: str = "") -> str:
    """The lines of all entries with sudo, machine by machine.

    Args:
        config: of this host.
        way: only the entries of this way; empty for those of this machine, None for all.
        node: name of the node whose machine gets the file; empty for lines that fit every node.
    """
    parts = [_HEAD]
    for ssh in (None, *config.ssh) if way is None else (way or None,):
        is_root = ssh is not None and config.ssh[ssh].sudo
        user = config.ssh[ssh].user if ssh is not None else _LOCAL_USER
        blocks = [
            *(
                render_sudoers(name, file, user=user, node=node)
                for name, file in config.files.items()
                if file.ssh == ssh and (file.sudo or is_root)
            ),
            *(
                render_command_sudoers(name, command, user=user, node=node)
                for name, command in config.commands.items()
                if command.ssh == ssh and (command.sudo or is_root)
            ),
        ]
        if blocks:
            where = f"the machines of `ssh.{ssh}`" if ssh is not None else "this machine"
            parts += [f"\n# For {where}.\n", *blocks]
    if len(parts) == 1:
        parts.append("\n# No entry has `sudo: true`.\n")
    return "".join(parts)


def render_sudoers(name: str, entry: HostFile, *, user: str, node: str = "") -> str:
    """Lines for a file of /etc/sudoers.d on the machine that has the file.

    Args:
        name: of the entry.
        entry: of the host configuration.
        user: who logs in there, or runs this program for a file of this machine.
        node: name of the node, for a path with `{node}`; empty for lines that fit every node.
    """
    lines = [f"# The file {name}, see `files` of the host configuration of reconcile."]
    if entry.follow:
        lines.append("# It may be a link: replace its path below by that of the file at its end.")
    path = PurePosixPath(str(entry.path).replace(_PLACEHOLDER, node) if node else entry.path)
    lines += [
        _write_line(user, [_split(argument) for argument in vector]) for vector in list_programs(entry, path)
    ]
    return "".join(f"{line}\n" for line in lines)


def render_command_sudoers(name: str, command: HostCommand, *, user: str, node: str = "") -> str:
    """The line of a command, as `render_sudoers`."""
    vector = [list(_split_command(argument, node)) for argument in command.run]
    line = _write_line(user, vector)
    return f"# The command {name}, see `commands` of the host configuration of reconcile.\n{line}\n"


_Part = tuple[str, bool]
"""A text, and whether it is a regular expression."""


def _split(argument: str) -> list[_Part]:
    """An argument of a file's program, with a pattern for the name of the node."""
    parts = re.split(f"({re.escape(_PLACEHOLDER)})", argument)
    return [(_NODE, True) if part == _PLACEHOLDER else (part, False) for part in parts]


def _split_command(argument: str, node: str) -> Iterator[_Part]:
    end = 0
    for token in TOKEN.finditer(argument):
        yield argument[end : token.start()], False
        end = token.end()
        if token[1] is None:
            yield token[0][0], False
        elif token[1] == "node" and node:
            yield node, False
        else:
            yield _VALUE, True
    yield argument[end:], False


def _write_line(user: str, vector: Sequence[Sequence[_Part]]) -> str:
    """One line for one argument vector."""
    program, *arguments = vector
    text = "".join(part for part, _ in program)
    if _UNSEEN.search("".join(part for argument in vector for part, _ in argument)):
        return f"# {_UNSEEN.sub('?', text)} is left out: an argument has a control character."
    command = text if text.startswith("/") else f"{_FOLDER}/{text}"
    parts = [part for argument in arguments for part in argument]
    if any(is_pattern for _, is_pattern in parts) or any(part.startswith("^") for part, _ in parts[:1]):
        words = f"^{' '.join(''.join(map(_write_pattern, argument)) for argument in arguments)}$"
    else:
        words = " ".join("".join(_escape(part) for part, _ in argument) for argument in arguments)
    # Without arguments a line would allow all of them.
    return f"{user} ALL=(root) NOPASSWD: {_escape(command)} {words or chr(34) * 2}"


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda mark: f"\\{mark[0]}", text)


def _write_pattern(part: _Part) -> str:
    text, is_pattern = part
    return text if is_pattern else _PATTERN_SPECIAL.sub(lambda mark: f"\\{mark[0]}", text)
