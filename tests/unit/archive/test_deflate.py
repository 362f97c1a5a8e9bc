"""Gzip from parts: one member that other programs read, whatever the parts are."""

from __future__ import annotations

import gzip
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.archive.deflate import DeflatedPart, deflate_part, inflate_part, join_parts
from reconciler.archive.inflate import ArchiveLimits, inflate


def last_part(text: bytes) -> DeflatedPart:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return DeflatedPart(packer.compress(text) + packer.flush(), zlib.crc32(text), len(text))


LAST = last_part(b"the end")


@given(st.lists(st.lists(st.binary(max_size=3000), max_size=3), max_size=5), st.binary(max_size=100))
def test_joined_parts_are_one_member_with_their_text(texts, end):
    parts = [deflate_part(pieces) for pieces in texts]
    whole = b"".join(join_parts(parts, last_part(end)))
    expected = b"".join(piece for pieces in texts for piece in pieces) + end
    assert gzip.decompress(whole) == expected
    assert inflate(whole, ArchiveLimits(10**6)) == expected
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)  # reads the first member only, and checks its trailer
    assert unpacker.decompress(whole) == expected
    assert unpacker.eof
    assert not unpacker.unused_data
    assert [inflate_part(part) for part in parts] == [b"".join(pieces) for pieces in texts]


def test_another_program_reads_it():
    whole = b"".join(join_parts([deflate_part([bytes(3_000_000)]), deflate_part([b"x" * 70_000])], LAST))
    found = subprocess.run(["gzip", "-dc"], input=whole, capture_output=True, check=True)
    assert found.stdout == bytes(3_000_000) + b"x" * 70_000 + b"the end"
    assert not found.stderr


def test_a_large_part_is_not_copied():
    part = deflate_part([bytes(range(256)) * 4000])
    assert any(piece is part.data for piece in join_parts([LAST, part], LAST))


@pytest.mark.parametrize(
    "part",
    [
        DeflatedPart(b"\xff\xff", 0, 1),
        DeflatedPart(deflate_part([b"abc"]).data, zlib.crc32(b"abd"), 3),
        DeflatedPart(deflate_part([b"abc"]).data, zlib.crc32(b"abc"), 2),
        DeflatedPart(deflate_part([bytes(10**6)]).data, 0, 10),
    ],
    ids=["no deflate", "another text", "too short", "a bomb"],
)
def test_a_damaged_part_is_refused(part):
    with pytest.raises(ValueError, match="its data"):
        inflate_part(part)
