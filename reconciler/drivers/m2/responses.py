"""A node's answer to a change: text for the journal, or why the node refused; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from reconciler.core.arguments import StepFeedback
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.m2.findings import ALLOW_REMEDY
from reconciler.errors import NodeRefused, NodeUnauthorized
from reconciler.ports.driver import StepAnswer
from reconciler.ports.transport import HttpAnswer
from reconciler.text.one_line import LONGEST_NAME, list_first_names

MOST: Final = 300
"""Characters of a node's own text in a message."""

ANSWER: Final = JsonLimits(size=16 * 1024 * 1024, values=1_000_000)
"""Limits of an answer to a change: it may list every field of a setting."""

CODES: Final[Mapping[str, str]] = {
    "E0001": "it found no file",
    "E0002": "it could not unpack the tgz",
    "E0003": "it could not load the setting",
    "E0004": "it does not accept the setting's content",
}
"""Error codes of a refused upload (STON Edge Server's list; M2's own pages have none)."""


def read_answer(node: str, path: str, answer: HttpAnswer) -> StepAnswer:
    """The answer to an accepted change, with the fields that it says wait for a restart.

    Raises:
        NodeUnauthorized: 401 or 403.
        NodeRefused: any other status but 200, a status other than `OK` in the body, or an error code.
    """
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        reason = f"this host may not change its setting ({answer.status})"
        raise NodeUnauthorized(node, reason, remedy=ALLOW_REMEDY)
    try:
        value = read_json(answer.body, ANSWER)
    except JsonError:
        value = {}
    body: Mapping[str, Any] = value if isinstance(value, dict) else {}
    text = answer.quote(MOST)
    # M2's pages do not show where an answer has the code, so the whole text counts.
    code = next(iter(re.findall(r"\bE000[1-4]\b", text)), "")
    is_ok = str(body.get("status", "OK")).upper() == "OK"  # the pages write `OK` and `ok`
    if answer.status != HTTPStatus.OK or code or not is_ok:
        text = answer.redact(str(body.get("result", "")), MOST) or text
        meaning = f": {CODES[code]}" if code else ""
        reason = f"it refused {path} with {answer.status}{meaning}{f' ({text})' if text else ''}"
        # An error code, or another status than OK in M2's own form, comes from the node itself and not from a
        # proxy before it: the change had no effect.
        own_code = code or ("" if is_ok else "Fail")
        raise NodeRefused(node, reason, status=answer.status, code=own_code, remedy="look at the node's log")
    listed = body.get("notupdated")
    items = listed if isinstance(listed, list) else []
    fields = (item.get("field") if isinstance(item, dict) else item for item in items)
    names = list_first_names([field for field in fields if isinstance(field, str) and field])
    waiting = tuple(answer.redact(name, LONGEST_NAME) for name in names)
    version = body.get("version")
    feedback = StepFeedback(result_version=version if isinstance(version, str) else "")
    return StepAnswer(f"{answer.status} {text}".rstrip(), waiting, feedback=feedback)
