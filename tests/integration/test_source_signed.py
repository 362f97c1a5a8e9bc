"""Signatures of commits, tags and tarballs, made and checked by the real git, ssh-keygen and gpg."""

import functools
import http.server
import tarfile
from pathlib import Path

import pytest
from support.git_repositories import Repository, git, serving
from support.signing import GPG_MISSING, SSH_MISSING, GpgPerson, SshPerson, done, signed_commit, signed_tag

from reconciler.errors import SourceError, UntrustedRevision
from reconciler.sources.locate import locate_source
from reconciler.sources.signatures.trust import Trust

FILES = {"fleet.yaml": "clusters: []\n"}


pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    if SSH_MISSING:
        pytest.skip(SSH_MISSING)
    folder = tmp_path_factory.mktemp("people")
    return {name: SshPerson.make(folder, name) for name in ("ada", "bob", "old", "lost")}


@pytest.fixture
def trust(people, tmp_path):
    """Ada may sign, Old no longer, Lost's key is revoked; nobody knows Bob."""
    allowed, revoked = tmp_path / "allowed", tmp_path / "revoked"
    old = people["old"].line('valid-before="20200101"')
    allowed.write_text(people["ada"].line() + old + people["lost"].line())
    revoked.write_text(people["lost"].key.with_suffix(".pub").read_text())
    return Trust("ssh", allowed, revoked)


@pytest.fixture
def work(tmp_path):
    return Repository.make(tmp_path / "work")


async def look(source, tmp_path, trust, **more):
    found = await locate_source(str(source), cache=tmp_path / "cache", trust=trust, **more).snapshot()
    return found.revision


async def refused(source, tmp_path, trust, **more) -> str:
    with pytest.raises(UntrustedRevision) as caught:
        await look(source, tmp_path, trust, **more)
    assert caught.value.exit_status == 3
    return caught.value.message.rpartition("[")[2].rstrip("]")


def of(work: Repository) -> Path:
    return work.folder / ".git"


async def test_a_commit_by_an_allowed_signer_is_taken_and_its_signer_known(work, people, trust, tmp_path):
    commit = signed_commit(work, people["ada"], FILES)
    for source in (of(work), work.folder):
        found = await look(source, tmp_path, trust)
        assert (found.id, found.signed) == (commit, "ssh")
        assert found.signer.startswith("ada@example.org (ssh SHA256:")
    assert (await look(of(work), tmp_path, None)).signer == ""


async def test_every_other_signer_is_refused_with_a_code_of_its_own(work, people, trust, tmp_path):
    for who, code in (("bob", "unknown-signer"), ("old", "expired-key"), ("lost", "revoked-key")):
        signed_commit(work, people[who], FILES)
        assert await refused(of(work), tmp_path, trust) == code
        assert await refused(work.folder, tmp_path, trust) == code


async def test_a_key_that_has_expired_gains_nothing_by_an_old_date(
    work, people, trust, tmp_path, monkeypatch
):
    work.write(FILES)
    date = {"GIT_COMMITTER_DATE": "2019-01-01T00:00:00Z", "GIT_AUTHOR_DATE": "2019-01-01T00:00:00Z"}
    folder = str(work.folder)
    done("git", "-C", folder, "add", "--all")
    done("git", "-C", folder, *people["old"].settings, "commit", "-q", "-S", "-m", "Backdated", **date)
    assert await refused(of(work), tmp_path, trust) == "expired-key"
    name, _, rest = people["old"].line('namespaces="file"').partition(" ")
    trust.signers.write_text(trust.signers.read_text() + f"another-{name} {rest}")
    assert await refused(of(work), tmp_path, trust) == "expired-key"


async def test_an_unsigned_commit_and_a_changed_one_are_refused(work, people, trust, tmp_path):
    work.commit(FILES, "Nobody signed this")
    assert await refused(of(work), tmp_path, trust) == "unsigned"
    signed_commit(work, people["ada"], {}, "Harmless")
    text = git(work.folder, "cat-file", "commit", "HEAD").replace("Harmless", "Harmful!") + "\n"
    (tmp_path / "forged").write_text(text)
    forged = git(work.folder, "hash-object", "-t", "commit", "-w", str(tmp_path / "forged"))
    git(work.folder, "update-ref", "refs/heads/main", forged)
    assert await refused(of(work), tmp_path, trust) == "bad-signature"


async def test_a_signed_tag_vouches_for_its_commit_and_a_bad_one_spoils_it(work, people, trust, tmp_path):
    work.commit(FILES, "Nobody signed this")
    signed_tag(work, people["ada"], "v1")
    signed_tag(work, people["bob"], "v2")
    git(work.folder, "tag", "-a", "-m", "not signed", "v3")
    assert (await look(of(work), tmp_path, trust, ref="v1")).signer.startswith("ada@example.org")
    assert await refused(of(work), tmp_path, trust, ref="v2") == "unknown-signer"
    assert await refused(of(work), tmp_path, trust, ref="v3") == "unsigned"
    assert await refused(of(work), tmp_path, trust, ref="main") == "unsigned"


async def test_nothing_in_the_repository_or_around_git_weakens_it(work, people, trust, tmp_path, monkeypatch):
    signed_commit(work, people["bob"], FILES)
    yes = tmp_path / "yes"
    said = 'Good "git" signature for ada@example.org with ED25519 key SHA256:x'
    yes.write_text(f"#!/bin/sh\necho '{said}'\necho '{said}' >&2\nexit 0\n")
    yes.chmod(0o755)
    everybody = tmp_path / "everybody"
    everybody.write_text(people["bob"].line())
    settings = {"gpg.ssh.program": yes, "gpg.program": yes, "gpg.ssh.allowedSignersFile": everybody}
    for key, value in settings.items():
        git(work.folder, "config", key, str(value))
    (tmp_path / "gitconfig").write_text(f'[gpg "ssh"]\nprogram = {yes}\nallowedSignersFile = {everybody}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'gpg.ssh.program'='{yes}'")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "gpg.ssh.program")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(yes))
    assert await refused(of(work), tmp_path, trust) == "unknown-signer"
    assert await refused(work.folder, tmp_path, trust) == "unknown-signer"


async def test_a_replacement_of_an_object_does_not_count(work, people, trust, tmp_path):
    work.commit(FILES, "Nobody signed this")
    unsigned = work.head
    signed = signed_commit(work, people["ada"], {})
    git(work.folder, "reset", "-q", "--hard", unsigned)
    git(work.folder, "replace", unsigned, signed)
    assert await refused(work.folder, tmp_path, trust) == "unsigned"


async def test_a_folder_counts_only_with_the_files_of_its_signed_commit(work, people, trust, tmp_path):
    signed_commit(work, people["ada"], {**FILES, "s.json": "{}"})
    work.write({"s.json": "{ }"})
    assert await refused(work.folder, tmp_path, trust) == "unsigned"
    git(work.folder, "update-index", "--assume-unchanged", "s.json")
    assert git(work.folder, "status", "--porcelain") == ""
    assert await refused(work.folder, tmp_path, trust) == "unsigned"
    git(work.folder, "update-index", "--no-assume-unchanged", "s.json")
    work.write({"s.json": "{}"})
    assert (await look(work.folder, tmp_path, trust)).signed == "ssh"
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/fleet.yaml").write_text("clusters: []\n")
    assert await refused(tmp_path / "plain", tmp_path, trust) == "unsigned"


async def test_a_refusal_holds_until_the_signers_change(work, people, trust, tmp_path, monkeypatch):
    signed_commit(work, people["bob"], FILES)
    source = locate_source(str(of(work)), cache=tmp_path / "cache", trust=trust)
    with pytest.raises(UntrustedRevision) as first:
        await source.snapshot()
    with pytest.raises(UntrustedRevision) as second:
        await source.snapshot()
    assert first.value is second.value
    trust.signers.write_text(people["bob"].line())
    assert (await source.snapshot()).revision.signer.startswith("bob@example.org")


def packed(folder: Path, text: str = "clusters: []\n") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "fleet.yaml").write_text(text)
    with tarfile.open(folder / "fleet.tgz", "w:gz") as archive:
        archive.add(folder / "fleet.yaml", "fleet.yaml")
    return folder / "fleet.tgz"


async def test_a_tarball_needs_its_signature_beside_it(people, trust, tmp_path):
    file = packed(tmp_path / "served")
    assert await refused(file, tmp_path, trust) == "unsigned"
    for who, code in (("bob", "unknown-signer"), ("old", "expired-key"), ("lost", "revoked-key")):
        people[who].sign_file(file)
        assert await refused(file, tmp_path, trust) == code
    people["ada"].sign_file(file, namespace="git")
    assert await refused(file, tmp_path, trust) == "bad-signature"
    people["ada"].sign_file(file)
    assert (await look(file, tmp_path, trust)).signer.startswith("ada@example.org (ssh SHA256:")
    packed(tmp_path / "served", "clusters: [1]\n")
    assert await refused(file, tmp_path, trust) == "bad-signature"


async def test_a_tarball_behind_a_url_needs_it_too(people, trust, tmp_path):
    file = packed(tmp_path / "served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    with serving(functools.partial(Quiet, directory=str(file.parent))) as url:
        assert await refused(f"{url}/fleet.tgz", tmp_path, trust) == "unsigned"
        people["ada"].sign_file(file)
        assert (await look(f"{url}/fleet.tgz", tmp_path, trust)).signed == "ssh"
        people["bob"].sign_file(file)
        assert await refused(f"{url}/fleet.tgz", tmp_path, trust) == "unknown-signer"


@pytest.fixture
def gpg_people(tmp_path_factory):
    if GPG_MISSING:
        pytest.skip(GPG_MISSING)
    folder = tmp_path_factory.mktemp("g")
    made = {name: GpgPerson.make(folder, name) for name in ("ada", "bob")}
    yield made
    for person in made.values():
        person.close()


async def test_gpg_is_checked_against_the_exported_keys_alone(
    work, gpg_people, people, tmp_path, monkeypatch
):
    ada, bob = gpg_people["ada"], gpg_people["bob"]
    monkeypatch.setenv("GNUPGHOME", str(bob.home))
    keys = tmp_path / "keys.asc"
    keys.write_text(ada.public())
    trust = Trust("gpg", keys)
    signed_commit(work, ada, FILES)
    found = await look(of(work), tmp_path, trust)
    assert (found.signed, found.signer.partition(" (gpg ")[0]) == ("gpg", "ada <ada@example.org>")
    signed_tag(work, ada, "v1")
    assert (await look(of(work), tmp_path, trust, ref="v1")).signed == "gpg"
    file = packed(tmp_path / "served")
    ada.sign_file(file)
    assert (await look(file, tmp_path, trust)).signed == "gpg"
    packed(tmp_path / "served", "clusters: [1]\n")
    assert await refused(file, tmp_path, trust) == "bad-signature"

    signed_commit(work, bob)
    assert await refused(of(work), tmp_path, trust) == "unknown-signer"
    signed_commit(work, people["ada"])
    assert await refused(of(work), tmp_path, trust) == "unknown-signer"


async def test_a_gpg_key_that_was_revoked_or_has_expired_counts_no_longer(work, gpg_people, tmp_path):
    ada, bob = gpg_people["ada"], gpg_people["bob"]
    keys = tmp_path / "keys.asc"
    signed_commit(work, ada, FILES)
    ada.revoke()
    keys.write_text(ada.public())
    assert await refused(of(work), tmp_path, Trust("gpg", keys)) == "revoked-key"
    now = "20200101T000000"
    old = GpgPerson(bob.home, "old")
    old.gpg(
        "--faked-system-time", now, "--passphrase", "", "--quick-generate-key",
        "old <old@example.org>", "ed25519", "sign", "1y",
    )  # fmt: skip
    file = packed(tmp_path / "served")
    old.gpg("--faked-system-time", now, "-u", "old@example.org", "--armor", "--detach-sign", str(file))
    keys.write_text(old.gpg("--export", "--armor", "old@example.org"))
    assert await refused(file, tmp_path, Trust("gpg", keys)) == "expired-key"


async def test_signers_that_are_none_are_no_reason_to_believe_anybody(work, people, gpg_people, tmp_path):
    signed_commit(work, people["ada"], FILES)
    empty = tmp_path / "empty"
    empty.write_text("")
    assert await refused(of(work), tmp_path, Trust("ssh", empty)) == "unknown-signer"
    with pytest.raises(SourceError, match="cannot be read"):
        await look(of(work), tmp_path, Trust("ssh", tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="contains no gpg public key"):
        await look(of(work), tmp_path, Trust("gpg", empty))
