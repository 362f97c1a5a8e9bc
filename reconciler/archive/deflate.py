"""Write gzip from parts that were compressed one by one: bytes in, bytes out, pure.

Thousands of packages that differ only in a small beginning share their large rest, compressed once. The
result is one ordinary gzip member, since some readers stop after the first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LEVEL: Final = 6

_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Of a gzip member: deflate, no name, no time, unknown system."""

_POLYNOMIAL: Final = 0xEDB88320
"""Of CRC-32 (RFC 1952), reflected."""

_ONE: Final = 1 << 31
"""The polynomial 1, reflected: the highest bit is the constant term."""


@dataclass(frozen=True, slots=True)
class DeflatedPart:
    """A part of a text, compressed without reference to what is before it.

    Args:
        data: deflate blocks of which none is the last one, up to a byte boundary.
        crc: CRC-32 of the text.
        size: of the text, in bytes.
    """

    data: bytes
    crc: int
    size: int


def deflate_part(pieces: Iterable[bytes]) -> DeflatedPart:
    """The compressed form of a part of a text, given in pieces."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc = size = 0
    found = []
    for piece in pieces:
        found.append(packer.compress(piece))
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    # A full flush ends with an empty block at a byte boundary: any other part may follow.
    found.append(packer.flush(zlib.Z_FULL_FLUSH))
    return DeflatedPart(b"".join(found), crc, size)


def inflate_part(part: DeflatedPart) -> bytes:
    """The text of a part.

    Raises:
        ValueError: it is damaged.
    """
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        text = unpacker.decompress(part.data, part.size + 1)
    except zlib.error as error:
        raise ValueError("its data cannot be unpacked") from error
    if len(text) != part.size or zlib.crc32(text) != part.crc:
        raise ValueError("its data has another checksum")
    return text


def join_parts(parts: Sequence[DeflatedPart], last: DeflatedPart) -> tuple[bytes, ...]:
    """A gzip member of parts, in pieces: the data of each part is one of them, not copied.

    Args:
        parts: in order.
        last: whose data ends with the last block of the member.
    """
    crc = size = 0
    for part in (*parts, last):
        # CRC-32 of joined texts follows from both and the length of the second, without their bytes.
        crc = _multiply(_shift(part.size), crc) ^ part.crc
        size += part.size
    trailer = struct.pack("<II", crc, size & 0xFFFFFFFF)
    return (_HEADER, *(part.data for part in parts), last.data, trailer)


@lru_cache(maxsize=256)
def _shift(size: int) -> int:
    """The polynomial x to the power of 8 · `size`: multiplying by it appends as many zero bytes."""
    power, found = _multiply(_ONE >> 4, _ONE >> 4), _ONE  # x to the power of 8
    while size:
        if size & 1:
            found = _multiply(found, power)
        power = _multiply(power, power)
        size >>= 1
    return found


def _multiply(one: int, other: int) -> int:
    """The product of two polynomials modulo that of CRC-32, all reflected."""
    product = 0
    while one:
        if one & _ONE:
            product ^= other
        one = (one << 1) & 0xFFFFFFFF
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return product
