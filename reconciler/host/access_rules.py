"""The section `access` of the host configuration: who may look at the watch's pages, and act."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import is_loopback_host
from reconciler.core.fields import Flag, StrictModel
from reconciler.core.roles import EVERY_CLUSTER
from reconciler.host.config_fields import AbsolutePath, Cidr, KeyFile, ServiceOrigin

_CLAIM: Final = r"^[\x21-\x7e]{1,200}$"
_CLIENT: Final = r"^[\x20-\x7e]{1,200}$"
_HEADER: Final = r"^[A-Za-z][A-Za-z0-9\-]{1,63}$"
_PATTERN: Final = r"^[^\x00-\x20\x7f]{1,100}$"
_NAME: Final = r"^[^\x00-\x1f\x7f]{1,200}$"
_SCOPE: Final = r"^[\x21\x23-\x5b\x5d-\x7e]{1,100}$"
_ISSUER: Final = r"^https?://[^\x00-\x20?#@]{1,500}$"

_RESERVED: Final = frozenset(
    {"accept", "authorization", "connection", "content-length", "content-type", "cookie", "forwarded", "host"}
    | {"origin", "referer", "sec-fetch-site", "transfer-encoding", "user-agent", "via", "x-csrf-token"}
)


def _check_issuer(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        parts = urlsplit(text) if re.fullmatch(_ISSUER, text) else None
        valid = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if parts is None or not valid:
        raise PydanticCustomError(
            "issuer", "an issuer must be written as https://HOST or https://HOST/PATH, without query"
        )
    # Over plain HTTP anybody on the way could answer in the name of the provider.
    if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise PydanticCustomError(
            "plain_issuer", "an issuer must use https; http is accepted for this machine only"
        )
    return text


def _check_header(name: str) -> str:
    if name.lower() in _RESERVED or name.lower().startswith("x-forwarded-for"):
        raise PydanticCustomError("reserved_header", "this header has another meaning")
    return name.lower()


Issuer = Annotated[
    str, BeforeValidator(_check_issuer), WithJsonSchema({"type": "string", "pattern": _ISSUER})
]
"""The URL of an OpenID provider; exactly the `iss` of its tokens."""

HeaderName = Annotated[str, Field(pattern=_HEADER), AfterValidator(_check_header)]
Claim = Annotated[str, Field(pattern=_CLAIM)]
ClusterPattern = Annotated[str, Field(pattern=_PATTERN)]
LoginName = Annotated[str, Field(pattern=_NAME)]


class OidcProvider(StrictModel):
    """A login with an OpenID provider."""

    issuer: Issuer = Field(
        description="URL of the provider, exactly as it names itself.", examples=["https://login.example.com"]
    )
    client: Annotated[str, Field(pattern=_CLIENT)] = Field(
        description="Client id of this program at the provider.", examples=["reconciler"]
    )
    secret: KeyFile = Field(
        description="File with the client secret.", examples=["$CREDENTIALS_DIRECTORY/oidc-secret"]
    )
    redirect: ServiceOrigin = Field(
        description="How browsers reach the pages of this host. The provider must know "
        "`REDIRECT/login/callback` as a redirect URI.",
        examples=["https://fleet.example.com"],
    )
    scopes: tuple[Annotated[str, Field(pattern=_SCOPE)], ...] = Field(
        default=("openid", "profile", "email"), max_length=20, description="What is asked of the provider."
    )
    name: Claim = Field(
        default="email",
        description="Claim with the name of a user, which must be unique at the provider. An `email` counts "
        "only if the provider has verified it (`email_verified`); `sub` is always unique.",
        examples=["sub"],
    )
    groups: Claim = Field(
        default="groups", description="Claim with the list of a user's groups.", examples=["roles"]
    )
    ca: AbsolutePath | None = Field(
        default=None,
        description="Certificates of the authority that signs that of the provider, in PEM. Default: the "
        "public ones.",
    )

    @model_validator(mode="after")
    def _require_openid(self) -> OidcProvider:
        if "openid" not in self.scopes:
            raise PydanticCustomError("openid_scope", "`scopes` must have `openid`")
        return self


class ProxyLogin(StrictModel):
    """A proxy that logs users in and names them in a header."""

    header: HeaderName = Field(
        description="Header with the name of the user. The proxy must remove it from what it is sent.",
        examples=["X-Remote-User"],
    )
    networks: tuple[Cidr, ...] = Field(
        min_length=1,
        max_length=100,
        description="Addresses of the proxy; from all others the header is refused.",
        examples=[["192.0.2.10/32"]],
    )


class RoleRule(StrictModel):
    """A role for some users."""

    role: Literal["look", "approve", "operate"] = Field(
        description="What they may do. `approve` and `operate` include looking, and not each other.",
    )
    clusters: tuple[ClusterPattern, ...] = Field(
        default=(EVERY_CLUSTER,),
        min_length=1,
        max_length=1000,
        description="Names of clusters, or patterns with `*`, `?` and `[…]`. What concerns all clusters, "
        "such as suspending them all, needs `*`.",
        examples=[["web-*"]],
    )
    users: tuple[LoginName, ...] = Field(
        default=(), max_length=1000, description="Names of users.", examples=[["kim@example.com"]]
    )
    groups: tuple[LoginName, ...] = Field(
        default=(), max_length=1000, description="Names of groups.", examples=[["fleet-operators"]]
    )
    login: tuple[Literal["oidc", "proxy", "local"], ...] = Field(
        default=("oidc", "proxy"),
        min_length=1,
        max_length=3,
        description="How they are known: by `oidc`, by `proxy`, or as users and groups of this machine "
        "(`local`, also for `reconcile dashboard` and orders to a running watch).",
        examples=[["local"]],
    )

    @model_validator(mode="after")
    def _require_somebody(self) -> RoleRule:
        if not self.users and not self.groups:
            raise PydanticCustomError("nobody", "`users` or `groups` is needed: nobody has this role")
        if self.groups and self.login == ("proxy",):
            raise PydanticCustomError("proxy_groups", "a proxy names users and no groups")
        return self


class AccessRules(StrictModel):
    """Who may look at the pages of the watch, and who may act there."""

    tokens: Flag = Field(
        default=True, description="Whether tokens of `reconcile tokens` are accepted, see `reconcile tokens`."
    )
    oidc: OidcProvider | None = Field(
        default=None, description="Login with an OpenID provider. Without this key there is none."
    )
    proxy: ProxyLogin | None = Field(
        default=None, description="Login by a proxy in front. Without this key its header is refused."
    )
    roles: tuple[RoleRule, ...] = Field(
        default=(),
        max_length=1000,
        description="What users may do; a user has the roles of all entries that fit. A user without any is "
        "refused. Root and the user of the watch have all roles, and members of `operators` too, unless "
        "an entry for `local` fits them.",
        examples=[[{"role": "operate", "clusters": ["web-*"], "groups": ["fleet-operators"]}]],
    )
