"""GitPython, imported in a way that starts no program.

Its import runs `git version` with the whole environment of this process, with secrets and with a PATH that
may have relative entries. With a program that does not exist and with warnings off it runs nothing; later
commands are started by `command.Git` alone. The import takes about 0.12 s, so only code that reads a
repository does it.
"""

from __future__ import annotations

import os
from typing import Final

_QUIET: Final = {"GIT_PYTHON_GIT_EXECUTABLE": "/nonexistent/git", "GIT_PYTHON_REFRESH": "quiet"}

_before = {name: os.environ.get(name) for name in _QUIET}
os.environ.update(_QUIET)
try:
    from git import Git, Repo, SymbolicReference
    from git.db import GitCmdObjectDB
    from git.exc import GitCommandError, InvalidGitRepositoryError, NoSuchPathError
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value

__all__ = [
    "Git",
    "GitCmdObjectDB",
    "GitCommandError",
    "InvalidGitRepositoryError",
    "NoSuchPathError",
    "Repo",
    "SymbolicReference",
]
