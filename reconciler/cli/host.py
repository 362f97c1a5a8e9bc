"""The host of a command: its configuration file is found, read and checked here, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.errors import UsageError

if TYPE_CHECKING:
    import typer

    from reconciler.host.config import HostConfig
    from reconciler.host.environment import Environment
    from reconciler.host.host import Host

VARIABLE: Final = "RECONCILE_HOST_CONFIG"
"""Environment variable that names the host's file, where `--host-config` does not."""

SYSTEM: Final = Path("/etc/reconciler/host.yaml")
"""The host's file where nothing names another one and this one exists."""

LARGEST: Final = 1024 * 1024
"""Bytes that a host's file may have."""


def read_host(context: typer.Context, given: Path | None) -> Host:
    """What this machine says, for one command.

    Args:
        context: of the command; its root was given the environment of the process as its object.
        given: the file that `--host-config` names.

    Raises:
        UsageError: the file is missing, or cannot be read.
        InputError: what it says is wrong, with positions.
    """
    from reconciler.host.config import HostConfig  # noqa: PLC0415  (--help stays quick)
    from reconciler.host.host import Host  # noqa: PLC0415

    environment = environment_of(context)
    file = find_file(given, environment)
    config = read_config(file) if file is not None else HostConfig()
    return Host(config, environment, file)


def environment_of(context: typer.Context) -> Environment:
    """The environment of the process, as it was when the program started."""
    from reconciler.host.environment import Environment  # noqa: PLC0415

    found = context.find_root().obj
    return found if isinstance(found, Environment) else Environment(os.environ)


def find_file(given: Path | None, environment: Environment) -> Path | None:
    """The host's file: the one that is named, else the system's, else the user's; None for none.

    Raises:
        UsageError: a file is named and is not there.
    """
    named = given or Path(environment.get(VARIABLE, ""))
    if named != Path():
        if not os.path.lexists(named):
            option = "--host-config" if given else VARIABLE
            raise UsageError(f"{option}: there is no file {named}", remedy="correct the path")
        return named.absolute()
    return next((place for place in (SYSTEM, user_file()) if os.path.lexists(place)), None)


def user_file() -> Path:
    """Where the user's own file is, if there is one."""
    import platformdirs  # noqa: PLC0415  (--help stays quick)

    return platformdirs.user_config_path("reconciler") / "host.yaml"


def read_config(file: Path) -> HostConfig:
    """The configuration in a file.

    Raises:
        UsageError: it cannot be read, or is larger than a megabyte.
        InputError: what it says is wrong, with positions.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"the host configuration {file} cannot be read: {error.strerror}",
            remedy="let the user who runs reconcile read it",
        ) from None
    if len(data) > LARGEST:
        raise UsageError(f"the host configuration {file} has more than {LARGEST:,} bytes")
    return parse_config(str(file), data)


def parse_config(name: str, data: bytes) -> HostConfig:
    """The configuration in a text.

    Args:
        name: of the file, for positions; YAML unless it ends in `.json`.
        data: its bytes; empty ones are the defaults.

    Raises:
        InputError: with every problem found, each with its position.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from reconciler.desired.document import parse  # noqa: PLC0415
    from reconciler.desired.mismatch import mismatches, problems  # noqa: PLC0415
    from reconciler.errors import InputError  # noqa: PLC0415
    from reconciler.host.config import HostConfig  # noqa: PLC0415

    if not any(line.strip() and not line.strip().startswith(b"#") for line in data.splitlines()):
        return HostConfig()
    document = parse(name, data)
    try:
        return HostConfig.model_validate(document.value)
    except ValidationError as error:
        raise InputError(problems(mismatches(error, HostConfig, document.value), document, "")) from None
