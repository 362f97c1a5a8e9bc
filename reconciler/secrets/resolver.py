"""The port to the values of secrets that files refer to; the local one is in `local_resolver`."""

from __future__ import annotations

from typing import Protocol


class SecretResolver(Protocol):
    """Gives the values of secrets; one that it cannot give is unknown here."""

    def resolve(self, scheme: str, name: str) -> str:
        """The text of a reference such as `${env:NAME}`.

        Args:
            scheme: `env`, `file` or `age`.
            name: the part after the colon.

        Raises:
            SecretError: it is unknown here; the remedy says how to supply it.
        """

    def decrypt(self, name: str, data: bytes) -> bytes:
        """The content of a file that is encrypted with age.

        Raises:
            SecretError: no identity of this host decrypts it.
        """
