"""Folders as they lie on disk, inside and outside of git."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from support.git_repositories import Repository, git

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources import folder
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.folder import FolderSource
from reconciler.sources.folder_scan import DigestCache, scan_folder
from reconciler.sources.layout import Layout

pytestmark = pytest.mark.usefixtures("git_alone")


@pytest.fixture
def plain(tmp_path):
    folder = tmp_path / "plain"
    (folder / "edge").mkdir(parents=True)
    (folder / "fleet.yaml").write_text("one")
    (folder / "edge/a.json").write_text("a")
    return folder


@pytest.fixture
def work(tmp_path):
    return Repository.make(
        tmp_path / "work", {"fleet.yaml": "one", "edge/a.json": "a", ".gitignore": "*.key\nbuild/\n"}
    )


def settle(folder):
    """Make all files look as old as files usually are."""
    for place, _, files in os.walk(folder):
        for name in files:
            os.utime(Path(place, name), ns=(10**18, 10**18), follow_symlinks=False)


async def test_folder_outside_of_git(plain):
    source = FolderSource(plain)
    taken = await source.snapshot()

    assert taken.files.names() == ("edge/a.json", "fleet.yaml")
    assert taken.files.read("fleet.yaml") == b"one"
    assert len(taken.revision.id) == 64
    assert taken.revision.short == taken.revision.id[:12]
    assert taken.revision.source == str(plain)
    assert await source.snapshot() is taken
    assert (await FolderSource(plain).snapshot()).revision == taken.revision


@pytest.mark.parametrize("change", ["contents", "name", "added", "removed", "link", "target"])
async def test_every_change_changes_the_revision(plain, change):
    (plain / "to").symlink_to("fleet.yaml")
    settle(plain)
    source = FolderSource(plain)
    before = (await source.snapshot()).revision.id
    match change:
        case "contents":
            (plain / "fleet.yaml").write_text("two")
        case "name":
            (plain / "edge/a.json").rename(plain / "edge/b.json")
        case "added":
            (plain / "new").write_text("")
        case "removed":
            (plain / "edge/a.json").unlink()
        case "link":
            (plain / "second").symlink_to("fleet.yaml")
        case "target":
            (plain / "to").unlink()
            (plain / "to").symlink_to("edge/a.json")
    assert (await source.snapshot()).revision.id != before


async def test_touching_changes_nothing_and_what_was_touched_is_readable(plain):
    source = FolderSource(plain)
    before = await source.snapshot()
    os.utime(plain / "fleet.yaml", ns=(1, 1))

    after = await source.snapshot()

    assert after.revision == before.revision
    assert after.files.read("fleet.yaml") == b"one"


def test_file_written_a_moment_ago_is_read_again(plain):
    """A second write within one tick of the clock leaves size and time stamps as they are."""
    digests = DigestCache(SourceLimits())
    young = scan_folder(plain, ignored=(), limits=SourceLimits())
    digests.update(young)
    (plain / "fleet.yaml").write_text("changed")
    with pytest.raises(SourceUnreachable, match="was changed"):
        digests.update(young)


def test_file_that_lies_still_is_not_read_again(plain):
    settle(plain)
    old = scan_folder(plain, ignored=(), limits=SourceLimits())
    old.files["fleet.yaml"] = replace(old.files["fleet.yaml"], settled=True)
    digests = DigestCache(SourceLimits())
    before = digests.update(old)
    (plain / "fleet.yaml").unlink()
    assert digests.update(Layout(old.where, {"fleet.yaml": old.files["fleet.yaml"]})) != before


async def test_what_changes_after_the_look_is_not_read_as_that_revision(plain):
    settle(plain)
    taken = await FolderSource(plain).snapshot()
    (plain / "fleet.yaml").write_text("two")
    (plain / "edge/a.json").unlink()

    for name in ("fleet.yaml", "edge/a.json"):
        with pytest.raises(SourceUnreachable, match="was changed while the folder was being read"):
            taken.files.read(name)


async def test_left_overs_are_passed_over(plain):
    for name in (
        ".venv/x",
        "node_modules/x",
        ".fleet.yaml.swp",
        "fleet.yaml~",
        ".#fleet.yaml",
        "__pycache__/x",
        ".git/x",
    ):
        (plain / name).parent.mkdir(exist_ok=True)
        (plain / name).write_text("x")
    (plain / ".git/x").unlink()
    (plain / ".git").rmdir()
    assert (await FolderSource(plain).snapshot()).files.names() == ("edge/a.json", "fleet.yaml")


async def test_links_stay_inside(plain, tmp_path):
    (tmp_path / "outside").write_text("secret")
    (plain / "in").symlink_to("edge/a.json")
    (plain / "folder").symlink_to("edge")
    (plain / "out").symlink_to("../outside")
    (plain / "abs").symlink_to(tmp_path / "outside")
    files = (await FolderSource(plain).snapshot()).files

    assert files.read("in") == files.read("folder/a.json") == b"a"
    for name in ("out", "abs"):
        with pytest.raises(SourceError, match="points outside the source"):
            files.read(name)


async def test_folder_swapped_for_a_link_is_not_followed(plain, tmp_path):
    files = (await FolderSource(plain).snapshot()).files
    (tmp_path / "outside").write_text("one")
    (plain / "fleet.yaml").unlink()
    (plain / "fleet.yaml").symlink_to(tmp_path / "outside")

    with pytest.raises(SourceError):
        files.read("fleet.yaml")


async def test_pipes_are_not_waited_for(plain):
    os.mkfifo(plain / "pipe")
    files = (await FolderSource(plain).snapshot()).files
    assert "pipe" not in files.names()
    with pytest.raises(SourceError, match="not a regular file"):
        files.read("pipe")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (SourceLimits(files=1), "contains more than 1 files"),
        (SourceLimits(total_bytes=3), "contains 4 bytes of files; the limit is 3 bytes"),
    ],
)
async def test_bounds(plain, limits, words):
    with pytest.raises(SourceError, match=words):
        await FolderSource(plain, limits=limits).snapshot()


async def test_large_file_fails_where_it_is_read(plain):
    files = (await FolderSource(plain, limits=SourceLimits(file_bytes=2)).snapshot()).files
    assert files.read("edge/a.json") == b"a"
    with pytest.raises(SourceError, match=r"'fleet\.yaml' has 3 bytes; the limit for a file is 2 bytes"):
        files.read("fleet.yaml")


async def test_folder_that_is_gone_or_closed(plain):
    source = FolderSource(plain)
    (plain / "edge/a.json").unlink()
    (plain / "edge").rmdir()
    (plain / "fleet.yaml").unlink()
    plain.rmdir()
    with pytest.raises(SourceError, match="there is no folder"):
        await source.snapshot()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_folder_that_may_not_be_read():
    """As another user, because root may read everything."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        Path(made).chmod(0o755)
        (Path(made) / "edge").mkdir(mode=0)
        os.seteuid(65534)
        try:
            with pytest.raises(SourceError, match="edge cannot be read: Permission denied"):
                scan_folder(Path(made), ignored=(), limits=SourceLimits())
        finally:
            os.seteuid(0)


async def test_clean_working_tree_is_its_commit(work):
    source = FolderSource(work.folder)
    taken = await source.snapshot()

    assert taken.revision.id == work.head
    assert taken.revision.short == work.head[:12]
    assert taken.revision.title == "First commit"
    assert taken.files.names() == (".gitignore", "edge/a.json", "fleet.yaml")
    assert await source.snapshot() is taken


@pytest.mark.parametrize("change", ["edited", "new", "removed", "staged"])
async def test_uncommitted_changes_show_and_count(work, change):
    source = FolderSource(work.folder)
    match change:
        case "edited" | "staged":
            work.write({"fleet.yaml": "two"})
        case "new":
            work.write({"edge/new": "two"})
        case "removed":
            (work.folder / "edge/a.json").unlink()
    if change == "staged":
        git(work.folder, "add", "--all")
    taken = await source.snapshot()

    assert taken.revision.id.startswith(f"{work.head}+")
    assert taken.revision.short.startswith(f"{work.head[:12]}+")
    assert taken.revision.title == "First commit + uncommitted changes"
    assert await source.snapshot() is taken
    work.write({"fleet.yaml": "three"})
    assert (await source.snapshot()).revision.id != taken.revision.id


async def test_changes_beside_the_folder_do_not_count(work):
    work.write({"fleet.yaml": "two"})
    taken = await FolderSource(work.folder / "edge").snapshot()
    assert taken.revision.id == work.head
    assert taken.files.names() == ("a.json",)


async def test_commit_and_undo_go_back_to_the_same_id(work):
    source = FolderSource(work.folder)
    first = (await source.snapshot()).revision
    work.write({"fleet.yaml": "two"})
    assert (await source.snapshot()).revision != first
    work.write({"fleet.yaml": "one"})
    assert (await source.snapshot()).revision == first
    new = work.commit({"fleet.yaml": "two"}, "Second")
    assert (await source.snapshot()).revision.id == new
    assert (await source.snapshot()).revision.title == "Second"


async def test_what_git_ignores_is_no_part(work):
    work.write({"edge/node.key": "k", "build/x": "x"})
    taken = await FolderSource(work.folder).snapshot()

    assert taken.revision.id == work.head
    assert "edge/node.key" not in taken.files.names()
    for name in ("edge/node.key", "build/x"):
        with pytest.raises(SourceError, match="git ignores it"):
            taken.files.read(name)


async def test_ignored_folder_is_read_by_its_contents(work):
    work.write({"build/fleet.yaml": "x"})
    taken = await FolderSource(work.folder / "build").snapshot()
    assert taken.files.names() == ("fleet.yaml",)
    assert len(taken.revision.id) == 64


async def test_repository_without_a_commit_is_read_by_its_contents(tmp_path):
    made = Repository.make(tmp_path / "new")
    made.write({"fleet.yaml": "x"})
    taken = await FolderSource(made.folder).snapshot()
    assert taken.files.names() == ("fleet.yaml",)
    assert len(taken.revision.id) == 64


async def test_looking_leaves_no_lock_and_writes_nothing(work):
    index = (work.folder / ".git/index").read_bytes()
    os.utime(work.folder / "fleet.yaml", ns=(1, 1))
    await FolderSource(work.folder).snapshot()
    assert (work.folder / ".git/index").read_bytes() == index


async def test_lfs_pointer_in_a_folder(work):
    work.write({"edge/big": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"})
    with pytest.raises(SourceError, match="Git LFS pointer") as caught:
        (await FolderSource(work.folder).snapshot()).files.read("edge/big")
    assert "git lfs pull" in caught.value.remedy


async def test_damaged_repository_is_said_to_be(work):
    (work.folder / ".git/HEAD").write_text("")
    with pytest.raises(SourceError) as caught:
        await FolderSource(work.folder).snapshot()
    assert str(work.folder) in str(caught.value)
    assert caught.value.remedy


async def test_folder_that_changes_all_the_while(work, monkeypatch):
    """Committed between each two looks: no revision is right, so none is given."""
    plain_scan = folder.scan_folder

    def scan(place, **given):
        found = plain_scan(place, **given)
        work.commit({}, "again")
        return found

    monkeypatch.setattr(folder, "scan_folder", scan)
    with pytest.raises(SourceUnreachable, match="keeps changing while it is read"):
        await FolderSource(work.folder).snapshot()


async def test_a_path_that_no_file_can_have_is_no_defect(tmp_path):
    with pytest.raises(SourceError, match="file name too long"):
        await FolderSource(tmp_path / ("x" * 5_000)).snapshot()
