"""Why a call to a node failed: the one place that translates errors of aiohttp."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, TypeAlias

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

_PLAIN_TEXT_SIGNS: Final = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
)
"""Errors of OpenSSL when the other side does not speak TLS."""

Words: TypeAlias = "str | Callable[[Any, float, float], str]"
"""The reason, or a function from (error, timeout of the call, timeout of the connection) to it."""


def describe_failure(error: Exception, *, timeout: float = 0.0, connect: float = 0.0) -> str:
    """Why a call failed, as text to follow a node's name.

    Args:
        error: of aiohttp.
        timeout: of the call, in seconds.
        connect: of the connection, in seconds; 0 without one.
    """
    words = next(words for kind, words in make_error_table() if isinstance(error, kind))
    return words if isinstance(words, str) else words(error, timeout, connect)


def classify_liveness(error: Exception) -> Liveness:
    """What a failed call says about the address: whether anything seems to run there."""
    import aiohttp  # noqa: PLC0415  (heavy: loaded with the first failure)

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Liveness.SILENT
    local = (aiohttp.ClientConnectorDNSError, aiohttp.ClientProxyConnectionError, aiohttp.InvalidURL)
    # These fail on this side: nothing was sent to the address, so they are no evidence about the node.
    if isinstance(error, (*local, aiohttp.ClientHttpProxyError)):
        return Liveness.UNASKED
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return Liveness.SILENT if error.os_error.errno in _NOTHING_THERE else Liveness.UNASKED
    return Liveness.ALIVE


_NOTHING_THERE: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
"""Errors of a connection attempt when nothing runs at the address."""


def is_other_protocol(error: Exception) -> bool:
    """Whether something else listens there: other TLS, no TLS or no HTTP."""
    import aiohttp  # noqa: PLC0415  (heavy: loaded with the first failure)

    if isinstance(error, aiohttp.ClientHttpProxyError):
        return False
    return isinstance(
        error,
        aiohttp.ClientSSLError
        | aiohttp.ClientConnectorCertificateError
        | aiohttp.ServerFingerprintMismatch
        | aiohttp.ClientResponseError,
    )


@lru_cache(maxsize=1)
def make_error_table() -> tuple[tuple[type[Exception], Words], ...]:
    """Error class -> its text; a class comes before its base classes."""
    import aiohttp  # noqa: PLC0415  (heavy: loaded with the first failure)

    return (
        (
            aiohttp.ConnectionTimeoutError,
            lambda _, whole, connect: f"no connection within {connect or whole:g} s",
        ),
        (TimeoutError, lambda _, whole, __: f"no answer within {whole:g} s"),
        (aiohttp.ClientConnectorDNSError, "name does not resolve"),
        (aiohttp.ClientConnectorCertificateError, _describe_certificate),
        (aiohttp.ClientSSLError, _describe_tls),
        (aiohttp.ServerFingerprintMismatch, "TLS certificate not trusted: it is not the pinned one"),
        (
            aiohttp.ClientProxyConnectionError,
            lambda error, *_: f"the proxy: {_describe_os_error(error.os_error)}",
        ),
        (aiohttp.ClientConnectorError, lambda error, *_: _describe_os_error(error.os_error)),
        (aiohttp.ClientPayloadError, CUT),
        (aiohttp.UploadAbortedError, "stopped reading the request before its end"),
        (aiohttp.ServerConnectionError, DROPPED),
        (aiohttp.ClientConnectionResetError, DROPPED),
        (ConnectionError, lambda error, *_: _describe_os_error(error) if error.errno else DROPPED),
        (aiohttp.ClientHttpProxyError, lambda error, *_: f"the proxy answered {error.status}"),
        (aiohttp.TooManyRedirects, "too many redirects"),
        (aiohttp.RedirectClientError, "redirects to an invalid URL"),
        (aiohttp.ClientResponseError, _describe_protocol),
        (aiohttp.InvalidURL, "its address is not a valid URL"),
        (aiohttp.NonHttpUrlClientError, "its address is not an http or https URL"),
        (OSError, lambda error, *_: _describe_os_error(error)),
        (aiohttp.ClientConnectionError, DROPPED),
        (Exception, lambda error, *_: _shorten(error)),
    )


_OPENSSL: Final = re.compile(r"\[SSL: [A-Z0-9_]+\] | \(_ssl\.c:\d+\)")
"""What Python adds to messages of OpenSSL; useless to operators."""

_QUOTED: Final = re.compile(r"\bb('[^']{0,80}'?|\"[^\"]{0,80}\"?)")
"""The beginning of an answer, as aiohttp quotes it."""


def _describe_certificate(error: Any, *_: float) -> str:
    cause = error.certificate_error
    return f"TLS certificate not trusted: {getattr(cause, 'verify_message', '') or _shorten(cause)}"


def _describe_tls(error: Any, *_: float) -> str:
    text = _shorten(error.os_error)
    message = _OPENSSL.sub("", text).strip() or text
    plain = any(sign in text.upper().replace(" ", "_") for sign in _PLAIN_TEXT_SIGNS)
    return f"TLS failed: {message}" + (" (the port does not speak TLS: is http:// meant?)" if plain else "")


def _describe_protocol(error: Any, *_: float) -> str:
    text = _shorten(error.message)
    # the first bytes of a TLS alert, as aiohttp quotes them
    tls = " (the port speaks TLS: is https:// meant?)" if "\\x15\\x03" in text else ""
    begins = _QUOTED.search(text)
    return f"its answer is not valid HTTP{f', beginning {begins[1]}' if begins else f' ({text})'}{tls}"


def _describe_os_error(error: OSError) -> str:
    return _ERRNOS.get(error.errno or 0) or _shorten(error.strerror or error)


def _shorten(error: object) -> str:
    """The message of an error on one line, masked and shortened."""
    return make_one_line(SHAPES.redact_text(str(error)), 200) or type(error).__name__
