"""The strict tar reader against the standard library's writer, and against damage."""

from __future__ import annotations

import io
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.archive import tar

NAMES = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]),
        min_size=1,
        max_size=60,
    ),
    min_size=1,
    max_size=6,
).map("/".join)


def packed(entries, form=tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_reads_what_the_standard_library_writes(entries, form):
    data = packed(entries, form)

    found = [
        (member.name, data[member.offset : member.offset + member.size]) for member in tar.read_members(data)
    ]

    assert found == entries
    assert [member for member in tar.read_members(data) if member.kind != "0"] == []


def test_reads_ustar_with_a_prefix():
    name = "a" * 80 + "/" + "b" * 90
    assert [m.name for m in tar.read_members(packed([(name, b"x")], tarfile.USTAR_FORMAT))] == [name]


def test_reads_links_and_folders():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind, target in (
            (tarfile.DIRTYPE, ""),
            (tarfile.SYMTYPE, "to/" + "x" * 120),
            (tarfile.LNKTYPE, "hard"),
        ):
            info = tarfile.TarInfo("entry")
            info.type, info.linkname = kind, target
            archive.addfile(info)
    found = [(member.kind, member.link) for member in tar.read_members(buffer.getvalue())]

    assert found == [("5", ""), ("2", "to/" + "x" * 120), ("1", "hard")]


def test_global_header_is_no_member():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": "0123"}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    assert [member.name for member in tar.read_members(buffer.getvalue())] == ["a"]


@pytest.mark.parametrize("cut", [1, 511, 512, 1000, 1024, 1535, 1536])
def test_cut_off_anywhere(cut):
    data = packed([("a", b"x" * 600)])[:cut]
    with pytest.raises(tar.MalformedTar, match="truncated"):
        list(tar.read_members(data))


def test_one_flipped_bit_of_a_header_is_noticed():
    data = bytearray(packed([("a", b"x")]))
    data[0] ^= 2
    with pytest.raises(tar.MalformedTar, match="header at byte 0 has a wrong checksum"):
        list(tar.read_members(bytes(data)))


def test_two_archives_in_one_are_not_read_half():
    data = packed([("a", b"x")])
    with pytest.raises(tar.MalformedTar, match="data follows its end"):
        list(tar.read_members(data + packed([("b", b"y")])))


def header(**fields: bytes) -> bytes:
    """A header block with some of its fields replaced, its checksum right."""
    places = {"name": (0, 100), "size": (124, 136), "kind": (156, 157), "magic": (257, 265)}
    block = bytearray(packed([("a", b"")])[:512])
    for field, value in fields.items():
        start, end = places[field]
        block[start:end] = value.ljust(end - start, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * 1024, "an invalid number|wrong checksum"),
        (header(size=b"\xff" * 12), "an invalid number"),
        (header(size=b"-1"), "an invalid number"),
        (header(size=b"9"), "an invalid number"),
        (header(size=b"\x80" + b"\xff" * 11), "truncated"),
        (header(name=b"\xff\xfe"), "not UTF-8"),
        (header(kind=b"x", size=b"20000000"), "extended header at byte 0 is too long"),
        (header(kind=b"x", size=b"5") + b"9 a=b".ljust(512, b"\0"), "invalid record"),
        (header(kind=b"x", size=b"6") + b"6 a=bc".ljust(512, b"\0"), "invalid record"),
        (header(kind=b"x", size=b"4") + b"4 a\n".ljust(512, b"\0"), "invalid record"),
        (header(kind=b"x", size=b"6") + b"-6 a=\n".ljust(512, b"\0"), "invalid record"),
        (header(kind=b"x", size=b"16") + b"14 path=a\0bcd\n".ljust(512, b"\0"), "NUL in its name"),
        (
            header(kind=b"x", size=b"13") + b"11 size=-1\n".ljust(512, b"\0") + header(),
            "invalid size",
        ),
    ],
)
def test_wrong_headers_are_named_by_their_place(data, words):
    with pytest.raises(tar.MalformedTar, match=words):
        list(tar.read_members(data))


def test_old_header_without_magic_and_with_signed_checksum():
    block = bytearray(header(name="ü".encode(), magic=b""))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in block)

    assert [member.name for member in tar.read_members(bytes(block) + bytes(1024))] == ["ü"]


def test_sparse_files_show_their_kind():
    records = b"22 GNU.sparse.major=1\n"
    data = header(kind=b"x", size=b"%o" % len(records)) + records.ljust(512, b"\0") + header() + bytes(1024)
    assert [member.kind for member in tar.read_members(data)] == ["S"]


def test_the_records_of_a_global_header_do_not_count_again_for_each_member():
    records = b"".join(b"%d k%07d=1\n" % (14, index) for index in range(40_000))
    info = tarfile.TarInfo("pax")
    info.type, info.size = b"g", len(records)
    head = info.tobuf() + records + bytes(-len(records) % 512)
    member = tarfile.TarInfo("a").tobuf()
    began = time.process_time()
    assert sum(1 for _ in tar.read_members(head + member * 2_000 + bytes(1024))) == 2_000
    assert time.process_time() - began < 5  # 80 million looks took half a minute
