"""Checks whether a commit, or the tag that names it, is signed by a signer that this host trusts.

Nothing in the repository or in a configuration of git has an influence: git runs without the configuration of
the user and of the system, in a git directory of ours, and each program that it may start is set. It blocks:
see `host.subprocesses.run_blocking`.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.sources.git.command import Git, GitCommandFailed, GitDirectory, GitSettings
from reconciler.sources.signatures import trust
from reconciler.sources.signatures.file_signer import (
    SECONDS,
    check_counts_today,
    check_kind,
    make_checker_environment,
    make_revoked_key_error,
    open_checker_home,
)
from reconciler.sources.signatures.trust import Signer, Trust
from reconciler.text.one_line import SHORT_ID


def find_git_signer(
    repository: GitDirectory, commit: str, named: str, wanted: Trust, *, where: str
) -> Signer:
    """The signer of a commit, or of the tag that names it.

    A signed tag vouches for its commit; with an unsigned one the signature of the commit counts.

    Args:
        repository: with the objects.
        commit: the full id.
        named: the full id of the object that the ref names: the commit, or an annotated tag.
        wanted: the signers that are trusted.
        where: the repository, for messages.

    Raises:
        UntrustedRevision: it has no signature that this host accepts.
        SourceError: git, gpg or ssh-keygen is not installed, or the signers cannot be read.
    """
    with open_checker_home(wanted) as home:
        git = _make_git(repository, wanted, home, wanted.revoked)
        kind, number = "commit", commit
        signature = "" if named == commit else _tag_signature(git, named)
        if signature:
            kind, number = "tag", named
        else:
            signature = _commit_signature(git, commit)
        what = f"{where}: {kind} {number[:SHORT_ID]}"
        check_kind(signature, wanted, what)
        good, output = _verify(git, kind, number)
        if wanted.kind == "gpg":
            return trust.read_gpg_signer(output, what)
        # git reports a revoked key as a bad signature: good without the list of revoked keys means revoked.
        if not good and wanted.revoked is not None:
            again, _ = _verify(_make_git(repository, wanted, home, None), kind, number)
            if again:
                raise make_revoked_key_error(what)
        signer = trust.read_ssh_signer(output, what, good=good)
        check_counts_today(signature, wanted, home, what, signer.name.partition(" (ssh ")[0])
        return signer


def _commit_signature(git: Git, commit: str) -> str:
    """The signature in the header of a commit; empty if it has none."""
    head = (_read_object(git, "commit", commit)).partition("\n\n")[0]
    _, found, rest = f"\n{head}\n".partition("\ngpgsig ")
    lines = rest.split("\n") if found else []
    more = (line[1:] for line in takewhile(lambda line: line.startswith(" "), lines[1:]))
    return "\n".join([lines[0], *more, ""]) if lines else ""


def _tag_signature(git: Git, tag: str) -> str:
    """The signature at the end of a tag; empty if it has none."""
    text = _read_object(git, "tag", tag)
    # The last one, as git does: an earlier one is a part of the signed text.
    places = [
        text.rfind(f"\n{start}") for start in (*trust.ARMOUR.values(), "-----BEGIN SIGNED MESSAGE-----")
    ]
    return text[max(places) + 1 :] if max(places) >= 0 else ""


def _read_object(git: Git, kind: str, number: str) -> str:
    try:
        return (git.run("cat-file", kind, number)).decode("utf-8", "replace")
    except GitCommandFailed as failed:
        raise SourceError(f"{kind} {number[:SHORT_ID]} cannot be read: {failed.output.strip()}") from failed


def _verify(git: Git, kind: str, number: str) -> tuple[bool, str]:
    """Whether git accepts it, and the output of git and of the program that checks."""
    try:
        return True, git.run_for_errors(f"verify-{kind}", "--raw", number)
    except GitCommandFailed as failed:
        return False, failed.output


def _make_git(repository: GitDirectory, wanted: Trust, home: Path, revoked: Path | None) -> Git:
    config = (
        ("gpg.program", "gpg"),
        ("gpg.openpgp.program", "gpg"),
        # A program that always fails: this kind of signature is not supported.
        ("gpg.x509.program", "false"),
        ("gpg.ssh.program", "ssh-keygen"),
        ("gpg.ssh.allowedSignersFile", str(wanted.signers)),
        ("gpg.ssh.revocationFile", str(revoked) if revoked else ""),
        ("gpg.minTrustLevel", "undefined"),
    )
    settings = GitSettings.local(make_checker_environment(home), repository)
    return Git(settings=settings.extend(*config, variables={"GNUPGHOME": str(home)}, seconds=SECONDS))
