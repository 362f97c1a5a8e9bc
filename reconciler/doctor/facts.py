"""What the probes of `reconcile doctor` found out, as plain data; the rules judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

DATE_RESOLUTION: Final = 0.5
"""Seconds by which a date in a header may be wrong: it has whole seconds."""


@dataclass(frozen=True, slots=True)
class LibraryFact:
    """A library of this program.

    Args:
        wanted: the lowest version that this program works with; empty for any.
        found: the installed version; empty if it is not installed.
        extra: of this package, which installs it; empty for a library that it always needs.
        user: what in the configuration needs the extra; empty if nothing does.
    """

    name: str
    wanted: str
    found: str
    extra: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """Versions of Python, this program, SQLite, git, and the libraries.

    Args:
        git: what `git --version` wrote; empty if it could not be run.
        git_problem: why it could not be run.
        needs_git: whether the source is a repository.
    """

    program: str
    python: tuple[int, int, int]
    sqlite: tuple[int, int, int]
    libraries: tuple[LibraryFact, ...] = ()
    git: str = ""
    git_problem: str = ""
    needs_git: bool = True


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The file system below a folder.

    Args:
        free: bytes that this user may still write.
        inodes: files that it can have in all; 0 if it has no such limit.
    """

    folder: str
    free: int
    inodes: int
    free_inodes: int
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class PathFacts:
    """A file or folder that the program uses.

    Args:
        role: what it is, such as "the state folder".
        problem: why it cannot be used, such as "Permission denied"; empty if it can.
        is_missing: whether it does not exist.
        may_be_missing: whether the program does without it, or makes it.
        is_private: whether nobody else may read it.
        mode: of the file, without its type.
        owner: id of its user.
        user: id of the user of this process.
    """

    role: str
    path: str
    problem: str = ""
    is_missing: bool = False
    may_be_missing: bool = False
    is_private: bool = False
    mode: int = 0
    owner: int = 0
    user: int = 0


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """Limits of this process.

    Args:
        open_files: highest number of files and connections that it may have open.
        processes: highest number of processes of this user; 0 for no limit.
        nodes: of the fleet; None if the fleet could not be read.
    """

    open_files: int
    processes: int
    nodes: int | None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The systemd unit that this process belongs to.

    Args:
        unit: its name; empty if there is none.
        state_folders: that it gives the process (`StateDirectory`).
        state: the folder that the program uses.
        lacks_credentials: whether the configuration names a credential and the unit gives no folder for them.
    """

    unit: str
    state_folders: tuple[str, ...] = ()
    state: str = ""
    lacks_credentials: bool = False


@dataclass(frozen=True, slots=True)
class ConfigurationFacts:
    """The host configuration, which was read without an error.

    Args:
        file: its path; empty if this host has none.
        unused: section -> entries that the fleet does not name; None if the fleet could not be read.
    """

    file: str
    unused: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class SignerFacts:
    """The signatures that this host requires.

    Args:
        keys: lines or bytes of keys in the file of accepted signers; 0 for none.
        programs: programs that are needed -> whether they were found.
    """

    kind: str
    file: str
    keys: int
    programs: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProxyFacts:
    """Proxies that the environment sets.

    Args:
        variables: that are set -> the proxy, without user and password.
        no_proxy: the exceptions; empty for none.
        source: host of the source, if it is reached over HTTP.
        source_variable: that sets a proxy for it; empty if it is reached directly.
        is_source_private: whether the host of the source is this machine or an address of a private network.
        problem: why the proxy cannot be used.
        nodes: how many hosts of nodes the variables would catch if nodes were reached by them.
    """

    variables: Mapping[str, str]
    no_proxy: str = ""
    source: str = ""
    source_variable: str = ""
    is_source_private: bool = False
    problem: str = ""
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class NameFact:
    """A host name, and what it resolves to.

    Args:
        users: what names it, such as "3 nodes".
        v4: number of its IPv4 addresses.
        v6: number of its IPv6 addresses.
        problem: why it does not resolve.
    """

    name: str
    users: str
    v4: int = 0
    v6: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NameFacts:
    """Host names of the fleet and of the host configuration.

    Args:
        left_out: how many more there are than are resolved.
        far: names that are resolved on other machines, behind a jump host.
        has_v6: whether this machine has a route for IPv6.
        is_fleet_known: whether the names of nodes are among them.
    """

    names: tuple[NameFact, ...]
    left_out: int = 0
    far: tuple[str, ...] = ()
    has_v6: bool = False
    is_fleet_known: bool = True


@dataclass(frozen=True, slots=True)
class NodeFact:
    """The answer of one node.

    Args:
        failure: what kind of failure it is, such as "unreachable"; empty if it could be read.
        reason: why it could not be read, without its own name and address.
        remedy: what to do, if the failure shows that.
        polls: whether it calls this host, so that nothing can be asked of it.
    """

    cluster: str
    node: str
    failure: str = ""
    reason: str = ""
    remedy: str = ""
    polls: bool = False


@dataclass(frozen=True, slots=True)
class CertificateFact:
    """A certificate.

    Args:
        what: whose it is.
        where: its file, or the address that showed it.
        end: when it expires; None if it could not be read.
        problem: why it cannot be used.
    """

    what: str
    where: str
    end: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """The clock of somebody else.

    Args:
        whose: name of it.
        offset: seconds that this machine is ahead of it.
        uncertainty: seconds by which that may be wrong.
        is_node: whether it is that of a node, which may itself be wrong.
    """

    whose: str
    offset: float
    uncertainty: float
    is_node: bool = False


def measure_clock(
    whose: str,
    asked: datetime,
    answered: datetime,
    shown: datetime,
    *,
    resolution: float = 0.0,
    is_node: bool = False,
) -> ClockSample:
    """What an answer with a time says of the clock of whoever gave it.

    Args:
        whose: name of it.
        asked: when this machine asked, by its own clock.
        answered: when it had the answer.
        shown: the time in the answer, given somewhere between the two.
        resolution: seconds that are half of its last digit, which is cut and not rounded.
        is_node: as in `ClockSample`.
    """
    half = (answered - asked).total_seconds() / 2
    offset = asked.timestamp() + half - shown.timestamp() - resolution
    return ClockSample(whose, offset, half + resolution, is_node)
