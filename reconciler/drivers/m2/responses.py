"""What an M2 node says to a change: words for the journal, or why it did not take it; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.m2.findings import ALLOW
from reconciler.errors import NodeRefused, NodeUnauthorized
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import HttpAnswer
from reconciler.text.one_line import LONGEST_NAME, list_first_names

MOST: Final = 300
"""Characters of a node's own words in a message."""

ANSWER: Final = JsonLimits(size=16 * 1024 * 1024, values=1_000_000)
"""Bounds on an answer to a change: it may list every field of a setting."""

CODES: Final[Mapping[str, str]] = {
    "E0001": "it found no file",
    "E0002": "it could not unpack the tgz",
    "E0003": "it could not load the setting",
    "E0004": "it does not accept the setting's content",
}
"""What a refused upload's codes mean (STON Edge Server's list, which M2 shares by all that is known)."""


def read_answer(node: str, path: str, answer: HttpAnswer) -> StepAnswer:
    """An answer to a change that the node took, and what it says will wait for a restart.

    Raises:
        NodeUnauthorized: 401 or 403.
        NodeRefused: any other status but 200, a status other than `OK` in the body, or an error code.
    """
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        reason = f"this host may not change its setting ({answer.status})"
        raise NodeUnauthorized(node, reason, remedy=ALLOW)
    told = _object(answer.body)
    words = answer.quote(MOST)
    code = next(iter(re.findall(r"\bE000[1-4]\b", words)), "")
    if answer.status != HTTPStatus.OK or code or not _taken(told):
        reason = answer.redact(str(told.get("result", "")), MOST) or words
        raise _refusal(node, path, answer, reason, code, is_own=not _taken(told))
    waiting = tuple(answer.redact(name, LONGEST_NAME) for name in _not_updated(told))
    return StepAnswer(f"{answer.status} {words}".rstrip(), waiting)


def _refusal(node: str, path: str, answer: HttpAnswer, words: str, code: str, *, is_own: bool) -> NodeRefused:
    meaning = f": {CODES[code]}" if code else ""
    reason = f"it refused {path} with {answer.status}{meaning}{f' ({words})' if words else ''}"
    # a `Fail` in the product's envelope is the node's own word, as an error code is
    word = code or ("Fail" if is_own else "")
    return NodeRefused(node, reason, status=answer.status, code=word, remedy="look at the node's log")


def _taken(told: Mapping[str, Any]) -> bool:
    """Whether the body says yes, or nothing; the pages write `OK` and `ok`."""
    return str(told.get("status", "OK")).upper() == "OK"


def _not_updated(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The first fields that wait for a restart, and how many more there are."""
    listed = told.get("notupdated")
    found = listed if isinstance(listed, list) else []
    named = (item.get("field") if isinstance(item, dict) else item for item in found)
    return list_first_names([name for name in named if isinstance(name, str) and name])


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = read_json(body, ANSWER)
    except JsonError:
        return {}
    return value if isinstance(value, dict) else {}
