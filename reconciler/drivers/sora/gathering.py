"""Which addresses are asked for which node, and what the answers say of each; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from reconciler.core.observation import Observation, Observed, Sign, Unauthorized, Unidentified, Unreachable
from reconciler.drivers.sora.history import History
from reconciler.drivers.sora.picture import best_of, judged_view, places_of, present_of
from reconciler.drivers.sora.schema import NodeView, SoraCluster

Reply = NodeView | Unauthorized | Unidentified | Unreachable
"""What one address answered, whoever it is."""

ROUNDS: Final = 4
"""How often members that only answers name are asked in turn: each round may tell of more."""

MOST: Final = 2_000
"""Addresses that one look asks at most, beyond those of the fleet file."""

Wanted = Mapping[str, Iterable[str]]
"""Node -> further addresses at which it is asked."""


def further(entry: SoraCluster, history: History, observed: Observed[NodeView]) -> dict[str, tuple[str, ...]]:
    """Node -> all addresses besides the fleet file's at which it is asked, as far as is known by now.

    While a majority is seen nobody is initialised, so that nodes of older revisions are let alone then; and a
    node that answers from within the cluster at its own address is sought nowhere else.
    """
    named = {node.name: node.api for node in entry.nodes}
    seen, listed = present_of(observed), names_listed(observed)
    begun = bool(observed.nodes)
    found: dict[str, tuple[str, ...]] = {}
    for name, places in places_of(entry, observed, history).items():
        past = history.nodes.get(name)
        if name in named:
            asked = begun and name not in seen
        else:
            counts = past is not None and (past.required or past.member)
            asked = counts or name in listed or (begun and not seen)
        wanted = places.known if name in named else (*places.known, *places.guessed)
        own = tuple(place for place in wanted if place != named.get(name)) if asked else ()
        if own:
            found[name] = own
    return found


def gathered(
    apis: Mapping[str, str], elsewhere: Wanted, replies: Mapping[str, Reply], listed: Iterable[str] = ()
) -> Observed[NodeView]:
    """The answers of each node, from what its addresses answered.

    Args:
        apis: node -> the address that counts for it.
        elsewhere: node -> further addresses.
        replies: address -> what it answered.
        listed: names of members beyond those of `apis`; of each the best answer counts.
    """
    nodes: dict[str, Observation[NodeView]] = {
        name: _judged(name, replies[api]) for name, api in apis.items()
    }
    others = {
        name: {place: _judged(name, replies[place]) for place in places if place in replies}
        for name, places in sorted(elsewhere.items())
    }
    for name in listed:
        best = best_of(others.get(name, {}).values())
        nodes.setdefault(name, best or Unreachable("its API address is not known", Sign.UNASKED))
    return Observed(dict(sorted(nodes.items())), {name: own for name, own in others.items() if own})


def names_listed(observed: Observed[NodeView]) -> set[str]:
    """The names that nodes with a fresh view list."""
    return {row.node_name for view in present_of(observed).values() for row in view.rows}


def _judged(name: str, reply: Reply) -> Observation[NodeView]:
    return judged_view(name, reply) if isinstance(reply, NodeView) else reply
