"""Shortens a document to a length: the least important pieces are omitted first, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from reconciler.descriptions.values import format_count


class PieceRank(IntEnum):
    """How soon a piece is omitted: the highest first, `FRAME` never."""

    FRAME = 0
    LINE = 1
    STEP = 2
    ROW = 3
    DIFFERENCE = 4


_NOUNS = {
    PieceRank.DIFFERENCE: "folded difference",
    PieceRank.ROW: "row",
    PieceRank.STEP: "part",
    PieceRank.LINE: "line",
}
_NOTE = 200  # room for the last line


@dataclass(frozen=True, slots=True)
class DocumentPiece:
    """A part of a document that is shown completely or not at all."""

    text: str
    rank: PieceRank = PieceRank.FRAME


def fit_pieces(pieces: Sequence[DocumentPiece], limit: int) -> str:
    """The pieces joined, in at most `limit` characters; a last line counts what was omitted, if any.

    Args:
        pieces: the document; those of rank `FRAME` must fit by themselves.
        limit: in characters.
    """
    size = sum(len(piece.text) for piece in pieces)
    if size <= limit:
        return "".join(piece.text for piece in pieces)
    cut: set[int] = set()
    # From the end: reviewers read from the top, and what is refused comes first.
    by_rank = (
        index
        for rank in sorted(_NOUNS, reverse=True)
        for index in reversed(range(len(pieces)))
        if pieces[index].rank is rank
    )
    for index in by_rank:
        if size <= limit - _NOTE:
            break
        cut.add(index)
        size -= len(pieces[index].text)
    kept = "".join(piece.text for index, piece in enumerate(pieces) if index not in cut)
    counts = Counter(pieces[index].rank for index in cut)
    omitted = " and ".join(format_count(counts[rank], noun) for rank, noun in _NOUNS.items() if counts[rank])
    return f"{kept}\n_Shortened: {omitted} omitted; `reconcile --dry-run` shows everything._\n"
