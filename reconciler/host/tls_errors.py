"""Why a TLS certificate is refused, in words for operators: those of OpenSSL are for developers."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from reconciler.text.one_line import make_one_line

_LONGEST_PATH: Final = 300

OTHER_NAME: Final = "write the name in its address that is in the certificate, or give it a certificate"

STRONGER: Final = "give the server a certificate with a longer key and a newer signature"
_SIGN_AGAIN: Final = "give the server a certificate that its authority has signed for servers"

_CERTIFICATES: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        2: ("its authority is not known here", ""),
        9: ("it is not valid yet", "check the clocks of the server and of this host"),
        10: ("it has expired", "renew the certificate, or check the clock of this host"),
        18: ("it is signed by itself alone", ""),
        19: ("it is signed by an authority that is not known here", ""),
        20: ("it is signed by an authority that is not known here", ""),
        21: ("it is signed by an authority that is not known here", ""),
        22: ("its chain of authorities is too long", _SIGN_AGAIN),
        23: ("it is revoked", "renew the certificate"),
        24: ("what signed it is no authority", _SIGN_AGAIN),
        26: ("it is not for servers", _SIGN_AGAIN),
        62: ("it is for other names than this one", f"{OTHER_NAME} with this name"),
        64: ("it is for other addresses than this one", f"{OTHER_NAME} with this address"),
        66: ("its key is too short", STRONGER),
        67: ("the key of its authority is too short", STRONGER),
        68: ("its signature is too weak", STRONGER),
        79: ("what signed it is no authority", _SIGN_AGAIN),
    }
)
"""X509_V_ERR code of OpenSSL -> (why, remedy); an empty remedy stands for that of an unknown authority."""


def describe_certificate_error(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """(why a certificate is refused, what to do); no remedy stands for naming its authority."""
    unknown = f"it is refused (code {error.verify_code} of OpenSSL)"
    return _CERTIFICATES.get(error.verify_code, (unknown, ""))


def find_wrong_authorities() -> str:
    """What to do about a variable that should name the authorities and names nothing usable; else empty."""
    file = os.environ.get("SSL_CERT_FILE", "")
    if not file:
        return ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:
        shown = make_one_line(file, _LONGEST_PATH)
        return f"the variable SSL_CERT_FILE names {shown}, which is no file of certificates: correct it"
    return ""
