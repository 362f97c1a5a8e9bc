"""Find, read and check the configuration of the host, once for each command."""

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
"""Environment variable that names the host's file if `--host-config` is not given."""

SYSTEM: Final = Path("/etc/reconciler/host.yaml")
"""The host's file, if it exists and nothing names another one."""

LARGEST: Final = 1024 * 1024
"""Maximum size of the host's file in bytes."""


def read_environment(context: typer.Context) -> Environment:
    """The environment when the program started: `os.environ` no longer has the secrets."""
    from reconciler.host.environment import Environment  # noqa: PLC0415  (--help stays quick)

    root = context.find_root().obj
    return root if isinstance(root, Environment) else Environment(os.environ)


def read_host(context: typer.Context, given: Path | None, source: str = "") -> Host:
    """Read the host of a command: its environment and its configuration.

    Args:
        context: of the command; its root has the environment of the process as object.
        given: value of `--host-config`.
        source: where the desired state is read; empty if the command reads none.

    Raises:
        UsageError: SSL_CERT_FILE names a pipe or a device; the file is missing, unreadable or writable by
            others; or it, or a file of signers, lies in the source.
        InputError: its content is wrong, with positions.
    """
    from reconciler.host.config import make_default_config  # noqa: PLC0415  (--help stays quick)
    from reconciler.host.environment import (  # noqa: PLC0415
        AUTHORITIES,
        find_irregular_authorities,
    )
    from reconciler.host.host import Host  # noqa: PLC0415

    environment = read_environment(context)
    if pipe := find_irregular_authorities(environment):
        raise UsageError(
            f"the variable {AUTHORITIES} names {make_one_line(pipe, 300)}, which is not a regular file",
            remedy="set it to a file with certificates, or unset it to use the default authorities",
        )
    file = find_host_file(given, environment)
    if file is None:
        return Host(make_default_config(), environment)
    config, real = read_config(file)
    signers = config.signers
    files = [("the host configuration", file), ("the host configuration", real)]
    if signers:
        files += [("the file of signers", path) for path in (signers.allowed, signers.revoked) if path]
    files += [(f"the file of the authority {name}", path) for name, path in config.authorities.items()]
    # A file in the source would let a commit decide which commits are accepted, which commands run, and which
    # nodes are believed.
    for what, path in files:
        for tree in find_source_folders(source):
            if any(step.is_relative_to(tree) for step in _list_deciding_paths(path)):
                raise UsageError(
                    f"{what} {path} lies in the source {tree}, where a commit could change it",
                    remedy=f"move it out of the source, for example into {SYSTEM.parent}",
                )
    return Host(config, environment, file)


def _list_deciding_paths(file: Path) -> Iterator[Path]:
    """The path of a file and of each link to it: who can change one of them chooses the content."""
    for step in (*reversed(file.parents), file):
        # The folder is resolved first, because ".." leads out of a link's target: /source/../file is outside.
        path = step.parent.resolve() / step.name
        if step == file or path.is_symlink():
            yield path
    yield file.resolve()


def find_source_folders(source: str) -> tuple[Path, ...]:
    """The folder of a local source, and the top of the work tree around it; none for another source."""
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
    except (OSError, RuntimeError, ValueError):  # not a path: the reader of the source reports it
        return ()
    tops = [top for top in (folder, *folder.parents) if (top / ".git").exists()]
    return (folder, *tops[:1])


def find_host_file(given: Path | None, environment: Environment) -> Path | None:
    """The host's file: the named one, else the system's, else the user's; None if there is none.

    Raises:
        UsageError: the named file does not exist, or whether the system's exists cannot be found out.
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
        import platformdirs  # noqa: PLC0415  (--help stays quick)

        own = platformdirs.user_config_path("reconciler") / "host.yaml"
        return own if os.path.lexists(own) else None
    except OSError as error:  # continuing without the file would allow what it may forbid
        raise UsageError(
            f"cannot find out whether the host configuration {SYSTEM} exists: {error.strerror}",
            remedy=f"give the user who runs reconcile access to {SYSTEM.parent}",
        ) from None
    return SYSTEM


def read_config(file: Path) -> tuple[HostConfig, Path]:
    """Read the configuration in a file; gives it with the file's real path.

    Raises:
        UsageError: it cannot be read, or others than root and this user can write it.
        InputError: its content is wrong, with positions.
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
    """Parse a configuration.

    Args:
        name: of the file, for positions; YAML unless it ends in `.json`.
        data: its bytes; empty for the defaults.

    Raises:
        InputError: with every problem found, each with its position.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from reconciler.documents.document import parse_document  # noqa: PLC0415
    from reconciler.documents.model_errors import find_model_errors, translate_model_errors  # noqa: PLC0415
    from reconciler.errors import InputError  # noqa: PLC0415
    from reconciler.host.config import HostConfig, make_default_config  # noqa: PLC0415

    # YAML reads a file of comments as null; here it is a configuration with all defaults.
    if not any(line.strip() and not line.strip().startswith(b"#") for line in data.splitlines()):
        return make_default_config()
    document = parse_document(name, data)
    named = document.value if isinstance(document.value, Mapping) else {}
    # Only an unknown key can belong to an installed product; a scan of installed packages takes 0.1 s.
    model = HostConfig if named.keys() <= HostConfig.model_fields.keys() else make_config_model(named)
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise InputError(
            translate_model_errors(find_model_errors(error, model, document.value), document, "")
        ) from None


def make_config_model(named: Iterable[str] = ()) -> type[HostConfig]:
    """The model of the configuration with the sections of all products.

    Args:
        named: keys that may be kinds of products from other packages.
    """
    from reconciler.drivers.registry import DRIVERS  # noqa: PLC0415
    from reconciler.host.config import add_sections  # noqa: PLC0415

    kinds = [*DRIVERS, *(key for key in named if key not in {*DRIVERS} and key in DRIVERS)]
    drivers = [DRIVERS[kind] for kind in dict.fromkeys(kinds)]
    return add_sections(
        {driver.kind: (driver.title, driver.host_section) for driver in drivers if driver.host_section}
    )
