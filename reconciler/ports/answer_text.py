"""Descriptions of answers that are not the product's own; pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

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
    """Describe an answer that is not the product's own, with a remedy.

    Args:
        url: of the request, without user, password and query.
        answer: received.
        product: expected, such as `M2's management API`.
        why: what shows that it is another server; empty if the status does.
    """
    reason = f" ({why})" if why else ""
    return f"{_describe(url, answer)}; this is not an answer of {product}{reason}; {suggest_port_check(url)}"


def describe_denial(url: str, answer: HttpAnswer, denied: str) -> str:
    """Describe a refusal that may come from another server than the product.

    Args:
        url: as for `describe_answer`.
        answer: received.
        denied: what this host may not do, if the product answered.
    """
    return f"{denied} ({answer.status}): {_describe(url, answer)}; {suggest_port_check(url)}"


def _describe(url: str, answer: HttpAnswer) -> str:
    kind = answer.redact(answer.headers.get("content-type", "").partition(";")[0], FEW) or "no content type"
    return f"{url} answered {answer.status}, {kind}, {_quote_body(answer)}"


def suggest_port_check(url: str) -> str:
    """The remedy when another server answers."""
    return f"check that {urlsplit(url).netloc} is its API port"


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
