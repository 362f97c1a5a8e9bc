"""Git sources over paths: refs, folders, links, the cache and two processes that share it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from functools import partial

import pytest
from support.git_repositories import Repository, git
from support.waiting import wait_until
from support.watch_process import is_alive

from reconciler.desired.fleet import read_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import SourceError, SourceUnreachable
from reconciler.host.locks import hold_folder_lock
from reconciler.host.subprocesses import run_blocking
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.git.command import Git, GitCommandFailed, GitSettings
from reconciler.sources.git.command import GitDirectory as Repository_
from reconciler.sources.git.source import GitSource
from reconciler.sources.locate import locate_source
from reconciler.sources.source_address import SourceAddress

pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture
def work(tmp_path):
    return Repository.make(
        tmp_path / "work", {"fleet.yaml": "clusters: []\n", "edge/setting.json": "{}", "edge/a/b.txt": "b"}
    )


async def test_bare_repository_at_default_branch(work, at, tmp_path):
    taken = await at(work.bare(tmp_path / "r.git")).snapshot()

    assert taken.revision.id == work.head
    assert taken.revision.short == work.head[:12]
    assert taken.revision.title == "First commit"
    assert taken.revision.source == str(tmp_path / "r.git")
    assert taken.files.names() == ("edge/a/b.txt", "edge/setting.json", "fleet.yaml")
    assert taken.files.read("fleet.yaml") == b"clusters: []\n"
    with pytest.raises(FileNotFoundError):
        taken.files.read("fleet.yml")
    with pytest.raises(FileNotFoundError):
        taken.files.read("edge")


async def test_same_object_follows_the_branch_and_stays_the_same_while_nothing_changes(work, at, tmp_path):
    source = at(f"file://{work.bare(tmp_path / 'r.git')}")
    first = await source.snapshot()
    assert await source.snapshot() is first

    new = work.commit({"edge/setting.json": '{"a": 1}'}, "Second\n\nwith a body")
    git(work.folder, "push", "--quiet", str(tmp_path / "r.git"), "main")
    second = await source.snapshot()

    assert (second.revision.id, second.revision.title) == (new, "Second")
    assert second.files.read("edge/setting.json") == b'{"a": 1}'
    assert first.files.read("edge/setting.json") == b"{}", "an older snapshot stays readable"


async def test_rewritten_branch_is_followed(work, at):
    source = at(work.folder, ref="main")
    await source.snapshot()
    git(work.folder, "commit", "--quiet", "--amend", "-m", "Rewritten")

    assert (await source.snapshot()).revision.title == "Rewritten"


async def test_branch_replaced_by_a_folder_of_branches(work, at):
    git(work.folder, "branch", "fix")
    assert (await at(work.folder, ref="fix").snapshot()).revision.id == work.head
    git(work.folder, "branch", "-D", "fix")
    git(work.folder, "branch", "fix/one")

    assert (await at(work.folder, ref="fix/one").snapshot()).revision.id == work.head


@pytest.mark.parametrize(
    "ref", ["old", "v1", "v2", "refs/tags/v1", "tags/v2", "heads/old", "{full}", "{abbreviated}", "{upper}"]
)
async def test_ref_by_any_of_its_names(work, at, ref):
    first = work.head
    git(work.folder, "branch", "old")
    git(work.folder, "tag", "v1")
    git(work.folder, "tag", "-a", "-m", "annotated", "v2")
    work.commit({"new": "new"})
    ref = ref.format(full=first, abbreviated=first[:9], upper=first.upper())

    taken = await at(work.folder, ref=ref).snapshot()

    assert taken.revision.id == first
    assert "new" not in taken.files.names()


async def test_commit_that_no_branch_has_any_more(work, at):
    gone = work.commit({"x": "x"}, "Gone")
    git(work.folder, "reset", "--quiet", "--hard", "HEAD~1")

    assert (await at(work.folder, ref=gone).snapshot()).revision.title == "Gone"


async def test_pinned_commit_needs_no_repository_once_it_is_here(work, at):
    bare = work.bare(work.folder.parent / "r.git")
    await at(bare, ref=work.head).snapshot()
    shutil.rmtree(bare)
    bare.mkdir()

    assert (await at(bare, ref=work.head).snapshot()).files.read("fleet.yaml") == b"clusters: []\n"


async def test_newest_commit_comes_without_its_history(work, at, tmp_path):
    for number in range(3):
        work.commit({"n": str(number)})
    await at(work.folder, ref="main").snapshot()
    (copy,) = (tmp_path / "cache" / "git").glob("*[!k]/HEAD")

    assert git(copy.parent, "rev-list", "--all", "--count") == "1"


async def test_abbreviated_id_of_an_old_commit_after_a_shallow_fetch(work, at):
    first = work.head
    for number in range(3):
        work.commit({"n": str(number)})
    await at(work.folder, ref="main").snapshot()

    assert (await at(work.folder, ref=first[:8]).snapshot()).revision.id == first


async def test_working_tree_with_ref_reads_the_commit_and_keeps_the_folder(work, at):
    work.write({"edge/setting.json": "dirty"})

    taken = await at(work.folder / "edge", ref="main").snapshot()

    assert taken.files.read("setting.json") == b"{}"
    assert taken.revision.source == f"{work.folder}//edge"


async def test_path_within_the_repository(work, at):
    taken = await at(work.folder, ref="main", path="./edge/").snapshot()

    assert taken.files.names() == ("a/b.txt", "setting.json")
    assert taken.files.read("a/b.txt") == b"b"
    with pytest.raises(FileNotFoundError):
        taken.files.read("../fleet.yaml")


async def test_missing_path_names_what_there_is(work, at):
    with pytest.raises(SourceError, match=r"no folder 'fleet\.yaml' at") as caught:
        await at(work.folder, ref="main", path="fleet.yaml").snapshot()
    assert "'edge'" in caught.value.remedy


@pytest.mark.parametrize(
    ("ref", "message", "remedy"),
    [
        ("mian", "no branch, tag or commit 'mian'", "main"),
        ("origin/main", "no branch, tag or commit 'origin/main'", "main"),
        ("0123456789abcdef0123456789abcdef01234567", "no commit '0123456789", "main"),
        ("0123456789", "no commit '0123456789'", "main"),
    ],
)
async def test_unknown_ref_names_the_nearest(work, at, ref, message, remedy):
    with pytest.raises(SourceError, match=message) as caught:
        await at(work.folder, ref=ref).snapshot()
    assert remedy in caught.value.remedy


async def test_name_that_is_a_branch_and_a_tag_is_not_guessed(work, at):
    git(work.folder, "tag", "stable")
    work.commit({"new": "new"})
    git(work.folder, "branch", "stable")

    with pytest.raises(SourceError, match="is ambiguous: refs/heads/stable and refs/tags/stable differ"):
        await at(work.folder, ref="stable").snapshot()


async def test_tag_of_a_file_is_no_commit(work, at):
    git(work.folder, "tag", "blob", "HEAD:fleet.yaml")

    with pytest.raises(SourceError, match="is not a commit"):
        await at(work.folder, ref="blob").snapshot()


async def test_empty_repository(at, tmp_path):
    with pytest.raises(SourceError, match="is an empty repository"):
        await at(Repository.make(tmp_path / "empty").folder, ref="main").snapshot()


async def test_repository_whose_default_branch_is_missing(work, at, tmp_path):
    bare = work.bare(tmp_path / "r.git")
    git(bare, "symbolic-ref", "HEAD", "refs/heads/master")

    with pytest.raises(SourceError, match="no default branch") as caught:
        await at(bare).snapshot()
    assert "main" in caught.value.remedy


async def test_folder_that_is_no_repository(at, tmp_path):
    (tmp_path / "x.git").mkdir()

    with pytest.raises(SourceError, match="the repository does not exist"):
        await at(tmp_path / "x.git").snapshot()


async def test_links_are_followed_inside_the_tree_only(work, at):
    (work.folder / "edge/shared.json").symlink_to("../shared/common.json")
    (work.folder / "edge/folder").symlink_to("../shared")
    (work.folder / "edge/out").symlink_to("../../etc/passwd")
    (work.folder / "edge/absolute").symlink_to("/etc/passwd")
    (work.folder / "edge/dangling").symlink_to("nothing")
    work.commit({"shared/common.json": "common"})

    files = (await at(work.folder, ref="main", path="edge").snapshot()).files

    assert files.read("shared.json") == b"common"
    assert files.read("folder/common.json") == b"common"
    assert "folder/common.json" in files.names()
    for name in ("out", "absolute"):
        with pytest.raises(SourceError, match="points outside the source"):
            files.read(name)
    with pytest.raises(SourceError, match="link to 'nothing', which does not exist"):
        files.read("dangling")


async def test_submodule_and_lfs_pointer_are_named(work, at, tmp_path):
    Repository.make(tmp_path / "sub", {"a": "a"})
    git(
        work.folder,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "sub"),
        "sub",
    )
    work.commit({"big.pem": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"})

    files = (await at(work.folder, ref="main").snapshot()).files

    with pytest.raises(SourceError, match="this is a submodule"):
        files.read("sub/a")
    with pytest.raises(SourceError, match="Git LFS pointer"):
        files.read("big.pem")
    work.commit(
        {
            "fleet.yaml": "clusters: [{name: c, kind: m2, setting: sub/a, "
            "nodes: [{name: a, address: 192.0.2.1}]}]\n"
        }
    )
    problems = read_fleet(await at(work.folder, ref="main").snapshot(), DRIVERS).problems
    assert any("it is in 'sub', and this is a submodule" in each.message for each in problems), problems
    with pytest.raises(SourceError, match="this is a submodule"):
        await at(work.folder, ref="main", path="sub").snapshot()


async def test_odd_names_and_titles_do_not_reach_the_terminal(work, at):
    work.write({"ü/ñ.json": "u"})
    (work.folder / b"\xff\xfe".decode("utf-8", "surrogateescape")).write_text("odd")
    work.commit({}, "Title \x1b[31mred\x07")

    taken = await at(work.folder, ref="main").snapshot()

    assert taken.revision.title.isprintable()
    assert {"ü/ñ.json", "\\xff\\xfe"} <= set(taken.files.names())
    assert taken.files.read("\\xff\\xfe") == b"odd"


async def test_too_many_files_and_too_large_a_file(work, tmp_path):
    place = SourceAddress(str(work.folder), str(work.folder), "file")
    few = GitSource(place, cache=tmp_path / "cache", limits=SourceLimits(files=2))
    with pytest.raises(SourceError, match="more than 2 files"):
        await few.snapshot()
    small = await GitSource(place, cache=tmp_path / "cache", limits=SourceLimits(file_bytes=2)).snapshot()
    with pytest.raises(SourceError, match=r"'fleet.yaml' has 13 bytes; the limit for a file is 2 bytes"):
        small.files.read("fleet.yaml")


async def test_environment_of_a_hook_leads_nowhere_else(work, at, monkeypatch, tmp_path):
    other = Repository.make(tmp_path / "other", {"other": "other"})
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    head = await at(work.folder, ref="main").snapshot()
    folder = await at(work.folder).snapshot()

    assert "fleet.yaml" in head.files.names()
    assert head.revision.id == folder.revision.id


@pytest.mark.parametrize("harm", ["pack", "head", "lock", "config", "empty"])
async def test_damaged_copy_is_made_anew(work, at, tmp_path, harm):
    await locate_source(str(work.folder), ref="main", cache=tmp_path / "whole").snapshot()
    shutil.copytree(tmp_path / "whole", tmp_path / "cache")  # this process has mapped the other one
    (copy,) = (path.parent for path in (tmp_path / "cache/git").glob("*/HEAD"))
    if harm == "pack":
        for pack in copy.glob("objects/pack/*.pack"):
            pack.chmod(0o600)
            pack.write_bytes(b"")
    elif harm == "head":
        (copy / "HEAD").write_text("")
    elif harm == "lock":
        work.commit({"x": "x"})
        (copy / "shallow.lock").touch()
    elif harm == "config":
        (copy / "config").write_text("[core\n")
    else:
        shutil.rmtree(copy / "refs")

    assert (await at(work.folder, ref="main").snapshot()).revision.id == work.head


async def test_two_processes_share_the_cache(work, tmp_path):
    program = (
        "import asyncio, sys; from pathlib import Path; from reconciler.sources.locate import locate_source\n"
        "async def main():\n"
        "    source = locate_source(sys.argv[1], ref=sys.argv[3], cache=Path(sys.argv[2]))\n"
        "    for _ in range(3): taken = await source.snapshot()\n"
        "    print(taken.revision.id, len(taken.files.read('fleet.yaml')))\n"
        "asyncio.run(main())"
    )
    git(work.folder, "tag", "v1")
    refs = ["main", "v1", work.head[:8]]
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(work.folder), str(tmp_path / "cache"), ref),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for ref in refs
    ]
    answers = await asyncio.gather(*(each.communicate() for each in running))

    assert [output.decode().split() for output, _ in answers] == [[work.head, "13"]] * 3, answers


async def test_waiting_for_another_process_ends(work, tmp_path):
    place = SourceAddress(str(work.folder), str(work.folder), "file")
    source = GitSource(place, cache=tmp_path / "cache", seconds=0.2)
    lock = source._folder.with_suffix(".lock")
    async with hold_folder_lock(lock, seconds=1):
        with pytest.raises(SourceUnreachable, match="another process has been fetching"):
            await source.snapshot()


@pytest.fixture
def hanging(tmp_path):
    """A git that starts a child and waits for it; gives the runner and a way to learn of the child."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "git"
    fake.write_text(
        f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nwait\n"
    )
    fake.chmod(0o755)
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}, tmp_path / "pid"


def in_thread(settings, *arguments):
    return run_blocking(partial(Git(settings=settings).run, *arguments))


async def test_git_that_hangs_is_ended_with_its_children(hanging, tmp_path):
    environment, pid = hanging
    with pytest.raises(SourceUnreachable, match=r"git fetch did not finish within 1 seconds"):
        await in_thread(GitSettings.remote(environment).extend(seconds=1), "--quiet", "fetch")
    await _ends(int(pid.read_text()))


async def test_stopping_the_program_ends_git_with_its_children(hanging, tmp_path):
    environment, pid = hanging
    running = asyncio.create_task(in_thread(GitSettings.remote(environment), "fetch"))
    await wait_until(pid.exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _ends(int(pid.read_text()))


async def _ends(process: int) -> None:
    await wait_until(lambda: not is_alive(process), seconds=5)


async def test_no_git_on_the_path(tmp_path):
    with pytest.raises(SourceError, match="git cannot be run: it is not installed"):
        await in_thread(GitSettings.remote({"PATH": str(tmp_path)}), "fetch")


def test_settings_join_those_that_the_environment_already_has(tmp_path):
    environment = {
        "PATH": "/usr/bin:/bin",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "a.b",
        "GIT_CONFIG_VALUE_0": "1",
    }
    runner = Git(settings=GitSettings.remote(environment).extend(("c.d", "2")))

    assert runner.run("config", "a.b") == b"1\n"
    assert runner.run("config", "c.d") == b"2\n"
    with pytest.raises(GitCommandFailed):
        runner.run("config", "e.f")


def test_what_reads_objects_is_deaf_to_the_environment_and_has_no_network(work, tmp_path):
    (tmp_path / "gitconfig").write_text("[a]\n\tb = 1\n")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "c.d",
        "GIT_CONFIG_VALUE_0": "1",
        "GIT_DIR": str(tmp_path),
        "RECONCILE_GIT_TOKEN": "secret",
    }
    (tmp_path / ".gitconfig").write_text("[e]\n\tf = 1\n")
    runner = Git(settings=GitSettings.local(environment, Repository_(str(work.folder / ".git"))))
    assert not {"RECONCILE_GIT_TOKEN", "GIT_DIR"} & runner.settings.child_environment().keys()
    for key in ("a.b", "c.d", "e.f"):
        with pytest.raises(GitCommandFailed):
            runner.run("config", key)
    assert runner.run("rev-parse", "HEAD").decode().strip() == work.head
    with pytest.raises(GitCommandFailed, match="not allowed"):
        runner.run("ls-remote", str(work.folder))
