"""Secrets that stand in files in clear: keys that sound secret, private keys, tokens of known forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from reconciler.diagnostic import Position, Problem, Severity
from reconciler.documents.document import Document
from reconciler.text.json_pointer import parts
from reconciler.text.json_pointer import pointer as pointer_of

CODE: Final = "clear-secret"

REMEDY: Final = (
    "replace it by `${env:RECONCILE_SECRET_…}`, `${file:PATH}` or what `reconcile secrets encrypt` prints, "
    "and change it"
)
"""What helps: it stays in the history of git, so it is to be changed, too."""

_SOUNDS: Final = (
    *("password", "passwd", "passphrase", "secret", "secretkey", "accesskey", "accesskeyid"),
    *("apikey", "privatekey", "signingkey", "token", "credential"),
)
_REFERENCE: Final = re.compile(r"\$\{(?:env|file|age):")
_FILE: Final = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w.-]+)+|[\w./-]+\.(?:pem|key|crt|cer|der|p12|pfx|jks|json|txt|age)"
)
_PLACEHOLDER: Final = re.compile(r"[\W_]*|<[^<>]*>|x+|X+")
_PRIVATE: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40}"
    r"|glpat-[\w-]{20}|xox[abprs]-[\w-]{10}|AIza[\w-]{35}|[sr]k_live_\w{16}|AGE-SECRET-KEY-1[A-Z0-9]{40}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10})"
)
_PASSWORD_IN_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s:@]*:[^/?#\s@]+@")
_KEY_LIKE: Final = re.compile(r"(?=.*[0-9])(?=.*[a-zA-Z])[A-Za-z0-9+/_=-]{32,}")
_STEMS: Final = ("pass", "secret", "key", "token", "credential")
"""Without one of these a file has no key that sounds secret."""

_MARKS: Final = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "AIza", "_live_", "AGE-SECRET-KEY-", "eyJ"),
)
"""Without one of these, or an @, a file has no value that is secret whatever its key is."""

_SHORTEST: Final = 14
"""Characters that the shortest token or address with a password has."""

_VARIED: Final = 14
"""Different characters that a long random text surely has."""


def in_document(document: Document) -> Iterator[Problem]:
    """Warnings about the values of one file as it was written; what is a reference is none of them."""
    text: str = getattr(document, "text", "")
    shaped = not text or _marked(text)
    if not shaped and not any(stem in text.lower() for stem in _STEMS):
        return
    for path, what in _walk(document.value, shaped=shaped):
        place = pointer_of(path)
        said = f"{what} stands here in clear"
        yield Problem(document.position(place), place, Severity.WARNING, CODE, said, REMEDY)


def in_resource(path: str, data: bytes) -> Iterator[Problem]:
    """Warnings about a file that is delivered with the settings: a private key that is not encrypted."""
    if b"PRIVATE KEY" not in data:
        return
    text = data.decode("ascii", errors="replace")
    found = _PRIVATE.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        remedy = f"encrypt it by `reconcile secrets encrypt --out {path}.age {path}`, and make a new one"
        said = "a private key stands here in clear"
        yield Problem(Position(path, line, column), "", Severity.WARNING, CODE, said, remedy)


def in_value(value: Any) -> Iterator[str]:
    """The JSON pointers of the texts in a plain value that look like secrets in clear."""
    return (pointer_of(path) for path, _ in _walk(value, shaped=True))


def looks_secret(key: str, text: str) -> bool:
    """Whether a text under a key looks like a secret in clear."""
    return bool(_secret(key, text))


def _walk(value: Any, *, shaped: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, what) of the texts in a value that look secret, in no order; `shaped`: whatever their key is.

    A parsed file holds plain types and nothing derived from them, and it is the exact type that is quick.
    """
    rest: list[tuple[Any, tuple[str | int, ...], str]] = [(value, (), "")]
    while rest:
        part, path, key = rest.pop()
        members: Any = part.items() if type(part) is dict else enumerate(part) if type(part) is list else ()
        for name, item in members:
            kind = type(item)
            if kind is not str and kind is not dict and kind is not list:
                continue
            own = key if type(part) is list else _patched(part) if name == "value" else name
            if kind is not str:
                rest.append((item, (*path, name), own))
            elif (shaped or _tells(own)) and (what := _secret(own, item)):
                yield (*path, name), what


def _marked(text: str) -> bool:
    return ("@" in text and "://" in text) or any(mark in text for mark in _MARKS)


def _patched(value: Mapping[str, Any]) -> str:
    """The key that an operation of a JSON Patch gives its `value` to; that word where the object is none."""
    place = value.get("path")
    if not isinstance(place, str) or "op" not in value:
        return "value"
    return next((part for part in reversed(parts(place)) if part != "-" and not part.isdigit()), "")


def _secret(key: str, text: str) -> str:
    """What of a text is secret; empty where nothing of it seems to be."""
    named = _sounds(key) and not _PLACEHOLDER.fullmatch(text) and not _FILE.fullmatch(text)
    if not named and len(text) < _SHORTEST:
        return ""
    shapes = (
        (named or (_tells(key) and _random(text)), f"the value of `{key}`"),
        (_PRIVATE.search(text), "a private key"),
        (_TOKEN.search(text), "what looks like an access token"),
        (_PASSWORD_IN_URL.match(text), "a password in an address"),
    )
    what = next((what for found, what in shapes if found), "")
    return "" if what and _REFERENCE.search(text) else what


def _random(text: str) -> bool:
    """Whether a text is so long and varied that nobody made it up."""
    return len(set(text)) >= _VARIED and _KEY_LIKE.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _tells(key: str) -> bool:
    """Whether what stands under a key may be secret for the key's sake."""
    return _sounds(key) or key.lower().endswith("key")


@lru_cache(maxsize=4096)
def _sounds(key: str) -> bool:
    """Whether what stands under a key is probably secret."""
    plain = re.sub(r"[\W_]", "", key).lower().removesuffix("s")
    return plain.endswith(tuple(word.removesuffix("s") for word in _SOUNDS))
