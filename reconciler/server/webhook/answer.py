"""The answer to one webhook call, decided from its headers and body alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from reconciler.host.credentials import WEBHOOK_SECRET, name_file_variable
from reconciler.server.webhook.payload import CallKind, UnreadableCall, parse_payload
from reconciler.server.webhook.signature import check_signature

CAP = 2 * 1024 * 1024
"""Bytes of a body beyond which nothing is read; a push that is larger costs a poll interval."""


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What a caller is told.

    Args:
        status: of HTTP.
        code: stable name; a label of the metrics where the call was not believed.
        message: a sentence.
        is_push: whether the source is to be looked at.
    """

    status: HTTPStatus
    code: str
    message: str
    is_push: bool = False

    @property
    def is_rejected(self) -> bool:
        """Whether the call was not believed or not understood."""
        return self.status >= HTTPStatus.BAD_REQUEST


UNWANTED = WebhookReply(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "no-secret",
    f"no webhook secret is set here, so no call is accepted; set {WEBHOOK_SECRET} or "
    f"{name_file_variable(WEBHOOK_SECRET)} and start again",
)
TOO_LARGE = WebhookReply(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-large",
    f"the body is larger than {CAP} bytes; the poll will see it",
)
BUSY = WebhookReply(
    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many webhook calls are being read; the poll will see it"
)
REPEATED = WebhookReply(HTTPStatus.BAD_REQUEST, "repeated-header", "a header that may come once comes twice")
TOO_SLOW = WebhookReply(HTTPStatus.REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time")


def answer_call(
    headers: Mapping[str, str], body: bytes, *, secret: str, ref: str, now: float
) -> WebhookReply:
    """Whether a call is believed, and what it asks for.

    Args:
        headers: names in lower case.
        body: the bytes as they were received.
        secret: shared with the forge; empty where none is set.
        ref: the branch, tag or commit watched; empty for the default branch.
        now: seconds since 1970.
    """
    if not secret:
        return UNWANTED
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
