"""The key of this host: what the store keeps for itself alone is encrypted or keyed with it.

Fingerprints of whole settings are open to guesses of the secrets in them. A run that was killed is settled by
them, so the journal has to keep them; with the key in a file of its own, the database alone, or a copy of it,
tells nothing. The key never leaves the state folder: what is approved elsewhere has to fit here without it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from reconciler.errors import SecretError, StateError
from reconciler.host.files import FileAbsent, FileRefused, read_regular
from reconciler.secrets.local_resolver import encrypt_data, parse_identities
from reconciler.store.sqlite.state_file import give_to_owner_of

FILE = "host.key"
"""Name of the file in the state folder: an age identity, which its owner alone may read."""

_LARGEST = 4_096


class HostKey:
    """Encrypts what the journal keeps for itself; the key is made when it is used for the first time.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._identity: Any = None

    def is_made(self) -> bool:
        """Whether the folder has a key."""
        return self._path.exists()

    def sealed(self, data: bytes) -> bytes:
        """The data encrypted for this host.

        Raises:
            StateError: the key cannot be made or read.
        """
        return encrypt_data(data, [self._own(make=True).to_public()])

    def opened(self, data: bytes) -> bytes | None:
        """The data that `sealed` encrypted; None where this folder has not the key any more.

        Raises:
            StateError: the key cannot be read.
        """
        import pyrage  # noqa: PLC0415  (loaded only where there is something to decrypt)

        identity = self._own(make=False)
        if identity is None:
            return None
        try:
            return bytes(pyrage.decrypt(data, [identity]))
        except pyrage.DecryptError:
            return None

    def secret(self) -> bytes:
        """32 bytes that nobody else knows, for keyed fingerprints.

        Raises:
            StateError: the key cannot be made or read.
        """
        text = self._text()
        if text is None:
            self._own(make=True)
            text = self._text() or ""
        return hashlib.sha256(f"fingerprints {text.strip()}".encode()).digest()

    def _text(self) -> str | None:
        try:
            return read_regular(self._path, limit=_LARGEST).decode("ascii", "replace")
        except FileAbsent:
            return None
        except FileRefused as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> StateError:
        return StateError(
            f"the key of this host {self._path} cannot be read: {error}",
            remedy="restore it from a backup, or move it away: the results of killed runs then stay unknown",
        )

    def _own(self, *, make: bool) -> Any:
        if self._identity is None:
            self._identity = self._read() or (self._made() if make else None)
        return self._identity

    def _read(self) -> Any:
        text = self._text()
        if text is None:
            return None
        try:
            return parse_identities(str(self._path), text)[0]
        except (SecretError, IndexError) as error:
            raise self._unreadable(error) from None

    def _made(self) -> Any:
        from pyrage import x25519  # noqa: PLC0415  (loaded only where there is something to encrypt)

        identity = x25519.Identity.generate()
        try:
            # Under its name at once and whole: of two processes that begin together, one key counts.
            draft = self._path.with_name(f"{FILE}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{identity}\n")
                file.flush()
                os.fsync(file.fileno())
            give_to_owner_of(self._path.parent, draft)
            try:
                os.link(draft, self._path)
            except FileExistsError:
                return self._read()
            finally:
                draft.unlink()
        except OSError as error:
            raise StateError(
                f"the key of this host {self._path} cannot be created: {error.strerror}",
                remedy="give a writable folder on a local disk with --state",
            ) from error
        return identity
