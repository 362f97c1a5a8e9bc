"""The signers that this host trusts, and the verdict from the output of gpg and ssh-keygen.

The host configures the signers, not the repository: who could change the repository could else approve it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.errors import UntrustedRevision
from reconciler.ports.source import Snapshot

UNSIGNED = "unsigned"
UNKNOWN = "unknown-signer"
EXPIRED = "expired-key"
REVOKED = "revoked-key"
BAD = "bad-signature"

ARMOUR = {"gpg": "-----BEGIN PGP SIGNATURE-----", "ssh": "-----BEGIN SSH SIGNATURE-----"}
"""Beginning of a signature of each kind."""

_GOOD_SSH = re.compile(
    r'^Good "[^"\n]*" signature for (?P<who>\S+) with (?P<type>\S+) key (?P<key>SHA256:\S+)$', re.MULTILINE
)
_REMEDIES = {
    UNSIGNED: "sign it (`git commit -S`, `git tag -s`, or FILE.sig next to a tarball) and use that",
    UNKNOWN: "find out who owns the key before you add it to the file of --allowed-signers",
    EXPIRED: "have it signed with a key that is valid today",
    REVOKED: "find out why the key was revoked, then have it signed with another key",
    BAD: "do not use it: find out who changed it, and have it signed again",
}


@dataclass(frozen=True, slots=True)
class Trust:
    """The signature that this host requires of every revision.

    Args:
        kind: `gpg` or `ssh`.
        signers: for ssh the file of allowed signers of ssh-keygen; for gpg exported public keys, all of which
            may sign.
        revoked: for ssh, revoked keys: a KRL or public keys; None for none.
    """

    kind: str
    signers: Path
    revoked: Path | None = None

    def mark(self) -> str:
        """A text that changes with the files."""
        # By the times of the files, so that a new signer counts without a restart.
        places = [self.signers, *([self.revoked] if self.revoked else [])]
        return " ".join(str(place.stat().st_mtime_ns if place.exists() else 0) for place in places)


@dataclass(frozen=True, slots=True)
class Signer:
    """A signer: kind of the signature, and name with the key, for messages."""

    kind: str
    name: str


def add_signer(snapshot: Snapshot, signer: Signer | None) -> Snapshot:
    """The same snapshot with the signer in its revision."""
    if signer is None:
        return snapshot
    return replace(snapshot, revision=replace(snapshot.revision, signer=signer.name, signed=signer.kind))


def make_untrusted_error(code: str, what: str, why: str) -> UntrustedRevision:
    """The error for a revision that is refused.

    Args:
        code: one of the codes of this module.
        what: the commit, tag or file.
        why: what is wrong with its signature, without its name.
    """
    return UntrustedRevision(f"{what} {why} [{code}]", remedy=_REMEDIES[code])


def detect_signature_format(signature: str) -> str:
    """`gpg`, `ssh`, or empty for another kind."""
    return next((kind for kind, start in ARMOUR.items() if signature.lstrip().startswith(start)), "")


def read_gpg_signer(status: str, what: str) -> Signer:
    """The signer, by the status lines of gpg (doc/DETAILS of GnuPG); exactly one good signature.

    Raises:
        UntrustedRevision: anything else.
    """
    # Split at line feeds alone: a user ID may contain other characters that Python takes for a line end, and
    # with them a forged status line.
    lines = [line.removesuffix("\r") for line in status.split("\n") if line.startswith("[GNUPG:]")]
    rows = [line.removeprefix("[GNUPG:]").split() for line in lines]
    if not all(rows) or not all(row[0].isascii() for row in rows):
        raise make_untrusted_error(BAD, what, "has a signature for which gpg wrote an unreadable status")
    # Refusals first: a second signature in the same file must not outvote a bad one.
    found = {row[0]: row[1:] for row in reversed(rows)}
    if "BADSIG" in found:
        raise make_untrusted_error(BAD, what, "has a signature that does not match its content")
    for word, code, why in (
        ("REVKEYSIG", REVOKED, "is signed with a revoked key"),
        ("KEYREVOKED", REVOKED, "is signed with a revoked key"),
        ("EXPKEYSIG", EXPIRED, "is signed with an expired key"),
        ("EXPSIG", EXPIRED, "has an expired signature"),
    ):
        if word in found:
            raise make_untrusted_error(code, what, f"{why}: {' '.join(found[word]) or 'unknown owner'}")
    if "NO_PUBKEY" in found:
        raise make_untrusted_error(
            UNKNOWN, what, f"is signed with the unknown gpg key {' '.join(found['NO_PUBKEY'])}"
        )
    good = [row for row in rows if row[0] == "GOODSIG"]
    valid = found.get("VALIDSIG", [])
    if len(good) != 1 or not valid or sum(row[0] == "NEWSIG" for row in rows) > 1:
        raise make_untrusted_error(BAD, what, "has a signature that gpg does not accept")
    return Signer("gpg", f"{' '.join(good[0][2:])} (gpg {valid[-1]})")


def read_ssh_signer(output: str, what: str, *, good: bool) -> Signer:
    """The signer, by the output of ssh-keygen.

    Args:
        output: of ssh-keygen, or of git.
        what: the signed object, for messages.
        good: whether the program succeeded.

    Raises:
        UntrustedRevision: anything but one good signature of an allowed signer.
    """
    found = _GOOD_SSH.search(output)
    # Both: the exit status does not name the signer, and a failed check may print such a line too.
    if good and found:
        return Signer("ssh", f"{found['who']} (ssh {found['key']})")
    key = re.search(r"SHA256:\S+", output)
    named = f" {key[0]}" if key else ""
    if "has expired" in output or "not yet valid" in output:
        raise make_untrusted_error(
            EXPIRED, what, f"is signed with the ssh key{named}, which is expired or not yet valid"
        )
    if "No principal matched" in output or "not permitted for use" in output:
        raise make_untrusted_error(
            UNKNOWN, what, f"is signed with the ssh key{named}, which belongs to no allowed signer"
        )
    raise make_untrusted_error(BAD, what, "has a signature that does not match its content")
