"""Repositories made to run programs or to hide what is read: nothing runs, the visible files are read."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.git_repositories import Repository, git
from support.watch_process import Stage

from reconciler.cli.main import main
from reconciler.errors import SourceError, UsageError
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.discovery import find_work_tree

HOOKS = ("reference-transaction", "post-checkout", "post-index-change", "pre-auto-gc", "fsmonitor-watchman")


pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture
def work(tmp_path):
    return Repository.make(tmp_path / "work", {"fleet/fleet.yaml": "one", "fleet/a.json": "a"})


class Trap:
    """Commands that leave a file behind when something runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def command(self, name: str) -> str:
        return f"sh -c 'touch {self.folder}/{name}; cat'"

    @property
    def sprung(self) -> list[str]:
        return sorted(place.name for place in self.folder.iterdir())

    def settings(self) -> dict[str, str]:
        """Every key of git's configuration known to name a program, or a file with more such keys."""
        named = {
            **{f"filter.x.{verb}": verb for verb in ("clean", "smudge", "process")},
            **dict.fromkeys(("diff.external", "diff.x.command", "diff.x.textconv", "merge.x.driver"), "diff"),
            **dict.fromkeys(("core.pager", "pager.log", "core.editor", "sequence.editor"), "terminal"),
            **dict.fromkeys(("gpg.program", "gpg.ssh.program", "gpg.x509.program"), "gpg"),
            **dict.fromkeys(("core.fsmonitor", "core.alternateRefsCommand", "core.gitProxy"), "core"),
            **dict.fromkeys(("core.sshCommand", "core.askPass"), "access"),
            **dict.fromkeys(("remote.origin.uploadpack", "uploadpack.packObjectsHook"), "upload"),
            "tar.tar.command": "tar",
        }
        found = {key: self.command(f"{what}-{key}") for key, what in named.items()}
        found |= {f"alias.{verb}": f"!{self.command(verb)}" for verb in ("status", "log", "fetch", "x")}
        return found | {
            "credential.helper": f"!{self.command('helper')}",
            "filter.x.required": "true",
            "protocol.ext.allow": "always",
            "protocol.file.allow": "always",
            f"url.ext::{self.command('insteadOf')} .insteadOf": "/",
            "submodule.recurse": "true",
            "extensions.worktreeConfig": "true",
            "core.worktree": str(self.folder),
        }

    def plant(self, repository: Repository) -> None:
        """Everything at once, into the configuration, hooks and attributes of a repository."""
        directory = repository.folder / ".git"
        hooks = self.folder.parent / "hooks"
        hooks.mkdir()
        for name in HOOKS:
            for place in (hooks / name, directory / "hooks" / name):
                place.parent.mkdir(exist_ok=True)
                place.write_text(f"#!/bin/sh\ntouch {self.folder}/hook-{name}\n")
                place.chmod(0o755)
        (directory / "info").mkdir(exist_ok=True)
        (directory / "info/attributes").write_text("* filter=x diff=x merge=x text=auto\n")
        config, more = directory / "config", self.folder.parent / "more.config"
        for key, value in self.settings().items():
            subprocess.run(["git", "config", "--file", str(more), key, value], check=True)
        shutil.copy(more, directory / "config.worktree")
        with config.open("a") as opened:
            opened.write(f"[include]\n\tpath = {more}\n[core]\n\thooksPath = {hooks}\n" + more.read_text())


async def test_no_command_runs_anything_that_a_repository_names(tmp_path, capsys):
    stage = Stage(tmp_path)
    repository = stage.repository
    repository.commit(
        {".gitattributes": "* filter=x diff=x merge=x\n", ".gitignore": "*.key\n", "x.key": "k"}
    )
    trap = Trap(tmp_path / "ran")
    trap.plant(repository)
    os.utime(repository.folder / "fleet.yaml", ns=(1, 1))  # git would hash it, through the filter
    folder, state = str(repository.folder), ("--state", str(stage.state))
    head = (repository.folder / ".git/refs/heads/main").read_text().strip()  # git would obey what was planted
    async with stage.nodes():
        for words, *command in (
            ("6 nodes", "validate", folder),
            ("6 nodes", "validate", "--ref", "main", folder),
            ("live-1", "status", *state, folder),
            ("as desired", "--dry-run", *state, folder),
            ("as desired", "--dry-run", *state, f"file://{folder}"),
            ("", "import", "--dry-run", folder),
        ):
            assert await asyncio.to_thread(main, command) == 0, command
            output = capsys.readouterr()
            assert words in output.out + output.err, (command, output)
        assert await asyncio.to_thread(main, ["render", folder]) == 1
        assert "no node of this fleet gets a settings file" in capsys.readouterr().err
        back = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", "rollback", *state, "--yes", head, folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = (await back.communicate())[0].decode()
        assert back.returncode == 0, output
        assert "as desired" in output
        for source in (folder, f"file://{folder}"):
            async with stage.watch("--interval", "1h", "--poll", "0.2s", source=source) as watch:
                await watch.said("pass ended", cluster="live", result="converged")
    assert trap.sprung == []
    command = ["git", f"--git-dir={folder}/.git", f"--work-tree={folder}", "status"]
    subprocess.run(command, check=False, capture_output=True)
    assert trap.sprung, "the traps work"


def plant_innards(folder: Path, hidden: str) -> None:
    """A bare repository spread over a tree, whose objects hold another fleet than the visible files."""
    inner = Repository.make(folder.parent / "inner", {"fleet.yaml": hidden})
    directory = inner.folder / ".git"
    (folder / "x").mkdir()
    for part in ("objects", "refs"):
        shutil.copytree(directory / part, folder / "x" / part)
    shutil.copy(directory / "HEAD", folder / "x/HEAD")
    shutil.copy(directory / "HEAD", folder / "fleet/HEAD")
    (folder / "fleet/commondir").write_text("../x")
    ran = f"touch {folder.parent}/RAN; cat"
    (folder / "x/config").write_text(
        "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n"
        f'[filter "x"]\n\tclean = "{ran}"\n\trequired = true\n[core]\n\tfsmonitor = "{ran}"\n'
    )
    (folder / "x/info").mkdir()
    (folder / "x/info/attributes").write_text("* filter=x\n")
    (folder / "fleet/config.worktree").write_text("[core]\n\tbare = false\n\tworktree = .\n")
    for part in ("objects", "refs", "HEAD"):  # whole innards beside the files, too
        if part != "HEAD":
            shutil.copytree(folder / "x" / part, folder / "fleet" / part)


@pytest.mark.parametrize("committed", [True, False], ids=["in a work tree", "unpacked from an archive"])
async def test_innards_in_a_tree_are_files_like_others(tmp_path, work, at, committed):
    plant_innards(work.folder, "hidden")
    folder = work.folder / "fleet"
    if committed:
        work.commit({}, "A pull request")
    else:
        shutil.rmtree(work.folder / ".git")
    (folder / "fleet.yaml").touch()

    taken = await at(folder).snapshot()

    assert taken.files.read("fleet.yaml") == b"one"
    assert taken.revision.id == work.head if committed else len(taken.revision.id) == 64
    if committed:
        assert (await at(folder, ref="HEAD").snapshot()).files.read("fleet.yaml") == b"one"
    with pytest.raises(UsageError, match="is a bare repository"):
        at(work.folder / "x")
    assert not (tmp_path / "RAN").exists()


async def test_a_nested_repository_that_a_tree_cannot_have_is_not_looked_for_downwards(work):
    """Names that some file systems take for `.git` are names of files here."""
    work.write({".GIT/config": "x", "git~1/HEAD": "x", ".git ./HEAD": "x"})
    git(
        work.folder,
        "-c",
        "core.protectNTFS=false",
        "-c",
        "core.protectHFS=false",
        "add",
        "--all",
        "git~1",
        ".git .",
    )
    git(work.folder, "commit", "--quiet", "-m", "Odd names")
    taken = await FolderSource(work.folder).snapshot()
    assert taken.revision.id.startswith(work.head)
    assert {".GIT/config", "git~1/HEAD", ".git ./HEAD"} <= set(taken.files.names())


def link(place: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    place.rename(target)
    place.symlink_to(target)


@pytest.mark.parametrize("part", [".git", ".git/HEAD", ".git/objects", ".git/refs", ".git/objects/pack"])
async def test_links_in_the_repository_are_refused(work, tmp_path, part):
    link(work.folder / part, tmp_path / "elsewhere/x")
    with pytest.raises(SourceError, match=r"cannot be used: .*(is a symbolic link|cannot be read)"):
        await FolderSource(work.folder / "fleet").snapshot()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gitdir: inner", "names a folder inside the work tree"),
        ("gitdir: {tmp}/other/.git", "does not name this work tree"),
        ("gitdir: {tmp}/other/.git/worktrees/linked", "is the git directory of another work tree"),
        ("gitdir: {tmp}/nothing", "does not name a git directory"),
        ("nonsense", "does not name a git directory"),
        ("x" * 100_000, "is larger than"),
    ],
)
async def test_a_file_that_names_another_git_directory_is_refused(tmp_path, work, text, words):
    other = Repository.make(tmp_path / "other", {"fleet/fleet.yaml": "hidden"})
    git(other.folder, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    shutil.move(work.folder / ".git", work.folder / "inner")
    (work.folder / "inner/config").write_text("[core]\n\tworktree = ..\n")
    (work.folder / ".git").write_text(text.format(tmp=tmp_path))
    with pytest.raises(SourceError, match=words):
        await FolderSource(work.folder / "fleet").snapshot()


async def test_linked_work_trees_and_submodules_are_real(tmp_path, work):
    git(work.folder, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    linked = Repository(tmp_path / "linked")
    side = linked.commit({"fleet/a.json": "b"}, "On the side")
    assert (await FolderSource(linked.folder / "fleet").snapshot()).revision.id == side
    assert (await FolderSource(work.folder / "fleet").snapshot()).revision.id == work.head

    outer = Repository.make(tmp_path / "outer", {"own": "x"})
    add = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(work.folder), "sub")
    git(outer.folder, *add)
    outer.commit({}, "With a submodule")
    assert (await FolderSource(outer.folder / "sub/fleet").snapshot()).revision.id == work.head
    whole = await FolderSource(outer.folder).snapshot()
    assert whole.revision.id.startswith(f"{outer.head}+"), "the commit does not have the submodule's files"
    assert whole.files.read("sub/fleet/a.json") == b"a"

    (tmp_path / "linked").rename(tmp_path / "moved")
    with pytest.raises(SourceError, match="is the git directory of another work tree") as caught:
        await FolderSource(tmp_path / "moved").snapshot()
    assert "git worktree repair" in caught.value.remedy


async def test_packed_refs_and_detached_heads_are_read(work):
    git(work.folder, "pack-refs", "--all")
    assert not (work.folder / ".git/refs/heads/main").exists()
    assert (await FolderSource(work.folder).snapshot()).revision.id == work.head
    git(work.folder, "checkout", "--quiet", "--detach")
    assert (await FolderSource(work.folder).snapshot()).revision.id == work.head


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("ref: ../../etc/passwd\n", "is not a ref"),
        ("ref: refs/../config\n", "is not a ref"),
        ("ref: refs/heads/out\n", "a link that points outside"),
        ("ref: refs/heads/loop\n", "form a loop"),
        ("0" * 64 + "\n", "SHA-256"),
        ("-x\n", "does not point to a commit"),
    ],
)
async def test_heads_that_lead_astray_are_refused(work, tmp_path, head, words):
    (tmp_path / "out").write_text("0" * 40)
    (work.folder / ".git/refs/heads/out").symlink_to(tmp_path / "out")
    (work.folder / ".git/refs/heads/loop").write_text("ref: refs/heads/loop\n")
    (work.folder / ".git/HEAD").write_text(head)
    with pytest.raises(SourceError, match=words):
        await FolderSource(work.folder).snapshot()


@pytest.mark.parametrize("how", ["folder", "ref", "bare"])
async def test_objects_from_elsewhere_are_refused(work, tmp_path, at, how):
    Repository.make(tmp_path / "origin", {"fleet.yaml": "x"})
    git(tmp_path, "clone", "--quiet", "--shared", "origin", "borrowing")
    git(tmp_path, "clone", "--quiet", "--shared", "--bare", "origin", "bare.git")
    name, options = {
        "folder": ("borrowing", {}),
        "ref": ("borrowing", {"ref": "HEAD"}),
        "bare": ("bare.git", {}),
    }[how]
    with pytest.raises(SourceError, match="uses objects of another repository") as caught:
        await at(tmp_path / name, **options).snapshot()
    assert "repack" in caught.value.remedy


async def test_replacements_grafts_and_parent_caches_do_not_count(work):
    first = work.head
    second = work.commit({"fleet/a.json": "b"}, "Second")
    other = work.commit({"fleet/a.json": "c"}, "Hidden")
    git(work.folder, "reset", "--quiet", "--hard", second)
    git(work.folder, "replace", second, other)
    (work.folder / ".git/info/grafts").write_text(f"{second}\n")
    (work.folder / ".git/objects/info/commit-graph").write_bytes(b"CGPH\1\1\0\0garbage")

    source = FolderSource(work.folder)
    taken = await source.snapshot()

    assert (taken.revision.id, taken.revision.title) == (second, "Second")
    assert await source.ancestors(second) == {first, second}


async def test_nothing_is_fetched_for_a_partial_clone(work, tmp_path, at):
    git(work.folder, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{work.folder}", str(partial))
    git(
        tmp_path,
        "clone",
        "--quiet",
        "--filter=tree:0",
        "--no-checkout",
        f"file://{work.folder}",
        str(tmp_path / "bald"),
    )
    shutil.move(work.folder, tmp_path / "gone")
    (partial / "fleet/a.json").write_text("changed")

    taken = await FolderSource(partial).snapshot()

    assert "+" in taken.revision.id
    with pytest.raises(SourceError, match="does not have all objects of its commit"):
        await FolderSource(tmp_path / "bald").snapshot()


async def test_objects_named_by_the_environment_do_not_count(work, tmp_path, monkeypatch):
    other = Repository.make(tmp_path / "other", {"hidden": "x"})
    objects = str(other.folder / ".git/objects")
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", objects)
    (work.folder / ".git/HEAD").write_text(other.head + "\n")
    with pytest.raises(SourceError, match="does not have all objects of its commit"):
        await FolderSource(work.folder).snapshot()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_somebody_else_above_the_folder_is_refused(work, tmp_path):
    os.chown(work.folder / ".git", 65534, 65534)
    with pytest.raises(SourceError, match="the user 65534 owns"):
        await FolderSource(work.folder / "fleet").snapshot()
    os.chown(work.folder / "fleet", 65534, 65534)  # who named the folder trusts its owner
    assert (await FolderSource(work.folder / "fleet").snapshot()).revision.id


async def test_refs_that_look_like_options_are_names(work, at, tmp_path):
    first = work.head
    names = ("heads/--upload-pack=touch", "tags/-x", "heads/$(touch${IFS}x);|&'")
    for name in names:
        file = work.folder / ".git/refs" / name
        file.write_text(f"{first}\n")
    work.commit({"fleet/a.json": "b"})
    for name in names:
        assert (await at(work.folder, ref=name).snapshot()).revision.id == first


async def test_what_differs_is_found_by_contents_alone(work):
    source = FolderSource(work.folder)
    work.commit({".gitattributes": "* text eol=crlf\n", "line": "1\n"})
    assert (await source.snapshot()).revision.id == work.head
    (work.folder / "line").write_bytes(b"1\r\n")  # git takes it for unchanged
    assert "+" in (await source.snapshot()).revision.id
    (work.folder / "line").write_bytes(b"1\n")
    (work.folder / "line").chmod(0o755)
    assert (await source.snapshot()).revision.id == work.head
    (work.folder / "line").unlink()
    (work.folder / "line").symlink_to("1\n")  # the same blob, as a link
    assert "+" in (await source.snapshot()).revision.id


async def test_what_is_committed_although_it_is_ignored_is_read(work):
    work.commit({".gitignore": "build/\n*.key\n"})
    work.write({"build/kept": "1", "build/other": "2", "fleet/x.key": "3"})
    git(work.folder, "add", "--force", "build/kept")
    git(work.folder, "commit", "--quiet", "-m", "Kept")
    taken = await FolderSource(work.folder).snapshot()
    assert taken.revision.id == work.head
    assert "build/kept" in taken.files.names()
    for name in ("build/other", "fleet/x.key"):
        with pytest.raises(SourceError, match="git ignores it"):
            taken.files.read(name)
    assert (await FolderSource(work.folder / "build").snapshot()).files.names() == ("kept",)


async def test_the_users_own_file_of_what_to_ignore_counts(work, tmp_path, monkeypatch):
    (tmp_path / "gitconfig").write_text(f"[core]\n\texcludesFile = {tmp_path}/mine\n")
    (tmp_path / "mine").write_text("*.local\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (work.folder / ".git/info/exclude").write_text("*.other\n")
    work.write({"fleet/x.local": "1", "fleet/x.other": "2"})
    taken = await FolderSource(work.folder).snapshot()
    assert taken.revision.id == work.head


def test_what_lies_in_no_work_tree(tmp_path):
    assert find_work_tree(tmp_path) is None
    (tmp_path / ".git").mkdir()  # an empty folder is no repository
    assert find_work_tree(tmp_path) is None
    Repository.make(tmp_path / "r")
    found = find_work_tree(tmp_path / "r")
    assert found is not None
    assert found.head() is None


@pytest.mark.parametrize(
    "part", ["objects/pack/pack-1.idx", "objects/info/alternates", "{commit}", "HEAD", "packed-refs"]
)
async def test_a_pipe_among_the_objects_is_not_waited_for(work, part):
    """The library would hold the whole process."""
    commit = f"objects/{work.head[:2]}/{work.head[2:]}"
    place = work.folder / ".git" / part.format(commit=commit)
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    if part == "packed-refs":  # only where the ref is not a file of its own
        (work.folder / ".git/refs/heads/main").unlink()
        assert await asyncio.wait_for(FolderSource(work.folder).snapshot(), 10)
        return
    with pytest.raises(SourceError, match="cannot be used"):
        await asyncio.wait_for(FolderSource(work.folder).snapshot(), 10)


async def test_a_repository_is_served_without_its_own_configuration(work, at, tmp_path):
    """Otherwise a pipe as an included file holds git up, and hidden refs are not there."""
    os.mkfifo(tmp_path / "pipe")
    git(work.folder, "tag", "v1")
    with (work.folder / ".git/config").open("a") as config:
        config.write(f"[uploadpack]\n\thideRefs = refs/tags\n[include]\n\tpath = {tmp_path}/pipe\n")
    head = (work.folder / ".git/refs/heads/main").read_text().strip()
    for ref in ("HEAD", "v1", "main"):
        source = at(work.folder / "fleet", ref=ref)
        assert (await asyncio.wait_for(source.snapshot(), 20)).revision.id == head


async def test_a_shallow_clone_and_a_linked_work_tree_are_served(work, at, tmp_path):
    work.commit({"fleet/a.json": "b"}, "Second")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{work.folder}", "shallow")
    assert (await at(tmp_path / "shallow", ref="origin/main").snapshot()).revision.id == work.head
    assert (await at(tmp_path / "shallow", ref="HEAD").snapshot()).revision.title == "Second"

    git(work.folder, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    side = Repository(tmp_path / "linked").commit({"fleet/a.json": "c"}, "On the side")
    assert (await at(tmp_path / "linked", ref="HEAD").snapshot()).revision.id == side
    assert (await at(tmp_path / "linked", ref="main").snapshot()).revision.id == work.head


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_root_reads_a_repository_of_the_owner_of_the_named_folder(work, at, tmp_path):
    head = work.head
    for place in (work.folder, *work.folder.rglob("*")):
        os.chown(place, 65534, 65534, follow_symlinks=False)
    assert (await at(work.folder / "fleet").snapshot()).revision.id == head
    assert (await at(work.folder / "fleet", ref="HEAD").snapshot()).revision.id == head
    assert (await at(f"file://{work.folder}").snapshot()).revision.id == head
