"""The key of this host: private data of the store is encrypted or keyed with it.

Who has the fingerprint of a whole setting can try guesses of the secrets in it. The journal must keep such
fingerprints to settle killed runs. With the key in a separate file, the database alone, or a backup of it,
reveals nothing. The key never leaves the state folder: a plan that was approved elsewhere must match without
it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import zlib
from pathlib import Path
from typing import Any

from reconciler.errors import SecretError, StateError
from reconciler.host.files import FileAbsent, FileRefused, give_to_owner_of, read_regular
from reconciler.secrets.local_resolver import encrypt_data, parse_identities
from reconciler.store.sql import KEY

_LARGEST = 4_096

_SALT = 24
_TAG = 16
_COMPRESSED, _PLAIN = b"z", b"p"
_SMALL = 200
"""Bytes from which compression saves anything."""


class HostKey:
    """Encrypts private data of the journal; the key is created at its first use.

    Args:
        folder: the state folder.
        name: of the file in it.
    """

    def __init__(self, folder: Path, name: str = KEY) -> None:
        self._path = folder / name
        self._identity: Any = None
        self._derived: dict[str, bytes] = {}

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
        return self.derive("fingerprints")

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose; they reveal nothing about those of another one.

        Raises:
            StateError: the key cannot be created or read.
        """
        text = self._read_text()
        if text is None:
            self._load(make=True)
            text = self._read_text() or ""
        return hashlib.sha256(f"{purpose} {text.strip()}".encode()).digest()

    def seal(self, data: bytes, purpose: str) -> bytes:
        """A record encrypted for this host; quick, for thousands of records a second.

        Args:
            data: the record.
            purpose: what it is; it can be read only for the same one.

        Raises:
            StateError: the key cannot be created or read.
        """
        form = _PLAIN
        if len(data) > _SMALL and len(packed := zlib.compress(data, 1)) < len(data):
            form, data = _COMPRESSED, packed
        # A key for each record, from a long random salt: short nonces under one key would repeat after some
        # billions of records, and reveal them.
        salt = os.urandom(_SALT)
        return salt + bytes(self._cipher(salt).encrypt(bytes(12), form + data, purpose.encode()))

    def unseal(self, sealed: bytes, purpose: str) -> bytes | None:
        """The record that `seal` encrypted; None if the key is gone, or the record is not as it was written.

        Raises:
            StateError: the key cannot be read.
        """
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  (only where there is something)

        if len(sealed) <= _SALT + _TAG or not (self._derived or self.is_made()):
            return None
        try:
            data = self._cipher(sealed[:_SALT]).decrypt(bytes(12), sealed[_SALT:], purpose.encode())
        except InvalidTag:
            return None
        return zlib.decompress(data[1:]) if data[:1] == _COMPRESSED else data[1:]

    def _cipher(self, salt: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305  # noqa: PLC0415

        return ChaCha20Poly1305(hmac.digest(self._remembered("records"), salt, "sha256"))

    def make_digest(self, data: bytes, purpose: str) -> str:
        """A digest that nobody can try guesses against without the key.

        Args:
            data: to be recognised again.
            purpose: digests of different purposes cannot be compared.

        Raises:
            StateError: the key cannot be created or read.
        """
        return hmac.new(self._remembered(f"digests of {purpose}"), data, hashlib.sha256).hexdigest()

    def make_mac(self, text: str, purpose: str) -> bytes:
        """32 bytes that only this host can derive from a text.

        Raises:
            StateError: the key cannot be created or read.
        """
        return hmac.digest(self._remembered(purpose), text.encode(), "sha256")

    def _remembered(self, purpose: str) -> bytes:
        if purpose not in self._derived:
            self._derived[purpose] = self.derive(purpose)
        return self._derived[purpose]

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
            draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
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
