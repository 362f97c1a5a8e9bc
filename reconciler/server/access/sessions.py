"""Sessions of people with a browser: a random text in a cookie, known by its digest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from reconciler.host.clock import utc_now
from reconciler.ports.access_store import AccessStore, LoginSession
from reconciler.server.access.identity import Identity, LoginMethod
from reconciler.server.access.role_table import RoleTable
from reconciler.server.access.secret_texts import digest_secret, make_secret_text

IDLE: Final = timedelta(minutes=30)
"""How long a session lasts without a request."""

LONGEST: Final = timedelta(hours=12)
"""How long a session lasts at most."""

KEPT_HERE: Final = 200
"""Sessions in the memory of one watch; a new one ends the one that was unused longest."""


@dataclass(slots=True)
class _Kept:
    session: LoginSession
    idle_end: datetime


@dataclass(slots=True)
class Sessions:
    """Begins, finds and ends sessions.

    Args:
        store: has the sessions of logins, so that each host that uses it knows them; None for a dry run.
        roles: what users may do, read anew with each request.
    """

    store: AccessStore | None
    roles: RoleTable
    clock: Callable[[], datetime] = utc_now
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)

    async def begin(self, name: str, method: LoginMethod, groups: Sequence[str] = ()) -> str:
        """Begin a session; gives its text, which is never that of an earlier one.

        Raises:
            StateError: the store cannot be written.
        """
        text, now = make_secret_text(), self.clock()
        session = LoginSession(name, method, tuple(groups), IDLE, now + LONGEST)
        # A user of this machine is nobody on another host that uses the same store.
        if self.store is None or method is LoginMethod.LOCAL:
            self._kept[digest_secret(text)] = _Kept(session, now + IDLE)
            if len(self._kept) > KEPT_HERE:
                self._kept.popitem(last=False)
        else:
            await self.store.begin_session(digest_secret(text), session)
        return text

    async def find(self, text: str) -> Identity | None:
        """Whose session it is; None if there is none, or it has ended.

        Raises:
            StateError: the store cannot be read.
        """
        digest = digest_secret(text)
        session = self._find_kept(digest)
        if session is None and self.store is not None:
            session = await self.store.use_session(digest)
            if session is not None and session.method == LoginMethod.LOCAL:
                return None
        if session is None:
            return None
        return self.roles.identify(session.name, LoginMethod(session.method), session.groups)

    async def end(self, text: str) -> None:
        """End a session, if there is one.

        Raises:
            StateError: the store cannot be written.
        """
        digest = digest_secret(text)
        if self._kept.pop(digest, None) is None and self.store is not None:
            await self.store.end_session(digest)

    def _find_kept(self, digest: str) -> LoginSession | None:
        kept, now = self._kept.get(digest), self.clock()
        if kept is None:
            return None
        if now >= min(kept.idle_end, kept.session.expires):
            del self._kept[digest]
            return None
        kept.idle_end = now + kept.session.idle
        self._kept.move_to_end(digest)
        return kept.session
