"""The one list of words by which a key sounds secret, and the one of shapes by which a text is; pure.

Two questions are asked of a key. `sounds_secret` is for what acts on the answer (a lint, an import): a false
alarm costs there. `may_be_secret` is for what only shows less (plans): there a miss costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from unicodedata import normalize

from reconciler.core.secret import MASK
from reconciler.text.json_pointer import split_pointer
from reconciler.text.urls import get_userinfo

_KEYS: Final = tuple(
    f"{use}key"
    for use in (
        *("access", "account", "admin", "api", "app", "auth", "client", "consumer", "decryption", "deploy"),
        *("encryption", "hmac", "host", "license", "licence", "master", "private", "priv", "root", "secret"),
        *("server", "service", "session", "shared", "sign", "signing", "ssh", "ssl", "storage"),
        *("subscription", "symmetric", "tls", "webhook", "wrapping"),
    )
)
"""Keys that are secret; of others, such as `cacheKey` or `publicKey`, their name does not tell it."""

_WORDS: Final = (
    *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "credential", "connectionstring"),
    *("accesskey", "apikey", "privatekey", "signingkey", "hmackey", "encryptionkey", "licensekey"),
)
"""Words that make a key secret where it ends with them, and perhaps secret wherever they stand in it."""

_ENDINGS: Final = (*_WORDS, *_KEYS, "token", "accesskeyid", "authorization")
"""Ends of keys that are secret; in the middle of one they say little, as in `tokenizer`."""

_SHOWN_ENDINGS: Final = ("cookie", "jwt", "psk", "bearer", "sessionid", "dsn", "signature", "otp")
"""Ends of keys that are perhaps secret: a cookie may be named here, or given."""

_OWN_WORDS: Final = frozenset({"pass", "pw", "pin", "token", "tokens", "auth", "cookie", "cookies", "jwt"})
"""Words that make a key perhaps secret as words of their own: `dbPass` is perhaps one, `bypass` is none."""

_SPLIT: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_STEMS: Final = ("pass", "pwd", "secret", "key", "token", "credential", "authorization", "connection")
"""Without one of these a file has no key that sounds secret."""

_PAIR_NAMES: Final = frozenset({"name", "key", "header", "field", "id", "variable", "parameter", "option"})
"""Members of an object that name what another of its members holds."""

PAIR_VALUES: Final = frozenset({"value", "values", "val", "content", "data", "text", "default", "secret"})
"""Members of an object whose value has its name beside it."""

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
_SHAPES: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:eyJ[\w-]{6,}\.[\w-]*\.[\w.-]+|npm_\w{30,}|pypi-[\w-]{20,}|hf_\w{20,}|sk-[\w-]{20,}"
    r"|gl(?:rt|dt|ptt|cbt)-[\w-]{16,}|dop_v1_\w{32,}|shp(?:at|ss|ca)_\w{20,}|SG\.[\w-]{16,}\.[\w-]{16,})"
    rf"|(?:{_TOKEN.pattern})[\w-]*"
    r"|-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)"
    r"|LS0tLS1CRUdJTi(?!BDRVJU|BQVUJM)[A-Za-z0-9+/=]*"
    r"|\b(?i:basic|bearer|negotiate|digest)\s+(?=[\w+/.~-]*(?:[a-z][A-Z]|[\d+/=.]))[\w+/.~-]{8,}=*",
    re.DOTALL,
)
"""What is masked where it is shown: tokens and keys in more forms than a lint warns about."""

_ASSIGNED: Final = re.compile(
    r"(?P<key>[\w-]{2,60})(?P<mark>\\?[\"']?\s{0,3}[:=]\s{0,3})(?P<quote>\\?[\"'])?"
    r"(?P<value>(?(quote).+?(?=(?P=quote))|(?:(?i:basic|bearer|negotiate|digest|token)\s+)?[^\s&;,\"'<>]+))",
)
"""A word, and what it is said to be: `password=…`, `Authorization: Bearer …`, `"token": "…"`."""

_SHAPE_MARKS: Final = re.compile(
    r"eyJ|npm_|pypi-|hf_|sk-|gl[rdpc]|dop_|shp|SG\.|AKIA|ASIA|gh[pousr]_|github_pat_|glpat|xox|AIza|_live_"
    r"|AGE-SECRET|PRIVATE KEY|LS0tLS1|(?i:basic|bearer|negotiate|digest)"
)
_NAME_MARKS: Final = re.compile(
    r"(?i)pass|pwd|pw|pin|secret|key|token|credential|auth|cookie|connection|jwt|psk|bearer|session|dsn|signature|otp"
)
"""Without one of these a text has nothing of these forms, which takes longer to look for."""

_HEADER: Final = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*:\s*)([^\r\n\"\\]{3,})")
"""A header of HTTP whose value is secret up to its end."""

_ADDRESS: Final = re.compile(r"(?<=://)(?:[^\s/@'\"]*@|[^\s/@:'\"]*:(?!\d+(?:[/?#\s]|$))[^\s'\"]*@)")
"""User and password of an address, also where the password has a `/`."""

_MARKS: Final = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "AIza", "_live_", "AGE-SECRET-KEY-", "eyJ"),
)
"""Without one of these, or an @ and an address, a file has no text that is secret whatever its key is."""

_SAID: Final = frozenset({"true", "false", "null", "none", "yes", "no", "is", "was", "{", "["})
"""What stands behind a word and a colon and is no secret."""

_SHORT_RANDOM: Final = 8
"""Different characters from which on what stands under any key that ends so is perhaps a secret."""

_SHORTEST_KNOWN: Final = 8
"""Characters from which on a text's shape says something."""

_SHORTEST: Final = 14
"""Characters that the shortest token or address with a password has."""

_VARIED: Final = 14
"""Different characters that a long random text surely has."""


@dataclass(frozen=True, slots=True)
class SecretProspect:
    """What a text can hold that is secret, told quickly from the whole of it.

    Args:
        keys: whether some key may sound secret.
        shapes: whether some value may be secret whatever its key is.
    """

    keys: bool = True
    shapes: bool = True


def assess_prospect(text: str) -> SecretProspect:
    """What is worth looking for in a file, by its characters alone."""
    lower = text.lower()
    shapes = ("@" in text and "://" in text) or any(mark in text for mark in _MARKS)
    return SecretProspect(any(stem in lower for stem in _STEMS), shapes)


@lru_cache(maxsize=4096)
def sounds_secret(key: str) -> bool:
    """Whether what stands under a key is probably secret."""
    return _plain(key).removesuffix("s").endswith(tuple(word.removesuffix("s") for word in _ENDINGS))


@lru_cache(maxsize=4096)
def may_be_secret(key: str) -> bool:
    """Whether what stands under a key is better not shown."""
    plain = _plain(key)
    if sounds_secret(key) or any(word in plain for word in _WORDS):
        return True
    if plain.removesuffix("s").endswith(_SHOWN_ENDINGS):
        return True
    return any(word.lower() in _OWN_WORDS for word in _SPLIT.findall(_compatible(key)))


def is_reference(text: str) -> bool:
    """Whether a text of a file refers to a secret, and so is none itself."""
    return _REFERENCE.match(text) is not None and "}" in text


def is_masked(text: str) -> bool:
    """Whether a text that is shown stands in the place of a secret, as a mask or as a reference."""
    return MASK in text or is_reference(text)


def may_hold_secret(key: str, text: str) -> bool:
    """Whether a text under a key is better not shown: for the key's sake, or for its shape."""
    if not text or not text.strip():
        return False
    if may_be_secret(key):
        return True
    if len(text) < _SHORTEST_KNOWN:
        return False
    return (key.lower().endswith("key") and _is_random(text, _SHORT_RANDOM)) or mask_shapes(text) != text


def mask_shapes(text: str, mask: str = "\0") -> str:
    """A text in which tokens, private keys, passwords in addresses and after their names are masked.

    Args:
        text: any.
        mask: what stands in their place.
    """
    if len(text) < _SHORTEST_KNOWN:
        return text
    found = _ADDRESS.sub(f"{mask}@", text) if "://" in text and "@" in text else text
    if _SHAPE_MARKS.search(found):
        found = _SHAPES.sub(mask, found)
    if ("=" in found or ":" in found) and _NAME_MARKS.search(found):
        found = _HEADER.sub(rf"\1\2{mask}", found)
        found = _without_assigned(found, mask)
    return found


def get_pair_name(members: Mapping[str, Any]) -> str:
    """What names an object's `value`, where that is perhaps secret, as in `{name: password, value: …}`."""
    if isinstance(place := members.get("path"), str) and "op" in members:  # an operation of a JSON Patch
        name = next(
            (part for part in reversed(split_pointer(place)) if part != "-" and not part.isdigit()), ""
        )
        return name if may_be_secret(name) else ""
    for key, name in members.items():
        if isinstance(name, str) and str(key).casefold() in _PAIR_NAMES and may_be_secret(name):
            return name
    return ""


@lru_cache(maxsize=4096)
def may_tell_secret(key: str) -> bool:
    """Whether a text may be secret for its key's sake, be it only where it looks random."""
    return sounds_secret(key) or key.lower().endswith("key")


def find_secret(key: str, text: str) -> str:
    """What of a text under a key is secret; empty where nothing of it seems to be, or it is a reference."""
    named = sounds_secret(key) and not _PLACEHOLDER.fullmatch(text) and not _FILE.fullmatch(text)
    if not named and len(text) < _SHORTEST:
        return ""
    shapes = (
        (named or (may_tell_secret(key) and _is_random(text)), f"the value of `{key}`"),
        (find_private_key(text), "a private key"),
        (_TOKEN.search(text), "a probable access token"),
        (_has_password(text), "a password in an address"),
    )
    what = next((what for found, what in shapes if found), "")
    return "" if what and _REFERENCE.search(text) else what


def find_private_key(text: str) -> re.Match[str] | None:
    """Where a private key begins in a text, in any of the forms of PEM."""
    return _PRIVATE.search(text)


def _compatible(key: str) -> str:
    """A key in the letters that its form stands for: a wide one is shown as a usual one, and read as such."""
    return key if key.isascii() else normalize("NFKC", key)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", _compatible(key)).casefold()


def _without_assigned(text: str, mask: str) -> str:
    """A text without what stands behind the names of secrets."""
    start = 0
    while found := _ASSIGNED.search(text, start):
        value = found["value"]
        # What names no secret may still have one behind it, as in `refused: password=…`.
        start = found.end("mark")
        if may_be_secret(found["key"]) and value.casefold() not in _SAID and mask not in value:
            text = text[: found.start("value")] + mask + text[found.end("value") :]
            start = found.start("value") + len(mask)
    return text


def _is_random(text: str, varied: int = 0) -> bool:
    """Whether a text is so long and varied that nobody made it up."""
    if varied:
        return len(set(text)) >= varied and re.search(r"\d", text) is not None and " " not in text
    return len(set(text)) >= _VARIED and _KEY_LIKE.fullmatch(text) is not None


def _has_password(text: str) -> bool:
    found = get_userinfo(text) or ""
    return not re.search(r"\s", found) and bool(found.partition(":")[2])
