"""The section `traces` of the host configuration: where traces of passes are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import is_loopback_host
from reconciler.core.fields import Flag, StrictModel
from reconciler.host.config_fields import AbsolutePath, KeyFile

_COLLECTOR: Final = r"^https?://[^\x00-\x20?#@]{1,500}$"
_HEADER: Final = r"^[A-Za-z][A-Za-z0-9\-]{0,63}$"


def _check_collector(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        parts = urlsplit(text) if re.fullmatch(_COLLECTOR, text) else None
        valid = parts is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise PydanticCustomError(
            "collector",
            "an endpoint must be written in full as https://HOST/PATH, such as "
            "https://otel.example.com:4318/v1/traces, without user and query",
        )
    return text


Collector = Annotated[
    str, BeforeValidator(_check_collector), WithJsonSchema({"type": "string", "pattern": _COLLECTOR})
]
"""The URL at which a collector takes spans."""


class TraceRules(StrictModel):
    """Where traces of passes are sent, by OTLP over HTTP; needs the extra `otel`."""

    endpoint: Collector = Field(
        description="URL at which the collector takes traces, with its path.",
        examples=["https://otel.example.com:4318/v1/traces"],
    )
    headers: Mapping[Annotated[str, Field(pattern=_HEADER)], KeyFile] = Field(
        default_factory=dict,
        max_length=20,
        description="Name of a header -> file with its value, such as a token. `$CREDENTIALS_DIRECTORY/NAME` "
        "is a credential of the systemd unit. The files are read when a command starts.",
        examples=[{"authorization": "$CREDENTIALS_DIRECTORY/otel-authorization"}],
    )
    ca: AbsolutePath | None = Field(
        default=None,
        description="Certificates of the authority that signs that of the collector, in PEM. Default: the "
        "public ones.",
    )
    plaintext: Flag = Field(
        default=False,
        description="Whether http is accepted also to another machine. Traces name clusters, nodes and "
        "addresses, and a header is sent as it is.",
    )
    ratio: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="Share of the passes that are traced.", examples=[0.1]
    )

    @model_validator(mode="after")
    def _require_tls(self) -> TraceRules:
        parts = urlsplit(self.endpoint)
        if parts.scheme == "http" and not self.plaintext and not is_loopback_host(parts.hostname or ""):
            raise PydanticCustomError(
                "plain_collector",
                "an endpoint must use https; http to another machine needs `plaintext: true`",
            )
        return self
