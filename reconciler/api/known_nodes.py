"""Which node a name means on this host, by what runs have seen, and when a hold ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.change_windows import parse_end
from reconciler.core.fields import parse_duration
from reconciler.core.fleet_matching import HOST
from reconciler.core.reservations import Reservation
from reconciler.core.timestamps import format_minute
from reconciler.errors import UsageError
from reconciler.ports.store import OrderReader
from reconciler.text.one_line import LONGEST_NAME, join_some, quote_text
from reconciler.text.suggestions import find_similar

LONGEST_HOLD: Final = timedelta(days=366)

_NAMED: Final = 5
_EXAMPLES: Final = "write a day (2026-12-24), a moment in UTC (2026-12-24T18:00) or a time from now (4h)"


class UnknownName(UsageError):
    """A name of an order is none that this host knows."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node by its names.

    Args:
        fleet: number of its fleet; of the host if the node may be of any fleet.
        is_seen: whether a run on this host has seen it.
    """

    fleet: int
    cluster: str
    node: str
    is_seen: bool = True

    @property
    def name(self) -> str:
        """Its full name."""
        return f"{self.cluster}/{self.node}"


async def find_known_node(text: str, store: OrderReader) -> KnownNode:
    """The node that a name or `CLUSTER/NODE` means.

    The source is not read: a hold must work while it is away, and without a look at any node.

    Raises:
        UsageError: the name is unknown (`UnknownName`), or several clusters have such a node.
    """
    if not 0 < len(text) <= 2 * LONGEST_NAME or text.count("/") > 1 or text.startswith("/"):
        raise UsageError(f"{quote_text(text)} is no name of a node", remedy="write NODE, or CLUSTER/NODE")
    known = await list_known_nodes(store)
    cluster, slash, node = text.rpartition("/")
    found = [one for one in known if one.node == node and (not slash or one.cluster == cluster)]
    names = sorted({one.name for one in found})
    if len(names) > 1:
        raise UsageError(
            f"several clusters have a node {quote_text(node)}: {join_some(names, _NAMED)}",
            remedy=f"name one of them, such as {names[0]}",
        )
    if found:
        # Two fleets of this host with such a node: whichever is meant, nothing is sent to it.
        fleets = {one.fleet for one in found}
        return found[0] if len(fleets) == 1 else KnownNode(HOST, found[0].cluster, node)
    if slash and node:
        return KnownNode(HOST, cluster, node, is_seen=False)
    near = find_similar(node, sorted({one.node for one in known}), most=_NAMED)
    hint = f"similar names: {', '.join(near)}" if near else "`reconcile status` lists the nodes"
    raise UnknownName(
        f"no run on this host has seen a node {quote_text(text)}",
        remedy=f"{hint}; a node that is new is named CLUSTER/NODE",
    )


def find_named_holds(text: str, holds: Sequence[Reservation]) -> list[Reservation]:
    """The holds of a node by its name, or by `CLUSTER/NODE`.

    Raises:
        UsageError: nodes of several clusters have that name and are held.
    """
    found = [one for one in holds if text in {one.node, f"{one.cluster}/{one.node}"}]
    names = sorted({f"{one.cluster}/{one.node}" for one in found})
    if len(names) > 1:
        raise UsageError(
            f"several clusters have a held node {quote_text(text)}: {join_some(names, _NAMED)}",
            remedy=f"name one of them, such as {names[0]}",
        )
    return found


def read_hold_end(text: str, now: datetime) -> datetime:
    """The end of a hold: a day, a moment in UTC, or a time from now.

    Raises:
        UsageError: it is none of them, over already, or too far away.
    """
    try:
        end = parse_end(text)
    except ValueError:
        try:
            end = now + timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise UsageError(f"{quote_text(text)} is no end of a hold", remedy=_EXAMPLES) from None
    if end <= now:
        raise UsageError(
            f"the end {quote_text(text)} is over: it is {format_minute(now)} UTC",
            remedy=_EXAMPLES,
        )
    if end - now > LONGEST_HOLD:
        raise UsageError(
            f"{quote_text(text)}: a hold lasts at most {LONGEST_HOLD.days} days",
            remedy="give an earlier end, or take the node out of the fleet file",
        )
    return end


async def list_known_nodes(store: OrderReader) -> list[KnownNode]:
    """The nodes that runs on this host have seen."""
    found: dict[tuple[int, str, str], KnownNode] = {}
    for fleet in await store.fleets():
        memory = await store.select_fleet(fleet.number).read_memory()
        for cluster in sorted({*memory.cluster_memory, *memory.facts} - {""}):
            for node in _list_names(memory.facts.get(cluster, {}), memory.get_cluster_memory(cluster).names):
                found[fleet.number, cluster, node] = KnownNode(fleet.number, cluster, node)
    return list(found.values())


def _list_names(facts: Iterable[str], names: Iterable[str]) -> list[str]:
    return sorted({*facts, *names} - {""})
