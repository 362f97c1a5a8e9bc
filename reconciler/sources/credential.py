"""Tokens from the environment, checked before they reach a header or a helper."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.errors import UsageError


def token(environment: Mapping[str, str], variable: str) -> str:
    """The token in a variable; empty where it is not set.

    Raises:
        UsageError: it holds what no token can; its text is not repeated.
    """
    value = environment.get(variable, "").strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise UsageError(
            f"the token in {variable} holds characters that no token has",
            remedy="Set it again, without line ends, blanks and quotes.",
        )
    return value
