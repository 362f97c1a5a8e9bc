"""What gives the values of the secrets that files refer to; the local one is in `local_resolver`."""

from __future__ import annotations

from typing import Protocol


class SecretResolver(Protocol):
    """Where the values of secrets come from; what it cannot give is not known here."""

    def clear(self, scheme: str, name: str) -> str:
        """The text that a reference such as `${env:NAME}` stands for.

        Args:
            scheme: `env`, `file` or `age`.
            name: what stands behind the colon.

        Raises:
            SecretError: it is not to be had here; the remedy says what would supply it.
        """

    def opened(self, name: str, data: bytes) -> bytes:
        """The content of a file that is encrypted with age.

        Raises:
            SecretError: no identity given here opens it.
        """
