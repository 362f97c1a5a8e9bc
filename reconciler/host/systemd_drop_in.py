"""The drop-in of the systemd unit that opens what the local entries of a host configuration need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from reconciler.host.config import HostConfig

_HOMES: Final = ("/home", "/root", "/run/user")
"""Folders that `ProtectHome=yes` of the unit hides."""

_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  (folders that `PrivateTmp=yes` of the unit replaces)

_BROAD: Final = ("/", "/etc", "/opt", "/srv", "/usr", "/usr/local", "/usr/local/etc", "/var", "/var/lib")
"""Folders that belong to much else, too."""

_SUDO: Final = """\
# sudo needs a user that exists, programs that may change their user, and what sudo itself does as root. Each
# of the lines with `no` or without a value closes an opening of its own that systemd would otherwise keep
# shut by forbidding new privileges.
DynamicUser=no
User=reconciler
Group=reconciler
NoNewPrivileges=no
CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SYS_RESOURCE
LockPersonality=no
MemoryDenyWriteExecute=no
PrivateDevices=no
ProtectClock=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
RestrictAddressFamilies=
RestrictNamespaces=no
RestrictRealtime=no
RestrictSUIDSGID=no
SystemCallArchitectures=
SystemCallFilter=
"""

_FOLDERS: Final = """\
# Folders of local files: each is written aside and renamed within its folder. The user of the unit must be
# allowed to write there, for example by a group: SupplementaryGroups=GROUP
"""

_HEAD: Final = """\
# Made by `reconcile unit` from the host configuration: make it anew when `files` or `commands` change.
#   reconcile unit > /etc/systemd/system/reconcile-watch.service.d/local.conf
#   systemctl daemon-reload && systemctl restart reconcile-watch
"""


def render_drop_in(config: HostConfig) -> str:
    """The text of the drop-in; with nothing but comments if the unit needs no opening.

    Args:
        config: of this host. What has `ssh` runs elsewhere and needs no opening here.
    """
    files = {name: file.path for name, file in config.files.items() if file.ssh is None}
    checked = [name for name, file in config.files.items() if file.ssh is None and file.check]
    commands = [name for name, command in config.commands.items() if command.ssh is None]
    with_sudo = [
        *(f"files.{name}" for name in files if config.files[name].sudo),
        *(f"commands.{name}" for name in commands if config.commands[name].sudo),
    ]
    parts = [_HEAD]
    if not files and not with_sudo:
        parts.append("\n# No local file, and nothing with sudo: the unit needs no opening.\n")
    if files or with_sudo:
        parts.append("\n[Service]\n")
    if with_sudo:
        parts += [f"# For {_join(with_sudo)}. Safer: SSH to 127.0.0.1, which needs none of this.\n", _SUDO]
    if files:
        parts.append(_open_folders(files))
    if programs := [*(f"files.{name}.check" for name in checked), *(f"commands.{name}" for name in commands)]:
        parts.append(
            f"\n# {_join(programs)} run in the sandbox of the unit.\n"
            "# What else they write needs a line of its own: ReadWritePaths=/FOLDER\n"
        )
    return "".join(parts)


def _open_folders(files: Mapping[str, Path]) -> str:
    """The folders in which files are replaced: a file is written aside and renamed within its folder."""
    folders: dict[str, list[str]] = {}
    for name, path in files.items():
        folders.setdefault(_find_folder(path), []).append(f"files.{name}")
    lines = [_FOLDERS]
    if any(_is_below(folder, _HOMES) for folder in folders):
        lines.append("ProtectHome=tmpfs\n")
    for folder, names in sorted(folders.items()):
        hidden = _is_below(folder, (*_HOMES, *_TEMPORARY))
        if folder in _BROAD:
            lines.append(f"# This opens all of {folder}: a folder of its own for the file would open less.\n")
        lines.append(f"# {_join(names)}\n{'BindPaths' if hidden else 'ReadWritePaths'}={_quote(folder)}\n")
    return "".join(lines)


def _find_folder(path: Path) -> str:
    """The folder of a file, as far as it has no placeholder."""
    folder = path.parent
    while "{" in str(folder):
        folder = folder.parent
    return str(folder)


def _is_below(folder: str, places: Iterable[str]) -> bool:
    return any(folder == place or folder.startswith(f"{place}/") for place in places)


def _quote(path: str) -> str:
    """A path as systemd reads it: no specifier, and one word."""
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"' if any(mark in text for mark in " \\\"'") else text


def _join(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
