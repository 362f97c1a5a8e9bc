"""Whether a node is proven to be stopped, without which nothing is purged; pure.

Sora's documents, "PurgeClusterNode": the target has to be stopped. Its peers cannot tell a stopped node from
one that is cut off from them, so every API address known for it is asked as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.core.observation import Absent, Observation, Present, Sign, Stale, Unreachable
from reconciler.drivers.sora.cluster_view import Picture
from reconciler.drivers.sora.schema import NodeView
from reconciler.text.one_line import one_line


class Proof(StrEnum):
    """What is known of a node that should be stopped; the first that holds counts."""

    SEEN = "seen"
    """A member sees it connected."""

    ERROR = "error"
    """A member shows an error in its place: it is neither up nor down."""

    ANSWERS = "answers"
    """Something answers at one of its addresses, and is not shown to be another node."""

    KIND = "kind"
    """Neither a member nor a fleet file says that it is a regular node, and only those are purged."""

    BLANK = "blank"
    """What answers at one of its addresses is in no cluster: perhaps another machine, perhaps not."""

    UNASKED = "unasked"
    """No address is known for it, or one that is known cannot be asked."""

    STOPPED = "stopped"
    """No member sees it, and every known address is silent or another node's by now."""


PROVEN: Final = frozenset({Proof.STOPPED})
"""Enough by itself."""

WITH_WORD: Final = frozenset({Proof.STOPPED, Proof.UNASKED, Proof.BLANK, Proof.KIND})
"""Enough together with a person's word; that something runs there, no word sets aside."""


class Reply(StrEnum):
    """What one address says of the node that it is known for."""

    SILENT = "silent"
    UNASKED = "unasked"
    OTHER = "other"
    BLANK = "blank"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a node, and at which address; `words` say it for people."""

    proof: Proof
    words: str

    def enough(self, *, word: bool) -> bool:
        """Whether the node may be purged, with or without a person's word."""
        return self.proof in (WITH_WORD if word else PROVEN)


def stopped(picture: Picture, name: str, known: Iterable[str], *, regular: bool) -> Verdict:
    """Whether a member is stopped, by the other members and by its own addresses.

    Args:
        picture: one with a membership; it has the answers at every address.
        name: the member.
        known: the addresses at which silence counts; those asked beyond them count only if Sora answers.
        regular: whether a fleet file names, or named, it as a regular node.
    """
    if name in picture.errors:
        return Verdict(
            Proof.ERROR, f"the members show an error for it: {one_line(picture.errors[name], 200)}"
        )
    if not picture.away(name):
        return Verdict(Proof.SEEN, "the members see it connected")
    answers, required = picture.observed.elsewhere.get(name, {}), sorted(set(known))
    own = picture.observed.nodes.get(name) if not answers else None
    replies = {place: _reply(picture, name, answers.get(place, own)) for place in required}
    guessed = {place: answer for place, answer in answers.items() if place not in replies}
    replies |= {
        place: _reply(picture, name, answer)
        for place, answer in guessed.items()
        if isinstance(answer, Present | Stale)
    }
    if own is not None and not isinstance(own, Unreachable) and not required:
        replies[""] = _reply(picture, name, own)
    for reply, proof, words in _ORDER:
        places = [place for place, found in replies.items() if found is reply]
        if proof is Proof.BLANK and not (regular or _told_regular(picture, name)):
            return Verdict(Proof.KIND, "no member tells whether it is a regular node (temporary_node)")
        if places:
            return Verdict(proof, f"{words}: {', '.join(places)}" if places[0] else words)
    if not required:
        return Verdict(Proof.UNASKED, "no address of its API is known")
    return Verdict(Proof.STOPPED, f"no member sees it, and nothing of it answers at {', '.join(required)}")


_ORDER: Final = (
    (Reply.ANSWERS, Proof.ANSWERS, "its API answers"),
    (Reply.BLANK, Proof.BLANK, "a node that is in no cluster answers at its address"),
    (Reply.UNASKED, Proof.UNASKED, "its API cannot be asked"),
)


def _reply(picture: Picture, name: str, answer: Observation[NodeView] | None) -> Reply:
    if answer is None:
        return Reply.UNASKED
    if isinstance(answer, Unreachable):
        signs = {Sign.SILENT: Reply.SILENT, Sign.UNASKED: Reply.UNASKED, Sign.ALIVE: Reply.ANSWERS}
        return signs[answer.sign]
    if isinstance(answer, Absent):
        return Reply.BLANK
    return Reply.OTHER if picture.is_other(name, answer) else Reply.ANSWERS


def _told_regular(picture: Picture, name: str) -> bool:
    """Whether every member that lists the node says in so many words that it is no temporary one."""
    rows = [row for view in picture.speakers.values() if (row := view.row(name)) is not None]
    return bool(rows) and all(row.temporary is False for row in rows)
