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
UNSUPPORTED = {
    b"\xfd7zXZ\0": "is compressed with xz",
    b"BZh": "is compressed with bzip2",
    b"PK\x03\x04": "is a ZIP archive",
    b"7z\xbc\xaf": "is a 7z archive",
}
FEED = 64 * 1024
PIECE = 1024 * 1024
_AGAIN = "Download or create it again."
STREAMS = 10_000
"""Compressed streams in one file at most; block-wise packers such as bgzip write one for every 64 KB."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds on the output of one compressed file.

    Args:
        total_bytes: unpacked bytes at most.
        ratio: unpacked bytes for each packed byte at most. A fleet of nearly equal settings reaches
            about 120, gzip itself can reach 1032.
        ratio_floor: unpacked bytes below which the ratio does not matter.
    """

    total_bytes: int
    ratio: int = 300
    ratio_floor: int = 16 * 1024 * 1024


class ArchiveError(ValueError):
    """Compressed bytes that are damaged, unpack to too much, or have an unsupported format.

    Args:
        message: what is wrong, to follow the name of the file.
        remedy: what to do, a sentence for the author of the archive.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def is_archive(start: bytes) -> bool:
    """Whether a file with this beginning (300 bytes are enough) is an archive, supported or not."""
    return start.startswith((GZIP, ZSTD, *UNSUPPORTED)) or start[257:262] == b"ustar"


def inflate(data: bytes, bounds: ArchiveLimits) -> bytes:
    """The tar archive inside: unpacked if it is compressed, else the bytes as they are.

    Raises:
        ArchiveError: it is damaged, unpacks to too much, or has an unsupported format.
    """
    for magic, words in UNSUPPORTED.items():
        if data.startswith(magic):
            raise ArchiveError(words, "Pack it as .tar or .tar.gz.")
    if data.startswith(GZIP):
        return _unpack(data, "gzip", bounds)
    if data.startswith(ZSTD):
        return _unpack(data, "zstd", bounds)
    return data


def _unpack(data: bytes, form: str, bounds: ArchiveLimits) -> bytes:
    new, error_type = _choose_decoder(form)
    pieces: list[bytes] = []
    total = 0
    try:
        for piece in _iterate_output(data, new):
            total += len(piece)
            if total > bounds.total_bytes:
                limit = format_size(bounds.total_bytes)
                raise ArchiveError(
                    f"unpacks to more than {limit}", "Pack only the desired state, or split it."
                )
            if total > bounds.ratio_floor and total > len(data) * bounds.ratio:
                packed = f"{bounds.ratio} times its own {format_size(len(data))}"
                raise ArchiveError(
                    f"unpacks to more than {packed}, like an archive bomb",
                    "If it is your own, pack it as an uncompressed .tar.",
                )
            pieces.append(piece)
    except error_type as error:
        raise ArchiveError(f"is damaged: its {form} data cannot be unpacked", _AGAIN) from error
    except EOFError:
        raise ArchiveError(f"is truncated: its {form} data is incomplete", _AGAIN) from None
    return b"".join(pieces)


def _iterate_output(data: bytes, new: Callable[[], Any]) -> Iterator[bytes]:
    """The output of the streams in `data`, one after another; zeros may follow, as from tape blocks."""
    # Input is fed in small parts: a decoder returns what it did not use as a copy, and with many streams in
    # one large input the copies would take quadratic time.
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


def _choose_decoder(form: str) -> tuple[Callable[[], Any], type[Exception]]:
    """The function that makes a decoder, and the error that decoders raise."""
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
