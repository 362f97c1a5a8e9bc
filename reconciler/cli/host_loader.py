"""The host of a command: its configuration file is found, read and checked here, once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from reconciler.errors import UsageError
from reconciler.text.one_line import make_one_line

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


def read_host(context: typer.Context, given: Path | None, source: str = "") -> Host:
    """What this machine says, for one command.

    Args:
        context: of the command; its root was given the environment of the process as its object.
        given: the file that `--host-config` names.
        source: where the desired state is read; empty where the command reads none.

    Raises:
        UsageError: SSL_CERT_FILE names a pipe or a device; the file is missing, cannot be read, may be
            written by others, or lies in the source, as the files of signers must not either.
        InputError: what it says is wrong, with positions.
    """
    from reconciler.host.config import HostConfig  # noqa: PLC0415  (--help stays quick)
    from reconciler.host.environment import AUTHORITIES, find_irregular_authorities  # noqa: PLC0415
    from reconciler.host.host import Host  # noqa: PLC0415

    environment = get_environment(context)
    if pipe := find_irregular_authorities(environment):
        raise UsageError(
            f"the variable {AUTHORITIES} names {make_one_line(pipe, 300)}, which is not a regular file",
            remedy="set it to a file with certificates, or unset it to use the default authorities",
        )
    file = find_host_file(given, environment)
    if file is None:
        return Host(HostConfig(), environment)
    config, real = read_config(file)
    signers = config.signers
    judges = [place for place in (signers.allowed, signers.revoked) if place] if signers else []
    named = [("the host configuration", file), ("the host configuration", real)]
    for what, place in (*named, *(("the file of signers", judge) for judge in judges)):
        for tree in find_source_folders(source):
            if any(step.is_relative_to(tree) for step in _places_that_decide(place)):
                raise UsageError(
                    f"{what} {place} lies in the source {tree}, where a commit could change it",
                    remedy=f"move it out of the source, for example into {SYSTEM.parent}",
                )
    return Host(config, environment, file)


def _places_that_decide(file: Path) -> Iterator[Path]:
    """Where a file lies and where each link on the way to it does: who may change one chooses the content."""
    for step in (*reversed(file.parents), file):
        # ".." is left behind by a link's target, not by its name: /source/../file lies outside the source
        place = step.parent.resolve() / step.name
        if step == file or place.is_symlink():
            yield place
    yield file.resolve()


def find_source_folders(source: str) -> tuple[Path, ...]:
    """The folder of a local source, and that of the work tree it lies in; none for any other source."""
    scheme, separator, rest = source.partition("://")
    if separator:  # as `locate` reads it: file://localhost/srv, git+file:///srv, file:///s%72v
        path = unquote(rest.partition("/")[2])
        if "file" not in scheme.lower().split("+") or not path:
            return ()
        source = f"/{path}"
    try:
        folder = Path(source).expanduser().resolve()
        if not source or not folder.is_dir():
            return ()
    except (OSError, RuntimeError, ValueError):  # no path: whoever reads the source says why
        return ()
    tops = [top for top in (folder, *folder.parents) if (top / ".git").exists()]
    return (folder, *tops[:1])


def get_environment(context: typer.Context) -> Environment:
    """The environment of the process, as it was when the program started."""
    from reconciler.host.environment import Environment  # noqa: PLC0415

    found = context.find_root().obj
    return found if isinstance(found, Environment) else Environment(os.environ)


def find_host_file(given: Path | None, environment: Environment) -> Path | None:
    """The host's file: the one that is named, else the system's, else the user's; None for none.

    Raises:
        UsageError: a file is named and is not there, or the system's folder cannot be looked into.
    """
    named = given or Path(environment.get(VARIABLE, ""))
    if named != Path():
        if not os.path.lexists(named):
            option = "--host-config" if given else VARIABLE
            raise UsageError(f"{option}: there is no file {named}", remedy="correct the path")
        return named.absolute()
    try:
        SYSTEM.lstat()
    except (FileNotFoundError, NotADirectoryError):
        own = find_user_file()
        return own if os.path.lexists(own) else None
    except OSError as error:  # to go on without it would be to allow what it may forbid
        raise UsageError(
            f"cannot find out whether the host configuration {SYSTEM} exists: {error.strerror}",
            remedy=f"give the user who runs reconcile access to {SYSTEM.parent}",
        ) from None
    return SYSTEM


def find_user_file() -> Path:
    """Where the user's own file is, if there is one."""
    import platformdirs  # noqa: PLC0415  (--help stays quick)

    return platformdirs.user_config_path("reconciler") / "host.yaml"


def read_config(file: Path) -> tuple[HostConfig, Path]:
    """The configuration in a file, and the file's real path.

    Raises:
        UsageError: it cannot be read, or somebody other than root and this user may write it.
        InputError: what it says is wrong, with positions.
    """
    from reconciler.host.files import FileRefused, read_trusted  # noqa: PLC0415

    try:
        data, real = read_trusted(file, limit=LARGEST)
    except FileRefused as error:
        raise UsageError(
            f"the host configuration {file} {error}",
            remedy="the file and every folder above it must be owned and writable only by root or this user",
        ) from None
    return parse_config(str(file), data), real


def parse_config(name: str, data: bytes) -> HostConfig:
    """The configuration in a text.

    Args:
        name: of the file, for positions; YAML unless it ends in `.json`.
        data: its bytes; empty ones are the defaults.

    Raises:
        InputError: with every problem found, each with its position.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from reconciler.documents.document import parse_document  # noqa: PLC0415
    from reconciler.documents.model_errors import find_model_errors, translate_model_errors  # noqa: PLC0415
    from reconciler.errors import InputError  # noqa: PLC0415
    from reconciler.host.config import HostConfig  # noqa: PLC0415

    if not any(line.strip() and not line.strip().startswith(b"#") for line in data.splitlines()):
        return HostConfig()
    document = parse_document(name, data)
    named = document.value if isinstance(document.value, Mapping) else {}
    model = HostConfig if named.keys() <= HostConfig.model_fields.keys() else make_config_model(named)
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise InputError(
            translate_model_errors(find_model_errors(error, model, document.value), document, "")
        ) from None


def make_config_model(named: Iterable[str] = ()) -> type[HostConfig]:
    """The configuration with the sections of all products.

    Args:
        named: keys, some of which may be kinds that only packages bring.
    """
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.host.config import add_sections  # noqa: PLC0415

    kinds = [*DRIVERS, *(key for key in named if key not in {*DRIVERS} and key in DRIVERS)]
    drivers = [DRIVERS[kind] for kind in dict.fromkeys(kinds)]
    return add_sections(
        {driver.kind: (driver.title, driver.host_section) for driver in drivers if driver.host_section}
    )
