"""URLs and tokens for APIs that this program calls with a login; pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from reconciler.core.endpoint import is_loopback_host
from reconciler.errors import UsageError
from reconciler.text.one_line import quote_text


def check_api_url(url: str, *, option: str, what: str, remedy: str) -> str:
    """A URL to which a token may be sent, without a slash at its end.

    Args:
        url: as it was given.
        option: begins the messages, such as `--server `; may be empty.
        what: the URL should be of, such as "an API".
        remedy: what to write instead of something else.

    Raises:
        UsageError: it is none, or the token would be sent in clear.
    """
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.username or parts.password or parts.query or parts.fragment:
        shown = quote_text(url.rpartition("@")[2])
        raise UsageError(f"{option}{shown} is not the URL of {what}", remedy=remedy)
    if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise UsageError(
            f"{option}{quote_text(url)}: over http, everybody on the way could read and use the token",
            remedy="use https; http works only for a server on this machine",
        )
    return url.rstrip("/")


def check_token(token: str, what: str, *, remedy: str = "write only the token there") -> str:
    """A token that fits into a header.

    Args:
        token: as it was read.
        what: names where it comes from.
        remedy: what to do about it.

    Raises:
        UsageError: it has characters of more than a token.
    """
    if not token.isascii() or any(one.isspace() or not one.isprintable() for one in token):
        raise UsageError(f"{what} has more than a token", remedy=remedy)
    return token
