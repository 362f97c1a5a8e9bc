"""Credentials of the program: each in an environment variable, or in a file that another variable names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.errors import UsageError
from reconciler.host.config_fields import CREDENTIALS, PREFIX
from reconciler.host.files import FileExposed, FileRefused, read_private, read_regular
from reconciler.host.notification_rules import VARIABLES

GIT_TOKEN: Final = "RECONCILE_GIT_TOKEN"  # noqa: S105  (the variable's name)
SOURCE_TOKEN: Final = "RECONCILE_SOURCE_TOKEN"  # noqa: S105
FORGE_TOKEN: Final = "RECONCILE_FORGE_TOKEN"  # noqa: S105
WEBHOOK_SECRET: Final = "RECONCILE_WEBHOOK_SECRET"  # noqa: S105
AGE_IDENTITY: Final = "RECONCILE_AGE_IDENTITY"
AWS_ACCESS_KEY_ID: Final = "RECONCILE_AWS_ACCESS_KEY_ID"
AWS_SECRET_ACCESS_KEY: Final = "RECONCILE_AWS_SECRET_ACCESS_KEY"  # noqa: S105
AWS_SESSION_TOKEN: Final = "RECONCILE_AWS_SESSION_TOKEN"  # noqa: S105

ALL: Final = (
    GIT_TOKEN, SOURCE_TOKEN, FORGE_TOKEN, WEBHOOK_SECRET, AGE_IDENTITY, AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
)  # fmt: skip

_SHORTEST: Final = 8

LARGEST: Final = 64 * 1024
"""Largest size of a credential file in bytes."""


def name_file_variable(variable: str) -> str:
    """The variable that names the file of a credential."""
    return f"{variable}_FILE"


def read_credential(environment: Mapping[str, str], variable: str) -> str:
    """A credential; empty if neither its variable nor that of its file is set.

    The file is read at every call, so that a new token needs no restart.

    Args:
        environment: of the process.
        variable: its variable; `VARIABLE_FILE` may name a file instead.

    Raises:
        UsageError: both are set, or the file cannot be read or is empty.
    """
    other = name_file_variable(variable)
    value, file = environment.get(variable, ""), environment.get(other, "")
    if value and file:
        raise UsageError(f"both {variable} and {other} are set", remedy="set one of them")
    if not file:
        return value
    try:
        text = read_regular(Path(file), limit=LARGEST).decode().strip()
    except FileRefused as error:
        raise UsageError(f"{other}: the file {file} {error}", remedy="correct the path or the file") from None
    except UnicodeDecodeError:
        raise UsageError(f"{other}: the file {file} is not UTF-8 text") from None
    if not text:
        raise UsageError(f"{other}: the file {file} is empty", remedy="write the credential into it")
    return text


def list_known_credentials(environment: Mapping[str, str], prefix: str = PREFIX) -> list[str]:
    """Every credential that is set, for masking; unreadable files are left out.

    Args:
        environment: of the process.
        prefix: of the variables with secrets of nodes.
    """
    found = []
    for variable in ALL:
        try:
            found.append(read_credential(environment, variable))
        except UsageError:
            found.append(environment.get(variable, ""))
    # Short values of nodes are left out: as parts of common words they would mask half of the log.
    found += [text for name, text in environment.items() if name.startswith(VARIABLES)]
    of_nodes = [text for name, text in environment.items() if name.startswith(prefix)]
    return [text for text in found if text] + [text for text in of_nodes if len(text) >= _SHORTEST]


def read_key_file(file: Path, what: str, *, limit: int = LARGEST) -> bytes:
    """The bytes of a file with a key or password that the host configuration names.

    Args:
        file: its path on this machine; see `find_key_file`.
        what: begins the sentence of an error, before the path.
        limit: bytes that it may have.

    Raises:
        UsageError: it cannot be read, or others may write it, or every user may read it.
    """
    try:
        return read_private(file, limit=limit)
    except FileExposed as error:
        raise UsageError(
            f"{what} {file} {error}",
            remedy=f"run chmod 600 {file}; if others had access, replace the secret",
        ) from None
    except FileRefused as error:
        raise UsageError(
            f"{what} {file} {error}",
            remedy="correct the path in the host configuration, or let the user who runs reconcile read it",
        ) from None


def read_key_text(file: Path, what: str, *, limit: int = LARGEST) -> str:
    """As `read_key_file`, for files of text.

    Raises:
        UsageError: as there; or it is not UTF-8, or empty.
    """
    try:
        text = read_key_file(file, what, limit=limit).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{what} {file} is not UTF-8 text", remedy="write the file again") from None
    if not text.strip():
        raise UsageError(f"{what} {file} is empty", remedy="write the secret into it")
    return text


def find_key_file(key: Path | str, environment: Mapping[str, str]) -> Path:
    """The path of a `KeyFile` of the host configuration.

    Raises:
        UsageError: it is a credential of the systemd unit, and the process has no credentials folder.
    """
    if isinstance(key, Path):
        return key
    folder, name = environment.get(CREDENTIALS.removeprefix("$"), ""), key.partition("/")[2]
    if not folder.startswith("/"):
        raise UsageError(
            f"the key {key} cannot be found: the service has no credentials folder",
            remedy=f"add LoadCredential={name}:PATH to the systemd unit",
        )
    return Path(folder) / name
