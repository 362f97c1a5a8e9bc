"""Why a call to a node failed: one exception, and the words for errors of the system and of TLS."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from reconciler.core.observation import Liveness
from reconciler.host.tls_errors import (
    OTHER_NAME,
    STRONGER,
    describe_certificate_error,
    find_wrong_authorities,
)
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
        errno.EHOSTDOWN: "the machine does not answer in its network",
        errno.ENETDOWN: "the network of this host is down",
        errno.EACCES: "this host does not allow the connection",
        errno.EPERM: "this host does not allow the connection",
        errno.EADDRNOTAVAIL: "this host has no address from which it can connect",
        errno.EINVAL: "its address is none that can be connected to",
        errno.ENOBUFS: "this host has no memory left for connections",
        errno.ENOMEM: "this host has no memory left",
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


START_NODE: Final = "start the node, or correct its address in the fleet file"
LOOK_AT_NODE: Final = "look at the log of the node, and of a proxy before it if there is one"
CHECK_NETWORK: Final = "check that the machine runs, and the routes and firewalls between this host and it"
UNTRUSTED_REMEDY: Final = (
    "name the authority that signed it: `authority` of the node or cluster, with `authorities` in the host "
    "configuration, or the environment variable SSL_CERT_FILE; or use a certificate of a public authority"
)
_CHECK_PORT: Final = "another service has this port: correct the node's address in the fleet file"
_WRITE_HTTP: Final = "write http:// in its address in the fleet file, or correct the port"
_WRITE_HTTPS: Final = "write https:// in its address in the fleet file, or correct the port"
_CHECK_TLS: Final = "check that its TLS accepts version 1.2 or later, and that the port is right"
_THIS_HOST: Final = "this is a limit of this host, not of the node: end other programs, or raise the limit"

_WANTS_CERTIFICATE: Final = "let this host in without a client certificate: this program has none to show"

_ALERTS: Final = (
    ("CERTIFICATE_REQUIRED", "it asks for a client certificate", _WANTS_CERTIFICATE),
    ("BAD_CERTIFICATE", "it asks for a client certificate", _WANTS_CERTIFICATE),
    ("PROTOCOL", "it speaks no version of TLS that is accepted here", _CHECK_TLS),
    (
        "HANDSHAKE_FAILURE",
        "it has no cipher in common with this host, or asks for a client certificate",
        _CHECK_TLS,
    ),
    ("UNRECOGNIZED_NAME", "it has no certificate for this name", f"{OTHER_NAME} with this name"),
    ("TOO_SMALL", "its key is too short", STRONGER),
    ("TOO_WEAK", "its signature is too weak", STRONGER),
    ("UNEXPECTED_EOF", "it closed the connection during the handshake", LOOK_AT_NODE),
    ("INTERNAL_ERROR", "it failed inside the node", LOOK_AT_NODE),
)
"""Part of a code of OpenSSL -> what it means, and what to do; the first one counts."""

_REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.ECONNREFUSED: START_NODE,
        errno.EHOSTUNREACH: CHECK_NETWORK,
        errno.EHOSTDOWN: CHECK_NETWORK,
        errno.ENETUNREACH: CHECK_NETWORK,
        errno.ENETDOWN: "check the network of this host",
        errno.ETIMEDOUT: CHECK_NETWORK,
        errno.ECONNRESET: LOOK_AT_NODE,
        errno.ECONNABORTED: LOOK_AT_NODE,
        errno.EPIPE: LOOK_AT_NODE,
        errno.EACCES: "check the firewall of this host",
        errno.EPERM: "check the firewall of this host",
        errno.EMFILE: _THIS_HOST,
        errno.ENFILE: _THIS_HOST,
        errno.ENOBUFS: _THIS_HOST,
        errno.ENOMEM: _THIS_HOST,
        errno.EADDRNOTAVAIL: "check the addresses and ports of this host: it has none to connect from",
        errno.EINVAL: "correct the node's address in the fleet file: nothing can connect to it",
    }
)


class CallFailed(Exception):
    """A call without a complete answer.

    Args:
        reason: as text to follow a node's name.
        sign: what it says about the address.
        sent: whether the node may have got the request.
        is_other_protocol: whether something else listens there: other TLS, no TLS or no HTTP.
        closed: whether the connection was closed before any part of an answer came.
        remedy: what to do about it.
    """

    def __init__(
        self,
        reason: str,
        *,
        sign: Liveness = Liveness.ALIVE,
        sent: bool = True,
        is_other_protocol: bool = False,
        closed: bool = False,
        remedy: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sign = sign
        self.sent = sent
        self.is_other_protocol = is_other_protocol
        self.closed = closed
        self.remedy = remedy


def unsent(reason: str, sign: Liveness = Liveness.UNASKED, *, remedy: str = "") -> CallFailed:
    """The failure of a call of which nothing was sent."""
    return CallFailed(reason, sign=sign, sent=False, remedy=remedy)


def describe_connection_error(error: OSError) -> CallFailed:
    """Why there is no connection, by the error of the attempt or of the TLS handshake on it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why, remedy = describe_certificate_error(error)
        remedy = remedy or find_wrong_authorities() or UNTRUSTED_REMEDY
        return _other_tls(f"TLS certificate not trusted: {why}", remedy)
    if isinstance(error, ssl.SSLError):
        text = _shorten(error)
        message, remedy = _describe_tls_alert(
            getattr(error, "reason", "") or "", _OPENSSL.sub("", text).strip() or text
        )
        plain = any(sign in text.upper().replace(" ", "_") for sign in _PLAIN_TEXT_SIGNS)
        return _other_tls(
            f"TLS failed: {'the port does not speak TLS: is http:// meant?' if plain else message}",
            _WRITE_HTTP if plain else remedy,
        )
    sign = Liveness.SILENT if error.errno in _NOTHING_THERE else Liveness.UNASKED
    return unsent(describe_os_error(error), sign, remedy=_suggest_remedy(error))


def _describe_tls_alert(code: str, message: str) -> tuple[str, str]:
    """(what, remedy) of a failed handshake, by the code of OpenSSL."""
    for part, words, remedy in _ALERTS:
        if part in code.upper():
            return words, remedy
    return message, _CHECK_TLS


def _suggest_remedy(error: OSError) -> str:
    """What to do about an error of the system; empty if the error itself does not show that."""
    return _REMEDIES.get(error.errno or 0, "")


def describe_end(error: BaseException | None, *, begun: bool) -> CallFailed:
    """Why a connection ended before the answer was complete.

    Args:
        error: of the connection; None if the node closed it.
        begun: whether a part of the answer came.
    """
    if begun:
        return CallFailed(CUT, remedy=LOOK_AT_NODE)
    if isinstance(error, OSError) and error.errno not in {None, errno.ECONNRESET, errno.EPIPE}:
        words = describe_os_error(error)
        return CallFailed(words, closed=words == DROPPED, remedy=_suggest_remedy(error) or LOOK_AT_NODE)
    return CallFailed(DROPPED, closed=True, remedy=LOOK_AT_NODE)


def describe_other_protocol(begin: bytes, why: str = "") -> CallFailed:
    """What answers does not speak HTTP.

    Args:
        begin: of what came.
        why: what is wrong with it; empty to quote the beginning.
    """
    is_tls = begin.startswith(_TLS_ALERT)
    if why:
        why = f" ({why})"
    elif is_tls:
        why = " (the port speaks TLS: is https:// meant?)"
    elif begin:
        why = f", {_quote_bytes(begin)}"
    remedy = _WRITE_HTTPS if is_tls else _CHECK_PORT
    return CallFailed(f"its answer is not valid HTTP{why}", is_other_protocol=True, remedy=remedy)


def _quote_bytes(begin: bytes) -> str:
    """The beginning of an answer in another protocol: its text, or that it is none."""
    text = begin[:_QUOTED].decode("utf-8", "replace").strip()
    if not text or not text.isprintable():
        first = text.split("\r")[0].split("\n")[0]
        if not first or not first.isprintable():
            return "but binary data"
        text = first
    return f'beginning "{make_one_line(SHAPES.redact_text(text), 2 * _QUOTED)}"'


def describe_os_error(error: OSError) -> str:
    """The words for an error of the system."""
    if isinstance(error, ConnectionError) and not str(error):  # asyncio's own, without a number
        return "the connection was closed"
    return _ERRNOS.get(error.errno or 0) or _shorten(error.strerror or error)


def _other_tls(reason: str, remedy: str) -> CallFailed:
    return CallFailed(reason, sent=False, is_other_protocol=True, remedy=remedy)


def _shorten(error: object) -> str:
    """The message of an error on one line, masked and shortened."""
    return make_one_line(SHAPES.redact_text(str(error)), 200) or "no reason is given"
