"""Checks with ssh-keygen and gpg whether a file is signed by a trusted signer; `git.signer` checks commits.

The programs get their own environment and home folder, so that no configuration of a user has an effect. It
blocks: see `host.subprocesses.run_blocking`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from reconciler.errors import SourceError, SourceUnreachable, UntrustedRevision
from reconciler.host.environment import make_child_environment
from reconciler.host.subprocesses import ProgramError, ProgramMissing, run_program
from reconciler.sources.signatures import trust
from reconciler.sources.signatures.trust import Signer, Trust

SECONDS = 60.0
"""Seconds for one call of gpg or ssh-keygen."""

NAMESPACE = "file"
"""Namespace of the signatures of tarballs: `ssh-keygen -Y sign -n file`."""

# Every key in the file of signers may sign, none is fetched, and no agent outlives the check.
_GPG_CONF = "batch\nno-autostart\nno-auto-key-retrieve\nno-auto-check-trustdb\ntrust-model always\n"
_KEPT = ("PATH", "TMPDIR")


def find_file_signer(data: bytes, signature: bytes, wanted: Trust, *, what: str) -> Signer:
    """The signer of a file with a detached signature.

    Args:
        data: the file.
        signature: the detached signature.
        wanted: the signers that are trusted.
        what: the file, for messages.

    Raises:
        UntrustedRevision: it has no signature that this host accepts.
        SourceError: gpg or ssh-keygen is not installed, or the signers cannot be read.
    """
    with open_checker_home(wanted) as home:
        beside = home / "signature"
        beside.write_bytes(signature)
        if wanted.kind == "gpg":
            command = ("gpg", "--status-fd=1", "--verify", str(beside), "-")
            return trust.read_gpg_signer((_run(command, home, data)).stdout, what)
        # The author of the signature chooses its format: checked before a program reads it.
        check_kind(signature.decode("utf-8", "replace"), wanted, what)
        found = _run(_make_ssh_command("find-principals", wanted, beside), home)
        if found.returncode:
            good = 'Good "file" signature with ' + found.stdout + found.stderr
            return trust.read_ssh_signer(good + "\nNo principal matched.", what, good=False)
        # ssh-keygen verifies for a named signer, and a signature has no name: its key leads to it.
        signer = found.stdout.split("\n")[0].strip()
        verify = (*_make_ssh_command("verify", wanted, beside), "-n", NAMESPACE, "-I", signer)
        revoked = ("-r", str(wanted.revoked)) if wanted.revoked else ()
        done = _run((*verify, *revoked), home, data)
        # A revoked key is reported as a bad signature: one that is good without the list is revoked.
        if done.returncode and revoked and not _run(verify, home, data).returncode:
            raise make_revoked_key_error(what)
        return trust.read_ssh_signer(done.stdout + done.stderr, what, good=not done.returncode)


def make_revoked_key_error(what: str) -> UntrustedRevision:
    """The error for a signature that is good except for the list of revoked keys."""
    return trust.make_untrusted_error(trust.REVOKED, what, "is signed with a revoked key")


def check_counts_today(signature: str, wanted: Trust, home: Path, what: str, signer: str) -> None:
    """Refuse a key that is expired today: git checks it for the date of the commit, which its author sets.

    The key must be valid for this signer: it may belong to several, with different dates.

    Raises:
        UntrustedRevision: it is expired.
    """
    beside = home / "signature"
    beside.write_text(signature)
    found = _run(_make_ssh_command("find-principals", wanted, beside), home)
    if found.returncode:
        trust.read_ssh_signer(found.stdout + found.stderr, what, good=False)
    if signer not in found.stdout.splitlines():
        raise trust.make_untrusted_error(
            trust.EXPIRED, what, f"is signed by {signer}, whose key is expired or not yet valid"
        )


def _make_ssh_command(verb: str, wanted: Trust, signature: Path) -> tuple[str, ...]:
    return "ssh-keygen", "-Y", verb, "-f", str(wanted.signers), "-s", str(signature)


def check_kind(signature: str, wanted: Trust, what: str) -> None:
    """Refuse an object without a signature, or with one of another kind than this host requires.

    Raises:
        UntrustedRevision: it is one of the two.
    """
    if not signature:
        raise trust.make_untrusted_error(trust.UNSIGNED, what, "is not signed")
    found = trust.detect_signature_format(signature)
    if found != wanted.kind:
        kind = f"with {found}" if found else "in an unknown format"
        raise trust.make_untrusted_error(
            trust.UNKNOWN, what, f"is signed {kind}, but this host accepts {wanted.kind} signatures only"
        )


def make_checker_environment(home: Path) -> Mapping[str, str]:
    """The whole environment of a checking program."""
    ours = make_child_environment(os.environ)
    kept = {name: ours[name] for name in _KEPT if name in ours}
    return {**kept, "HOME": str(home), "GNUPGHOME": str(home), "LC_ALL": "C", "LANGUAGE": "C"}


@contextmanager
def open_checker_home(wanted: Trust) -> Iterator[Path]:
    """A home folder for one check: for gpg with a keyring of exactly the trusted keys."""
    with tempfile.TemporaryDirectory(prefix="reconcile-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        for option, file in (("allowed", wanted.signers), ("revoked", wanted.revoked)):
            if file is not None and not os.access(file, os.R_OK):
                raise SourceError(
                    f"the {option} signers {file} cannot be read", remedy=f"check --{option}-signers"
                )
        if wanted.kind == "gpg":
            (home / "gpg.conf").write_text(_GPG_CONF)
            done = _run(("gpg", "--status-fd=1", "--import", str(wanted.signers.absolute())), home)
            if "IMPORT_OK" not in done.stdout:
                raise SourceError(
                    f"{wanted.signers} contains no gpg public key",
                    remedy="create it with `gpg --export --armor WHO`",
                )
        yield home


def _run(command: Sequence[str], home: Path, data: bytes = b"") -> CompletedProcess[str]:
    """Run a program with the reduced environment.

    Raises:
        SourceError: it is not installed.
        SourceUnreachable: it did not finish in time.
    """
    try:
        ended = run_program(command, environment=make_checker_environment(home), seconds=SECONDS, data=data)
    except ProgramMissing as error:
        raise SourceError(f"{command[0]} cannot be run: {error}") from None
    except ProgramError as error:
        raise SourceUnreachable(f"{command[0]} {error}") from None
    out, error_output = (output.decode("utf-8", "replace") for output in (ended.out, ended.error))
    return CompletedProcess(command, ended.status, out, error_output)
