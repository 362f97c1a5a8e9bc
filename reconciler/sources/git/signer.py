"""Asks git whether a commit, or the tag that names it, is signed by whom this host trusts.

Nothing in the repository or in git's configuration has a say: git is run without the user's and the
system's configuration, in a git directory of ours, and each program that it may ask is named. It blocks: see
`host.subprocesses.run_blocking`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.sources.git.command import Git, GitCommandFailed, GitDirectory, GitSettings
from reconciler.sources.signatures import trust
from reconciler.sources.signatures.trust import Signer, Trust
from reconciler.sources.signatures.verification import (
    SECONDS,
    check_counts_today,
    check_kind,
    make_checker_environment,
    make_revoked_key_error,
    open_checker_home,
)
from reconciler.text.one_line import SHORT_ID


def find_git_signer(
    repository: GitDirectory, commit: str, named: str, wanted: Trust, *, where: str
) -> Signer:
    """Who signed a commit, or the tag that names it.

    A tag that is signed vouches for its commit; one that is not leaves it to the commit.

    Args:
        repository: where the objects are.
        commit: the full id.
        named: the full id of what the ref names: the commit, or an annotated tag.
        wanted: whose signatures count.
        where: the repository, for messages.

    Raises:
        Untrusted: nobody whose signature counts did.
        SourceError: git, gpg or ssh-keygen is not installed, or the signers cannot be read.
    """
    with open_checker_home(wanted) as home:
        git = _git(repository, wanted, home, wanted.revoked)
        kind, number = "commit", commit
        signature = "" if named == commit else _tag_signature(git, named)
        if signature:
            kind, number = "tag", named
        else:
            signature = _commit_signature(git, commit)
        what = f"{where}: {kind} {number[:SHORT_ID]}"
        check_kind(signature, wanted, what)
        good, said = _verified(git, kind, number)
        if wanted.kind == "gpg":
            return trust.judge_gpg_output(said, what)
        if not good and wanted.revoked is not None:
            again, _ = _verified(_git(repository, wanted, home, None), kind, number)
            if again:
                raise make_revoked_key_error(what)
        signer = trust.judge_ssh_output(said, what, good=good)
        check_counts_today(signature, wanted, home, what, signer.name.partition(" (ssh ")[0])
        return signer


def _commit_signature(git: Git, commit: str) -> str:
    """The signature in a commit's header; empty where it has none."""
    head = (_object(git, "commit", commit)).partition("\n\n")[0]
    _, found, rest = f"\n{head}\n".partition("\ngpgsig ")
    lines = rest.split("\n") if found else []
    more = (line[1:] for line in _while_indented(lines[1:]))
    return "\n".join([lines[0], *more, ""]) if lines else ""


def _while_indented(lines: Sequence[str]) -> Sequence[str]:
    end = next((place for place, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return lines[:end]


def _tag_signature(git: Git, tag: str) -> str:
    """The signature at the end of a tag; empty where it has none."""
    text = _object(git, "tag", tag)
    places = [
        text.rfind(f"\n{start}") for start in (*trust.ARMOUR.values(), "-----BEGIN SIGNED MESSAGE-----")
    ]
    return text[max(places) + 1 :] if max(places) >= 0 else ""


def _object(git: Git, kind: str, number: str) -> str:
    try:
        return (git.run("cat-file", kind, number)).decode("utf-8", "replace")
    except GitCommandFailed as failed:
        raise SourceError(f"{kind} {number[:SHORT_ID]} cannot be read: {failed.words.strip()}") from failed


def _verified(git: Git, kind: str, number: str) -> tuple[bool, str]:
    """Whether git calls it good, and what it, or the program that it asked, said."""
    try:
        return True, git.told(f"verify-{kind}", "--raw", number)
    except GitCommandFailed as failed:
        return False, failed.words


def _git(repository: GitDirectory, wanted: Trust, home: Path, revoked: Path | None) -> Git:
    config = (
        ("gpg.program", "gpg"),
        ("gpg.openpgp.program", "gpg"),
        ("gpg.x509.program", "false"),
        ("gpg.ssh.program", "ssh-keygen"),
        ("gpg.ssh.allowedSignersFile", str(wanted.signers)),
        ("gpg.ssh.revocationFile", str(revoked) if revoked else ""),
        ("gpg.minTrustLevel", "undefined"),
    )
    settings = GitSettings.local(
        make_checker_environment(home),
        repository,
        config=config,
        variables={"GNUPGHOME": str(home)},
        seconds=SECONDS,
    )
    return Git(settings=settings)
