"""The API key of an OCI account of the host configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reconciler.errors import UsageError
from reconciler.host.credentials import find_key_file, read_key_file
from reconciler.host.oci_accounts import OciAccount

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_FEWEST_BITS: Final = 2048
_FORM: Final = "write the private key in PEM, without a password, as the console of OCI gives it"


def read_oci_key(name: str, account: OciAccount, environment: Mapping[str, str]) -> RSAPrivateKey:
    """The private key of an account; read at every call, so that a new one needs no restart.

    Args:
        name: of the account in the host configuration, for messages.
        account: its entry.
        environment: of the process.

    Raises:
        UsageError: it cannot be read or used; nothing of it is shown.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415  (slow)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    file = find_key_file(account.key, environment)
    data = read_key_file(file, f"the key of the OCI account `{name}`,")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError):  # their texts could have parts of the key
        raise UsageError(
            f"the key of the OCI account `{name}` is not a private key that can be used: {file}", remedy=_FORM
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _FEWEST_BITS:
        raise UsageError(
            f"the key of the OCI account `{name}` is not an RSA key of {_FEWEST_BITS} bits or more: {file}",
            remedy=_FORM,
        )
    return key
