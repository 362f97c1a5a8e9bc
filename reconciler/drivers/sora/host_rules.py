"""What a host's configuration says for Sora."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import InvalidAddress, parse_api
from reconciler.core.fields import StrictModel


def _api_address(text: str) -> str:
    """An address that could never be one of a Sora API would be listed without effect."""
    try:
        parse_api(text)
    except InvalidAddress:
        raise PydanticCustomError(
            "api_address", "an API's address is written as https://node1.example.com/api, without query"
        ) from None
    return text


ApiAddress = Annotated[
    str,
    AfterValidator(_api_address),
    WithJsonSchema({"type": "string", "pattern": r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"}),
]
"""The whole address of an API, which may have a path."""


class SoraRules(StrictModel):
    """Rules for Sora nodes."""

    api_paths: tuple[ApiAddress, ...] = Field(
        default=(),
        max_length=1000,
        description="Addresses of Sora APIs that may have a path; every other one is scheme, host and port.",
        examples=[["https://node1.example.com/api"]],
    )
