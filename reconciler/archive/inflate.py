"""Unpack gzip and zstd within bounds: bytes in, bytes out, pure."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from reconciler.text.one_line import format_size

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
STRANGE = {
    b"\xfd7zXZ\0": "is compressed with xz",
    b"BZh": "is compressed with bzip2",
    b"PK\x03\x04": "is a ZIP archive",
    b"7z\xbc\xaf": "is a 7z archive",
}
FEED = 64 * 1024
PIECE = 1024 * 1024
STREAMS = 10_000
"""Compressed streams in one file; block-wise packers write one for every 64 KB."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much may come out of one compressed file.

    Args:
        total_bytes: bytes, unpacked, at most.
        ratio: unpacked bytes for each packed byte at most. A fleet of nearly equal settings reaches
            about 120, gzip itself can reach 1032.
        ratio_floor: unpacked bytes below which the ratio does not matter.
    """

    total_bytes: int
    ratio: int = 300
    ratio_floor: int = 16 * 1024 * 1024


class ArchiveError(ValueError):
    """Compressed bytes that are damaged, unpack to too much, or are of a kind that is not read.

    Args:
        message: what is wrong, to follow the file's name.
        remedy: what to do about it, a sentence for whoever packed it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def is_archive(start: bytes) -> bool:
    """Whether a file that begins like this (300 bytes are enough) is an archive, of a kind read or not."""
    return start.startswith((GZIP, ZSTD, *STRANGE)) or start[257:262] == b"ustar"


def inflate(data: bytes, bounds: ArchiveLimits) -> bytes:
    """The tar archive inside: unpacked if it is compressed, else the bytes as they are.

    Args:
        data: the file as it lies on disk or came over the network.
        bounds: on what comes out.

    Raises:
        Unpackable: it is damaged, unpacks to too much, or is packed in a way that is not read.
    """
    for magic, words in STRANGE.items():
        if data.startswith(magic):
            raise ArchiveError(words, "Pack it as .tar or .tar.gz.")
    if data.startswith(GZIP):
        return _unpacked(data, "gzip", bounds)
    if data.startswith(ZSTD):
        return _unpacked(data, "zstd", bounds)
    return data


def _unpacked(data: bytes, form: str, bounds: ArchiveLimits) -> bytes:
    new, error_type = _decoder(form)
    pieces: list[bytes] = []
    total = 0
    try:
        for piece in _pieces(data, new):
            total += len(piece)
            _check_size(total, len(data), bounds)
            pieces.append(piece)
    except error_type as error:
        raise ArchiveError(
            f"is damaged: its {form} data cannot be unpacked", "Download or create it again."
        ) from error
    except EOFError:
        raise ArchiveError(
            f"is truncated: its {form} data is incomplete", "Download or create it again."
        ) from None
    return b"".join(pieces)


def _pieces(data: bytes, new: Callable[[], Any]) -> Iterator[bytes]:
    """What the streams in `data` hold, one after another; zeros may follow, as tape blocks leave them.

    Input is fed in small parts, because a stream hands back what it has not used as a copy.
    """
    stream, streams = new(), 1
    feed, at = b"", 0
    while True:
        if not feed:
            feed, at = data[at : at + FEED], at + FEED
        piece = stream.decompress(feed, PIECE)
        feed = getattr(stream, "unconsumed_tail", b"")
        yield piece
        if stream.eof:
            feed = stream.unused_data.lstrip(b"\0")
            while not feed and at < len(data):
                feed, at = data[at : at + FEED].lstrip(b"\0"), at + FEED
            if not feed:
                return
            stream, streams = new(), streams + 1
            if streams > STREAMS:
                raise EOFError
        elif not piece and not feed and at >= len(data):
            raise EOFError


def _check_size(total: int, packed: int, bounds: ArchiveLimits) -> None:
    if total > bounds.total_bytes:
        raise ArchiveError(
            f"unpacks to more than {format_size(bounds.total_bytes)}",
            "Pack only the desired state, or split it.",
        )
    if total > bounds.ratio_floor and total > packed * bounds.ratio:
        raise ArchiveError(
            f"unpacks to more than {bounds.ratio} times its own {format_size(packed)}, like an archive bomb",
            "If it is your own, pack it as an uncompressed .tar.",
        )


def _decoder(form: str) -> tuple[Callable[[], Any], type[Exception]]:
    """What makes a stream's decoder, and the error that it raises."""
    if form == "gzip":
        return partial(zlib.decompressobj, wbits=16 + zlib.MAX_WBITS), zlib.error
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise ArchiveError(
            "is compressed with zstd, which this Python cannot unpack",
            "Use Python 3.14 or newer, or pack it as .tar.gz.",
        ) from None
    return zstd.ZstdDecompressor, zstd.ZstdError
