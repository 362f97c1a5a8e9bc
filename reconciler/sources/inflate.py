"""Unpack gzip and zstd within bounds: bytes in, bytes out, pure."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from reconciler.errors import SourceError
from reconciler.sources.limits import Limits, size

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


def is_archive(start: bytes) -> bool:
    """Whether a file that begins like this (300 bytes are enough) is an archive, of a kind read or not."""
    return start.startswith((GZIP, ZSTD, *STRANGE)) or start[257:262] == b"ustar"


def inflate(data: bytes, *, where: str, limits: Limits) -> bytes:
    """The tar archive inside: unpacked if it is compressed, else the bytes as they are.

    Args:
        data: the file as it lies on disk or came over the network.
        where: its name for messages.
        limits: `total_bytes`, `ratio` and `ratio_floor` apply.

    Raises:
        SourceError: it is damaged, unpacks to too much, or is packed in a way that is not read.
    """
    for magic, words in STRANGE.items():
        if data.startswith(magic):
            raise SourceError(f"{where} {words}", remedy="Pack it as .tar or .tar.gz.")
    if data.startswith(GZIP):
        return _unpacked(data, "gzip", where=where, limits=limits)
    if data.startswith(ZSTD):
        return _unpacked(data, "zstd", where=where, limits=limits)
    return data


def _unpacked(data: bytes, form: str, *, where: str, limits: Limits) -> bytes:
    new, error_type = _decoder(form, where)
    pieces: list[bytes] = []
    total = 0
    try:
        for piece in _pieces(data, new):
            total += len(piece)
            _bounded(total, len(data), where=where, limits=limits)
            pieces.append(piece)
    except error_type as error:
        raise SourceError(
            f"{where} is damaged: its {form} compression cannot be unpacked",
            remedy="Fetch it or pack it again.",
        ) from error
    except EOFError:
        raise SourceError(
            f"{where} is cut off: its {form} compression does not end",
            remedy="Fetch it or pack it again.",
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


def _bounded(total: int, packed: int, *, where: str, limits: Limits) -> None:
    if total > limits.total_bytes:
        raise SourceError(
            f"{where} unpacks to more than {size(limits.total_bytes)}",
            remedy="Pack the desired state alone, or split it.",
        )
    if total > limits.ratio_floor and total > packed * limits.ratio:
        raise SourceError(
            f"{where} unpacks to more than {limits.ratio} times its own {size(packed)}, as archive bombs do",
            remedy="If it is your own, pack it as a plain .tar.",
        )


def _decoder(form: str, where: str) -> tuple[Callable[[], Any], type[Exception]]:
    """What makes a stream's decoder, and the error that it raises."""
    if form == "gzip":
        return partial(zlib.decompressobj, wbits=16 + zlib.MAX_WBITS), zlib.error
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        raise SourceError(
            f"{where} is compressed with zstd, which this Python cannot unpack",
            remedy="Use Python 3.14 or newer, or pack it as .tar.gz.",
        ) from None
    return zstd.ZstdDecompressor, zstd.ZstdError
