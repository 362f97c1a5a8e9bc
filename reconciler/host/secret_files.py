"""Files and variables of this machine that references to secrets may read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import platformdirs

from reconciler.errors import SecretError
from reconciler.host.config_fields import CREDENTIALS
from reconciler.host.files import FileAbsent, FileRefused, read_below
from reconciler.host.host import Host

LARGEST: Final = 1024 * 1024
"""Largest size of a secret file in bytes."""

SYSTEM_FOLDER: Final = Path("/etc/reconciler/secrets")


def list_secret_folders(host: Host) -> tuple[Path, ...]:
    """Folders in which `${file:…}` may read, in search order."""
    default = (CREDENTIALS, SYSTEM_FOLDER, platformdirs.user_config_path("reconciler") / "secrets")
    listed = host.config.secrets.folders
    credentials = host.environment.get(CREDENTIALS.removeprefix("$"), "")
    places = default if listed is None else listed
    found = (Path(credentials if place == CREDENTIALS else place) for place in places)
    # The credentials folder comes from the environment: a relative one would depend on the current folder.
    return tuple(dict.fromkeys(folder for folder in found if folder.is_absolute()))


def read_secret_file(host: Host, name: str) -> bytes:
    """The bytes of the file that `${file:NAME}` names.

    Args:
        host: its configuration lists the folders.
        name: an absolute path below one of the folders, or a path relative to any of them.

    Raises:
        SecretError: no folder has it, or it is not safe to read.
    """
    folders = list_secret_folders(host)
    path = Path("/" + name.lstrip("/")) if name.startswith("/") else Path(name)
    if path.is_absolute():
        places = [(folder, str(path.relative_to(folder))) for folder in folders if folder in path.parents]
        if not places:
            raise SecretError(
                f"the file {name} is not in a secret folder of this host ({_format_folders(folders)})",
                remedy=f"move it there, or list {path.parent} in `secrets.folders` of the host configuration",
            )
    else:
        places = [(folder, str(path)) for folder in folders]
    for folder, rest in places:
        try:
            return read_below(folder, rest, limit=LARGEST)
        except FileAbsent:
            continue
        except FileRefused as error:
            raise SecretError(
                f"the secret file {folder / rest} {error}",
                remedy="secrets must be regular files below `secrets.folders` of the host configuration, "
                "in folders that only root and the user who runs reconcile may write",
            ) from None
    raise SecretError(
        f"the secret file {name} does not exist in {_format_folders(folders)}",
        remedy="write it there, or list its folder in `secrets.folders` of the host configuration",
    )


def read_secret_variable(host: Host, name: str) -> str:
    """The text of the variable that `${env:NAME}` names.

    Raises:
        SecretError: its name lacks the prefix of this host, or it is not set.
    """
    prefix = host.config.secrets.variables
    if not name.startswith(prefix) or name == prefix:
        raise SecretError(
            f"the environment variable {name} is not for secrets: its name must begin with {prefix}",
            remedy=f"name it {prefix}{name}, or set `secrets.variables` in the host configuration",
        )
    try:
        return host.environment[name]
    except KeyError:
        raise SecretError(f"the environment variable {name} is not set", remedy=f"set {name}") from None


def _format_folders(folders: tuple[Path, ...]) -> str:
    return ", ".join(map(str, folders)) or "none"
