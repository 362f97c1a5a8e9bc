"""The targets of a purge: URLs with or without scheme, and patterns with `*`; pure (M2 manual, API).

What the manual leaves open is taken from its older sibling STON Edge Server: a path with `/` at its end is
one page, and `/*` is everything below it. A target without a path is refused: whether it means one page or
the whole host is not documented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

from reconciler.ports.operations import OperationTarget
from reconciler.text.one_line import UNSEEN

LONGEST_TARGET: Final = 4_000
"""Characters of one target."""

_SCHEME: Final = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://")
_HOST: Final = re.compile(
    r"^(?:[0-9A-Za-z_*](?:[0-9A-Za-z_.*\-]*[0-9A-Za-z_*])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$"
)
_SAFE: Final = "/*?&=:;,@!$'()+~.-_%[]"
"""Characters of a path that are sent as they are; a `%` is the beginning of an escape."""

_FORBIDDEN: Final = '#\\"<>^`{}'


class InvalidTarget(ValueError):
    """Why a text is no target of a purge."""


def read_target(text: str) -> OperationTarget:
    """A target in its normal form: scheme and host in lower case, other characters than ASCII as escapes.

    Raises:
        InvalidTarget: it is none.
    """
    text = text.strip()
    _check_characters(text)
    if text.strip("*") == "":
        return OperationTarget("*", "everything on all hosts")
    scheme, rest = "", text
    if found := _SCHEME.match(text):
        scheme, rest = f"{found['scheme'].lower()}://", text[found.end() :]
        if scheme not in {"http://", "https://"}:
            raise InvalidTarget("its scheme is neither http nor https")
    name, slash, path = rest.partition("/")
    host = _read_host(name)
    if not slash:
        raise InvalidTarget(f"it has no path: write {host}/ for the page at /, or {host}/* for everything")
    path = quote(f"/{path}", safe=_SAFE)
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise InvalidTarget("it has a % without two hexadecimal digits; write %25")
    return OperationTarget(f"{scheme}{host}{path}", _describe_extent(host, path))


def get_target_host(target: str) -> str:
    """The host of a target in its normal form, without its port; empty for `*`."""
    return (urlsplit(target if "://" in target else f"//{target}").hostname or "") if target != "*" else ""


def pack_targets(targets: Sequence[str]) -> bytes:
    """The part of an offer of the purge feed: a JSON list of targets."""
    return json.dumps(list(targets)).encode()


def unpack_targets(part: bytes) -> tuple[str, ...]:
    """What `pack_targets` packed."""
    return tuple(map(str, json.loads(part)))


def _check_characters(text: str) -> None:
    """Check that what is shown is what is sent.

    Raises:
        InvalidTarget: the text is empty, too long, or has a character that a URL does not have.
    """
    if not text:
        raise InvalidTarget("it is empty")
    if len(text) > LONGEST_TARGET:
        raise InvalidTarget(f"it has more than {LONGEST_TARGET:,} characters")
    if UNSEEN.search(text):
        raise InvalidTarget("it has a control character or an invisible character")
    if any(character.isspace() for character in text):
        raise InvalidTarget("it has a blank; write %20")
    if "|" in text:
        raise InvalidTarget("it has the character |; give each target alone")
    if forbidden := next((one for one in _FORBIDDEN if one in text), ""):
        raise InvalidTarget(f"it has the character {forbidden}")


def _read_host(name: str) -> str:
    """The host of a target, with its port, in lower case.

    Raises:
        InvalidTarget: it is none.
    """
    if "@" in name:
        raise InvalidTarget("it has a user name")
    if not name:
        raise InvalidTarget("it has no host; write HOST/PATH")
    with suppress(UnicodeError):
        name = name if name.isascii() else name.encode("idna").decode()
    if not _HOST.fullmatch(name):
        raise InvalidTarget("its host is not a name")
    return name.lower()


def _describe_extent(host: str, path: str) -> str:
    """What a target covers, if that is at least a whole host; empty otherwise."""
    if "*" not in host and "*" not in path:
        return ""
    if "*" in host:
        hosts = "all hosts" if host.partition(":")[0].strip("*.") == "" else f"every host {host}"
        return f"everything on {hosts}" if _covers_all(path) else f"pages on {hosts}"
    return f"everything on {host}" if _covers_all(path) else ""


def _covers_all(path: str) -> bool:
    """Whether a pattern matches all pages of a host, or nearly all: `/*`, `/*.*`, `/*/*`."""
    return "*" in path and re.sub(r"[*/.?&=%_\-]", "", path) == ""
