"""Asks git, ssh-keygen and gpg whether a commit, a tag or a file is signed by whom this host trusts.

Nothing in the repository or in git's configuration has a say: git is run without the user's and the
system's configuration, and what the repository's own could set is set on the command line.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.environment import child_environment
from reconciler.host.process import ProcessError, ProgramMissing, run_process
from reconciler.sources.git.command import Git, GitFailed, Repository
from reconciler.sources.signatures import trust
from reconciler.sources.signatures.trust import Signer, Trust
from reconciler.text.one_line import SHORT_ID

SECONDS = 60.0
"""For one call of gpg or ssh-keygen."""

NAMESPACE = "file"
"""What a tarball is signed for: `ssh-keygen -Y sign -n file`."""

_GPG_CONF = "batch\nno-autostart\nno-auto-key-retrieve\nno-auto-check-trustdb\ntrust-model always\n"
_KEPT = ("PATH", "TMPDIR")


async def git_signer(repository: Repository, commit: str, named: str, wanted: Trust, *, where: str) -> Signer:
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
    async with _home(wanted) as home:
        git = _git(repository, wanted, home, wanted.revoked)
        kind, number = "commit", commit
        signature = "" if named == commit else await _tag_signature(git, named)
        if signature:
            kind, number = "tag", named
        else:
            signature = await _commit_signature(git, commit)
        what = f"{where}: {kind} {number[:SHORT_ID]}"
        _of_kind(signature, wanted, what)
        good, said = await _verified(git, kind, number)
        if wanted.kind == "gpg":
            return trust.judged_gpg(said, what)
        if not good and wanted.revoked is not None:
            await _not_revoked(_verified(_git(repository, wanted, home, None), kind, number), what)
        signer = trust.judged_ssh(said, what, good=good)
        await _counts_today(signature, wanted, home, what, signer.name.partition(" (ssh ")[0])
        return signer


async def file_signer(data: bytes, signature: bytes, wanted: Trust, *, what: str) -> Signer:
    """Who signed a file with a detached signature.

    Args:
        data: the file.
        signature: what stands in the file beside it.
        wanted: whose signatures count.
        what: the file, for messages.

    Raises:
        Untrusted: nobody whose signature counts did.
        SourceError: gpg or ssh-keygen is not installed, or the signers cannot be read.
    """
    async with _home(wanted) as home:
        beside = home / "signature"
        await asyncio.to_thread(beside.write_bytes, signature)
        if wanted.kind == "gpg":
            command = ("gpg", "--status-fd=1", "--verify", str(beside), "-")
            return trust.judged_gpg((await _run(command, home, data)).out, what)
        _of_kind(signature.decode("utf-8", "replace"), wanted, what)
        found = await _run(_ssh("find-principals", wanted, beside), home)
        if found.status:
            good = 'Good "file" signature with ' + found.out + found.error
            return trust.judged_ssh(good + "\nNo principal matched.", what, good=False)
        verify = (*_ssh("verify", wanted, beside), "-n", NAMESPACE, "-I", found.out.split("\n")[0].strip())
        revoked = ("-r", str(wanted.revoked)) if wanted.revoked else ()
        done = await _run((*verify, *revoked), home, data)
        if done.status and revoked:
            await _not_revoked(_words(verify, home, data), what)
        return trust.judged_ssh(done.out + done.error, what, good=not done.status)


@dataclass(frozen=True, slots=True)
class _Ended:
    status: int
    out: str
    error: str


async def _words(command: Sequence[str], home: Path, data: bytes) -> tuple[bool, str]:
    done = await _run(command, home, data)
    return not done.status, done.out + done.error


async def _not_revoked(again: Awaitable[tuple[bool, str]], what: str) -> None:
    """Refuse what is good but for the list of revoked keys."""
    good, _ = await again
    if good:
        raise trust.refusal(trust.REVOKED, what, "is signed with a key that was revoked")


async def _counts_today(signature: str, wanted: Trust, home: Path, what: str, signer: str) -> None:
    """Refuse a key whose time is over: git believes the date of the commit, which its author chooses.

    The key has to count for that very signer: it may stand for several, until different days.
    """
    beside = home / "signature"
    await asyncio.to_thread(beside.write_text, signature)
    found = await _run(_ssh("find-principals", wanted, beside), home)
    if found.status:
        trust.judged_ssh(found.out + found.error, what, good=False)
    if signer not in found.out.splitlines():
        raise trust.refusal(trust.EXPIRED, what, f"is signed by {signer}, whose time is over or not yet come")


def _ssh(verb: str, wanted: Trust, signature: Path) -> tuple[str, ...]:
    return "ssh-keygen", "-Y", verb, "-f", str(wanted.signers), "-s", str(signature)


def _of_kind(signature: str, wanted: Trust, what: str) -> None:
    if not signature:
        raise trust.refusal(trust.UNSIGNED, what, "is not signed")
    found = trust.format_of(signature)
    if found != wanted.kind:
        kind = f"with {found}" if found else "in another way"
        raise trust.refusal(
            trust.UNKNOWN, what, f"is signed {kind}, and this host trusts signatures of {wanted.kind} only"
        )


async def _commit_signature(git: Git, commit: str) -> str:
    """The signature in a commit's header; empty where it has none."""
    head = (await _object(git, "commit", commit)).partition("\n\n")[0]
    _, found, rest = f"\n{head}\n".partition("\ngpgsig ")
    lines = rest.split("\n") if found else []
    more = (line[1:] for line in _while_indented(lines[1:]))
    return "\n".join([lines[0], *more, ""]) if lines else ""


def _while_indented(lines: Sequence[str]) -> Sequence[str]:
    end = next((place for place, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return lines[:end]


async def _tag_signature(git: Git, tag: str) -> str:
    """The signature at the end of a tag; empty where it has none."""
    text = await _object(git, "tag", tag)
    places = [
        text.rfind(f"\n{start}") for start in (*trust.ARMOUR.values(), "-----BEGIN SIGNED MESSAGE-----")
    ]
    return text[max(places) + 1 :] if max(places) >= 0 else ""


async def _object(git: Git, kind: str, number: str) -> str:
    try:
        return (await git.run("cat-file", kind, number)).decode("utf-8", "replace")
    except GitFailed as failed:
        raise SourceError(f"{kind} {number[:SHORT_ID]} cannot be read: {failed.words.strip()}") from failed


async def _verified(git: Git, kind: str, number: str) -> tuple[bool, str]:
    """Whether git calls it good, and what it, or the program that it asked, said."""
    try:
        return True, await git.told(f"verify-{kind}", "--raw", number)
    except GitFailed as failed:
        return False, failed.words


def _git(repository: Repository, wanted: Trust, home: Path, revoked: Path | None) -> Git:
    config = (
        ("gpg.program", "gpg"),
        ("gpg.openpgp.program", "gpg"),
        ("gpg.x509.program", "false"),
        ("gpg.ssh.program", "ssh-keygen"),
        ("gpg.ssh.allowedSignersFile", str(wanted.signers)),
        ("gpg.ssh.revocationFile", str(revoked) if revoked else ""),
        ("gpg.minTrustLevel", "undefined"),
    )
    return Git.local(
        _environment(home), repository, config=config, variables={"GNUPGHOME": str(home)}, seconds=SECONDS
    )


def _environment(home: Path) -> Mapping[str, str]:
    ours = child_environment(os.environ)
    kept = {name: ours[name] for name in _KEPT if name in ours}
    return {**kept, "HOME": str(home), "GNUPGHOME": str(home), "LC_ALL": "C", "LANGUAGE": "C"}


@asynccontextmanager
async def _home(wanted: Trust) -> AsyncIterator[Path]:
    """A folder for one check: for gpg a keyring of exactly the keys that count."""
    with tempfile.TemporaryDirectory(prefix="reconcile-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        for option, file in (("allowed", wanted.signers), ("revoked", wanted.revoked)):
            if file is not None and not await asyncio.to_thread(os.access, file, os.R_OK):
                raise SourceError(
                    f"the {option} signers {file} cannot be read", remedy=f"look at --{option}-signers"
                )
        if wanted.kind == "gpg":
            await asyncio.to_thread((home / "gpg.conf").write_text, _GPG_CONF)
            done = await _run(("gpg", "--status-fd=1", "--import", str(wanted.signers.absolute())), home)
            if "IMPORT_OK" not in done.out:
                raise SourceError(
                    f"{wanted.signers} holds no public key of gpg",
                    remedy="write it with `gpg --export --armor WHO`",
                )
        yield home


async def _run(command: Sequence[str], home: Path, data: bytes = b"") -> _Ended:
    """One call of a program with the bare environment.

    Raises:
        SourceError: it is not installed.
        SourceUnreachable: it did not end in time.
    """
    try:
        ended = await run_process(command, environment=_environment(home), seconds=SECONDS, data=data)
    except ProgramMissing as error:
        raise SourceError(f"{command[0]} cannot be run: {error}") from None
    except ProcessError as error:
        raise SourceUnreachable(f"{command[0]} {error}") from None
    return _Ended(ended.status, ended.out.decode("utf-8", "replace"), ended.error.decode("utf-8", "replace"))
