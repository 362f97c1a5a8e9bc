"""Reads the fields of a form, within bounds."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from reconciler.server.access.refusal import AccessRefused

LARGEST_FORM: Final = 64 * 1024
"""Bytes of a form."""

MOST_FIELDS: Final = 200
"""Fields of a form."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of a field that is there twice, the first.

    Raises:
        AccessRefused: it is no form (415), too large (413), or not valid (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise AccessRefused("this is not a form", remedy="use the forms of the pages", status=415)
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_FORM:
                raise AccessRefused(
                    f"the form has more than {LARGEST_FORM} bytes", remedy="write less", status=413
                )
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MOST_FIELDS
        )
    except (ValueError, ClientDisconnect):
        raise AccessRefused("the form is not valid", remedy="load the page again", status=400) from None
    return dict(reversed(pairs))
