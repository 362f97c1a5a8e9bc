"""URLs, and texts with URLs, without parts that may be secret: user, password, query, fragment."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from reconciler.text.one_line import make_one_line

MOST_OF_URL: Final = 300
"""Maximum characters of a URL in a message."""

_URL: Final = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>]+)")
_USERINFO: Final = re.compile(r"(?<=://)[^/\s]*@")
_USERINFO_OF_ONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<userinfo>[^/?#]*)@")
_ODD_PORT: Final = re.compile(r"^[^@\[\]]*:(?!\d*$)[^@]*$")
"""An authority with something else than a port after the colon: a password with an unescaped `/`, `?` or `#`,
which ends the authority in the middle of the password."""


def get_userinfo(url: str) -> str | None:
    """The user and password of a URL, without the `@`; None if it has none."""
    found = _USERINFO_OF_ONE.match(url)
    return found["userinfo"] if found else None


def strip_userinfo(text: str, mark: str = "") -> str:
    """A text whose URLs have `mark` instead of user and password, and are complete otherwise."""
    return _USERINFO.sub(mark, text)


def strip_secrets(text: str) -> str:
    """A text whose URLs have no user, password, query and fragment."""
    return _URL.sub(_without_secrets, text)


def strip_url(url: str) -> str:
    """A URL from a node's answer, absolute or not, without secret parts, bounded and on one line."""
    try:
        parts = urlsplit(make_one_line(url, MOST_OF_URL))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "another address"
    host = f"[{host}]" if ":" in host else host
    place = f"{host}:{port}" if port else host
    return urlunsplit((parts.scheme, place, parts.path, "", "")) or "another address"


def _without_secrets(found: re.Match[str]) -> str:
    rest = re.split(r"[?#]", found["rest"], maxsplit=1)[0]
    # A password may contain `/`, `?` or `#` without an escape: then all of the rest is left out.
    authority, slash, path = rest.partition("/")
    if _ODD_PORT.search(authority):
        return f"{found['scheme']}…"
    return f"{found['scheme']}{authority.rpartition('@')[2]}{slash}{path}"
