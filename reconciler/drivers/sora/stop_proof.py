"""Whether a node is proven to be stopped, without which nothing is purged; pure.

Sora documentation, "PurgeClusterNode": the target must be stopped. Its peers cannot tell a stopped node from
one that is cut off from them, so every known API address of it is asked as well. A purged node that still
runs would go on serving its own clients, outside the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.core.observation import Absent, Liveness, Observation, Present, Stale, Unreachable
from reconciler.drivers.sora.cluster_view import ClusterView, NodeAddresses
from reconciler.drivers.sora.schema import NodeView, SoraDesired, Stopped
from reconciler.text.one_line import make_one_line


class StopProof(StrEnum):
    """What is known of a node that should be stopped; the first that applies counts."""

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


PROVEN: Final = frozenset({StopProof.STOPPED})
"""Enough by itself."""

WITH_WORD: Final = frozenset({StopProof.STOPPED, StopProof.UNASKED, StopProof.BLANK, StopProof.KIND})
"""Enough together with a `stopped` entry; no entry overrides an answer that shows the node running."""


class AddressReply(StrEnum):
    """What one address says of the node that it is known for."""

    SILENT = "silent"
    UNASKED = "unasked"
    OTHER = "other"
    BLANK = "blank"
    ANSWERS = "answers"


@dataclass(frozen=True, slots=True)
class StopVerdict:
    """What is known of a node, and at which address; `words` describe it."""

    proof: StopProof
    words: str

    def enough(self, *, word: bool) -> bool:
        """Whether the node may be purged, with or without a `stopped` entry."""
        return self.proof in (WITH_WORD if word else PROVEN)


def prove_member_stopped(
    desired: SoraDesired, cluster_view: ClusterView, name: str, places: Mapping[str, NodeAddresses]
) -> tuple[StopVerdict, Stopped | None]:
    """The proof for a member by all that is known of it, and its `stopped` entry if that still counts."""
    entry = desired.word(name)
    if entry is not None and cluster_view.is_past(entry.until):
        entry = None
    known = places.get(name, NodeAddresses()).known
    return prove_stopped(cluster_view, name, known, regular=desired.is_regular(name)), entry


def prove_stopped(
    cluster_view: ClusterView, name: str, known: Iterable[str], *, regular: bool
) -> StopVerdict:
    """Whether a member is stopped, by the other members and by its own addresses.

    Args:
        cluster_view: one with a membership; it has the answers at every address.
        name: the member.
        known: the addresses at which silence counts; those asked beyond them count only if Sora answers.
        regular: whether a fleet file names, or named, it as a regular node.
    """
    if name in cluster_view.errors:
        return StopVerdict(
            StopProof.ERROR,
            f"the members show an error for it: {make_one_line(cluster_view.errors[name], 200)}",
        )
    if not cluster_view.is_away(name):
        return StopVerdict(StopProof.SEEN, "the members see it connected")
    answers, required = cluster_view.observed.elsewhere.get(name, {}), sorted(set(known))
    own = cluster_view.observed.nodes.get(name) if not answers else None
    replies = {place: _judge_reply(cluster_view, name, answers.get(place, own)) for place in required}
    # An answer at a guessed address is evidence against a stop; silence there is evidence of nothing.
    guessed = {place: answer for place, answer in answers.items() if place not in replies}
    replies |= {
        place: _judge_reply(cluster_view, name, answer)
        for place, answer in guessed.items()
        if isinstance(answer, Present | Stale)
    }
    if own is not None and not isinstance(own, Unreachable) and not required:
        replies[""] = _judge_reply(cluster_view, name, own)
    # Only an explicit `temporary_node: false` counts: a purge of a temporary node is refused, and 2023.2 does
    # not list the key at all.
    rows = [row for view in cluster_view.answering_nodes.values() if (row := view.row(name)) is not None]
    is_listed_regular = bool(rows) and all(row.temporary is False for row in rows)
    for reply, proof, words in _ORDER:
        places = [place for place, found in replies.items() if found is reply]
        if proof is StopProof.BLANK and not regular and not is_listed_regular:
            return StopVerdict(
                StopProof.KIND, "no member shows whether it is a regular node (temporary_node)"
            )
        if places:
            return StopVerdict(proof, f"{words}: {', '.join(places)}" if places[0] else words)
    if not required:
        return StopVerdict(StopProof.UNASKED, "no address of its API is known")
    return StopVerdict(
        StopProof.STOPPED, f"no member sees it, and its API does not answer at {', '.join(required)}"
    )


_ORDER: Final = (
    # The most dangerous reply decides: one address that answers outweighs any number of silent ones.
    (AddressReply.ANSWERS, StopProof.ANSWERS, "its API answers"),
    (AddressReply.BLANK, StopProof.BLANK, "a node that is in no cluster answers at its address"),
    (AddressReply.UNASKED, StopProof.UNASKED, "its API cannot be called"),
)


def _judge_reply(cluster_view: ClusterView, name: str, answer: Observation[NodeView] | None) -> AddressReply:
    if answer is None:
        return AddressReply.UNASKED
    if isinstance(answer, Unreachable):
        signs = {
            Liveness.SILENT: AddressReply.SILENT,
            Liveness.UNASKED: AddressReply.UNASKED,
            Liveness.ALIVE: AddressReply.ANSWERS,
        }
        return signs[answer.liveness]
    if isinstance(answer, Absent):
        return AddressReply.BLANK
    return AddressReply.OTHER if cluster_view.is_other(name, answer) else AddressReply.ANSWERS
