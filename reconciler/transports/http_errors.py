"""Why a call to a node failed: one exception, and the words for errors of the system and of TLS."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from reconciler.core.observation import Liveness
from reconciler.secrets.redaction import SHAPES
from reconciler.text.one_line import make_one_line

DROPPED: Final = "closed the connection without an answer"
CUT: Final = "closed the connection in the middle of its answer"
SILENT: Final = "no answer to the connection attempt"

_ERRNOS: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to the host",
        errno.ENETUNREACH: "no route to the network",
        errno.ETIMEDOUT: SILENT,
        errno.ECONNRESET: DROPPED,
        errno.ECONNABORTED: DROPPED,
        errno.EPIPE: DROPPED,
        errno.EMFILE: "this host has no file descriptors left",
        errno.ENFILE: "this host has no file descriptors left",
    }
)

_NOTHING_THERE: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
"""Errors of a connection attempt when nothing runs at the address."""

_PLAIN_TEXT_SIGNS: Final = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
)
"""Errors of OpenSSL when the other side does not speak TLS."""

_OPENSSL: Final = re.compile(r"\[SSL: [A-Z0-9_]+\] | \(_ssl\.c:\d+\)")
"""What Python adds to messages of OpenSSL; useless to operators."""

_TLS_ALERT: Final = b"\x15\x03"
"""First bytes of what a TLS server answers to plain text."""

_QUOTED: Final = 80
"""Bytes that are quoted of an answer that is not HTTP."""


class CallFailed(Exception):
    """A call without a complete answer.

    Args:
        reason: as text to follow a node's name.
        sign: what it says about the address.
        sent: whether the node may have got the request.
        is_other_protocol: whether something else listens there: other TLS, no TLS or no HTTP.
        closed: whether the connection was closed before any part of an answer came.
    """

    def __init__(
        self,
        reason: str,
        *,
        sign: Liveness = Liveness.ALIVE,
        sent: bool = True,
        is_other_protocol: bool = False,
        closed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sign = sign
        self.sent = sent
        self.is_other_protocol = is_other_protocol
        self.closed = closed


def unsent(reason: str, sign: Liveness = Liveness.UNASKED) -> CallFailed:
    """The failure of a call of which nothing was sent."""
    return CallFailed(reason, sign=sign, sent=False)


def describe_connection_error(error: OSError) -> CallFailed:
    """Why there is no connection, by the error of the attempt or of the TLS handshake on it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or _shorten(error)
        return _other_tls(f"TLS certificate not trusted: {why}")
    if isinstance(error, ssl.SSLError):
        text = _shorten(error)
        message = _OPENSSL.sub("", text).strip() or text
        plain = any(sign in text.upper().replace(" ", "_") for sign in _PLAIN_TEXT_SIGNS)
        return _other_tls(
            f"TLS failed: {message}" + (" (the port does not speak TLS: is http:// meant?)" if plain else "")
        )
    sign = Liveness.SILENT if error.errno in _NOTHING_THERE else Liveness.UNASKED
    return unsent(describe_os_error(error), sign)


def describe_end(error: BaseException | None, *, begun: bool) -> CallFailed:
    """Why a connection ended before the answer was complete.

    Args:
        error: of the connection; None if the node closed it.
        begun: whether a part of the answer came.
    """
    if begun:
        return CallFailed(CUT)
    if isinstance(error, OSError) and error.errno not in {None, errno.ECONNRESET, errno.EPIPE}:
        words = describe_os_error(error)
        return CallFailed(words, closed=words == DROPPED)
    return CallFailed(DROPPED, closed=True)


def describe_other_protocol(begin: bytes, why: str = "") -> CallFailed:
    """What answers does not speak HTTP.

    Args:
        begin: of what came.
        why: what is wrong with it; empty to quote the beginning.
    """
    if not why:
        text = make_one_line(SHAPES.redact_text(repr(begin[:_QUOTED])[1:]), 2 * _QUOTED)
        why = f", beginning {text}" if begin else ""
    else:
        why = f" ({why})"
    tls = " (the port speaks TLS: is https:// meant?)" if begin.startswith(_TLS_ALERT) else ""
    return CallFailed(f"its answer is not valid HTTP{why}{tls}", is_other_protocol=True)


def describe_os_error(error: OSError) -> str:
    """The words for an error of the system."""
    return _ERRNOS.get(error.errno or 0) or _shorten(error.strerror or error)


def _other_tls(reason: str) -> CallFailed:
    return CallFailed(reason, sent=False, is_other_protocol=True)


def _shorten(error: object) -> str:
    """The message of an error on one line, masked and shortened."""
    return make_one_line(SHAPES.redact_text(str(error)), 200) or type(error).__name__
