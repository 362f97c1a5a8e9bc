"""The one list of words by which a key sounds secret, and the one of shapes by which a text is; pure.

Two questions are asked of a key. `sounds_secret` is for what acts on the answer (a lint, an import): a false
alarm costs there. `may_be_secret` is for what only shows less (plans): there a miss costs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from reconciler.text.urls import userinfo_of

_WORDS: Final = (
    *("password", "passwd", "passphrase", "secret", "credential"),
    *("accesskey", "apikey", "privatekey", "signingkey"),
)
"""Words that make a key secret where it ends with them, and perhaps secret wherever they stand in it."""

_ENDINGS: Final = (*_WORDS, "token", "secretkey", "accesskeyid")
"""Ends of keys that are secret; in the middle of one they say little, as in `tokenizer`."""

_OWN_WORD: Final = re.compile(r"(?i)(^|_)pass$")
"""`db_pass` is perhaps a password, `bypass` is none."""

_STEMS: Final = ("pass", "secret", "key", "token", "credential")
"""Without one of these a file has no key that sounds secret."""

_REFERENCE: Final = re.compile(r"\$\{(?:env|file|age):")
_FILE: Final = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w.-]+)+|[\w./-]+\.(?:pem|key|crt|cer|der|p12|pfx|jks|json|txt|age)"
)
_PLACEHOLDER: Final = re.compile(r"[\W_]*|<[^<>]*>|x+|X+")
_KEY_LIKE: Final = re.compile(r"(?=.*[0-9])(?=.*[a-zA-Z])[A-Za-z0-9+/_=-]{32,}")
_PRIVATE: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40}"
    r"|glpat-[\w-]{20}|xox[abprs]-[\w-]{10}|AIza[\w-]{35}|[sr]k_live_\w{16}|AGE-SECRET-KEY-1[A-Z0-9]{40}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10})"
)
_MARKS: Final = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "AIza", "_live_", "AGE-SECRET-KEY-", "eyJ"),
)
"""Without one of these, or an @ and an address, a file has no text that is secret whatever its key is."""

_SHORTEST: Final = 14
"""Characters that the shortest token or address with a password has."""

_VARIED: Final = 14
"""Different characters that a long random text surely has."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a text can hold that is secret, told quickly from the whole of it.

    Args:
        keys: whether some key may sound secret.
        shapes: whether some value may be secret whatever its key is.
    """

    keys: bool = True
    shapes: bool = True


def prospect(text: str) -> Prospect:
    """What is worth looking for in a file, by its characters alone."""
    lower = text.lower()
    shapes = ("@" in text and "://" in text) or any(mark in text for mark in _MARKS)
    return Prospect(any(stem in lower for stem in _STEMS), shapes)


@lru_cache(maxsize=4096)
def sounds_secret(key: str) -> bool:
    """Whether what stands under a key is probably secret."""
    return _plain(key).removesuffix("s").endswith(tuple(word.removesuffix("s") for word in _ENDINGS))


@lru_cache(maxsize=4096)
def may_be_secret(key: str) -> bool:
    """Whether what stands under a key is better not shown."""
    plain = _plain(key)
    return sounds_secret(key) or any(word in plain for word in _WORDS) or bool(_OWN_WORD.search(key))


@lru_cache(maxsize=4096)
def tells(key: str) -> bool:
    """Whether a text may be secret for its key's sake, be it only where it looks random."""
    return sounds_secret(key) or key.lower().endswith("key")


def secret_in(key: str, text: str) -> str:
    """What of a text under a key is secret; empty where nothing of it seems to be, or it is a reference."""
    named = sounds_secret(key) and not _PLACEHOLDER.fullmatch(text) and not _FILE.fullmatch(text)
    if not named and len(text) < _SHORTEST:
        return ""
    shapes = (
        (named or (tells(key) and _is_random(text)), f"the value of `{key}`"),
        (has_private_key(text), "a private key"),
        (_TOKEN.search(text), "what looks like an access token"),
        (_has_password(text), "a password in an address"),
    )
    what = next((what for found, what in shapes if found), "")
    return "" if what and _REFERENCE.search(text) else what


def has_private_key(text: str) -> re.Match[str] | None:
    """Where a private key begins in a text, in any of the forms of PEM."""
    return _PRIVATE.search(text)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", key).casefold()


def _is_random(text: str) -> bool:
    """Whether a text is so long and varied that nobody made it up."""
    return len(set(text)) >= _VARIED and _KEY_LIKE.fullmatch(text) is not None


def _has_password(text: str) -> bool:
    found = userinfo_of(text) or ""
    return not re.search(r"\s", found) and bool(found.partition(":")[2])
