"""The one command class for git: nothing that a repository names is run, nothing of ours reaches a child."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import pytest
from support.commands import run_process
from support.git_repositories import Repository, git, http_server
from support.waiting import wait_until

import reconciler
from reconciler.errors import SourceError
from reconciler.host.subprocesses import run_blocking
from reconciler.sources.folder import FolderSource
from reconciler.sources.git import command
from reconciler.sources.git.command import Git, GitCommandFailed, GitSettings
from reconciler.sources.git.errors import SHA256_REMEDY, DamagedMirror
from reconciler.sources.git.objects import ObjectReader
from reconciler.sources.locate import locate_source

HOSTILE = (
    "core.fsmonitor", "core.sshCommand", "core.gitProxy", "core.askPass", "core.pager", "core.editor",
    "core.alternateRefsCommand", "filter.x.clean", "filter.x.smudge", "filter.x.process", "diff.external",
    "diff.x.textconv", "diff.x.command", "gpg.program",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture
def work(tmp_path):
    return Repository.make(tmp_path / "work", {"fleet.yaml": "one", "edge/a.json": "a"})


@pytest.fixture
def fake(tmp_path):
    """A git that keeps its command line and its environment, then waits if it is told to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = (
        f"#!/bin/sh\nenv > {tmp_path}/environment\nprintf '%s\\n' \"$@\" > {tmp_path}/arguments\n"
        f"test ! -e {tmp_path}/hang && exit\nsleep 60 &\necho $! > {tmp_path}/new\n"
        f"mv {tmp_path}/new {tmp_path}/pid\nwait\n"
    )
    (folder / "git").write_text(script)
    (folder / "git").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)}


def objects_of(repository: Repository) -> ObjectReader:
    return ObjectReader(command.GitDirectory(str(repository.folder / ".git")), os.environ, where="here")


def test_a_configuration_with_fourteen_hostile_keys_runs_nothing(work, tmp_path):
    """It is never read so: this is the second line of defence, behind a git directory of ours."""
    head, second = work.head, work.commit({".gitattributes": "* filter=x diff=x\n", "edge/a.json": "b"})
    (tmp_path / "hooks").mkdir()
    for key in HOSTILE:
        ran = f"sh -c 'touch {tmp_path}/ran-{key}; cat'"
        subprocess.run(["git", "-C", work.folder, "config", key, ran], check=True)
    for name in ("reference-transaction", "post-index-change"):
        hook = work.folder / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-hook\n")
        hook.chmod(0o755)
    objects = objects_of(work)

    tree = {entry.name: entry for entry in objects.tree(objects.commit(second).tree)}
    assert objects.read(tree[b"fleet.yaml"].id, "blob") == b"one"
    assert objects.commit(second).parents == (head,)
    assert objects.ref("refs/heads/main") == second
    assert objects.history(second) == {head, second}
    assert objects.merge_bases(head, second) == [head]
    assert objects.matching(head[:9]) == [head]
    own = Git(settings=GitSettings.local(os.environ, command.GitDirectory(str(work.folder / ".git"))))
    with pytest.raises(GitCommandFailed):
        own.run("verify-commit", second)
    assert not list(tmp_path.glob("ran-*"))
    (work.folder / "fleet.yaml").touch()
    subprocess.run(["git", "-C", work.folder, "status"], check=False, capture_output=True)
    assert list(tmp_path.glob("ran-*")), "the traps work"


def test_commands_that_obey_a_configuration_are_not_run(work):
    own = objects_of(work)._repo.git
    for verb in ("status", "diff", "archive", "add", "checkout", "gc", "submodule"):
        with pytest.raises(ValueError, match=f"git {verb} is not allowed"):
            own._call_process(verb)
    with pytest.raises(ValueError, match="is not allowed"):
        own.execute(["git", "-c", "core.fsmonitor=x", "rev-parse"])
    for option in ("shell", "env", "as_process", "output_stream"):
        with pytest.raises(ValueError, match=f"not supported for git here: {option}"):
            own.execute(["git", "rev-parse"], **{option: True})
    with pytest.raises(AssertionError):
        Git(str(work.folder)).run("rev-parse", "HEAD")


def test_a_child_gets_exactly_the_environment_that_is_written_down(fake, tmp_path, monkeypatch):
    for name in ("RECONCILE_GIT_TOKEN", "AWS_SECRET_ACCESS_KEY", "GIT_OBJECT_DIRECTORY", "LD_PRELOAD_NONE"):
        monkeypatch.setenv(name, "/s3cret")
    environment = {**os.environ, **fake}
    settings = GitSettings.local(environment, command.GitDirectory("/r"))
    settings = settings.extend(("http.extraHeader", "s3cret"))
    Git(settings=settings).cat(["0" * 40], limit=100)

    rows = (tmp_path / "environment").read_text().splitlines()
    seen = dict(row.partition("=")[::2] for row in rows)
    wanted = settings.child_environment()
    assert {
        name: value for name, value in seen.items() if name not in ("PWD", "SHLVL", "_", "OLDPWD")
    } == wanted
    assert not [name for name in seen if name.startswith(("RECONCILE_", "AWS_", "LD_"))]
    assert "GIT_OBJECT_DIRECTORY" not in seen
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[0] == "--git-dir=/r"
    assert arguments[-3:] == ["cat-file", "--batch", "--buffer"]
    assert "safe.bareRepository=explicit" in arguments
    assert "s3cret" not in " ".join(arguments)


def test_the_text_of_an_error_has_no_address_in_it():
    with pytest.raises(GitCommandFailed) as caught:
        Git(settings=GitSettings.remote(os.environ)).run("ls-remote", "https://user:s3cret@127.0.0.1:1/x.git")
    assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.command}"


def test_the_library_is_imported_without_running_git(fake, tmp_path):
    script = (
        "import reconciler.sources.git.objects, os; print(sorted(n for n in os.environ if 'PYTHON_' in n))"
    )
    environment = {**fake, "RECONCILE_GIT_TOKEN": "s3cret", "GIT_PYTHON_TRACE": "full"}
    done = run_process(sys.executable, "-c", script, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['GIT_PYTHON_TRACE']\n", "")
    assert not (tmp_path / "environment").exists()


def test_the_library_is_reached_at_one_place():
    package = Path(reconciler.__file__).parent
    imports = re.compile(rb"^\s*(import|from) (git|gitdb|pygit2|dulwich)\b", re.MULTILINE)
    found = [file for file in package.rglob("*.py") if imports.search(file.read_bytes())]
    assert found == [package / "sources/git/library.py"]


async def test_a_reading_git_is_killed_with_all_that_it_started(fake, tmp_path):
    (tmp_path / "hang").touch()
    git_ = Git(settings=GitSettings.local(fake, command.GitDirectory("/r")))
    reading = asyncio.ensure_future(run_blocking(partial(git_.cat, ["0" * 40], limit=100)))
    await wait_until((tmp_path / "pid").exists)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    helper = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    await wait_until(lambda: not helper.exists() or ") Z " in helper.read_text(), seconds=5)


async def test_a_copy_is_not_thrown_away_because_its_reader_was_stopped(work, tmp_path, monkeypatch):
    """A killed git gives no answer, as a damaged repository gives none."""
    source = locate_source(str(work.folder), ref="main", cache=tmp_path / "cache")
    await source.snapshot()
    cleared = []
    monkeypatch.setattr(
        "reconciler.sources.git.mirror.Mirror.clear", lambda copy: cleared.append(copy.folder)
    )
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    kind = ObjectReader.kind

    def kinds(objects, id_):
        loop.call_soon_threadsafe(begun.set)
        while objects.resolve(id_):
            """Until it is killed."""
        return kind(objects, id_)

    work.commit({"fleet.yaml": "two"})
    monkeypatch.setattr(ObjectReader, "kind", kinds)
    reading = asyncio.ensure_future(source.snapshot())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert cleared == []
    monkeypatch.setattr(ObjectReader, "kind", kind)
    assert (await source.snapshot()).revision.id == work.head


async def test_a_copy_that_takes_objects_from_elsewhere_is_refused(work, tmp_path):
    source = locate_source(str(work.folder), ref="main", cache=tmp_path / "cache")
    await source.snapshot()
    (objects,) = (tmp_path / "cache/git").glob("*/objects")
    other = Repository.make(tmp_path / "other", {"fleet.yaml": "hidden"})
    (objects / "info").mkdir(exist_ok=True)
    (objects / "info/alternates").write_text(f"{other.folder}/.git/objects\n")

    with pytest.raises(SourceError, match="uses objects of another repository") as caught:
        await source.snapshot()
    assert str(objects.parent) in caught.value.remedy
    work.commit({"fleet.yaml": "two"})
    with pytest.raises(SourceError, match="uses objects of another repository"):
        await source.snapshot()


async def test_an_object_that_is_not_what_its_id_says_is_refused(work):
    """`git cat-file` does not compare: another tree could stand under the id of one that somebody signed."""
    (work.folder / "edge/a.json").write_text("forged")
    (work.folder / "other").write_text("x")
    git(work.folder, "add", "--all")
    wanted, forged = git(work.folder, "rev-parse", "HEAD^{tree}"), git(work.folder, "write-tree")
    folder = work.folder / ".git/objects"
    place = folder / wanted[:2] / wanted[2:]
    place.unlink()
    place.write_bytes((folder / forged[:2] / forged[2:]).read_bytes())
    shown = subprocess.run(
        ["git", "-C", work.folder, "cat-file", "tree", wanted], capture_output=True, check=True
    )
    assert b"other" in shown.stdout

    with pytest.raises(DamagedMirror):
        list(objects_of(work).tree(wanted))
    with pytest.raises(SourceError, match="does not have all objects of its commit"):
        await FolderSource(work.folder).snapshot()


def test_an_object_is_read_again_after_one_that_cannot_be(work):
    data = b"blob 1\0x"
    id_ = hashlib.sha1(data).hexdigest()
    place = work.folder / ".git/objects" / id_[:2] / id_[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(b"blob 5\0x"))
    objects = objects_of(work)
    for _ in range(2):
        with pytest.raises(DamagedMirror):
            objects.read(id_, "blob")
    assert objects.commit(work.head).parents == ()
    assert objects.resolve("0" * 40) is None


@pytest.mark.parametrize("parent", ["--all", "HEAD:fleet.yaml", "main", ""])
async def test_a_commit_that_names_no_ids_is_damaged(work, parent):
    tree = git(work.folder, "rev-parse", "HEAD^{tree}")
    who = "a <a@example.com> 0 +0000"
    text = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nOdd\n"
    whole = b"commit %d\0%s" % (len(text), text.encode())
    id_ = hashlib.sha1(whole).hexdigest()
    place = work.folder / ".git/objects" / id_[:2] / id_[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(whole))
    with pytest.raises(DamagedMirror):
        objects_of(work).commit(id_)
    (work.folder / ".git/refs/heads/main").write_text(f"{id_}\n")
    with pytest.raises(SourceError, match="does not have all objects of its commit"):
        await FolderSource(work.folder).snapshot()


@pytest.fixture
def longer(tmp_path):
    """A repository whose object names are those of SHA-256."""
    folder = tmp_path / "longer"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", ".")
    repository = Repository(folder)
    repository.commit({"fleet.yaml": "one"})
    return repository


@pytest.mark.parametrize("how", ["folder", "ref", "file", "packed", "bare", "http"])
async def test_a_repository_with_sha_256_is_refused_in_a_sentence(longer, tmp_path, how):
    options = {"ref": "main"} if how in ("ref", "http") else {}
    text = str(longer.folder)
    if how == "file":
        text = f"file://{text}"
    elif how == "packed":
        git(longer.folder, "pack-refs", "--all")
    elif how in ("bare", "http"):
        text = str(longer.bare(tmp_path / "served/longer.git"))
    with http_server(tmp_path / "served") as server:
        if how == "http":
            text = f"{server.url}/longer.git"
        with pytest.raises(SourceError, match="objects are named by SHA-256") as caught:
            await locate_source(text, cache=tmp_path / "cache", **options).snapshot()
    assert caught.value.remedy == SHA256_REMEDY
