"""The key of this host: private data of the store is encrypted or keyed with it.

Who has the fingerprint of a whole setting can try guesses of the secrets in it. The journal must keep such
fingerprints to settle killed runs. With the key in a separate file, the database alone, or a backup of it,
reveals nothing. The key never leaves the state folder: a plan that was approved elsewhere must match without
it.
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
"""File in the state folder: an age identity that only its owner can read."""

_LARGEST = 4_096


class HostKey:
    """Encrypts private data of the journal; the key is created at its first use.

    Args:
        folder: the state folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._identity: Any = None

    def is_made(self) -> bool:
        """Whether the key exists."""
        return self._path.exists()

    def encrypt(self, data: bytes) -> bytes:
        """The data encrypted for this host.

        Raises:
            StateError: the key cannot be created or read.
        """
        return encrypt_data(data, [self._load(make=True).to_public()])

    def decrypt(self, data: bytes) -> bytes | None:
        """The data that `encrypt` encrypted; None if the key is gone.

        Raises:
            StateError: the key cannot be read.
        """
        import pyrage  # noqa: PLC0415  (loaded only where there is something to decrypt)

        identity = self._load(make=False)
        if identity is None:
            return None
        try:
            return bytes(pyrage.decrypt(data, [identity]))
        except pyrage.DecryptError:
            return None

    def secret(self) -> bytes:
        """32 secret bytes for keyed fingerprints.

        Raises:
            StateError: the key cannot be created or read.
        """
        text = self._read_text()
        if text is None:
            self._load(make=True)
            text = self._read_text() or ""
        # Derived with a label of its own, so that fingerprints reveal nothing about the key that encrypts.
        return hashlib.sha256(f"fingerprints {text.strip()}".encode()).digest()

    def _read_text(self) -> str | None:
        try:
            return read_regular(self._path, limit=_LARGEST).decode("ascii", "replace")
        except FileAbsent:
            return None
        except FileRefused as error:
            raise self._make_error(error) from None

    def _make_error(self, error: Exception) -> StateError:
        return StateError(
            f"the key of this host {self._path} cannot be read: {error}",
            remedy="restore it from a backup, or move it away: the results of killed runs then stay unknown",
        )

    def _load(self, *, make: bool) -> Any:
        if self._identity is None:
            self._identity = self._read() or (self._create() if make else None)
        return self._identity

    def _read(self) -> Any:
        text = self._read_text()
        if text is None:
            return None
        try:
            return parse_identities(str(self._path), text)[0]
        except (SecretError, IndexError) as error:
            raise self._make_error(error) from None

    def _create(self) -> Any:
        from pyrage import x25519  # noqa: PLC0415  (loaded only where there is something to encrypt)

        identity = x25519.Identity.generate()
        try:
            # Written whole, then linked, which fails if the name exists: two processes that start together
            # must not use two keys.
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
