"""Secrets of this machine: from the environment, from files, and decrypted with age."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from reconciler.errors import SecretError
from reconciler.host.credentials import AGE_IDENTITY, name_file_variable
from reconciler.host.files import FileRefused, read_regular
from reconciler.host.host import Host
from reconciler.host.secret_files import LARGEST, read_secret_file, read_secret_variable

_SUPPLY = f"set {name_file_variable(AGE_IDENTITY)} to a file with a matching age identity"


class LocalResolver:
    """Secrets of this machine; implements `secrets.resolver.SecretResolver`. Each is read once.

    It remembers the contents of each file, or why it could not be read, so that a later change is noticed.

    Args:
        host: with its allowed variables and folders, and the age identities of its environment.
        identity: a file of age identities, used instead of those.
    """

    def __init__(self, host: Host, identity: Path | None = None) -> None:
        self._host = host
        self._identity = identity
        self._identities: list[Any] | None = None
        self._known: dict[tuple[str, str], str] = {}
        self._files: dict[str, tuple[Callable[[], bytes], bytes]] = {}

    def resolve(self, scheme: str, name: str) -> str:
        """The text of a reference; see `secrets.resolver.SecretResolver`.

        One line break at the end of a file is removed, because editors add it.

        Raises:
            SecretError: it is unknown here.
        """
        key = (scheme, name)
        # Only values are kept: what an operator supplies later is found without a restart.
        if key not in self._known:
            if scheme == "env":
                self._known[key] = read_secret_variable(self._host, name)
            elif scheme == "file":
                read = partial(read_secret_file, self._host, name)
                self._known[key] = _decode(f"file {name}", self._read_noted(f"file {name}", read))
            else:
                self._known[key] = _decode("the decrypted value", self.decrypt("the value", b64decode(name)))
        return self._known[key]

    def decrypt(self, name: str, data: bytes) -> bytes:
        """The content of a file that is encrypted with age.

        Raises:
            SecretError: no identity of this host decrypts it.
        """
        import pyrage  # noqa: PLC0415  (loaded only where there is something to decrypt)

        identities = self._load()
        if not identities:
            raise SecretError(f"{name} is encrypted, but no age identity is configured", remedy=_SUPPLY)
        try:
            return bytes(pyrage.decrypt(data, identities))
        except pyrage.DecryptError as error:
            raise SecretError(f"{name} cannot be decrypted: {error}", remedy=_SUPPLY) from None

    def _load(self) -> list[Any]:
        """The identities of this host, read once.

        Raises:
            SecretError: they are invalid.
        """
        if self._identities is None:
            environment = self._host.environment if self._identity is None else {}
            path = self._identity or Path(environment.get(name_file_variable(AGE_IDENTITY), ""))
            self._identities = parse_identities(AGE_IDENTITY, environment.get(AGE_IDENTITY, ""))
            if path != Path():
                data = self._read_noted(str(path), partial(_read_identities, path))
                self._identities += parse_identities(str(path), _decode(str(path), data))
        return self._identities

    def has_changed(self) -> bool:
        """Whether a file that was read was created, changed or removed since then."""
        return any(_hash_content(_try_read(read)) != seen for read, seen in self._files.values())

    def _read_noted(self, name: str, read: Callable[[], bytes]) -> bytes:
        """The contents of a file, remembered by their hash.

        Raises:
            SecretError: it cannot be read, which is remembered too.
        """
        content = _try_read(read)
        self._files[name] = (read, _hash_content(content))
        if isinstance(content, SecretError):
            raise content
        return content


def _hash_content(content: bytes | SecretError) -> bytes:
    """A hash of the contents of a file, or of the reason why it cannot be read."""
    # The first byte keeps a file apart from an error with the same text; values themselves are not kept.
    return sha256(b"+" + content if isinstance(content, bytes) else b"-" + content.message.encode()).digest()


def _try_read(read: Callable[[], bytes]) -> bytes | SecretError:
    try:
        return read()
    except SecretError as error:
        return error


def parse_identities(name: str, text: str) -> list[Any]:
    """The age identities in a text: X25519 ones, one a line, or an SSH private key.

    Raises:
        SecretError: one is invalid.
    """
    from pyrage import IdentityError, ssh, x25519  # noqa: PLC0415

    remedy = "create one with `reconcile secrets keygen`"
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return [ssh.Identity.from_buffer(text.encode())]
        lines = [line.strip() for line in text.splitlines()]
        return [x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except IdentityError:
        raise SecretError(f"{name} contains an invalid age identity", remedy=remedy) from None


def parse_recipients(name: str, text: str) -> list[Any]:
    """The age recipients in a text: `age1…` or SSH public keys, one a line.

    Raises:
        SecretError: one is invalid.
    """
    from pyrage import RecipientError, ssh, x25519  # noqa: PLC0415

    found: list[Any] = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            kind = ssh.Recipient if word.startswith("ssh-") else x25519.Recipient
            found.append(kind.from_str(word))
        except RecipientError:
            remedy = "a recipient begins with age1, ssh-ed25519 or ssh-rsa"
            raise SecretError(f"{name}:{number}: invalid age recipient", remedy=remedy) from None
    return found


def encrypt_data(data: bytes, to: list[Any]) -> bytes:
    """Data encrypted with age for at least one recipient of `parse_recipients`."""
    import pyrage  # noqa: PLC0415

    return bytes(pyrage.encrypt(data, to))


def _read_identities(path: Path) -> bytes:
    try:
        return read_regular(path, limit=LARGEST)
    except FileRefused as error:
        raise SecretError(
            f"the age identities {path} {error}", remedy="give a file that this user can read"
        ) from None


def _decode(name: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{name} is not UTF-8 text", remedy="put binary data into a .age file") from None
    return text.removesuffix("\n").removesuffix("\r")
