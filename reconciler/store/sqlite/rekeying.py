"""Migration of fingerprints that older versions stored without a key, open to guesses of the secrets in them.

Each is replaced by `core.canonical.fingerprint_with_key` of it, as newer versions write it, so that attempts
and rollouts continue; in old runs they only distinguish contents.
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
    # Plans of runs in the table `exact` have no fingerprints. The digest of a plan covers everything in it,
    # so it could be tried with guesses too.
    """UPDATE run SET digest = keyed_text(digest), plan = keyed_plan(plan)
        WHERE number NOT IN (SELECT run FROM exact) AND plan IS NOT keyed_plan(plan)""",
    "UPDATE fact SET value = keyed_fact(value) WHERE key = 'rollout' OR key LIKE 'attempt/%'",
)
"""Statements with the functions that `define_functions` adds to a connection."""

_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_ANY: Final = re.compile(r".+", re.DOTALL)
_CUT: Final = 16
_OF_FACTS: Final = frozenset({"aim", "rollout", "content", "shown", "change"})


def define_functions(connection: sqlite3.Connection, secret: Callable[[], bytes]) -> None:
    """Add the functions of `STATEMENTS` to a connection.

    Args:
        connection: to a store in migration.
        secret: gives the key for fingerprints; called only if there are some.
    """
    secret = cache(secret)
    connection.create_function("keyed_text", 1, lambda text: fingerprint_with_key(secret(), text))
    connection.create_function("keyed_plan", 1, lambda plan: _key_plan(plan, secret))
    connection.create_function("keyed_fact", 1, lambda text: _key_fact(text, secret))


def _key_plan(packed: bytes, secret: Callable[[], bytes]) -> bytes:
    """A packed plan with keyed fingerprints in the arguments of its steps; unchanged if there are none."""
    with suppress(
        zlib.error, ValueError, TypeError, KeyError, AttributeError
    ):  # such a plan cannot be read anyway
        plan = json.loads(zlib.decompress(packed))
        found = False
        for step in (step for cluster in plan["clusters"] for step in cluster["steps"]):
            for holder in (step, step["inverse"]):
                new = _key_texts(holder["arguments"], secret, _FINGERPRINT)
                found = found or new != holder["arguments"]
                holder["arguments"] = new
        return zlib.compress(encode_canonical(plan)) if found else packed
    return packed


def _key_fact(text: str, secret: Callable[[], bytes]) -> str:
    with suppress(ValueError, AttributeError):
        fact = json.loads(text)
        keyed = {key: _key_texts(value, secret) if key in _OF_FACTS else value for key, value in fact.items()}
        return json.dumps(keyed, sort_keys=True)
    return text


def _key_texts(value: Any, secret: Callable[[], bytes], form: re.Pattern[str] = _ANY) -> Any:
    """A value with every text of a form keyed; an abbreviated text keeps its length."""
    if isinstance(value, str):
        return (
            fingerprint_with_key(secret(), value)[: _CUT if len(value) == _CUT else None]
            if form.fullmatch(value)
            else value
        )
    if isinstance(value, dict):
        return {key: _key_texts(item, secret, form) for key, item in value.items()}
    if isinstance(value, list):
        return [_key_texts(item, secret, form) for item in value]
    return value
