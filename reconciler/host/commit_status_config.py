"""The section `commit_statuses` of the host configuration."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import is_loopback_host
from reconciler.core.fields import StrictModel
from reconciler.host.config_fields import KeyFile

_API: Final = r"^https?://[^\s/?#@]{1,260}(/[A-Za-z0-9._~\-]{1,100}){0,5}$"


def _check_api(text: Any) -> Any:
    try:
        parts = urlsplit(text) if isinstance(text, str) else None
        fits = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts is None or parts.username or parts.query or parts.fragment or len(text) > 800:  # noqa: PLR2004
        raise PydanticCustomError(
            "forge_api", "an API must be written as https://HOST/PATH, such as https://git.example.com/api/v4"
        )
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback_host(parts.hostname or "")
    ):  # everybody on the way could read and use the token
        raise PydanticCustomError(
            "plain_forge", "an API must use https; http is accepted for this machine only"
        )
    return text.rstrip("/")


ForgeApi = Annotated[
    str, BeforeValidator(_check_api), WithJsonSchema({"type": "string", "pattern": _API, "maxLength": 800})
]
"""The URL of the API of a forge."""


class CommitStatusRules(StrictModel):
    """Where a watch of one source writes the status of its newest commit."""

    source: Annotated[str, Field(min_length=1, max_length=2000)] = Field(
        description="The source of the watch, as it is given to `reconcile watch`.",
        examples=["https://git.example.com/operations/fleet.git"],
    )
    forge: Literal["github", "gitlab", "gitea"] = Field(description="Kind of the forge; Forgejo is `gitea`.")
    api: ForgeApi | None = Field(
        default=None,
        description="Its API. Default for `github`: https://api.github.com; the others need it.",
        examples=["https://git.example.com/api/v4"],
    )
    repository: Annotated[str, Field(pattern=r"^([0-9]+|[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)+)$")] = Field(
        max_length=500,
        description="OWNER/NAME; for GitLab also the number of the project.",
        examples=["operations/fleet"],
    )
    token: KeyFile = Field(
        description="File with a token that may write commit statuses; `$CREDENTIALS_DIRECTORY/NAME` is a "
        "credential of the systemd unit. It is read before each call.",
        examples=["$CREDENTIALS_DIRECTORY/forge-token"],
    )
    context: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")] = Field(
        default="reconcile",
        description="Name of the status. The name of the fleet, if it has one, is added after a slash.",
    )
    target: Annotated[str, Field(pattern=r"^https?://[^\s\x00-\x1f\x7f]{1,2000}$")] | None = Field(
        default=None,
        description="Page that the status links, such as the one of the watch.",
        examples=["https://reconcile.example.com/"],
    )

    @model_validator(mode="after")
    def _require_api(self) -> CommitStatusRules:
        if self.api is None and self.forge != "github":
            raise PydanticCustomError("no_forge_api", "`api` is needed: only GitHub has one for all")
        return self
