"""The answer to one webhook call, from its headers and body alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from reconciler.host.credentials import WEBHOOK_SECRET, name_file_variable
from reconciler.server.webhook.payload import CallKind, UnreadableCall, parse_payload
from reconciler.server.webhook.signature import check_signature

CAP = 2 * 1024 * 1024
"""Largest body in bytes; a larger push is seen at the next poll."""


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """The answer to a call.

    Args:
        status: of HTTP.
        code: stable name; the metrics label of a rejected call.
        message: a sentence.
        is_push: whether the call reports a push to the watched ref.
    """

    status: HTTPStatus
    code: str
    message: str
    is_push: bool = False

    @property
    def is_rejected(self) -> bool:
        """Whether the call was refused or could not be read."""
        return self.status >= HTTPStatus.BAD_REQUEST


UNWANTED = WebhookReply(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "no-secret",
    f"this watch has no webhook secret and accepts no calls; set {WEBHOOK_SECRET} or "
    f"{name_file_variable(WEBHOOK_SECRET)} and restart it",
)
TOO_LARGE = WebhookReply(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-large",
    f"the body is larger than {CAP} bytes; the next poll finds the push",
)
BUSY = WebhookReply(
    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many webhook calls; the next poll finds the push"
)
REPEATED = WebhookReply(
    HTTPStatus.BAD_REQUEST, "repeated-header", "a header that must be unique occurs twice"
)
TOO_SLOW = WebhookReply(HTTPStatus.REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time")


def answer_call(
    headers: Mapping[str, str], body: bytes, *, secret: str, ref: str, now: float
) -> WebhookReply:
    """Check and read a call.

    Args:
        headers: names in lower case.
        body: the bytes as received.
        secret: shared with the forge; empty if none is set.
        ref: the watched branch, tag or commit; empty for the default branch.
        now: seconds since 1970.
    """
    if not secret:
        return UNWANTED
    # The signature comes first: a body of an unknown sender must not reach a parser.
    refused = check_signature(headers, body, secret, now=now)
    if refused:
        return WebhookReply(HTTPStatus.UNAUTHORIZED, refused.code, refused.message)
    try:
        call = parse_payload(headers, body, ref=ref)
    except UnreadableCall as error:
        return WebhookReply(HTTPStatus.BAD_REQUEST, "unreadable", str(error))
    if call.kind is CallKind.PUSH:
        return WebhookReply(HTTPStatus.ACCEPTED, call.kind.value, call.message, is_push=True)
    return WebhookReply(HTTPStatus.OK, call.kind.value, call.message)
