"""A file of a node as data: which one, and what a reading shows of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

NO_FILE: Final = ""
"""The digest of a file that does not exist."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file of one node.

    Args:
        entry: name in `files` of the host configuration, which alone knows the path and the way to it.
        node: name of the node.
        host: of the node's endpoint, for an entry that is reached by the node's own host.
    """

    entry: str
    node: str
    host: str = ""


def compute_file_digest(content: bytes | None) -> str:
    """SHA-256 of a file's content in hexadecimal; `NO_FILE` if there is no file."""
    return NO_FILE if content is None else hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class FileState:
    """What a reading shows of a file.

    Args:
        content: None if the file does not exist.
        staged: digest of the content that was written aside and checked; `NO_FILE` if there is none.
        backup: digest of the content that the last switch replaced; `NO_FILE` if there is none.
        leftover: whether something that was not finished, and so not checked, lies beside it.
        timeout: seconds that each program about it may take; 0 if not known.
        identity: equal for one file of one machine, whichever node it was read for; empty if not known.
    """

    content: bytes | None = field(repr=False)
    staged: str = NO_FILE
    backup: str = NO_FILE
    leftover: bool = False
    timeout: float = field(default=0.0, repr=False, compare=False)
    identity: str = field(default="", repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Digest of the content."""
        return compute_file_digest(self.content)


class FileMatch(StrEnum):
    """How a file compares with the desired one."""

    AS_DESIRED = "as desired"
    DIFFERS = "differs"
    UNREADABLE = "not readable"


class FileUse(StrEnum):
    """Whether the running process uses the file as it is."""

    USED = "used"
    WAITS = "waits for a restart"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file of a node, for people.

    Args:
        entry: name in `files` of the host configuration.
        match: how it compares with the desired one.
        use: whether the running process uses it.
        words: what shows that, or why nothing does; one sentence.
    """

    entry: str
    match: FileMatch
    use: FileUse
    words: str = ""
