"""The process's environment as a frozen value, and what of it a child process gets."""

from __future__ import annotations

import os
import re
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
