"""GitPython, imported so that it starts nothing.

Its import runs `git version` with the whole environment of this process, secrets and a PATH with relative
entries included. Named a program that is not there, and told not to mind, it runs nothing; what runs later
is looked for by `command.Git` alone. The import takes about 0.12 s: only what reads a repository pays for it.
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
