"""Keys of people who sign, and what they sign: real ssh-keygen and gpg, each with a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.git_repositories import ALONE, Repository

GPG_MISSING = "" if shutil.which("gpg") else "gpg is not installed"
SSH_MISSING = "" if shutil.which("ssh-keygen") else "ssh-keygen is not installed"


def done(*command: str, data: bytes = b"", **environment: str) -> str:
    """What a program wrote, which has to succeed."""
    full = {**os.environ, **ALONE, **environment}
    ended = subprocess.run(command, input=data, env=full, capture_output=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


@dataclass(frozen=True)
class SshPerson:
    """Somebody with an ssh key."""

    key: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> SshPerson:
        done("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
        return cls(folder / name)

    def line(self, options: str = "") -> str:
        """A line of allowed signers."""
        kind, text, _ = self.key.with_suffix(".pub").read_text().split()
        return " ".join(part for part in (f"{self.key.name}@example.org", options, kind, text) if part) + "\n"

    @property
    def settings(self) -> tuple[str, ...]:
        return "-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}"

    @property
    def environment(self) -> dict[str, str]:
        return {}

    def sign_file(self, file: Path, namespace: str = "file") -> None:
        Path(f"{file}.sig").unlink(missing_ok=True)
        done("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.key), str(file))


@dataclass(frozen=True)
class GpgPerson:
    """Somebody with a gpg key in a home of their own."""

    home: Path
    name: str

    @classmethod
    def make(cls, folder: Path, name: str, expires: str = "never") -> GpgPerson:
        made = cls(folder / f"gpg-{name}", name)
        made.home.mkdir(mode=0o700)
        who = f"{name} <{name}@example.org>"
        made.gpg("--passphrase", "", "--quick-generate-key", who, "ed25519", "sign", expires)
        return made

    def gpg(self, *arguments: str, data: bytes = b"") -> str:
        return done("gpg", "--batch", "--quiet", *arguments, data=data, **self.environment)

    def public(self) -> str:
        return self.gpg("--export", "--armor")

    def revoke(self) -> None:
        """Import the revocation that gpg made beside the key."""
        (file,) = (self.home / "openpgp-revocs.d").glob("*.rev")
        self.gpg("--import", data=file.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))

    def close(self) -> None:
        """End the agent that gpg left in its home."""
        done("gpgconf", "--kill", "gpg-agent", **self.environment)

    @property
    def settings(self) -> tuple[str, ...]:
        return "-c", f"user.signingkey={self.name}@example.org"

    @property
    def environment(self) -> dict[str, str]:
        return {"GNUPGHOME": str(self.home)}

    def sign_file(self, file: Path) -> None:
        Path(f"{file}.asc").unlink(missing_ok=True)
        self.gpg("--armor", "--detach-sign", str(file))


def signed_commit(repository: Repository, person: SshPerson | GpgPerson, files=None, message="Signed") -> str:
    """A commit signed by a person; gives its id."""
    repository.write(files or {})
    folder = str(repository.folder)
    done("git", "-C", folder, "add", "--all")
    commit = ("commit", "--quiet", "--allow-empty", "-S", "-m", message)
    done("git", "-C", folder, *person.settings, *commit, **person.environment)
    return repository.head


def signed_tag(repository: Repository, person: SshPerson | GpgPerson, name: str) -> None:
    """A tag on the newest commit, signed by a person."""
    tag = ("tag", "-s", "-m", name, name)
    done("git", "-C", str(repository.folder), *person.settings, *tag, **person.environment)
