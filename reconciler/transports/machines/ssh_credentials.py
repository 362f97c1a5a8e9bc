"""What proves this host to a machine and a machine to this host: keys, certificates, agent, known hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.errors import UsageError
from reconciler.host.config import SshWay
from reconciler.host.credentials import find_key_file, read_key_file
from reconciler.host.files import FileRefused, read_trusted
from reconciler.text.one_line import make_one_line
from reconciler.transports.machines.machine import LoginRefused, MachineUnidentified

if TYPE_CHECKING:
    import asyncssh

AGENT: Final = "SSH_AUTH_SOCK"
"""The variable that names the socket of the agent."""

_LARGEST: Final = 1024 * 1024
_KNOWN_LARGEST: Final = 16 * 1024 * 1024
_AGENT_SECONDS: Final = 10.0

FileSigns = tuple[tuple[int, ...], ...]
"""What changes when one of some files changes."""


@dataclass(frozen=True, slots=True)
class LocalKey:
    """A private key of a file, with its certificate if there is one.

    Args:
        name: for messages: the file and the fingerprint.
    """

    name: str
    key: asyncssh.SSHKey
    certificate: asyncssh.SSHCertificate | None


@dataclass(frozen=True, slots=True)
class SshCredentials:
    """The files of a way, parsed."""

    keys: tuple[LocalKey, ...]
    known_hosts: asyncssh.SSHKnownHosts


class CredentialFiles:
    """Reads the files of ways, each again when it changed.

    Args:
        environment: of this process, for the credentials folder and the agent.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._parsed: dict[SshWay, tuple[FileSigns, SshCredentials]] = {}

    def read_signs(self, way: SshWay) -> FileSigns:
        """What changes with the content of the way's files; a missing file is a sign too."""
        paths = [way.known_hosts]
        for key in way.keys:
            with suppress(LoginRefused):  # `read` reports it
                path = self._find_path(key)
                paths += [path, _find_certificate(path)]
        return tuple(_read_sign(path) for path in paths)

    def read(self, way: SshWay) -> SshCredentials:
        """The keys and known hosts of a way.

        Raises:
            LoginRefused: a key cannot be used.
            MachineUnidentified: the known hosts cannot be read.
        """
        signs = self.read_signs(way)
        kept = self._parsed.get(way)
        if kept is None or kept[0] != signs:
            keys = tuple(_read_key(self._find_path(key)) for key in way.keys)
            kept = self._parsed[way] = signs, SshCredentials(keys, _read_known_hosts(way.known_hosts))
        return kept[1]

    async def open_agent(self, way: SshWay) -> tuple[asyncssh.SSHAgentClient, Sequence[Any]] | None:
        """A connection to the agent, which the caller closes, and its keys; None for a way without it.

        Raises:
            LoginRefused: there is no agent, or it has no key.
        """
        import asyncssh  # noqa: PLC0415  (heavy: loaded with the first connection)

        if not way.agent:
            return None
        place = self._environment.get(AGENT, "")
        remedy = f"start an agent with the key (ssh-add) and pass its {AGENT} on, or use `keys`"
        if not place:
            raise LoginRefused(f"there is no SSH agent: {AGENT} is not set", remedy=remedy)
        try:
            async with asyncio.timeout(_AGENT_SECONDS):
                agent = await asyncssh.connect_agent(place)
                keys = await agent.get_keys()
        except (OSError, TimeoutError, ValueError) as error:
            words = f"the SSH agent at {make_one_line(place, 200)} does not answer: {_shorten(error)}"
            raise LoginRefused(words, remedy=remedy) from error
        if not keys and not way.keys:
            agent.close()
            raise LoginRefused(
                "the SSH agent has no key", remedy="add the key to it (ssh-add), or use `keys`"
            )
        return agent, keys

    def _find_path(self, key: Path | str) -> Path:
        try:
            return find_key_file(key, self._environment)
        except UsageError as error:
            raise LoginRefused(error.message, remedy=error.remedy) from error


def _find_certificate(path: Path) -> Path:
    return path.with_name(f"{path.name}-cert.pub")


def _read_sign(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_key(path: Path) -> LocalKey:
    import asyncssh  # noqa: PLC0415

    what = f"the key {path}"
    try:
        data = read_key_file(path, "the key")
    except UsageError as error:
        raise LoginRefused(error.message, remedy=error.remedy) from error
    try:
        key = asyncssh.import_private_key(data)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in str(error):
            raise LoginRefused(
                f"{what} has a password, and nobody is here to type it",
                remedy=f"remove it with `ssh-keygen -p -N '' -f {path}`, or add the key to an agent and set "
                "`agent: true`",
            ) from error
        raise LoginRefused(
            f"{what} is not a private key that can be used: {_shorten(error)}",
            remedy="make it with ssh-keygen",
        ) from error
    name = f"{path} ({key.get_fingerprint()})"
    certificate = _find_certificate(path)
    if not certificate.exists():
        return LocalKey(name, key, None)
    try:
        signed = asyncssh.import_certificate(read_trusted(certificate, limit=_LARGEST)[0])
    except (FileRefused, OSError, asyncssh.KeyImportError) as error:
        words = f"the certificate {certificate} cannot be used: {_shorten(error)}"
        raise LoginRefused(words, remedy="let the CA sign the key again, or remove the file") from error
    if signed.key.public_data != key.public_data:
        words = f"the certificate {certificate} is of another key than {path}"
        raise LoginRefused(words, remedy="let the CA sign the key again, or remove the file")
    return LocalKey(f"{name} with its certificate", key, signed)


def _read_known_hosts(path: Path) -> asyncssh.SSHKnownHosts:
    import asyncssh  # noqa: PLC0415

    remedy = "write the host keys of the machines into it: see docs/ssh.md"
    try:
        text = read_trusted(path, limit=_KNOWN_LARGEST)[0].decode()
    except (FileRefused, OSError, UnicodeDecodeError) as error:
        words = f"the file of known hosts {path} cannot be read: {_shorten(error)}"
        raise MachineUnidentified(words, remedy=remedy) from error
    try:
        return asyncssh.import_known_hosts(text)
    except ValueError as error:
        words = f"the file of known hosts {path} has an error: {_shorten(error)}"
        raise MachineUnidentified(words, remedy="correct it, as ssh-keygen -l -f shows it") from error


def _shorten(error: object) -> str:
    return make_one_line(str(error), 200) or "no reason is given"
