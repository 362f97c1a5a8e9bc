"""The port of the store for who may: tokens of programs, and sessions of people in browsers.

The store has only digests of what the holder shows. A plain SHA-256 is enough for them: each text has 256
random bits, so that nobody finds it by trying, as with a password. A slow or salted hash would protect no
better, and each request would wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from reconciler.core.actor import Actor
from reconciler.core.roles import Grant
from reconciler.errors import UsageError

COARSE: Final = timedelta(minutes=5)
"""How exactly a last use is recorded: with each request, the store would be written all the time."""

MOST_TOKENS: Final = 1000
"""Tokens that count at the same time."""

MOST_SESSIONS: Final = 1000
"""Sessions at the same time; a new one ends the one that was unused longest."""

LONGEST_TOKEN: Final = timedelta(days=366)
"""How long a token lasts at most."""

MOST_PATTERNS: Final = 300
"""Clusters and patterns of one token, over all its roles."""

TOKENS_LISTED_FOR: Final = timedelta(days=90)
"""How long a token that ended is still listed."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@\-]{0,63}")
_PATTERN: Final = re.compile(r"[^\x00-\x20\x7f]{1,100}")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token by which a program acts.

    Args:
        name: of whom it is for; no two tokens that count have the same.
        grants: what its holder may do.
        expires: when it ends by itself.
        created: when it was made.
        by: who made it.
        used: about when it was last used; None if never.
        revoked: when it was ended before its time.
    """

    name: str
    grants: tuple[Grant, ...]
    expires: datetime
    created: datetime
    by: Actor
    used: datetime | None = None
    revoked: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it has not ended."""
        return self.revoked is None and now < self.expires


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A person who is logged in with a browser.

    Args:
        name: of the user.
        method: how the user is known, see `server.access.identity.LoginMethod`.
        groups: of the user when the session began.
        idle: how long it lasts without a request.
        expires: when it ends in any case.
    """

    # Not what the user may do: the host configuration decides that anew with each request.
    name: str
    method: str
    groups: tuple[str, ...]
    idle: timedelta
    expires: datetime


def check_access_token(token: AccessToken) -> None:
    """Check a new token.

    Raises:
        UsageError: its name, its end or its grants are not valid.
    """
    if not _NAME.fullmatch(token.name):
        raise UsageError(
            f"{token.name[:100]!r} is no name for a token",
            remedy="use letters, digits, `.`, `_`, `@` and `-`, at most 64, a letter or digit first",
        )
    if not token.created < token.expires <= token.created + LONGEST_TOKEN:
        raise UsageError(
            "a token ends after its begin, and within 366 days", remedy="make a new one before it ends"
        )
    patterns = [pattern for grant in token.grants for pattern in grant.clusters]
    if not patterns or not all(grant.clusters for grant in token.grants):
        raise UsageError("a token needs a role for some clusters", remedy="name a role")
    if len(patterns) > MOST_PATTERNS or not all(_PATTERN.fullmatch(pattern) for pattern in patterns):
        raise UsageError(
            "a token names at most 100 clusters, each with at most 100 characters", remedy="use patterns"
        )


class AccessReader(Protocol):
    """The reading half."""

    async def list_access_tokens(self) -> Sequence[AccessToken]:
        """All tokens that count, and those that ended lately; sorted by name and time."""


class AccessStore(AccessReader, Protocol):
    """Tokens and sessions. Each digest is the SHA-256 of the secret text, in hexadecimal."""

    async def create_access_token(self, digest: str, token: AccessToken) -> None:
        """Record a new token.

        Raises:
            UsageError: a token of this name counts already, or there are too many.
        """

    async def revoke_access_token(self, name: str, by: Actor) -> None:
        """End a token at once.

        Raises:
            UsageError: no token of this name counts.
        """

    async def use_access_token(self, digest: str) -> AccessToken | None:
        """The token of a request, if it counts; records about when it was used."""

    async def begin_session(self, digest: str, session: LoginSession) -> None:
        """Record a new session."""

    async def use_session(self, digest: str) -> LoginSession | None:
        """The session of a request, if it has not ended; records about when it was used."""

    async def end_session(self, digest: str) -> None:
        """End a session at once, if there is one."""
