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
"""Variables that every child process gets, with those that begin with LC_."""

NETWORK: Final = (
    "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "all_proxy", "http_proxy", "https_proxy", "no_proxy",
    "SSL_CERT_DIR", "SSL_CERT_FILE",
)  # fmt: skip
"""Variables for HTTP clients; the URL of a proxy may contain a password."""

AUTHORITIES: Final = "SSL_CERT_FILE"
"""The variable that names the file of trusted certificate authorities."""

TERMINAL: Final = ("COLORTERM", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM")
"""Variables for terminal programs."""

_SET_DUMPABLE: Final = 4
"""PR_SET_DUMPABLE of prctl(2)."""

_SUDO: Final = "SUDO_UID"
"""Under sudo, git treats repositories of this user as its own."""

_LOCALE: Final = re.compile(r"LC_[A-Z]+")


class Environment(Mapping[str, str]):
    """A copy of environment variables; `repr` does not show their values."""

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
    """The environment of a child process: an explicit list, never a copy.

    Args:
        environment: of this process.
        names: further variables that this child needs, such as those of `NETWORK`.
    """
    # Secrets, LD_*, PYTHON* and GIT_* must not pass. Relative entries of PATH are left out: a child often
    # runs in a checked out folder, whose author could put a program there.
    wanted = {*PLAIN, *names}
    kept = {name: environment[name] for name in environment if name in wanted or _LOCALE.fullmatch(name)}
    if "PATH" in kept:
        kept["PATH"] = ":".join(entry for entry in kept["PATH"].split(":") if entry.startswith("/"))
    return kept


def find_irregular_authorities(environment: Mapping[str, str]) -> str:
    """The path in SSL_CERT_FILE if it exists and is not a regular file; else empty."""
    # OpenSSL opens the file as soon as an HTTP library is loaded; opening a FIFO would block without end.
    file = environment.get(AUTHORITIES, "")
    # os.path, because the text may not be a valid path
    return file if os.path.exists(file) and not os.path.isfile(file) else ""  # noqa: PTH110, PTH113


def seal_environment() -> Environment:
    """Read the environment, and remove from the process and `/proc` what libraries do not need.

    Call it once, at the entry point, before any thread starts.
    """
    found = Environment(os.environ)
    kept = make_child_environment(found, *NETWORK, *TERMINAL, _SUDO)
    dropped = [name for name in found if name not in kept]
    _overwrite({os.fsencode(name) for name in dropped})
    for name in dropped:
        del os.environ[name]
    if sys.platform == "linux":  # no core dumps, and no other process of this user may read the memory
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    return found


def _overwrite(names: set[bytes]) -> None:
    """Overwrite the values with zeros in the memory that /proc/PID/environ shows."""
    try:
        entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    except (OSError, ValueError):  # a system without this symbol has no /proc/PID/environ
        return
    index = 0
    while entry := entries[index]:
        name, equals, value = ctypes.string_at(entry).partition(b"=")
        if equals and name in names:
            ctypes.memset(entry + len(name) + 1, 0, len(value))
        index += 1
