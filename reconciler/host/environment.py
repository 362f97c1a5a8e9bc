"""The environment of this process: read once and then wiped, and the part of it that child processes get.

Removing a variable from `os.environ` is not enough to keep a secret: `/proc/PID/environ` shows the memory
that the process was started with to every process of the same user and to root. So its bytes are overwritten,
and the process is made not dumpable, which also keeps others of the same user from reading its memory. A
restart with a clean environment would do only the first, and would double the start time.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

PLAIN: Final = (
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER",
    "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
)  # fmt: skip
"""Variables that every child gets, with those whose names begin with LC_."""

NETWORK: Final = (
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_DIR", "SSL_CERT_FILE",
)  # fmt: skip
"""Variables for a program that speaks HTTP; the URL of a proxy may hold a password."""

AUTHORITIES: Final = "SSL_CERT_FILE"
"""The variable that names the file of the authorities that are trusted."""

TERMINAL: Final = ("COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM")
"""Variables for a program at a terminal."""

_SET_DUMPABLE: Final = 4
"""PR_SET_DUMPABLE of prctl(2)."""

_SUDO: Final = "SUDO_UID"
"""Whose repositories count as the user's own under sudo, as git takes it."""

_LOCALE: Final = re.compile(r"LC_[A-Z]+")


class Environment(Mapping[str, str]):
    """Environment variables; their values are never part of its `repr`.

    Args:
        variables: name -> value; copied.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"Environment(of {len(self)} variables)"


def make_child_environment(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """What a child process starts with: an exact list, never a copy of ours.

    Secrets, `LD_*`, `PYTHON*`, `GIT_*` and whatever else is set do not pass unless they are named here.
    Relative entries of PATH are left out: a child often runs in a folder that somebody else fills.

    Args:
        environment: ours.
        names: further variables that this child needs, such as those of `NETWORK`.
    """
    wanted = {*PLAIN, *names}
    kept = {name: environment[name] for name in environment if name in wanted or _LOCALE.fullmatch(name)}
    if "PATH" in kept:
        kept["PATH"] = ":".join(entry for entry in kept["PATH"].split(":") if entry.startswith("/"))
    return kept


def find_irregular_authorities(environment: Mapping[str, str]) -> str:
    """What SSL_CERT_FILE names where that is there and no regular file; empty otherwise.

    OpenSSL opens the file as soon as a library for HTTP is loaded, and waits for a pipe for ever.
    """
    file = environment.get(AUTHORITIES, "")
    # os.path, because the text may be no path at all
    return file if os.path.exists(file) and not os.path.isfile(file) else ""  # noqa: PTH110, PTH113


def seal_environment() -> Environment:
    """The environment as it was; in the process and in `/proc` only what libraries here read is left.

    To be called once, at the entry point, while there is one thread.
    """
    found = Environment(os.environ)
    kept = make_child_environment(found, *NETWORK, *TERMINAL, _SUDO)
    dropped = [name for name in found if name not in kept]
    _overwrite({os.fsencode(name) for name in dropped})
    for name in dropped:
        del os.environ[name]
    _forbid_dumps()
    return found


def _overwrite(names: set[bytes]) -> None:
    """Zeros in the place of the values, in the memory that the kernel shows of this process."""
    try:
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    except (OSError, ValueError):  # no such symbol: not a system with /proc/PID/environ either
        return
    index = 0
    while entry := entries[index]:
        name, equals, value = ctypes.string_at(entry).partition(b"=")
        if equals and name in names:
            ctypes.memset(entry + len(name) + 1, 0, len(value))
        index += 1


def _forbid_dumps() -> None:
    """No core file with secrets, and no reading of this process's memory by others of the same user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
