"""How much a source may hold before it is refused: bounds against accidents and archive bombs."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds on one snapshot; counts and bytes.

    Args:
        files: files (for an archive, members) at most.
        folders: folders at most; empty ones count, for a git tree can hold them in exponential numbers.
        links: symbolic links at most.
        depth: folders above one another at most.
        path_chars: characters of one path, and of one link's target, at most.
        file_bytes: bytes of one file at most; a larger one is refused where it is read.
        total_bytes: bytes of all files together at most; for an archive, of its unpacked form; for a
            commit, of all files that are read.
        pack_bytes: bytes that a fetch of a git repository may bring.
        download_bytes: bytes of an archive as it lies on disk or is downloaded, at most.
        ratio: unpacked bytes for each packed byte at most. A fleet of nearly equal settings reaches
            about 120, gzip itself can reach 1032.
        ratio_floor: unpacked bytes below which the ratio does not matter.
    """

    files: int = 50_000
    folders: int = 50_000
    links: int = 5_000
    depth: int = 64
    path_chars: int = 1024
    file_bytes: int = 16 * MIB
    total_bytes: int = 512 * MIB
    pack_bytes: int = 2048 * MIB
    download_bytes: int = 128 * MIB
    ratio: int = 300
    ratio_floor: int = 16 * MIB


LIMITS = SourceLimits()
