"""A document of pieces cut to a length: the least important go first, and are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from reconciler.cli.render.values import format_count


class PieceRank(IntEnum):
    """How soon a piece is given up: the highest first, `FRAME` never."""

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
_NOTE = 200


@dataclass(frozen=True, slots=True)
class DocumentPiece:
    """A part of a document that is shown whole or not at all."""

    text: str
    rank: PieceRank = PieceRank.FRAME


def fit_pieces(pieces: Sequence[DocumentPiece], limit: int) -> str:
    """The pieces joined, in at most `limit` characters; a last line counts what was cut, if any.

    Args:
        pieces: the document; those of rank `FRAME` must fit by themselves.
        limit: in characters.
    """
    size = sum(len(piece.text) for piece in pieces)
    if size <= limit:
        return "".join(piece.text for piece in pieces)
    cut: set[int] = set()
    for index in _by_worth(pieces):
        if size <= limit - _NOTE:
            break
        cut.add(index)
        size -= len(pieces[index].text)
    kept = "".join(piece.text for index, piece in enumerate(pieces) if index not in cut)
    return kept + _counted(Counter(pieces[index].rank for index in cut))


def _by_worth(pieces: Sequence[DocumentPiece]) -> Iterator[int]:
    """Indices in the order of giving up: by rank, then from the end."""
    for rank in sorted(_NOUNS, reverse=True):
        yield from (index for index in reversed(range(len(pieces))) if pieces[index].rank is rank)


def _counted(numbers: Counter[PieceRank]) -> str:
    told = " and ".join(format_count(numbers[rank], noun) for rank, noun in _NOUNS.items() if numbers[rank])
    return f"\n_Cut to fit: {told} left out; `reconcile --dry-run` shows all._\n"
