"""Descriptions of answers that are not the product's own; pure."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.ports.transport import HttpAnswer
from reconciler.text.one_line import MOST_QUOTED
from reconciler.text.urls import MOST_OF_URL, strip_url

FEW: Final = 80
"""Characters of the body that a message quotes."""

_QUOTED_FROM: Final = JsonLimits(size=65_536, values=1_000)
"""Limits of an object whose keys are quoted."""

_KEYS: Final = 5


def describe_answer(url: str, answer: HttpAnswer, product: str, why: str = "") -> str:
    """Describe an answer that is not the product's own; `suggest_answer_remedy` says what to do about it.

    Args:
        url: of the request, without user, password and query.
        answer: received.
        product: expected, such as `M2's management API`.
        why: what shows that it is another server; empty if the status does.
    """
    reason = f" ({why})" if why else ""
    return f"{_describe(url, answer)}; this is not an answer of {product}{reason}"


def describe_denial(url: str, answer: HttpAnswer, denied: str) -> str:
    """Describe a refusal that may come from another server than the product.

    Args:
        url: as for `describe_answer`.
        answer: received.
        denied: what this host may not do, if the product answered.
    """
    return f"{denied} ({answer.status}): {_describe(url, answer)}"


def _describe(url: str, answer: HttpAnswer) -> str:
    kind = answer.redact(answer.headers.get("content-type", "").partition(";")[0], FEW) or "no content type"
    return f"{url} answered {answer.status}, {kind}, {_quote_body(answer)}"


def suggest_answer_remedy(answer: HttpAnswer) -> str:
    """What to do about an answer that is not the product's own, by what was seen."""
    status = answer.status
    if status == HTTPStatus.NOT_MODIFIED:
        return _CACHED
    if 300 <= status < 400:  # noqa: PLR2004
        return _suggest_for_redirect(answer.headers.get("location", ""))
    if status != HTTPStatus.OK:
        return _BY_STATUS.get(status, _LOOK if status >= 500 else _CORRECT)  # noqa: PLR2004
    kind = answer.headers.get("content-type", "").lower()
    if "html" in kind:
        return _LOGIN_REMEDY if _LOGIN.search(answer.quote(_LOOKED_AT)) else _CORRECT
    if "json" in kind and not _is_json(answer):
        # A large one is not read again here: whether it is damaged or only large, the reason says.
        what = "damaged or too large" if len(answer.body) > _QUOTED_FROM.size else "damaged"
        return f"the answer is {what}: look at what the URL shows, and at a proxy before it; or {_CORRECT}"
    return _CORRECT


def _suggest_for_redirect(location: str) -> str:
    if _LOGIN.search(location):
        return _LOGIN_REMEDY
    if "://" not in location:
        return f"redirects are not followed: {_CORRECT}"
    return "redirects are not followed: write the address to which it redirects, if the node is there"


def _is_json(answer: HttpAnswer) -> bool:
    try:
        read_json(answer.body, _QUOTED_FROM)
    except JsonError:
        return False
    return True


_CACHED: Final = "turn off caching for this API in the proxy before the node"
_CORRECT: Final = "correct its address (host and port) in the fleet file: another service answers there"
_LOGIN_REMEDY: Final = (
    "a login page answers: let this host reach the API without it, or correct its address in the fleet file"
)
_LOOK: Final = "look at the log of the node, and of a proxy before it if there is one"
_LOGIN: Final = re.compile(r"log-?in|sign-?in|\bauth|\bsso\b|oauth|password", re.IGNORECASE)
_LOOKED_AT: Final = 4_000
_BEHIND: Final = (
    "a proxy answers and does not reach the node behind it: see if the node runs, and correct the proxy"
)

_BY_STATUS: Final[dict[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "allow this host to call the API, in the node and in a proxy before it",
    HTTPStatus.FORBIDDEN: "allow this host to call the API, in the node and in a proxy before it",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "let this host reach the node without a proxy",
    HTTPStatus.REQUEST_TIMEOUT: "try again later; look at the load of the node",
    HTTPStatus.TOO_MANY_REQUESTS: "try again later; raise the limit of calls for this host",
    HTTPStatus.BAD_GATEWAY: _BEHIND,
    HTTPStatus.GATEWAY_TIMEOUT: _BEHIND,
    HTTPStatus.SERVICE_UNAVAILABLE: "it is not available now: try again later, and look at the log of the "
    "node and of a proxy before it",
}
"""Status of an answer -> remedy; any other below 500 comes from another service."""


def _quote_body(answer: HttpAnswer) -> str:
    """The beginning of a body, or the keys of a JSON object."""
    # Not its values: they may be secrets that no rule of this program recognises.
    if location := answer.headers.get("location"):
        return f"redirected to {answer.redact(strip_url(location), MOST_OF_URL)}"
    if not answer.body.strip():
        return "without a body"
    try:
        value = read_json(answer.body, _QUOTED_FROM)
    except JsonError:
        value = None
    if isinstance(value, dict) and value:
        keys, more = [str(key) for key in value], " …" if len(value) > _KEYS else ""
        return f"an object with {', '.join(answer.redact(key, MOST_QUOTED) for key in keys[:_KEYS])}{more}"
    return f'beginning "{answer.quote(FEW)}"'
