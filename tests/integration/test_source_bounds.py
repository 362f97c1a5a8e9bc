"""What comes from a source is bounded in number, depth, size and time, whichever source it is."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import tarfile
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.git_repositories import Repository, git, serving
from support.waiting import wait_until

from reconciler.errors import SourceError
from reconciler.sources.content_limits import LIMITS
from reconciler.sources.folder import FolderSource
from reconciler.sources.git.command import GitDirectory as Repository_
from reconciler.sources.git.objects import ObjectReader
from reconciler.sources.git.source import GitSource
from reconciler.sources.git.tree import TreeLocation, make_snapshot
from reconciler.sources.layout import Layout
from reconciler.sources.locate import locate_source
from reconciler.sources.source_address import SourceAddress

pytestmark = pytest.mark.usefixtures("git_alone")


class Written:
    """A bare repository whose objects are written as given, also those that git would refuse to write."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", ".")

    def blob(self, data=b"clusters: []\n"):
        return self.write(b"blob", data)

    def tree(self, *entries):
        raw = (b"%s %s\0%s" % (mode, name, bytes.fromhex(oid)) for mode, name, oid in entries)
        return self.write(b"tree", b"".join(raw))

    def commit(self, tree):
        head = self.folder / "refs/heads/main"
        parent = f"parent {head.read_text().strip()}\n" if head.exists() else ""
        who = "a <a@example.com> 0 +0000"
        text = f"tree {tree}\n{parent}author {who}\ncommitter {who}\n\nOdd"
        head.write_text(self.write(b"commit", text.encode()) + "\n")
        return head.read_text().strip()

    def write(self, kind, data, under=None):
        """Write an object; under the id of another, if one is given."""
        whole = b"%s %d\0%s" % (kind, len(data), data)
        id_ = under or hashlib.sha1(whole).hexdigest()
        place = self.folder / "objects" / id_[:2] / id_[2:]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(zlib.compress(whole))
        return id_

    def read(self, commit, **limits):
        objects = ObjectReader(Repository_(str(self.folder)), os.environ, where="r.git")
        return make_snapshot(objects, commit, TreeLocation("r.git", "", replace(LIMITS, **limits)))


@pytest.fixture
def objects(tmp_path):
    return Written(tmp_path / "r.git")


def test_a_tree_of_more_levels_than_python_can_recurse_is_refused(objects):
    file = objects.blob()
    tree = objects.tree((b"100644", b"fleet.yaml", file))
    for _ in range(1100):
        tree = objects.tree((b"40000", b"d", tree), (b"100644", b"fleet.yaml", file))
    with pytest.raises(SourceError, match="nested more than 64 folders deep"):
        objects.read(objects.commit(tree))


@pytest.mark.parametrize("full", [False, True], ids=["empty", "with a file"])
def test_a_tree_that_holds_another_ten_times_is_refused_at_once(objects, full):
    """Ten levels of ten are 10,000,000,000 folders in eleven objects."""
    tree = objects.tree(*([(b"100644", b"f", objects.blob())] if full else []))
    for _ in range(10):
        tree = objects.tree(*((b"40000", b"d%d" % number, tree) for number in range(10)))
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"contains more than 50,000 fo?(lders|files)"):
        objects.read(objects.commit(tree))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("name", [b"..", b".", b"a/b"], ids=["up", "here", "slash"])
def test_a_name_that_no_file_can_have_is_refused(objects, name):
    tree = objects.tree((b"100644", name, objects.blob()))
    with pytest.raises(SourceError, match="whose name is invalid or used twice"):
        objects.read(objects.commit(tree))


def test_two_entries_of_one_name_are_refused(objects):
    tree = objects.tree((b"100644", b"a", objects.blob(b"1")), (b"100644", b"a", objects.blob(b"2")))
    with pytest.raises(SourceError, match="is invalid or used twice"):
        objects.read(objects.commit(tree))


def test_long_paths_and_long_links_are_refused(objects):
    tree = objects.tree((b"100644", b"n" * 1025, objects.blob()))
    with pytest.raises(SourceError, match="more than 1,024 characters"):
        objects.read(objects.commit(tree))
    tree = objects.tree((b"120000", b"link", objects.blob(b"../" * 2000)))
    with pytest.raises(SourceError, match="target of the link 'link' is longer"):
        objects.read(objects.commit(tree))


def test_a_link_of_many_megabytes_is_not_loaded(objects):
    tree = objects.tree((b"120000", b"link", objects.blob(b"x" * (17 * 1024 * 1024))))
    with pytest.raises(SourceError, match="'link' has 17 MB; the limit for a file is 16 MB"):
        objects.read(objects.commit(tree))


def test_what_is_read_of_a_commit_is_bounded_together(objects):
    tree = objects.tree(*((b"100644", b"f%d" % number, objects.blob(b"x" * 100)) for number in range(3)))
    files = objects.read(objects.commit(tree), total_bytes=250).files
    for _ in range(9):
        files.read("f0")  # again costs nothing
    files.read("f1")
    with pytest.raises(SourceError, match="have more than 250 bytes in total"):
        files.read("f2")


async def test_the_next_good_commit_is_read_after_a_bad_one(objects, tmp_path):
    good = objects.commit(objects.tree((b"100644", b"fleet.yaml", objects.blob())))
    source = locate_source(str(objects.folder), cache=tmp_path / "cache")
    assert (await source.snapshot()).revision.id == good

    tree = objects.tree()
    for _ in range(80):
        tree = objects.tree((b"40000", b"d", tree))
    objects.commit(tree)
    with pytest.raises(SourceError, match="nested"):
        await source.snapshot()

    mended = objects.commit(objects.tree((b"100644", b"fleet.yaml", objects.blob(b"new"))))
    assert (await source.snapshot()).revision.id == mended


async def test_a_deep_folder_is_refused(tmp_path):
    deep = tmp_path.joinpath("deep", *"d" * 70)
    deep.mkdir(parents=True)
    with pytest.raises(SourceError, match="nested more than 64 folders deep"):
        await FolderSource(tmp_path / "deep").snapshot()


def test_links_to_folders_of_broken_links_do_not_multiply_the_work():
    links = {f"d/{number:04}": "nowhere" for number in range(2000)}
    links |= {f"to{number:04}": "d" for number in range(2000)}
    layout = Layout("here", {"d/file": 0}, links, most=50_000)
    began = time.monotonic()
    with pytest.raises(SourceError, match="lead to more than 50,000 files"):
        layout.names()
    assert time.monotonic() - began < 5


def test_links_through_thousands_of_folders_are_given_up():
    links = {f"l{number}": "a/../" * 60 + f"l{number + 1}" for number in range(39)} | {"l39": "a"}
    layout = Layout("here", {"a/b": 0}, links)
    with pytest.raises(SourceError, match="lead through too many folders"):
        layout.find("l0")


async def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a").write_text("a")
    taken = await FolderSource(tmp_path / "f").snapshot()
    (tmp_path / "f/a").unlink()
    os.mkfifo(tmp_path / "f/a")
    with pytest.raises(SourceError, match="was changed"):
        await asyncio.wait_for(asyncio.to_thread(taken.files.read, "a"), 5)

    source = locate_source(_archive(tmp_path), cache=tmp_path / "cache")
    (tmp_path / "x.tar").unlink()
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(SourceError, match="it is not a regular file"):
        await asyncio.wait_for(source.snapshot(), 5)


def _archive(folder):
    (folder / "x.tar").write_bytes(b"")
    return str(folder / "x.tar")


async def test_a_fetch_that_brings_too_much_is_ended_and_leaves_nothing(tmp_path):
    work = Repository.make(tmp_path / "work", {"fleet.yaml": "x", "large": os.urandom(3_000_000)})
    place = SourceAddress(str(work.folder), str(work.folder), "file")
    limits = replace(LIMITS, pack_bytes=1_000_000)
    with pytest.raises(SourceError, match="it sends more than the limit of 977 KB"):
        await GitSource(place, cache=tmp_path / "cache", limits=limits).snapshot()
    assert not list((tmp_path / "cache").glob("git/*/objects/pack/*"))
    assert (await GitSource(place, cache=tmp_path / "cache").snapshot()).revision.id == work.head


async def test_a_read_that_is_given_up_ends_git_and_all_that_it_started_at_once(tmp_path, monkeypatch):
    """A server that takes the connection and never answers: also git's own helper has to go."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/fleet.git"
        looking = asyncio.ensure_future(locate_source(url, cache=tmp_path / "cache").snapshot())
        silent.setblocking(False)
        taken, _ = await asyncio.get_running_loop().sock_accept(silent)
        assert _processes_with(url), "git asks the server"
        began = time.monotonic()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        assert time.monotonic() - began < 2
        await wait_until(lambda: not _processes_with(url), seconds=5)
        taken.close()


def _processes_with(text):
    """Numbers of running processes whose command line has a text."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in place.read_bytes():
                found.append(place.parent.name)
    return found


@pytest.mark.parametrize("header", [b'ETag: "\xff\xfe"', b"Last-Modified: \xe9", b"ETag: " + b"x" * 5000])
async def test_an_odd_etag_or_date_is_not_sent_back(tmp_path, header):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        packed.addfile(tarfile.TarInfo("fleet.yaml"))

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + header + b"\r\n\r\n" + buffer.getvalue())

        def log_message(self, *_):
            """Say nothing on the terminal."""

    with serving(Odd) as url:
        source = locate_source(f"{url}/x.tar", cache=tmp_path / "cache")
        assert (await source.snapshot()).revision == (await source.snapshot()).revision
