"""Judges facts about this machine: versions, files, disk, limits, the unit, the host configuration; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from reconciler.descriptions.values import format_count
from reconciler.doctor.facts import (
    ConfigurationFacts,
    DiskFacts,
    LibraryFact,
    LimitFacts,
    PathFacts,
    ServiceFacts,
    VersionFacts,
)
from reconciler.doctor.findings import (
    DoctorFinding,
    Topic,
    report_error,
    report_ok,
    report_unchecked,
    report_warning,
)
from reconciler.text.one_line import format_size, join_some

_PYTHON: Final = (3, 11)
_SQLITE: Final = (3, 37)
_GIT: Final = (2, 34)
"""Lowest versions: SQLite with strict types of JSON functions, git with signatures by SSH keys."""

_FULL: Final = 64 * 1024 * 1024
_NEARLY_FULL: Final = 1024 * 1024 * 1024
_LEAST_FILES: Final = 100
_FEW_FILES: Final = 10_000

_CALLS: Final = 4
"""Open files that this program allows itself for each connection to a node that it keeps."""

_OTHERS_READ, _OTHERS_WRITE = 0o077, 0o022
_MOST_NAMED: Final = 8


def judge_versions(facts: VersionFacts) -> Iterator[DoctorFinding]:
    """Whether Python, SQLite, git and the libraries are new enough, and there."""
    topic = Topic.VERSIONS
    python, sqlite = _dotted(facts.python), _dotted(facts.sqlite)
    if facts.python[:2] < _PYTHON:
        yield report_error(
            topic, f"Python {python} is too old", f"install Python {_dotted(_PYTHON)} or newer"
        )
    if facts.sqlite[:2] < _SQLITE:
        yield report_error(
            topic, f"SQLite {sqlite} is too old", f"use a Python with SQLite {_dotted(_SQLITE)} or newer"
        )
    if facts.python[:2] >= _PYTHON and facts.sqlite[:2] >= _SQLITE:
        yield report_ok(topic, f"reconcile {facts.program}, Python {python}, SQLite {sqlite}")
    yield from _judge_git(facts)
    yield from _judge_libraries(facts.libraries)


def _judge_git(facts: VersionFacts) -> Iterator[DoctorFinding]:
    found = re.search(r"(\d+)\.(\d+)(\.\d+)*", facts.git)
    remedy = f"install git {_dotted(_GIT)} or newer, in a folder of PATH"
    report = report_error if facts.needs_git else report_warning
    if facts.git_problem:
        yield report(Topic.VERSIONS, f"git cannot be run: {facts.git_problem}", remedy)
    elif found is None:
        yield report(Topic.VERSIONS, f"git does not tell its version: {facts.git!r}", remedy)
    elif (int(found[1]), int(found[2])) < _GIT:
        yield report(Topic.VERSIONS, f"git {found[0]} is too old", remedy)
    else:
        yield report_ok(Topic.VERSIONS, f"git {found[0]}")


def _judge_libraries(libraries: tuple[LibraryFact, ...]) -> Iterator[DoctorFinding]:
    good = []
    for one in libraries:
        package = f"fleet-reconciler[{one.extra}]" if one.extra else "fleet-reconciler"
        remedy = f"run `pip install --upgrade '{package}'` in the environment of this program"
        if not one.found:
            if one.extra and not one.user:
                continue  # nothing on this host needs it
            need = f", which {one.user} needs" if one.user else ""
            yield report_error(Topic.VERSIONS, f"the library {one.name} is not installed{need}", remedy)
        elif _parse_version(one.found) < _parse_version(one.wanted):
            yield report_error(
                Topic.VERSIONS, f"the library {one.name} {one.found} is older than {one.wanted}", remedy
            )
        else:
            good.append(one)
    extras = sorted({one.extra for one in good if one.extra})
    if good:
        named = f", with the extras {', '.join(extras)}" if extras else ""
        yield report_ok(Topic.VERSIONS, f"{format_count(len(good), 'library', 'libraries')} installed{named}")


def judge_configuration(facts: ConfigurationFacts) -> Iterator[DoctorFinding]:
    """What the host configuration has that nothing uses."""
    topic = Topic.CONFIGURATION
    if not facts.file:
        yield report_ok(topic, "this host has no configuration file: the defaults count")
        return
    yield report_ok(topic, "valid, and only root and this user may write it", facts.file)
    for section, names in sorted((facts.unused or {}).items()):
        yield report_ok(
            topic,
            f"this fleet does not use {join_some(names, _MOST_NAMED)} of `{section}`; another fleet may",
            facts.file,
        )


def judge_paths(paths: tuple[PathFacts, ...]) -> Iterator[DoctorFinding]:
    """Whether files and folders can be used, and only by those who should."""
    good = 0
    for one in paths:
        found = _judge_path(one)
        good += found is None
        if found is not None:
            yield found
    if good:
        yield report_ok(
            Topic.PERMISSIONS, f"{format_count(good, 'file or folder', 'files and folders')} as needed"
        )


def _judge_path(one: PathFacts) -> DoctorFinding | None:
    topic = Topic.PERMISSIONS
    if one.is_missing:
        what, remedy = f"{one.role} does not exist", "create it, or correct the path"
        return None if one.may_be_missing else report_error(topic, what, remedy, one.path)
    if one.problem:
        return report_error(
            topic,
            f"{one.role} cannot be used: {one.problem}",
            "let the user who runs reconcile use it, or run the command as its owner",
            one.path,
        )
    if one.is_private and one.mode & _OTHERS_READ:
        return report_error(
            topic,
            f"others may read {one.role} (mode {one.mode:04o})",
            f"run `chmod go= {one.path}`; if it has a secret that others could read, replace the secret",
            one.path,
        )
    if one.mode & _OTHERS_WRITE:
        return report_error(
            topic,
            f"others may write {one.role} (mode {one.mode:04o})",
            f"run `chmod go-w {one.path}`",
            one.path,
        )
    if one.owner not in {0, one.user}:
        return report_warning(
            topic,
            f"{one.role} belongs to user {one.owner}, and this is user {one.user}",
            "run reconcile as its owner, or change its owner with chown",
            one.path,
        )
    return None


def judge_mask(mask: int) -> Iterator[DoctorFinding]:
    """Whether new files of this process are closed to others."""
    if mask & _OTHERS_WRITE != _OTHERS_WRITE:
        yield report_warning(
            Topic.PERMISSIONS,
            f"the umask {mask:04o} lets others write new files, such as those of `reconcile import`",
            "run `umask 0022`, or a stricter one, before reconcile",
        )


def judge_disk(facts: DiskFacts) -> Iterator[DoctorFinding]:
    """Whether there is room for records and copies of sources."""
    topic, free = Topic.DISK, format_size(facts.free)
    if facts.is_read_only:
        yield report_error(topic, "the file system is read-only", "mount it for writing", facts.folder)
        return
    remedy = "free space there, or give another folder with --state"
    if facts.free < _FULL:
        yield report_error(topic, f"the disk is full: {free} free", remedy, facts.folder)
    elif facts.free < _NEARLY_FULL:
        yield report_warning(topic, f"the disk is nearly full: {free} free", remedy, facts.folder)
    if facts.inodes and facts.free_inodes < _FEW_FILES:
        report = report_error if facts.free_inodes < _LEAST_FILES else report_warning
        yield report(topic, f"room for {facts.free_inodes} more files only", remedy, facts.folder)
    elif facts.free >= _NEARLY_FULL:
        yield report_ok(topic, f"{free} free", facts.folder)


def judge_limits(facts: LimitFacts) -> Iterator[DoctorFinding]:
    """Whether the limits of this process are enough for the fleet."""
    topic = Topic.LIMITS
    needed = _CALLS * (facts.nodes or 0)
    if facts.open_files < needed:
        yield report_warning(
            topic,
            f"{facts.open_files} open files allowed, and {format_count(facts.nodes or 0, 'node')} need "
            f"{needed} to keep their connections: others are made anew for each reading",
            f"set LimitNOFILE={needed} in the unit, or `ulimit -n {needed}`",
        )
    else:
        fleet = "" if facts.nodes is None else f", enough for {format_count(facts.nodes, 'node')}"
        yield report_ok(topic, f"{facts.open_files} open files allowed{fleet}")


def judge_service(facts: ServiceFacts) -> Iterator[DoctorFinding]:
    """Whether the unit gives the process what its configuration needs."""
    topic = Topic.SERVICE
    if not facts.unit:
        yield report_unchecked(
            topic,
            "this command does not run in a systemd unit",
            "to check a unit too, add this command to it: ExecStartPre=-",
        )
        return
    is_fine = True
    if facts.state and facts.state_folders and facts.state not in facts.state_folders:
        is_fine = False
        yield report_warning(
            topic,
            f"the unit gives {', '.join(facts.state_folders)} as its state folder, and {facts.state} is used",
            "set `state` of the host configuration, or StateDirectory= of the unit",
            facts.unit,
        )
    if facts.lacks_credentials:
        is_fine = False
        yield report_error(
            topic,
            "the host configuration names credentials of the unit, and the unit gives none",
            "add LoadCredential=NAME:PATH to the unit",
            facts.unit,
        )
    if is_fine:
        yield report_ok(topic, "the unit gives what the host configuration needs", facts.unit)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _parse_version(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: `2.11.0rc1` is (2, 11, 0)."""
    return tuple(int(part) for part in re.match(r"[0-9.]*", text)[0].split(".") if part)  # type: ignore[index]
