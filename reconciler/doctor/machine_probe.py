"""Looks at this machine: versions, files, disk, limits, the unit; writes nothing, and connects to nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.doctor.config_values import list_values
from reconciler.doctor.facts import (
    DiskFacts,
    LibraryFact,
    LimitFacts,
    PathFacts,
    ServiceFacts,
    SignerFacts,
    VersionFacts,
)
from reconciler.errors import UsageError
from reconciler.host.config_fields import CREDENTIALS
from reconciler.host.credentials import ALL, find_key_file, name_file_variable
from reconciler.host.environment import make_child_environment
from reconciler.host.files import FileExposed, FileRefused, read_private, read_regular
from reconciler.host.host import Host
from reconciler.host.secret_files import list_secret_folders
from reconciler.host.subprocesses import ProgramError, run_program
from reconciler.sources.signatures.trust import Trust

_PACKAGE: Final = "fleet-reconciler"
_TEST: Final = "test"
"""The extra of developers."""

_REQUIREMENT: Final = re.compile(r"^([A-Za-z0-9._\-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9.]+))?")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([a-z]+)['"]""")

_GIT_SECONDS: Final = 10.0
_MOST_PATHS: Final = 1_000
_MOST_SECRETS: Final = 500
_LARGEST: Final = 1024 * 1024
_PUBLIC: Final = frozenset({"certificate", "known_hosts", "ca", "allowed", "revoked", "certificates"})
"""Keys of the host configuration whose files everybody may read."""

_PROGRAMS: Final = {"ssh": ("ssh-keygen",), "gpg": ("gpg",)}


def read_versions(host: Host, *, needs_git: bool) -> VersionFacts:
    """Versions of programs and libraries; runs `git --version`."""
    git, problem = "", ""
    try:
        environment = make_child_environment(host.environment)
        ended = run_program(
            ["git", "--version"], environment=environment, seconds=_GIT_SECONDS, limit=1_000, cut=True
        )
        git = ended.out.decode("utf-8", "replace").strip()
        if ended.status:
            problem = f"it ended with status {ended.status}"
    except ProgramError as error:
        problem = str(error) or "it cannot be started"
    return VersionFacts(
        __version__,
        sys.version_info[:3],
        sqlite3.sqlite_version_info,
        tuple(_list_libraries(host)),
        git,
        problem,
        needs_git,
    )


def _list_libraries(host: Host) -> Iterator[LibraryFact]:
    """The libraries that the package of this program names in its metadata."""
    config = host.config
    users = {
        "kafka": "`kafka` of the host configuration" if config.kafka else "",
        "firestore": "`firestore` of the host configuration" if config.firestore else "",
        "aws": "`aws` of the host configuration" if config.aws else "",
        "oci": "`oci` of the host configuration" if config.oci else "",
        "postgres": "`database` of the host configuration" if config.database else "",
        "login": "`access.oidc` of the host configuration" if config.access.oidc else "",
    }
    try:
        requirements = importlib.metadata.requires(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:  # run from its folder, without an installation
        return
    for requirement in requirements:
        found, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
        name = extra[1] if extra else ""
        if found is None or name == _TEST:
            continue
        try:
            version = importlib.metadata.version(found[1])
        except importlib.metadata.PackageNotFoundError:
            version = ""
        yield LibraryFact(found[1], found[2] or "", version, name, users.get(name, ""))


def read_disk(folder: Path) -> DiskFacts:
    """The file system of a folder, or of the nearest folder above it that exists.

    Raises:
        OSError: it cannot be read.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    status = os.statvfs(folder)
    return DiskFacts(
        str(folder),
        status.f_bavail * status.f_frsize,
        status.f_files,
        status.f_favail,
        bool(status.f_flag & os.ST_RDONLY),
    )


def read_paths(host: Host, state: Path, *, has_store: bool) -> tuple[PathFacts, ...]:
    """The files and folders that the configuration names, and those of the state.

    Args:
        host: its configuration and environment.
        state: the state folder.
        has_store: whether the records are in that folder, and not in a database.
    """
    found = [_read_folder("the state folder", state, may_be_missing=True)]
    if has_store:
        found.append(
            _read_private_file("the state file", state / "state.sqlite", limit=0, may_be_missing=True)
        )
    found.append(
        _read_private_file("the key of the state", state / "host.key", limit=_LARGEST, may_be_missing=True)
    )
    found += [
        _read_file(role, path, host, is_public=is_public)
        for role, path, is_public in _list_config_files(host)
    ]
    for variable in ALL:
        name = name_file_variable(variable)
        if file := host.environment.get(name, ""):
            found.append(_read_private_file(f"the file of {name}", Path(file), limit=_LARGEST))
    for folder in list_secret_folders(host):
        if folder.is_dir():
            found.append(_read_folder("the secret folder", folder, may_be_missing=True, writes=False))
            found += _list_secret_files(folder)
    return tuple(found[:_MOST_PATHS])


def _list_config_files(host: Host) -> Iterator[tuple[str, Path | str, bool]]:
    """Role, path, and whether everybody may read it, of each file that the host configuration names."""
    # The state is looked at by itself, files may be on other machines, folders of secrets are below.
    for place, value in list_values(host.config, without={"state", "files", "commands", "secrets"}):
        if isinstance(value, Path) or (isinstance(value, str) and value.startswith(f"{CREDENTIALS}/")):
            is_public = place.rpartition(".")[2] in _PUBLIC or place.startswith("authorities.")
            yield f"`{place}`", value, is_public


def _read_file(role: str, given: Path | str, host: Host, *, is_public: bool) -> PathFacts:
    try:
        path = find_key_file(given, host.environment)
    except UsageError as error:
        return PathFacts(role, str(given), problem=error.message)
    if is_public:
        return _look(role, path, may_be_missing=False, limit=_LARGEST)
    return _read_private_file(role, path, limit=_LARGEST)


def _read_private_file(role: str, path: Path, *, limit: int, may_be_missing: bool = False) -> PathFacts:
    """Facts about a file with secrets, as the program itself reads it; `limit` 0 means not to read it."""
    found = _look(role, path, may_be_missing=may_be_missing, limit=limit, is_private=True)
    if limit and not found.problem and not found.is_missing and not found.mode & 0o077:
        try:
            read_private(path, limit=limit)
        except FileExposed:  # by its mode, which is judged
            pass
        except FileRefused as error:
            return PathFacts(role, str(path), problem=str(error))
    return found


def _look(role: str, path: Path, *, may_be_missing: bool, limit: int, is_private: bool = False) -> PathFacts:
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            return PathFacts(role, str(path), problem="it is a broken symbolic link")
        return PathFacts(role, str(path), is_missing=True, may_be_missing=may_be_missing)
    except OSError as error:
        return PathFacts(role, str(path), problem=error.strerror or type(error).__name__)
    problem = "" if os.access(path, os.R_OK, effective_ids=True) else "this user cannot read it"
    if not problem and not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    if limit and not problem and not is_private:
        try:
            read_regular(path, limit=limit)
        except FileRefused as error:
            problem = str(error)
    return _describe(role, path, status, problem=problem, is_private=is_private)


def _read_folder(role: str, path: Path, *, may_be_missing: bool, writes: bool = True) -> PathFacts:
    try:
        status = path.stat()
    except FileNotFoundError:
        return PathFacts(role, str(path), is_missing=True, may_be_missing=may_be_missing)
    except OSError as error:
        return PathFacts(role, str(path), problem=error.strerror or type(error).__name__)
    problem, needed = "", os.R_OK | os.X_OK | (os.W_OK if writes else 0)
    if not stat.S_ISDIR(status.st_mode):
        problem = "it is not a folder"
    elif not os.access(path, needed, effective_ids=True):
        problem = f"this user cannot read {'and write ' if writes else ''}it"
    return _describe(role, path, status, problem=problem)


def _describe(
    role: str, path: Path, status: os.stat_result, *, problem: str, is_private: bool = False
) -> PathFacts:
    return PathFacts(
        role,
        str(path),
        problem,
        is_private=is_private,
        mode=stat.S_IMODE(status.st_mode),
        owner=status.st_uid,
        user=os.geteuid(),
    )


def _list_secret_files(folder: Path) -> Iterator[PathFacts]:
    """Facts about the files of a folder of secrets; their content is not read."""
    seen = 0
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            seen += 1
            if seen > _MOST_SECRETS:
                return
            yield _look("the secret file", Path(parent, name), may_be_missing=True, limit=0, is_private=True)


def read_mask() -> int | None:
    """The umask of this process, without changing it; None where the system does not show it."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^Umask:\s*([0-7]+)$", text, re.MULTILINE)
    return int(found[1], 8) if found else None


def read_limits(nodes: int | None) -> LimitFacts:
    """Limits of this process; `nodes` of the fleet, None if they are not known."""
    # The hard limit: the program raises the other one by itself.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    return LimitFacts(
        sys.maxsize if files == resource.RLIM_INFINITY else files,
        0 if processes == resource.RLIM_INFINITY else processes,
        nodes,
    )


def read_service(host: Host, state: Path) -> ServiceFacts:
    """The systemd unit of this process, by its control group."""
    unit = ""
    if "INVOCATION_ID" in host.environment:
        try:
            groups = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
        except OSError:
            groups = ""
        found = re.findall(r"([^/\s]+\.service)(?:/|$)", groups, re.MULTILINE)
        unit = found[-1] if found else "a systemd unit"
    named = any(not isinstance(path, Path) for _, path, _ in _list_config_files(host))
    folder = host.environment.get(CREDENTIALS.removeprefix("$"), "")
    return ServiceFacts(
        unit,
        tuple(filter(None, host.environment.get("STATE_DIRECTORY", "").split(":"))),
        str(state),
        lacks_credentials=named and not folder,
    )


def read_signers(host: Host, trust: Trust) -> SignerFacts:
    """The accepted signers of revisions, and the programs that verify signatures.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        data = read_regular(trust.signers, limit=_LARGEST)
    except FileRefused as error:
        raise UsageError(
            f"the file of accepted signers {trust.signers} {error}",
            remedy="correct the path, or its permissions",
        ) from None
    keys = sum(bool(line.strip()) and not line.strip().startswith(b"#") for line in data.splitlines())
    path = make_child_environment(host.environment).get("PATH", os.defpath)
    folders = [Path(folder) for folder in path.split(os.pathsep)]
    programs = {
        name: any(os.access(folder / name, os.X_OK) for folder in folders)
        for name in _PROGRAMS.get(trust.kind, ())
    }
    return SignerFacts(trust.kind, str(trust.signers), keys, programs)


def name_machine() -> str:
    """The name of this machine, for the head of the report."""
    return platform.node() or "this machine"
