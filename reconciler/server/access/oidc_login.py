"""Login with an OpenID provider: authorization code with PKCE, state, nonce, and a checked id token.

Authlib speaks OAuth, joserfc checks signatures; both are of the extra `login` and imported here alone. What
the provider sends is bounded, and no redirect of it is followed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import is_loopback_host
from reconciler.errors import ReconcilerError, UsageError
from reconciler.host.access_rules import OidcProvider
from reconciler.host.credentials import read_key_text
from reconciler.host.extras import import_extra
from reconciler.server.access.secret_texts import is_same_secret, make_secret_text
from reconciler.text.one_line import make_one_line

CALLBACK: Final = "/login/callback"
"""Path of the redirect URI."""

TIMEOUT: Final = 10.0
"""Seconds for one request to the provider."""

LARGEST: Final = 1024 * 1024
"""Bytes of one answer of the provider."""

FRESH: Final = 3600.0
"""Seconds for which the provider's description and keys are used."""

KEYS_PAUSE: Final = 60.0
"""Seconds between two readings of the keys because a token names an unknown one."""

FAILED_PAUSE: Final = 5.0
"""Seconds from a failed reading of the provider to the next one."""

LEEWAY: Final = 60
"""Seconds that the clocks of this host and the provider may differ."""

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that are accepted. Never `none`, and none whose key both sides share."""

MOST_GROUPS: Final = 500
"""Groups of a user that count; a user with more is refused."""

_LONGEST_NAME: Final = 200
_ENDPOINTS: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class LoginFailed(ReconcilerError):
    """A login did not succeed; the message quotes no secret."""


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """What the browser keeps between the begin and the end of a login.

    Args:
        state: that the provider sends back.
        nonce: that the id token must have.
        verifier: of PKCE: who has the code alone cannot use it.
        target: path of the page to show after it.
        at: seconds since 1970 of its begin.
    """

    state: str
    nonce: str
    verifier: str
    target: str
    at: int


@dataclass(frozen=True, slots=True)
class ProvenUser:
    """Whom the provider has proven."""

    name: str
    groups: tuple[str, ...]


@dataclass(slots=True)
class _Known:
    """What is known of the provider, and since when."""

    description: Mapping[str, Any]
    keys: Any
    at: float


@dataclass(slots=True)
class OidcLogin:
    """Logins with one provider.

    Args:
        provider: of the host configuration.
        secret: file with the client secret, read at each login.
        clock: monotonic seconds.
        wall: seconds since 1970.
    """

    provider: OidcProvider
    secret: Path
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _known: _Known | None = field(default=None, repr=False)
    _failed: tuple[float, str] = (0.0, "")
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def begin(self, target: str) -> tuple[str, BegunLogin]:
        """The URL to send the browser to, and what it must keep.

        Raises:
            LoginFailed: the provider cannot be used.
            UsageError: the extra `login` is not installed, or the client secret cannot be read.
        """
        known = await self._read_provider()
        begun = BegunLogin(
            make_secret_text(), make_secret_text(), make_secret_text(), target, int(self.wall())
        )
        async with self._open_oauth_client(known) as client:
            url, _ = client.create_authorization_url(
                known.description["authorization_endpoint"],
                state=begun.state,
                nonce=begun.nonce,
                code_verifier=begun.verifier,
            )
        return str(url), begun

    async def finish(self, answer: Mapping[str, str], begun: BegunLogin) -> ProvenUser:
        """Who has logged in.

        Args:
            answer: the parameters with which the provider sent the browser back.
            begun: what the browser kept.

        Raises:
            LoginFailed: nobody has, or the answer is not for this login.
            UsageError: as `begin`.
        """
        if not begun.state or not is_same_secret(answer.get("state", ""), begun.state):
            raise LoginFailed("the answer is not for the login that this browser began")
        known = await self._read_provider()
        issuer = answer.get("iss", "")
        # Without this check, another provider could have its code used at this one (RFC 9207).
        required = known.description.get("authorization_response_iss_parameter_supported") is True
        if (issuer or required) and issuer != self.provider.issuer:
            raise LoginFailed("the answer is of another provider")
        if "error" in answer:
            raise LoginFailed(f"the provider refused it: {make_one_line(answer['error'], _LONGEST_NAME)}")
        code = answer.get("code", "")
        if not code:
            raise LoginFailed("the answer of the provider has no code")
        async with self._open_oauth_client(known) as client:
            token = await self._fetch_token(client, known, code, begun.verifier)
        claims = await self._check_id_token(known, token.get("id_token"), begun.nonce)
        return self._name_user(await self._add_user_info(known, token, claims))

    async def _fetch_token(self, client: Any, known: _Known, code: str, verifier: str) -> Mapping[str, Any]:
        errors = import_extra("authlib.integrations.base_client.errors", "login", "Logins")
        try:
            with _translate_errors("the code"):
                return dict(
                    await client.fetch_token(
                        known.description["token_endpoint"],
                        grant_type="authorization_code",
                        code=code,
                        code_verifier=verifier,
                    )
                )
        except errors.OAuthError as error:
            words = make_one_line(str(error.error), _LONGEST_NAME)
            raise LoginFailed(f"the provider did not accept the code: {words}") from None

    async def _check_id_token(self, known: _Known, text: Any, nonce: str) -> dict[str, Any]:
        """The claims of an id token, if it is of this provider, for this client and this login."""
        jwt = import_extra("joserfc.jwt", "login", "Logins")
        errors = import_extra("joserfc.errors", "login", "Logins")
        if not isinstance(text, str):
            raise LoginFailed("the provider sent no id token")
        try:
            try:
                token = jwt.decode(text, known.keys, algorithms=list(ALGORITHMS))
            except (errors.InvalidKeyIdError, errors.BadSignatureError):
                # The provider may have a new key.
                if self.clock() - known.at < KEYS_PAUSE:
                    raise
                self._known = None
                known = await self._read_provider()
                token = jwt.decode(text, known.keys, algorithms=list(ALGORITHMS))
            claims = dict(token.claims)
            jwt.JWTClaimsRegistry(
                now=int(self.wall()),
                leeway=LEEWAY,
                iss={"essential": True, "value": self.provider.issuer},
                aud={"essential": True, "value": self.provider.client},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
                nonce={"essential": True, "value": nonce},
            ).validate(claims)
        except (errors.JoseError, ValueError, TypeError, KeyError) as error:
            raise LoginFailed(f"the id token is not valid ({type(error).__name__})") from None
        others = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims.get("azp", self.provider.client) != self.provider.client or (
            len(others) > 1 and "azp" not in claims
        ):
            raise LoginFailed("the id token is for another client")
        return claims

    async def _add_user_info(
        self, known: _Known, token: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """The claims with those that the provider gives only at its endpoint for them."""
        place = known.description.get("userinfo_endpoint")
        if not place or {self.provider.name, self.provider.groups} <= claims.keys():
            return claims
        _require_endpoint(place)
        with _translate_errors("the user"):
            async with self._open_client() as client:
                found = await _get(client, place, bearer=str(token.get("access_token", "")))
        # Another user's claims must not be mixed in (OpenID Connect Core, 5.3.2).
        if found.get("sub") != claims["sub"]:
            raise LoginFailed("the provider tells about another user")
        return {**found, **claims}

    def _name_user(self, claims: Mapping[str, Any]) -> ProvenUser:
        own = self.provider
        name, groups = claims.get(own.name), claims.get(own.groups, [])
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
            raise LoginFailed(f"the provider gives no usable claim {own.name!r} with the name of the user")
        if own.name == "email" and claims.get("email_verified") is not True:
            raise LoginFailed("the provider has not verified the email address of the user")
        if (
            not isinstance(groups, list)
            or len(groups) > MOST_GROUPS
            or not all(isinstance(one, str) and len(one) <= _LONGEST_NAME for one in groups)
        ):
            raise LoginFailed(f"the claim {own.groups!r} is not a list of at most {MOST_GROUPS} names")
        return ProvenUser(name, tuple(groups))

    async def _read_provider(self) -> _Known:
        """The provider's description and keys, read by one login for all that wait."""
        async with self._reading:
            if self._known is not None and self.clock() - self._known.at < FRESH:
                return self._known
            # Anybody can begin logins: a provider that is away must not be asked for each of them.
            at, why = self._failed
            if why and self.clock() - at < FAILED_PAUSE:
                raise LoginFailed(why)
            try:
                self._known = await self._fetch_provider()
            except LoginFailed as error:
                self._failed = self.clock(), error.message
                raise
            return self._known

    async def _fetch_provider(self) -> _Known:
        jwk = import_extra("joserfc.jwk", "login", "Logins")
        issuer = self.provider.issuer
        async with self._open_client() as client:
            with _translate_errors("its description"):
                place = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
                description = await _get(client, place)
            if description.get("issuer") != issuer:
                raise LoginFailed("the provider gives itself another name than `access.oidc.issuer`")
            for name in _ENDPOINTS:
                _require_endpoint(description.get(name))
            with _translate_errors("its keys"):
                found = await _get(client, description["jwks_uri"])
                keys = jwk.KeySet.import_key_set(found)
        return _Known(description, keys, self.clock())

    def _open_client(self) -> Any:
        return import_extra("httpx2", "login", "Logins").AsyncClient(**self._make_http_options())

    @asynccontextmanager
    async def _open_oauth_client(self, known: _Known) -> AsyncIterator[Any]:
        clients = import_extra("authlib.integrations.httpx_client", "login", "Logins")
        methods = known.description.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        use_basic = not isinstance(methods, list) or "client_secret_basic" in methods
        async with clients.AsyncOAuth2Client(
            self.provider.client,
            read_key_text(self.secret, "the file of `access.oidc.secret`,").strip(),
            token_endpoint_auth_method="client_secret_basic" if use_basic else "client_secret_post",
            scope=" ".join(self.provider.scopes),
            redirect_uri=f"{self.provider.redirect}{CALLBACK}",
            code_challenge_method="S256",
            **self._make_http_options(),
        ) as client:
            yield client

    def _make_http_options(self) -> dict[str, Any]:
        verify: Any = True
        if self.provider.ca is not None:
            try:
                verify = ssl.create_default_context(cafile=str(self.provider.ca))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"the file of `access.oidc.ca`, {self.provider.ca}, cannot be used: {error.strerror}",
                    remedy="write certificates in PEM there",
                ) from None
        return {
            "timeout": TIMEOUT,
            "follow_redirects": False,
            "trust_env": False,
            "verify": verify,
            "headers": {"accept": "application/json", "accept-encoding": "identity"},
            "event_hooks": {"response": [_make_size_limit(import_extra("httpx2", "login", "Logins"))]},
        }


async def _get(client: Any, place: str, *, bearer: str = "") -> dict[str, Any]:
    """The JSON object that an endpoint answers with.

    Raises:
        ValueError: another status, or no object.
    """
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    answer = await client.get(place, headers=headers)
    if answer.status_code != 200:  # noqa: PLR2004
        raise ValueError(f"status {answer.status_code}")
    try:
        found = json.loads(answer.content)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict):
        raise TypeError("not an object")
    return found


def _make_size_limit(httpx: Any) -> Any:
    """A hook that ends an answer which is too large."""

    class BoundedStream(httpx.AsyncByteStream):  # type: ignore[misc]  # the library is not there for everybody
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = LARGEST
            async for piece in self._stream:
                left -= len(piece)
                if left < 0:
                    raise httpx.DecodingError("the answer is too large")
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def limit_size(answer: Any) -> None:
        # A compressed answer could be a thousand times as large once it is unpacked; none was asked for.
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise httpx.DecodingError("the answer is compressed")
        answer.stream = BoundedStream(answer.stream)

    return limit_size


class _translate_errors:  # noqa: N801  (used like a function)
    """Turns what fails while the provider is asked for something into a `LoginFailed`."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        httpx = import_extra("httpx2", "login", "Logins")
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            raise LoginFailed(
                f"the provider does not answer for {self._what} ({type(error).__name__})"
            ) from None
        jose = import_extra("joserfc.errors", "login", "Logins")
        if isinstance(error, ValueError | TypeError | KeyError | jose.JoseError):
            raise LoginFailed(f"the provider gives no usable answer for {self._what}") from None


def _require_endpoint(place: Any) -> None:
    """Refuse an endpoint of the provider that others could listen to.

    Raises:
        LoginFailed: it is no URL, or not over TLS.
    """
    try:
        parts = urlsplit(place) if isinstance(place, str) else None
        host = parts.hostname if parts else None
    except ValueError:
        parts = host = None
    if (
        parts is None
        or not host
        or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(host)))
    ):
        raise LoginFailed("an endpoint of the provider does not use https")
