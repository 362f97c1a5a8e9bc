"""Identifies who sends a request, and requires the role that it needs."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from reconciler.core.roles import AccessRole
from reconciler.errors import StateError
from reconciler.host.access_rules import AccessRules, ProxyLogin
from reconciler.host.config_fields import Network
from reconciler.ports.access_store import AccessStore, AccessToken
from reconciler.server.access.arrival import Arrival, is_within, judge_arrival
from reconciler.server.access.cookies import FORM, FORM_SECONDS, SESSION, read_cookie, set_cookie
from reconciler.server.access.failure_limit import FailureLimit
from reconciler.server.access.identity import SOMEBODY_LOCAL, Identity, LoginMethod
from reconciler.server.access.login_links import LoginLinks
from reconciler.server.access.refusal import AccessRefused
from reconciler.server.access.role_table import RoleTable
from reconciler.server.access.secret_texts import (
    TOKEN_PREFIX,
    digest_secret,
    is_same_secret,
    is_secret_text,
    make_csrf_text,
    make_secret_text,
)
from reconciler.server.access.sessions import Sessions

HOW_TO_ACT: Final = (
    "run `reconcile dashboard` on this machine for a link, log in, or send a token of `reconcile tokens`"
)
"""What to do about a missing login."""

CSRF_HEADER: Final = "x-csrf-token"
"""Header with the token of the page, for requests that have no form."""

_BEARER: Final = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_USER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_REMEMBERED: Final = 256


@dataclass(slots=True)
class AccessControl:
    """Who may do what at the endpoints of one watch.

    Args:
        rules: of the host configuration.
        store: has tokens and sessions; None for a dry run, which has neither.
        roles: what users may do.
        trusted: networks of trusted proxies, also those that log nobody in.
    """

    rules: AccessRules = field(default_factory=AccessRules)
    store: AccessStore | None = None
    roles: RoleTable = field(default_factory=RoleTable)
    trusted: Sequence[Network] = ()
    failures: FailureLimit = field(default_factory=FailureLimit)
    links: LoginLinks = field(default_factory=LoginLinks)
    sessions: Sessions = field(init=False)
    _remembered: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.store, self.roles)

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Networks of all proxies whose headers are trusted."""
        return (*self.trusted, *(self.rules.proxy.networks if self.rules.proxy else ()))

    def judge(self, request: Request) -> Arrival:
        """How a request arrived.

        Raises:
            AccessRefused: it must not be answered.
        """
        return judge_arrival(request, self.proxies)

    async def identify(self, request: Request) -> Identity | None:
        """Who sent a request; None if it needs a login.

        Raises:
            AccessRefused: it must not be answered at all.
        """
        arrival = self.judge(request)
        try:
            found = await self._identify(request, arrival)
        except StateError as error:
            raise AccessRefused(
                "the store of tokens and sessions cannot be used now", remedy=error.remedy, status=503
            ) from error
        if found is not None and not found.may_look:
            raise AccessRefused(
                f"{found.name} has no role here",
                remedy="who writes the host configuration can add one to `access.roles`",
            )
        return found or (SOMEBODY_LOCAL if arrival.is_local else None)

    async def require(self, request: Request, role: AccessRole, cluster: str = "") -> Identity:
        """Who sent a request, if they have a role.

        Args:
            request: to look, or to act.
            role: that it needs.
            cluster: that it is about; empty for what concerns all clusters.

        Raises:
            AccessRefused: there is no login (401), or it lacks the role (403).
        """
        return self.check(await self.identify(request), role, cluster)

    def check(self, identity: Identity | None, role: AccessRole, cluster: str = "") -> Identity:
        """The same identity, if it has a role.

        Args:
            identity: of `identify`.
            role: that is needed.
            cluster: as in `require`.

        Raises:
            AccessRefused: as `require`.
        """
        if identity is None or (identity.method is LoginMethod.NONE and role is not AccessRole.LOOK):
            raise AccessRefused("this needs a login", remedy=HOW_TO_ACT, status=401)
        if not identity.allows(role, cluster):
            about = f"cluster {cluster}" if cluster else "all clusters"
            raise AccessRefused(
                f"{identity.name} does not have the role `{role}` for {about}",
                remedy="ask who writes the host configuration, or who made the token, for the role",
            )
        return identity

    async def require_act(
        self, request: Request, role: AccessRole, cluster: str = "", *, csrf: str = ""
    ) -> Identity:
        """Who sent a request that changes something, if they have the role.

        Args:
            request: sent by a person, or by a program in their name.
            role: that it needs.
            cluster: that it is about; empty for what concerns all clusters.
            csrf: the hidden field `csrf` of the form; a request without a form has the header `X-CSRF-Token`.
                Not needed with a token, which no browser adds by itself.

        Raises:
            AccessRefused: as `require`, or a page of another origin may have sent it.
        """
        identity = await self.require(request, role, cluster)
        self.refuse_foreign_page(request, identity, csrf)
        return identity

    def refuse_foreign_page(self, request: Request, identity: Identity, csrf: str = "") -> None:
        """Refuse a request that a page of another origin may have let the browser send.

        Raises:
            AccessRefused: the page is foreign, or too old.
        """
        if identity.method is LoginMethod.TOKEN:
            return
        arrival = self.judge(request)
        own = {arrival.origin}
        if self.rules.oidc is not None:
            own.add(self.rules.oidc.redirect)
        origins, sites = (request.headers.getlist(name) for name in ("origin", "sec-fetch-site"))
        if len(origins) != 1 or origins[0].lower() not in own or (sites and sites != ["same-origin"]):
            raise AccessRefused(
                "the request does not come from a page of this server",
                remedy="use the forms of its pages; programs send a token; a proxy in front passes `Host` on",
            )
        given = csrf or request.headers.get(CSRF_HEADER, "")
        if not is_same_secret(given, self.make_csrf_token(request, identity)) or not given:
            raise AccessRefused(
                "the page is of another login", remedy="load the page again, then repeat what you did"
            )

    def make_csrf_token(self, request: Request, identity: Identity, form_text: str = "") -> str:
        """What the forms of a page have in their hidden field `csrf`; empty for somebody who gets no form.

        Args:
            request: for the page.
            identity: who gets it.
            form_text: the cookie of forms that the answer sets; empty if the browser has one.
        """
        # The session of a user whom a proxy names is known to the proxy alone. A cookie of ours takes its
        # place, which pages of other sites can neither read nor set.
        name = FORM if identity.method is LoginMethod.PROXY else SESSION
        text = form_text or read_cookie(request, name, self.judge(request))
        return make_csrf_text(text) if identity.name and is_secret_text(text) else ""

    def make_form_text(self, request: Request, identity: Identity) -> str:
        """A cookie of forms for a user whom a proxy names; empty if the browser has one, or needs none."""
        if identity.method is not LoginMethod.PROXY:
            return ""
        known = read_cookie(request, FORM, self.judge(request))
        return "" if is_secret_text(known) else make_secret_text()

    def set_form_cookie(self, response: Response, request: Request, text: str) -> None:
        """Let the browser keep the cookie of forms; an empty one changes nothing."""
        if text:
            set_cookie(response, FORM, text, self.judge(request), seconds=FORM_SECONDS)

    async def _identify(self, request: Request, arrival: Arrival) -> Identity | None:
        if "authorization" in request.headers:
            return await self._identify_by_token(request, arrival)
        if self.rules.proxy is not None and self.rules.proxy.header in request.headers:
            return self._identify_by_proxy(request, arrival, self.rules.proxy)
        text = read_cookie(request, SESSION, arrival)
        return await self._find_session(text, arrival) if is_secret_text(text) else None

    async def _identify_by_token(self, request: Request, arrival: Arrival) -> Identity:
        if not arrival.is_private:
            raise AccessRefused(
                "a token is accepted over TLS only",
                remedy="use https, and replace the token: somebody on the way may have read it",
            )
        values = request.headers.getlist("authorization")
        bearer = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        text = bearer[1] if bearer else ""
        digest = digest_secret(text)
        if digest not in self._remembered:
            self.failures.check(arrival.caller)
        token = await self._find_token(text, digest)
        if token is None:
            self._remembered.pop(digest, None)
            self.failures.count(arrival.caller)
            raise AccessRefused(
                "the token is not accepted",
                remedy="`reconcile tokens create` makes a new one",
                status=401,
            )
        # Whoever shares an address with an attacker goes on with a token that was accepted before.
        _keep(self._remembered, digest)
        return Identity(token.name, LoginMethod.TOKEN, token.grants)

    async def _find_token(self, text: str, digest: str) -> AccessToken | None:
        is_ours = text.startswith(TOKEN_PREFIX) and is_secret_text(text.removeprefix(TOKEN_PREFIX))
        if not is_ours or not self.rules.tokens or self.store is None:
            return None
        return await self.store.use_access_token(digest)

    def _identify_by_proxy(self, request: Request, arrival: Arrival, proxy: ProxyLogin) -> Identity:
        values = request.headers.getlist(proxy.header)
        if not is_within(arrival.peer, proxy.networks):
            raise AccessRefused(
                f"the header {proxy.header} is accepted from the proxy only",
                remedy="go through the proxy, or correct `access.proxy.networks` of the host configuration",
            )
        if len(values) != 1 or not _USER.fullmatch(values[0]):
            raise AccessRefused(
                f"the header {proxy.header} must name one user",
                remedy="let the proxy remove the header from what it is sent, and set it once",
            )
        return self.roles.identify(_decode_header(values[0]), LoginMethod.PROXY)

    async def _find_session(self, text: str, arrival: Arrival) -> Identity | None:
        if not arrival.is_private:  # the cookie was set over TLS or on loopback, and came another way
            return None
        digest = digest_secret(text)
        # An ended session is no attack: the browser sends its cookie until the next login. It counts once,
        # and the store is not asked again; somebody who tries many texts is stopped as with tokens.
        if digest in self._ended:
            return None
        if digest not in self._remembered:
            self.failures.check(arrival.caller)
        found = await self.sessions.find(text)
        if found is None:
            self._remembered.pop(digest, None)
            _keep(self._ended, digest)
            self.failures.count(arrival.caller)
        else:
            _keep(self._remembered, digest)
        return found


def _keep(digests: OrderedDict[str, None], digest: str) -> None:
    """Remember a digest, in place of the one that was not used for longest."""
    digests[digest] = None
    digests.move_to_end(digest)
    if len(digests) > _REMEMBERED:
        digests.popitem(last=False)


def _decode_header(value: str) -> str:
    """The text of a header that a proxy sent as UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
