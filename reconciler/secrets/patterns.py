"""The one list of words that make a key sound secret, and of formats that make a text a secret; pure.

There are two questions about a key. `is_secret_key` is for code that acts on the answer (a lint, an import),
where a false alarm costs. `should_mask_key` is for code that only masks (plans), where a miss costs.
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
"""Keys that are secret; the name of others, such as `cacheKey` or `publicKey`, does not tell."""

_WORDS: Final = (
    *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "credential", "connectionstring"),
    *("accesskey", "apikey", "privatekey", "signingkey", "hmackey", "encryptionkey", "licensekey"),
    *("requirepass", "masterauth", "primaryauth"),  # of a redis.conf
)
"""Words that make a key secret at its end, and possibly secret anywhere in it."""

_ENDINGS: Final = (*_WORDS, *_KEYS, "token", "accesskeyid", "authorization")
"""Ends of keys that are secret; elsewhere in a key they say little, as in `tokenizer`."""

_SHOWN_ENDINGS: Final = ("cookie", "jwt", "psk", "bearer", "sessionid", "dsn", "signature", "otp")
"""Ends of keys that may be secret: a `cookie` may be a name or a value."""

_OWN_WORDS: Final = frozenset({"pass", "pw", "pin", "token", "tokens", "auth", "cookie", "cookies", "jwt"})
"""Words that make a key possibly secret as separate words: in `dbPass`, not in `bypass`."""

_SPLIT: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_STEMS: Final = ("pass", "pwd", "secret", "key", "token", "credential", "auth", "connection")
"""A file without any of these has no key that sounds secret: a quick test before the slow one."""

_PAIR_NAMES: Final = frozenset({"name", "key", "header", "field", "id", "variable", "parameter", "option"})
"""Members of an object that name the content of another member."""

PAIR_VALUES: Final = frozenset({"value", "values", "val", "content", "data", "text", "default", "secret"})
"""Members of an object whose name is in another member."""

_REFERENCE: Final = re.compile(r"\$\{(?:env|file|age):")
_FILE: Final = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w.-]+)+|[\w./-]+\.(?:pem|key|crt|cer|der|p12|pfx|jks|json|txt|age)"
)
_PLACEHOLDER: Final = re.compile(r"[\W_]*|<[^<>]*>|x+|X+")
_KEY_LIKE: Final = re.compile(r"(?=.*[0-9])(?=.*[a-zA-Z])[A-Za-z0-9+/_=-]{32,}")
_PRIVATE: Final = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40}"
    r"|rcl_[\w-]{43}|glpat-[\w-]{20}|xox[abprs]-[\w-]{10}|AIza[\w-]{35}|[sr]k_live_\w{16}|AGE-SECRET-KEY-1[A-Z0-9]{40}"
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
"""Tokens and keys to mask in output, in more formats than a lint warns about."""

_ASSIGNED: Final = re.compile(
    r"(?P<key>[\w-]{2,60})(?P<mark>\\?[\"']?\s{0,3}[:=]\s{0,3})(?P<quote>\\?[\"'])?"
    r"(?P<value>(?(quote).+?(?=(?P=quote))|(?:(?i:basic|bearer|negotiate|digest|token)\s+)?[^\s&;,\"'<>]+))"
)
"""A word and its value: `password=…`, `Authorization: Bearer …`, `"token": "…"`."""

_SHAPE_MARKS: Final = re.compile(
    r"eyJ|npm_|pypi-|hf_|sk-|gl[rdpc]|dop_|shp|SG\.|rcl_|AKIA|ASIA|gh[pousr]_|github_pat_|glpat|xox|AIza|_live_"
    r"|AGE-SECRET|PRIVATE KEY|LS0tLS1|(?i:basic|bearer|negotiate|digest)"
)
_NAME_MARKS: Final = re.compile(
    r"(?i)pass|pwd|pw|pin|secret|key|token|credential|auth|cookie|connection|jwt|psk|bearer|session|dsn|signature|otp"
)
"""A text without any of these has none of the formats above: a quick test before the slow one."""

_HEADER: Final = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*:\s*)([^\r\n\"\\]{3,})")
"""An HTTP header whose whole value is secret."""

_ADDRESS: Final = re.compile(r"(?<=://)(?:[^\s/@'\"]*@|[^\s/@:'\"]*:(?!\d+(?:[/?#\s]|$))[^\s'\"]*@)")
"""User and password of a URL, also if the password contains a `/`."""

_MARKS: Final = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "rcl_"),
    *("xox", "AIza", "_live_", "AGE-SECRET-KEY-", "eyJ"),
)
"""A file without any of these, and without a URL and an @, has no text that is secret under every key."""

_NOT_SECRET: Final = frozenset({"true", "false", "null", "none", "yes", "no", "is", "was", "{", "["})
"""Words after a key and a colon that are not secrets."""

_SHORT_RANDOM: Final = 8
"""Different characters from which the value of any key that ends with `key` may be a secret."""

_SHORTEST_KNOWN: Final = 8
"""Characters from which the format of a text says something."""

_SHORTEST: Final = 14
"""Characters of the shortest token or URL with a password."""

_VARIED: Final = 14
"""Different characters of a long random text at least."""


@dataclass(frozen=True, slots=True)
class SecretProspect:
    """The kinds of secrets that a file can contain, found quickly from its whole text.

    Args:
        keys: whether a key may sound secret.
        shapes: whether a value may be secret whatever its key is.
    """

    keys: bool = True
    shapes: bool = True


def assess_prospect(text: str) -> SecretProspect:
    """The kinds of secrets to look for in a file, by its characters alone."""
    lower = text.lower()
    shapes = ("@" in text and "://" in text) or any(mark in text for mark in _MARKS)
    return SecretProspect(any(stem in lower for stem in _STEMS), shapes)


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether the value of a key is probably secret."""
    return _plain(key).removesuffix("s").endswith(tuple(word.removesuffix("s") for word in _ENDINGS))


@lru_cache(maxsize=4096)
def should_mask_key(key: str) -> bool:
    """Whether the value of a key should be masked."""
    plain = _plain(key)
    if is_secret_key(key) or any(word in plain for word in _WORDS):
        return True
    if plain.removesuffix("s").endswith(_SHOWN_ENDINGS):
        return True
    return any(word.lower() in _OWN_WORDS for word in _SPLIT.findall(_normalize_key(key)))


def is_reference(text: str) -> bool:
    """Whether a text is a reference to a secret, and so not a secret itself."""
    return _REFERENCE.match(text) is not None and "}" in text


def is_masked(text: str) -> bool:
    """Whether a text in output is a mask or a reference instead of a secret."""
    return MASK in text or is_reference(text)


def should_mask_text(key: str, text: str) -> bool:
    """Whether a text under a key should be masked: because of the key, or of its format."""
    if not text or not text.strip():
        return False
    if should_mask_key(key):
        return True
    if len(text) < _SHORTEST_KNOWN:
        return False
    return (key.lower().endswith("key") and _is_random(text, _SHORT_RANDOM)) or mask_shapes(text) != text


def mask_shapes(text: str, mask: str = "\0") -> str:
    """A text with tokens, private keys and passwords in URLs and after their names masked.

    Args:
        text: any.
        mask: their replacement.
    """
    if len(text) < _SHORTEST_KNOWN:
        return text
    found = _ADDRESS.sub(f"{mask}@", text) if "://" in text and "@" in text else text
    if _SHAPE_MARKS.search(found):
        found = _SHAPES.sub(mask, found)
    if ("=" in found or ":" in found) and _NAME_MARKS.search(found):
        found = _HEADER.sub(rf"\1\2{mask}", found)
        found = _mask_assigned(found, mask)
    return found


def get_pair_name(members: Mapping[str, Any]) -> str:
    """The name of an object's `value`, if that may be secret, as in `{name: password, value: …}`."""
    if (name := get_patched_key(members)) is not None:
        return name if should_mask_key(name) else ""
    for key, name in members.items():
        if isinstance(name, str) and str(key).casefold() in _PAIR_NAMES and should_mask_key(name):
            return name
    return ""


def get_patched_key(members: Mapping[str, Any]) -> str | None:
    """The key that an operation of a JSON Patch writes to; None for any other object."""
    if not isinstance(place := members.get("path"), str) or "op" not in members:
        return None
    return next((part for part in reversed(split_pointer(place)) if part != "-" and not part.isdigit()), "")


@lru_cache(maxsize=4096)
def can_key_mark_secret(key: str) -> bool:
    """Whether a key can make its text a secret, if only a text that looks random."""
    return is_secret_key(key) or key.lower().endswith("key")


def find_secret(key: str, text: str) -> str:
    """What is secret in a text under a key, in words; empty if nothing seems to be, or it is a reference."""
    named = is_secret_key(key) and not _PLACEHOLDER.fullmatch(text) and not _FILE.fullmatch(text)
    if not named and len(text) < _SHORTEST:
        return ""
    userinfo = get_userinfo(text) or ""
    has_password = not re.search(r"\s", userinfo) and bool(userinfo.partition(":")[2])
    shapes = (
        (named or (can_key_mark_secret(key) and _is_random(text)), f"the value of `{key}`"),
        (find_private_key(text), "a private key"),
        (_TOKEN.search(text), "a probable access token"),
        (has_password, "a password in an address"),
    )
    # The name of the key comes first: a reader finds the value by it.
    what = next((what for found, what in shapes if found), "")
    return "" if what and _REFERENCE.search(text) else what


def find_private_key(text: str) -> re.Match[str] | None:
    """The beginning of a private key in a text, in any form of PEM."""
    return _PRIVATE.search(text)


def _normalize_key(key: str) -> str:
    """A key in plain letters: a reader takes full-width letters for the usual ones."""
    return key if key.isascii() else normalize("NFKC", key)


def _plain(key: str) -> str:
    return re.sub(r"[\W_]", "", _normalize_key(key)).casefold()


def _mask_assigned(text: str, mask: str) -> str:
    """A text with the values after names of secrets masked."""
    start = 0
    while found := _ASSIGNED.search(text, start):
        value = found["value"]
        # After a key that is not secret a secret one may follow, as in `refused: password=…`.
        start = found.end("mark")
        if should_mask_key(found["key"]) and value.casefold() not in _NOT_SECRET and mask not in value:
            text = text[: found.start("value")] + mask + text[found.end("value") :]
            start = found.start("value") + len(mask)
    return text


def _is_random(text: str, varied: int = 0) -> bool:
    """Whether a text is too long and varied to be made up by a person."""
    if varied:
        return len(set(text)) >= varied and re.search(r"\d", text) is not None and " " not in text
    return len(set(text)) >= _VARIED and _KEY_LIKE.fullmatch(text) is not None
