"""Where secrets come from on this machine: the environment, files, and what age can decrypt."""

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
    """Secrets of this machine; implements `secrets.resolver.SecretResolver`. Each is looked up once.

    It remembers what each file held, or why it could not be read, so that a file that is written later is
    noticed.

    Args:
        host: which of its variables and folders count, and the age identities that its environment names.
        identity: a file of age identities, in the place of those.
    """

    def __init__(self, host: Host, identity: Path | None = None) -> None:
        self._host = host
        self._identity = identity
        self._identities: list[Any] | None = None
        self._known: dict[tuple[str, str], str] = {}
        self._files: dict[str, tuple[Callable[[], bytes], bytes]] = {}

    def clear(self, scheme: str, name: str) -> str:
        """The text that a reference stands for; see `secrets.resolver.SecretResolver`.

        A file's last line ends where its text ends: one line break at its end does not count.

        Raises:
            SecretError: it is not to be had here.
        """
        key = (scheme, name)
        if key not in self._known:
            if scheme == "env":
                self._known[key] = read_secret_variable(self._host, name)
            elif scheme == "file":
                read = partial(read_secret_file, self._host, name)
                self._known[key] = _text(f"file {name}", self._noted(f"file {name}", read))
            else:
                self._known[key] = _text("the decrypted value", self.opened("the value", b64decode(name)))
        return self._known[key]

    def opened(self, name: str, data: bytes) -> bytes:
        """The content of a file that is encrypted with age.

        Raises:
            SecretError: no identity given here opens it.
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
        """The identities given here, read once.

        Raises:
            SecretError: what is given is none.
        """
        if self._identities is None:
            environment = self._host.environment if self._identity is None else {}
            path = self._identity or Path(environment.get(name_file_variable(AGE_IDENTITY), ""))
            self._identities = parse_identities(AGE_IDENTITY, environment.get(AGE_IDENTITY, ""))
            if path != Path():
                data = self._noted(str(path), partial(_read, path))
                self._identities += parse_identities(str(path), _text(str(path), data))
        return self._identities

    def has_changed(self) -> bool:
        """Whether a file that was asked for was written, changed or taken away since then."""
        return any(_print(_content(read)) != seen for read, seen in self._files.values())

    def _noted(self, name: str, read: Callable[[], bytes]) -> bytes:
        """What a file holds, which is remembered by its print.

        Raises:
            SecretError: it cannot be read, which is remembered too.
        """
        content = _content(read)
        self._files[name] = (read, _print(content))
        if isinstance(content, SecretError):
            raise content
        return content


def _print(content: bytes | SecretError) -> bytes:
    """What tells one content of a file from another; why it cannot be read is a content, too."""
    return sha256(b"+" + content if isinstance(content, bytes) else b"-" + content.message.encode()).digest()


def _content(read: Callable[[], bytes]) -> bytes | SecretError:
    try:
        return read()
    except SecretError as error:
        return error


def parse_identities(name: str, text: str) -> list[Any]:
    """The age identities in a text: X25519 ones a line, or an SSH private key.

    Raises:
        SecretError: something in it is none.
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
        SecretError: something in it is none.
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
    """Data encrypted with age, for recipients of `parse_recipients`, of which there is at least one."""
    import pyrage  # noqa: PLC0415

    return bytes(pyrage.encrypt(data, to))


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, limit=LARGEST)
    except FileRefused as error:
        raise SecretError(
            f"the age identities {path} {error}", remedy="give a file that this user can read"
        ) from None


def _text(name: str, data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{name} is not UTF-8 text", remedy="put binary data into a .age file") from None
    return text.removesuffix("\n").removesuffix("\r")
