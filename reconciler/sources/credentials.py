"""Tokens of this host, checked before they reach a header or a helper."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.errors import UsageError
from reconciler.host.credentials import read_credential


def read_token(environment: Mapping[str, str], variable: str) -> str:
    """The token in a variable, or in the file that `VARIABLE_FILE` names; empty where neither is set.

    Raises:
        UsageError: it holds what no token can, which is not repeated; or its file cannot be read.
    """
    value = read_credential(environment, variable).strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UsageError(
            f"the token in {variable} contains characters that a token cannot have",
            remedy="Set it again without line breaks, spaces or quotes.",
        )
    return value
