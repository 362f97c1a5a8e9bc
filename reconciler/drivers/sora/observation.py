"""Which addresses are asked for which node, and what the answers say of each; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from reconciler.core.observation import (
    Liveness,
    Observation,
    Observed,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.drivers.sora.cluster_view import (
    choose_best_answer,
    classify_view,
    find_node_addresses,
    select_lists,
)
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.schema import NodeView, SoraCluster
from reconciler.host.defect_capture import EXPECTED, make_defect_observation

Reply = NodeView | Unauthorized | Unidentified | Unreachable
"""What one address answered, whichever node it is."""

ROUNDS: Final = 3
"""Rounds of asking: members that only the answers name are asked in the next round."""

MOST_ADDRESSES: Final = 2_000
"""The most addresses that one observation asks, beyond the fleet file: a node's list is foreign input."""

Wanted = Mapping[str, Iterable[str]]
"""Node -> further addresses at which it is asked."""


def list_further_addresses(
    entry: SoraCluster, history: ClusterPast, observed: Observed[NodeView]
) -> dict[str, tuple[str, ...]]:
    """Node -> all addresses besides the fleet file's at which it is asked, as far as is known by now."""
    named = {node.name: node.api for node in entry.nodes}
    found: dict[str, tuple[str, ...]] = {}
    # Nodes of the fleet file are not asked at guessed addresses: their `api` is known.
    for name, places in find_node_addresses(entry, observed, history).items():
        wanted = places.known if name in named else (*places.known, *places.guessed)
        own = tuple(place for place in wanted if place != named.get(name))
        if own:
            found[name] = own
    return found


def merge_replies(
    apis: Mapping[str, str], elsewhere: Wanted, replies: Mapping[str, Reply], listed: Iterable[str] = ()
) -> Observed[NodeView]:
    """The answers of each node, from what its addresses replied; see `merge_answers`."""

    def answer(name: str, place: str) -> Observation[NodeView] | None:
        return _judge_reply(name, replies[place]) if place in replies else None

    return merge_answers(apis, elsewhere, answer, listed)


def merge_answers(
    apis: Mapping[str, str],
    elsewhere: Wanted,
    answer: Callable[[str, str], Observation[NodeView] | None],
    listed: Iterable[str] = (),
) -> Observed[NodeView]:
    """The answers of each node at its addresses.

    Args:
        apis: node -> the address that counts for it.
        elsewhere: node -> further addresses; of a node without one that counts, the best answer counts.
        answer: gives what a node's address answers, as an answer of that node; None if it was not asked.
        listed: further names, of nodes without a known address.
    """
    nodes = {name: found for name, api in apis.items() if (found := answer(name, api)) is not None}
    others: dict[str, dict[str, Observation[NodeView]]] = {}
    for name, places in elsewhere.items():
        answers = {place: found for place in places if (found := answer(name, place)) is not None}
        if answers:
            others[name] = answers
            if name not in apis and (best := choose_best_answer(answers.values())) is not None:
                nodes[name] = best
    for name in (*elsewhere, *listed):
        # UNASKED, never SILENT: silence at all known addresses counts as proof of a stop, and none was asked.
        nodes.setdefault(name, Unreachable("its API address is not known", Liveness.UNASKED))
    return Observed(dict(sorted(nodes.items())), dict(sorted(others.items())))


def list_known_names(observed: Observed[NodeView]) -> set[str]:
    """The names that the nodes list; see `select_lists`."""
    return {row.node_name for view in select_lists(observed) for row in view.rows}


def _judge_reply(name: str, reply: Reply) -> Observation[NodeView]:
    if not isinstance(reply, NodeView):
        return reply
    try:
        return classify_view(name, reply)
    except EXPECTED:
        raise
    except Exception as error:  # noqa: BLE001  (an oddity of one node's answer)
        return make_defect_observation(name, error)
