"""What older versions kept in clear and is keyed now: fingerprints of settings, in which secrets count.

Each is replaced by what `core.canonical.fingerprint_with_key` makes of it, as newer versions write it, so
that tries and rollouts go on; of old runs they only told two contents apart.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final

from reconciler.core.canonical import encode_canonical, fingerprint_with_key

STATEMENTS: Final = (
    # Runs beside which the exact fingerprints lie encrypted have none in their plans. The id of a plan is
    # made of all that stands in it, so that it could be tried with guesses, too.
    """UPDATE run SET digest = keyed_text(digest), plan = keyed_plan(plan)
        WHERE number NOT IN (SELECT run FROM exact) AND plan IS NOT keyed_plan(plan)""",
    "UPDATE fact SET value = keyed_fact(value) WHERE key = 'rollout' OR key LIKE 'attempt/%'",
)
"""Statements over the functions that `define_functions` adds to a connection."""

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_ANY: Final = re.compile(r".+", re.DOTALL)
_CUT: Final = 16
_OF_FACTS: Final = frozenset({"aim", "rollout", "content", "shown", "change"})


def define_functions(connection: sqlite3.Connection, secret: Callable[[], bytes]) -> None:
    """Add the functions of `STATEMENTS` to a connection.

    Args:
        connection: to a store that is brought up to date.
        secret: gives the bytes that fingerprints are keyed with; called only where there are some.
    """
    secret = cache(secret)
    connection.create_function("keyed_text", 1, lambda text: fingerprint_with_key(secret(), text))
    connection.create_function("keyed_plan", 1, lambda plan: _plan(plan, secret))
    connection.create_function("keyed_fact", 1, lambda text: _fact(text, secret))


def _plan(packed: bytes, secret: Callable[[], bytes]) -> bytes:
    """A packed plan whose steps' arguments hold no fingerprint in clear; the same bytes where none does."""
    with suppress(zlib.error, ValueError, TypeError, KeyError, AttributeError):  # nobody can read it anyway
        plan = json.loads(zlib.decompress(packed))
        found = False
        for step in (step for cluster in plan["clusters"] for step in cluster["steps"]):
            for holder in (step, step["inverse"]):
                new = _keyed(holder["arguments"], secret, _FINGERPRINT)
                found = found or new != holder["arguments"]
                holder["arguments"] = new
        return zlib.compress(encode_canonical(plan)) if found else packed
    return packed


def _fact(text: str, secret: Callable[[], bytes]) -> str:
    with suppress(ValueError, AttributeError):
        fact = json.loads(text)
        told = {key: _keyed(value, secret) if key in _OF_FACTS else value for key, value in fact.items()}
        return json.dumps(told, sort_keys=True)
    return text


def _keyed(value: Any, secret: Callable[[], bytes], form: re.Pattern[str] = _ANY) -> Any:
    """A value in which every text of a form is keyed, and as long as it was where it was cut."""
    if isinstance(value, str):
        return (
            fingerprint_with_key(secret(), value)[: _CUT if len(value) == _CUT else None]
            if form.fullmatch(value)
            else value
        )
    if isinstance(value, dict):
        return {key: _keyed(item, secret, form) for key, item in value.items()}
    if isinstance(value, list):
        return [_keyed(item, secret, form) for item in value]
    return value
