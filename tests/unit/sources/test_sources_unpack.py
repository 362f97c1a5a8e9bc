"""Unpacking: what is refused, with which message, and what is found."""

from __future__ import annotations

import bz2
import gzip
import importlib
import importlib.util
import io
import lzma
import random
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.sources.content_limits import SourceLimits
from reconciler.sources.unpack import unpack_archive

KINDS = {
    "file": tarfile.REGTYPE,
    "hard": tarfile.LNKTYPE,
    "link": tarfile.SYMTYPE,
    "folder": tarfile.DIRTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "odd": b"Z",
}


def archive(*entries: tuple[str, ...], packed: bool = True) -> bytes:
    """A tarball of `(name, contents)`, or `(name, kind, target)`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        for name, second, *target in entries:
            info = tarfile.TarInfo(name)
            data = b""
            if target:
                info.type, info.linkname = KINDS[second], target[0]
            else:
                data = second.encode()
                info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0) if packed else buffer.getvalue()


def test_files_by_path():
    files = unpack_archive(
        archive(("./fleet.yaml", "f"), ("edge/a.json", "a"), ("edge//b/./c.json", "c")), where="x.tgz"
    )

    assert files.names() == ("edge/a.json", "edge/b/c.json", "fleet.yaml")
    assert files.read("edge/b/c.json") == b"c"
    for missing in ("edge", "none", "", "/fleet.yaml", "edge/../fleet.yaml"):
        with pytest.raises(FileNotFoundError):
            files.read(missing)


def test_plain_tar_is_read_too():
    assert unpack_archive(archive(("a", "x"), ("b", "y"), packed=False), where="x.tar").read("b") == b"y"


def test_only_folder_is_stripped_once():
    files = unpack_archive(archive(("repo-1f/", "folder", ""), ("repo-1f/edge/fleet.yaml", "f")), where="x")
    assert files.names() == ("edge/fleet.yaml",)


def test_only_folder_is_not_stripped_beside_a_file():
    assert unpack_archive(archive(("repo/a", "a"), ("b", "b")), where="x").names() == ("b", "repo/a")


def test_files_added_by_macos_are_skipped():
    files = unpack_archive(
        archive(("._repo", "x"), ("repo/a", "a"), ("repo/._a", "x"), ("repo/.DS_Store", "x")), where="x"
    )
    assert files.names() == ("a",)


@pytest.mark.parametrize("path", ["edge", "repo/edge"])
def test_path_is_found_below_or_with_the_stripped_folder(path):
    assert unpack_archive(archive(("repo/edge/a", "a"), ("repo/b", "b")), where="x", path=path).names() == (
        "a",
    )


def test_path_that_is_not_there():
    with pytest.raises(SourceError, match="x: it contains no folder 'core'"):
        unpack_archive(archive(("repo/edge/a", "a")), where="x", path="core")


def test_links_inside_are_followed():
    files = unpack_archive(
        archive(
            ("repo/shared/common.json", "common"),
            ("repo/edge/a.json", "link", "../shared/common.json"),
            ("repo/edge/all", "link", "../shared"),
            ("repo/edge/hard.json", "hard", "repo/shared/common.json"),
        ),
        where="x",
    )
    assert files.read("edge/a.json") == files.read("edge/hard.json") == b"common"
    assert files.read("edge/all/common.json") == b"common"
    assert "edge/all/common.json" in files.names()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (("../evil", "x"), "member 2, '../evil', points outside the archive with '..'"),
        (("a/../../evil", "x"), "points outside the archive with '..'"),
        (("/etc/passwd", "x"), "member 2, '/etc/passwd', has an absolute path"),
        (("a\x1b[2Jb", "x"), r"member 2, 'a\\x1b\[2Jb', has a control or invisible character"),
        (("a\nb", "x"), r"'a\\nb', has a control"),
        (("right-to-left\u202egpj", "x"), "control or invisible"),
        (("ok", "y"), "member 2, 'ok', has the same path as member 1"),
        (("./ok", "y"), "'ok', has the same path as member 1"),
        (("ok/below", "y"), "'ok', is a folder, but member 1 has the same path"),
        (("ok", "folder", ""), "'ok', is a folder, but member 1 has the same path"),
        (("out", "link", "../outside"), "member 2, 'out', is a link to '../outside', which points outside"),
        (("d/out", "link", "../../x"), "which points outside the archive"),
        (("abs", "link", "/etc/passwd"), "is a link to '/etc/passwd', which points outside"),
        (("circle", "link", "circle"), "or forms a loop"),
        (("empty", "link", ""), "is a link with an invalid target"),
        (("odd", "link", "a\x07"), "is a link with an invalid target"),
        (("far", "link", "a/" * 70), "exceeds the limit"),
        (
            ("hard", "hard", "../../etc/passwd"),
            "is a hard link to '../../etc/passwd', but no member before it is this file",
        ),
        (("hard", "hard", "/etc/passwd"), "is a hard link to"),
        (("hard", "hard", "later"), "no member before it is this file"),
        (("dev", "char", ""), "member 2, 'dev', is a character device"),
        (("dev", "block", ""), "is a block device"),
        (("pipe", "fifo", ""), "is a fifo"),
        (("what", "odd", "x"), "is of the unknown type 'Z'"),
        (("x" * 1100, "x"), "has a path that is too long"),
        (("d/" * 70 + "x", "x"), "has a path that is too long"),
    ],
)
def test_refused_members_are_named(entry, words):
    with pytest.raises(SourceError, match=words) as caught:
        unpack_archive(archive(("ok", "x"), entry, ("z", "z")), where="evil.tgz")
    assert str(caught.value).startswith("evil.tgz: ")
    assert caught.value.remedy


def test_link_through_a_link_does_not_get_out():
    """Each link alone stays inside; together they would climb."""
    with pytest.raises(SourceError, match="points outside"):
        unpack_archive(
            archive(("a/b/f", "x"), ("a/up", "link", ".."), ("a/b/out", "link", "../up/../x")), where="x"
        )


def test_member_below_a_link_is_refused():
    with pytest.raises(SourceError, match="'d', is a folder, but member 1 has the same path"):
        unpack_archive(archive(("d", "link", "e"), ("d/f", "x"), ("e/g", "x")), where="x")


def test_file_in_the_place_of_a_folder_is_refused():
    with pytest.raises(SourceError, match="member 2, 'd', is also a folder"):
        unpack_archive(archive(("d/f", "x"), ("d", "y")), where="x")


def test_hard_link_with_contents_is_refused():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as writer:
        writer.addfile(tarfile.TarInfo("a"))
        info = tarfile.TarInfo("b")
        info.type, info.linkname, info.size = tarfile.LNKTYPE, "a", 5
        writer.addfile(info, io.BytesIO(b"other"))
    with pytest.raises(SourceError, match="member 2, 'b', is a hard link"):
        unpack_archive(buffer.getvalue(), where="x")


def test_dangling_link_fails_where_it_is_read():
    files = unpack_archive(archive(("a", "a"), ("gone", "link", "nothing")), where="x")
    assert files.read("a") == b"a"
    with pytest.raises(SourceError, match="'gone' is a link to 'nothing', which does not exist"):
        files.read("gone")


def test_links_cannot_multiply_the_files():
    entries = [(f"d/{number}", "x") for number in range(50)]
    links = [(f"l/{number}", "link", "../d") for number in range(50)]
    files = unpack_archive(archive(*entries, *links), where="x", limits=SourceLimits(files=200))
    with pytest.raises(SourceError, match="lead to more than 200 files"):
        files.names()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "x.tgz is not a tar archive"),
        (b"hello" * 300, "x.tgz is not a tar archive"),
        (
            archive(("a", "x" * 900), packed=False)[:1100],
            "not a complete tar archive: it is truncated inside the member at byte 0",
        ),
        (bytes(1024), "contains no files"),
        (archive(("d", "folder", "")), "contains no files"),
        (bz2.compress(b"x"), "is compressed with bzip2"),
        (lzma.compress(b"x"), "is compressed with xz"),
        (b"PK\x03\x04zip", "is a ZIP archive"),
        (archive(("a", "x" * 5000))[:-20], "is truncated: its gzip data is incomplete"),
        (archive(("a", "x"))[:-5] + b"\0\0\0\0\0", "is damaged"),
        (b"\x1f\x8b" + b"x" * 50, "is damaged"),
        (archive(("a", "x")) + b"trailing", "is damaged"),
    ],
)
def test_what_is_no_whole_archive(data, words):
    with pytest.raises(SourceError, match=words) as caught:
        unpack_archive(data, where="x.tgz")
    assert caught.value.remedy


def test_lfs_pointer_in_an_archive():
    files = unpack_archive(
        archive(("a", "version https://git-lfs.github.com/spec/v1\n"), ("b", "b")), where="x"
    )
    with pytest.raises(SourceError, match="Git LFS pointer"):
        files.read("a")


def test_gzip_in_several_streams_and_zeros_after_it():
    data = archive(("a", "x" * 3000), packed=False)
    parts = [gzip.compress(data[start : start + 700]) for start in range(0, len(data), 700)]
    assert unpack_archive(b"".join(parts) + bytes(100_000), where="x").read("a") == b"x" * 3000


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (SourceLimits(total_bytes=1_000_000), "unpacks to more than 977 KB"),
        (SourceLimits(ratio=100, ratio_floor=1000), "more than 100 times its own"),
        (SourceLimits(file_bytes=1000), "'a' has 9.54 MB; the limit for a file is 1000 bytes"),
        (SourceLimits(files=1), "has more than 1 members"),
    ],
)
def test_bombs(limits, words):
    data = archive(("a", "0" * 10_000_000), ("b", "b"))
    assert len(data) < 20_000
    with pytest.raises(SourceError, match=words):
        unpack_archive(data, where="bomb.tgz", limits=limits)


def test_bomb_by_its_ratio_within_the_usual_limits():
    packer = zlib.compressobj(wbits=31)
    first, again = (packer.compress(bytes(1024 * 1024)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    with pytest.raises(SourceError, match="more than 300 times its own"):
        unpack_archive(first + again * 40, where="bomb.tgz")


def test_many_tiny_streams_end_soon():
    with pytest.raises(SourceError, match="gzip data"):
        unpack_archive(gzip.compress(b"") * 200_000, where="x")


@pytest.mark.skipif(importlib.util.find_spec("compression") is not None, reason="this Python reads zstd")
def test_zstd_where_python_cannot():
    with pytest.raises(SourceError, match="which this Python cannot unpack") as caught:
        unpack_archive(b"\x28\xb5\x2f\xfd....", where="x.tar.zst")
    assert "3.14" in caught.value.remedy


@pytest.mark.skipif(importlib.util.find_spec("compression") is None, reason="zstd comes with Python 3.14")
def test_zstd_where_python_can():
    zstd = importlib.import_module("compression.zstd")
    data = zstd.compress(archive(("a", "x" * 100_000), packed=False))
    assert unpack_archive(data, where="x").read("a") == b"x" * 100_000
    with pytest.raises(SourceError, match="is truncated: its zstd compression"):
        unpack_archive(data[:-3], where="x")
    with pytest.raises(SourceError, match="is damaged: its zstd compression"):
        unpack_archive(data[:4] + b"\xff" * 4 + data[8:], where="x")


ALL = archive(
    ("repo/a", "a" * 700),
    ("repo/" + "n" * 120, "long"),
    ("repo/l", "link", "a"),
    ("repo/h", "hard", "repo/a"),
    packed=False,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=4000))
def test_any_bytes_give_files_or_a_source_error(data):
    walk(data)


@settings(max_examples=250, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 8), st.booleans())
def test_mutated_archives_give_files_or_a_source_error(chance: random.Random, changes: int, packed: bool):
    data = bytearray(ALL)
    for _ in range(changes):
        at = chance.randrange(len(data))
        data[at : at + chance.randint(1, 12)] = chance.randbytes(chance.randint(0, 12))
    walk(gzip.compress(bytes(data), 1) if packed else bytes(data))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, len(ALL) // 512 - 1),
    st.integers(0, 147) | st.integers(156, 511),
    st.binary(min_size=1, max_size=12),
)
def test_headers_with_right_checksums_and_wrong_fields(block: int, at: int, value: bytes):
    data = bytearray(ALL)
    start = block * 512
    data[start + at : min(start + at + len(value), start + 512)] = value[: 512 - at]
    data[start + 148 : start + 156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    walk(bytes(data[: len(ALL)]))


def walk(data: bytes) -> None:
    """Whatever comes out, nothing but a SourceError is raised and every name stays inside."""
    try:
        files = unpack_archive(
            data, where="x", limits=SourceLimits(total_bytes=1_000_000, ratio_floor=10_000)
        )
        for name in files.names():
            assert not name.startswith("/")
            assert ".." not in name.split("/")
            files.read(name)
    except SourceError as refused:
        message = str(refused)
        assert message.isprintable()
