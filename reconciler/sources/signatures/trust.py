"""Whose signatures count on this management host, and what the checking programs said.

The host is told, not the repository: what is judged must not choose its judge.
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
"""How a signature of each kind begins."""

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
    """What this host asks of every revision.

    Args:
        kind: `gpg` or `ssh`.
        signers: for ssh the allowed signers in the form of ssh-keygen; for gpg exported public keys, each
            of which may sign.
        revoked: for ssh, keys that do not count any more: a KRL or public keys; None for none.
    """

    kind: str
    signers: Path
    revoked: Path | None = None

    def mark(self) -> str:
        """Differs once one of the files has been changed."""
        places = [self.signers, *([self.revoked] if self.revoked else [])]
        return " ".join(str(place.stat().st_mtime_ns if place.exists() else 0) for place in places)


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed: `name` in words for people, with the key."""

    kind: str
    name: str


def add_signer(snapshot: Snapshot, signer: Signer | None) -> Snapshot:
    """The same snapshot, whose revision says who signed it."""
    if signer is None:
        return snapshot
    return replace(snapshot, revision=replace(snapshot.revision, signer=signer.name, signed=signer.kind))


def make_untrusted_error(code: str, what: str, why: str) -> UntrustedRevision:
    """The error for a revision that is not taken.

    Args:
        code: one of the codes of this module.
        what: the commit, tag or file.
        why: what is wrong with its signature, without its name.
    """
    return UntrustedRevision(f"{what} {why} [{code}]", remedy=_REMEDIES[code])


def detect_signature_format(signature: str) -> str:
    """`gpg`, `ssh`, or empty for a signature of a kind that is not known here."""
    return next((kind for kind, start in ARMOUR.items() if signature.lstrip().startswith(start)), "")


def judge_gpg_output(status: str, what: str) -> Signer:
    """The signer, by the status lines of gpg; exactly one good signature counts.

    Raises:
        Untrusted: anything else.
    """
    # gpg ends its lines with a line feed alone: a user ID may hold what Python also calls a line end
    lines = [line.removesuffix("\r") for line in status.split("\n") if line.startswith("[GNUPG:]")]
    rows = [line.removeprefix("[GNUPG:]").split() for line in lines]
    if not all(rows) or not all(row[0].isascii() for row in rows):
        raise make_untrusted_error(BAD, what, "has a signature for which gpg wrote an unreadable status")
    said = {row[0]: row[1:] for row in reversed(rows)}
    if "BADSIG" in said:
        raise make_untrusted_error(BAD, what, "has a signature that does not match its content")
    for word, code, why in (
        ("REVKEYSIG", REVOKED, "is signed with a revoked key"),
        ("KEYREVOKED", REVOKED, "is signed with a revoked key"),
        ("EXPKEYSIG", EXPIRED, "is signed with an expired key"),
        ("EXPSIG", EXPIRED, "has an expired signature"),
    ):
        if word in said:
            raise make_untrusted_error(code, what, f"{why}: {_owner(said[word])}")
    if "NO_PUBKEY" in said:
        raise make_untrusted_error(
            UNKNOWN, what, f"is signed with the unknown gpg key {' '.join(said['NO_PUBKEY'])}"
        )
    good = [row for row in rows if row[0] == "GOODSIG"]
    valid = said.get("VALIDSIG", [])
    if len(good) != 1 or not valid or sum(row[0] == "NEWSIG" for row in rows) > 1:
        raise make_untrusted_error(BAD, what, "has a signature that gpg does not accept")
    return Signer("gpg", f"{' '.join(good[0][2:])} (gpg {valid[-1]})")


def judge_ssh_output(said: str, what: str, *, good: bool) -> Signer:
    """The signer, by the words of ssh-keygen.

    Args:
        said: what it, or git on its behalf, wrote.
        what: what was signed.
        good: whether it ended without an error.

    Raises:
        Untrusted: anything but one good signature of an allowed signer.
    """
    found = _GOOD_SSH.search(said)
    if good and found:
        return Signer("ssh", f"{found['who']} (ssh {found['key']})")
    key = re.search(r"SHA256:\S+", said)
    named = f" {key[0]}" if key else ""
    if "has expired" in said or "not yet valid" in said:
        raise make_untrusted_error(
            EXPIRED, what, f"is signed with the ssh key{named}, which is expired or not yet valid"
        )
    if "No principal matched" in said or "not permitted for use" in said:
        raise make_untrusted_error(
            UNKNOWN, what, f"is signed with the ssh key{named}, which belongs to no allowed signer"
        )
    raise make_untrusted_error(BAD, what, "has a signature that does not match its content")


def _owner(row: list[str]) -> str:
    return " ".join(row) if row else "unknown owner"
