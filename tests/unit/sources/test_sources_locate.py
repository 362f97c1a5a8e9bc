"""Which source a text means, and which options fit it."""

from __future__ import annotations

import os

import pytest
from support.git_repositories import Repository, alone

from reconciler.errors import SourceError, UsageError
from reconciler.sources.detected_source import DetectedSource
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.source import GitSource
from reconciler.sources.locate import locate_source
from reconciler.sources.tarball import TarballFileSource, TarballUrlSource


@pytest.fixture
def here(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    work = Repository.make(tmp_path / "work", {"edge/fleet.yaml": "x"})
    work.bare(tmp_path / "bare")
    work.bare(tmp_path / "named.git")
    work.bare(work.folder / "nested.git")
    (tmp_path / "plain").mkdir()
    (tmp_path / "x.tgz").write_bytes(b"")
    (tmp_path / "fleet.yaml").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "options", "kind"),
    [
        ("", {}, FolderSource),
        (".", {}, FolderSource),
        ("plain", {}, FolderSource),
        ("work", {}, FolderSource),
        ("work/edge", {}, FolderSource),
        ("~/plain", {}, FolderSource),
        ("work", {"ref": "main"}, GitSource),
        ("work", {"saved": True}, FolderSource),
        ("work", {"saved": False}, GitSource),
        ("work/edge", {"saved": False}, GitSource),
        ("plain", {"saved": False}, FolderSource),
        ("work/edge", {"ref": "main"}, GitSource),
        ("work/.git", {}, GitSource),
        ("file://{here}/bare", {}, GitSource),
        ("named.git", {}, GitSource),
        ("file:///srv/r", {}, GitSource),
        ("git@h.org:team/fleet", {}, GitSource),
        ("alias:fleet.git", {}, GitSource),
        ("ssh://git@h.org/fleet", {}, GitSource),
        ("https://h.org/fleet.git", {}, GitSource),
        ("https://h.org/fleet.git/", {}, GitSource),
        ("https://h.org/fleet", {"ref": "main"}, GitSource),
        ("https://h.org/fleet", {}, DetectedSource),
        ("https://h.org/fleet.tar.gz", {}, TarballUrlSource),
        ("HTTPS://h.org/fleet.TGZ?sig=1", {}, TarballUrlSource),
        ("https://h.org/archive?ref=main.git", {}, TarballUrlSource),
        ("https://h.org/fleet", {"sha256": "a" * 64}, TarballUrlSource),
        ("x.tgz", {"sha256": "A" * 64}, TarballFileSource),
    ],
)
def test_kind(here, text, options, kind):
    assert type(locate_source(text.format(here=here), cache=here / "cache", **options)) is kind
    assert not (here / "cache").exists(), "nothing is done before the first snapshot"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("x.tgz", {"ref": "main"}, "--ref requires a git repository, but the source is a tarball"),
        ("https://h.org/x.tgz", {"ref": "main"}, "--ref requires a git repository"),
        ("plain", {"sha256": "a" * 64}, "--sha256 requires a tarball, but the source is a folder"),
        ("bare", {}, "bare is a bare repository, without files of desired state"),
        ("bare", {"ref": "main"}, "bare is a bare repository"),
        ("work/nested.git", {}, "has the name of a repository and is inside the work tree"),
        (
            "named.git",
            {"sha256": "a" * 64},
            "--sha256 requires a tarball, but the source is a git repository",
        ),
        ("git@h.org:x", {"sha256": "a" * 64}, "--sha256 requires a tarball"),
        ("https://h.org/x", {"ref": "main", "sha256": "a" * 64}, "--ref requires a git repository"),
        (
            "plain",
            {"ref": "main"},
            "--ref requires a git repository, but the folder .*plain is not inside one",
        ),
        ("work", {"ref": "HEAD~1"}, "is not a name of a branch"),
        ("work", {"ref": "main", "saved": True}, "--uncommitted requires a folder"),
        ("https://h.org/fleet.git", {"saved": True}, "--uncommitted requires a folder"),
        ("x.tgz", {"saved": True}, "--uncommitted requires a folder"),
        ("work", {"ref": "--upload-pack=x"}, "is not a name of a branch"),
        ("plain", {"path": "../work"}, "points outside the source"),
        ("plain", {"path": "/etc"}, "points outside the source"),
        ("x.tgz", {"sha256": "abc"}, "is not a SHA-256 digest"),
        ("fleet.yaml", {}, "is a file, but not a tarball"),
        ("git://h.org/x", {}, "is not supported"),
        ("ext::sh -c x://", {}, "is not supported"),
        ("ftp://u:pw@h.org/x.tgz", {}, "the address 'ftp://h.org/x.tgz' is not supported"),
        ("https://h.org/x.git#main", {}, "has a query or a fragment"),
        ("https:///x.git", {}, "has no host"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(here, text, options, words):
    with pytest.raises(UsageError, match=words) as caught:
        locate_source(text, cache=here / "cache", **options)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words", "remedy"),
    [
        ("nowhere", "there is no folder nowhere", "path"),
        ("nowhere.tar.gz", "there is no tarball nowhere.tar.gz", "path"),
        ("github.com/team/fleet", "there is no folder", "https://github.com/team/fleet"),
    ],
)
def test_what_is_not_there(here, text, words, remedy):
    with pytest.raises(SourceError, match=words) as caught:
        locate_source(text, cache=here / "cache")
    assert remedy in caught.value.remedy


async def test_path_below_a_folder_of_a_working_tree(here):
    source = locate_source("work/edge", ref="main", path=".", cache=here / "cache")
    taken = await source.snapshot()
    assert taken.files.names() == ("fleet.yaml",)


async def test_path_within_a_folder(here):
    assert (await locate_source("work", path="edge", cache=here / "cache").snapshot()).files.names() == (
        "fleet.yaml",
    )


@pytest.mark.parametrize("name", ["pipe", "pipe.tar.gz"])
def test_a_pipe_is_not_a_source(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="is neither a folder nor a regular file"):
        locate_source(str(tmp_path / name), cache=tmp_path)


@pytest.mark.parametrize(
    ("text", "why"), [("~nobody-here/x", "no such home folder"), ("x" * 5000, "File name too long")]
)
def test_a_path_that_cannot_be_accessed_is_a_usage_error(tmp_path, text, why):
    with pytest.raises(UsageError, match=f"cannot be accessed: .*{why}"):
        locate_source(text, cache=tmp_path)


async def test_a_repository_whose_path_cannot_be_accessed_is_a_source_error(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, why in (("/" + "x" * 5000, "File name too long"), (f"{tmp_path}/loop", "loop")):
        with pytest.raises(SourceError, match=f"cannot be read: .*{why}") as caught:
            await locate_source(f"file://{path}", cache=tmp_path / "cache").snapshot()
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("named", ["a\0b", "x" * 5000, "loop", "loop/x"])
@pytest.mark.parametrize("file", [".git", "commondir"])
async def test_files_of_git_that_name_no_path_are_refused(tmp_path, file, named):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "loop").symlink_to("loop")
    (tree / file).write_text(f"gitdir: {named}\n" if file == ".git" else named)
    text = str(tree) if file == ".git" else f"file://{tree}"
    with pytest.raises(SourceError, match="names a folder that cannot be accessed") as caught:
        await locate_source(text, cache=tmp_path / "cache").snapshot()
    assert len(str(caught.value)) < 1000


async def test_a_branch_that_is_a_link_to_itself_is_refused(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    tree = tmp_path / "tree"
    Repository.make(tree, {"fleet.yaml": "x"})
    branch = tree / ".git" / (tree / ".git/HEAD").read_text().split()[1]
    branch.unlink()
    branch.symlink_to(branch.name)
    with pytest.raises(SourceError, match=r"cannot be used: .* cannot be read"):
        await locate_source(str(tree), cache=tmp_path / "cache").snapshot()
