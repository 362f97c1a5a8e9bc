"""What gpg and ssh-keygen say, judged: one good signature counts, and everything else has its code."""

import pytest

from reconciler.errors import UntrustedRevision
from reconciler.sources.signatures.trust import detect_signature_format, read_gpg_signer, read_ssh_signer

KEY = "0123456789ABCDEF"
FULL = "F" * 40


def gpg(*rows):
    return "".join(f"[GNUPG:] {row}\n" for row in rows)


GOOD = ("NEWSIG", f"GOODSIG {KEY} ada <ada@x>", f"VALIDSIG {FULL} 2026-11-21 1 0 4 0 22 8 00 {FULL}")


def test_one_good_signature_gives_its_owner_and_the_primary_key():
    found = read_gpg_signer("gpg: talk\n" + gpg(*GOOD), "commit 1")
    assert (found.kind, found.name) == ("gpg", f"ada <ada@x> (gpg {FULL})")


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ((), "bad-signature"),
        (GOOD[:2], "bad-signature"),
        ((*GOOD, *GOOD), "bad-signature"),
        ((*GOOD, "NEWSIG", f"BADSIG {KEY} ada"), "bad-signature"),
        (("NEWSIG", f"BADSIG {KEY} ada"), "bad-signature"),
        (("NEWSIG", f"ERRSIG {KEY} 22 8 00 1 9 {FULL}", f"NO_PUBKEY {KEY}"), "unknown-signer"),
        ((GOOD[0], f"EXPKEYSIG {KEY} ada", GOOD[2]), "expired-key"),
        ((GOOD[0], f"EXPSIG {KEY} ada", GOOD[2]), "expired-key"),
        ((GOOD[0], f"REVKEYSIG {KEY} ada", GOOD[2]), "revoked-key"),
        ((*GOOD, "KEYREVOKED"), "revoked-key"),
    ],
)
def test_everything_else_of_gpg_is_refused(rows, code):
    with pytest.raises(UntrustedRevision) as caught:
        read_gpg_signer(gpg(*rows), "commit 1")
    assert caught.value.message.startswith("commit 1 ")
    assert caught.value.message.endswith(f"[{code}]")
    assert caught.value.remedy


SSH = 'Good "git" signature for ada@x with ED25519 key SHA256:abc'


@pytest.mark.parametrize(
    ("output", "good", "code"),
    [
        (SSH, False, "bad-signature"),
        ("", True, "bad-signature"),
        (f"x {SSH}", True, "bad-signature"),
        ('Good "git" signature with ED25519 key SHA256:abc\nNo principal matched.', False, "unknown-signer"),
        ("f:1: key has expired: verify time\nNo principal matched.", False, "expired-key"),
        ("f:1: key is not yet valid\nNo principal matched.", False, "expired-key"),
        ('f:1: key is not permitted for use in signature namespace "git"', False, "unknown-signer"),
        ("Signature verification failed: incorrect signature", False, "bad-signature"),
    ],
)
def test_everything_but_a_good_line_of_a_good_end_is_refused(output, good, code):
    with pytest.raises(UntrustedRevision, match=rf"\[{code}\]$"):
        read_ssh_signer(output, "tag 1", good=good)


def test_a_good_ssh_signature_gives_its_principal_and_key():
    found = read_ssh_signer(f"{SSH}\n", "tag 1", good=True)
    assert (found.kind, found.name) == ("ssh", "ada@x (ssh SHA256:abc)")


def test_the_first_line_gives_the_kind_of_a_signature():
    assert detect_signature_format("-----BEGIN SSH SIGNATURE-----\n…") == "ssh"
    assert detect_signature_format("\n-----BEGIN PGP SIGNATURE-----\n…") == "gpg"
    assert detect_signature_format("-----BEGIN SIGNED MESSAGE-----\n…") == ""


@pytest.mark.parametrize(
    "status",
    [
        "GNUTG:] NEUS I`\n[GNUPG:] ",
        gpg(*GOOD) + "\n[GNUPG:]",
        gpg(*GOOD) + "\n[GNUPG:] \u2028",
        "[GNUPG:]\x1fGOODSIG",
    ],
)
def test_a_status_of_gpg_that_cannot_be_read_is_refused(status):
    with pytest.raises(UntrustedRevision, match=r"unreadable status|does not accept"):
        read_gpg_signer(status, "commit 1")


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c"])
def test_a_user_id_cannot_add_lines_to_the_status(end):
    name = f"ada{end}[GNUPG:] VALIDSIG {FULL}"
    with pytest.raises(UntrustedRevision):
        read_gpg_signer(f"[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG KEY {name}\n", "commit 1")
