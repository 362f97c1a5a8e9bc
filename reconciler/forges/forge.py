"""What is written to a forge, and the protocol of its clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

PUBLIC_GITHUB: Final = "https://api.github.com"
"""The API of GitHub itself; every other forge has its own address."""


class ForgeKind(StrEnum):
    """Forges by their API. Forgejo has that of Gitea."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


@dataclass(frozen=True, slots=True)
class ForgeRepository:
    """A repository at a forge.

    Args:
        api: URL of the API, with its version and without a slash at its end.
        name: `OWNER/NAME`; for GitLab a number or the path of the project.
    """

    kind: ForgeKind
    api: str
    name: str


class StatusState(StrEnum):
    """State of a commit, in the words of GitHub."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """A status of one commit.

    Args:
        commit: its full id.
        context: name of the status; a later one with the same context replaces it.
        description: one short sentence.
        target: URL that the forge links; may be empty.
    """

    commit: str
    state: StatusState
    context: str
    description: str
    target: str = ""


@dataclass(frozen=True, slots=True)
class ForgeComment:
    """A comment on a pull request.

    Args:
        id: number within the forge; a later comment has a higher one.
        author: login of the user who wrote it.
    """

    id: int
    author: str
    body: str


class Forge(Protocol):
    """A repository at a forge, called with one token.

    Every method raises `ForgeError` if the forge refuses, and `ForgeUnreachable` if the same call may succeed
    later.
    """

    @property
    def comment_limit(self) -> int:
        """Characters of a comment at most."""

    async def read_user(self) -> str:
        """Login of the user whose token this is."""

    async def list_comments(self, number: int) -> Sequence[ForgeComment]:
        """All comments of a pull request."""

    async def create_comment(self, number: int, body: str) -> ForgeComment:
        """Write a new comment; gives it as the forge shows it."""

    async def update_comment(self, number: int, comment: int, body: str) -> None:
        """Replace the text of a comment."""

    async def delete_comment(self, number: int, comment: int) -> None:
        """Delete a comment."""

    async def write_status(self, status: CommitStatus) -> None:
        """Set the status of a commit."""
