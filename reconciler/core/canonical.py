"""Plain JSON values: their canonical bytes and their fingerprint."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

Plain: TypeAlias = "bool | int | float | str | Sequence[Plain] | Mapping[str, Plain] | None"
"""What JSON can say. Treated as frozen: nobody changes a value that was handed over."""


def encode_canonical(value: object) -> bytes:
    """The canonical bytes of a plain value: UTF-8, keys sorted, no white space."""
    # Digests in plan files, approvals and the store are of these bytes: another writer of JSON, or another
    # form of a number, would make every one of them stale.
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits, lone surrogates: JSON allows them, products might send them
        return _bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def write_json(value: object, *, indent: bool = False) -> bytes:
    """A plain value as JSON with its keys in their own order: UTF-8, with whole numbers of any size."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return _bytes(json.dumps(value, indent=2 if indent else None, ensure_ascii=False))


def _bytes(text: str) -> bytes:
    r"""JSON as UTF-8, which has no lone surrogates: their replacement, `\ud800`, is JSON's own escape."""
    return text.encode("utf-8", "backslashreplace")


def fingerprint_with_key(key: bytes, text: str) -> str:
    """A fingerprint that nobody can try guesses against without the key; the text itself without a key.

    Args:
        key: a host's, which leaves it as little as the result does.
        text: a fingerprint in which secrets count.
    """
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest() if key else text


def fingerprint(value: object) -> str:
    """SHA-256 of a plain value's canonical bytes, in hexadecimal."""
    return hashlib.sha256(encode_canonical(value)).hexdigest()


EDITOR_KEY = "$schema"
"""Key at the top of a document by which an editor finds the schema; no node gets it."""


def strip_editor_key(document: Any) -> Any:
    """A document without its `$schema`; the same object if it has none."""
    if not isinstance(document, Mapping) or EDITOR_KEY not in document:
        return document
    return {key: value for key, value in document.items() if key != EDITOR_KEY}
