"""One picture out of the views of many nodes: what they agree on, where they differ, what stays unknown."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from reconciler.core.observation import (
    Absent,
    Observation,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unreachable,
)
from reconciler.drivers.sora.cluster import Log, Node, State, quorum
from reconciler.drivers.sora.membership import Membership, Roster
from reconciler.drivers.sora.schema import API_URL, NodeRow, NodeView, SoraCluster

_NEVER: Final = re.compile(r"NOT-INITIALI[SZ]ED")


def judged_view(name: str, view: NodeView) -> Observation[NodeView]:
    """What one node's own ListClusterNodes is worth.

    An empty list, or an error that says so, is the positive answer "never initialised". A view that
    does not hold a majority of the nodes it lists is known to be behind.
    """
    if view.refusal:
        if _NEVER.search(view.refusal):
            return Absent(f"ListClusterNodes answered {view.refusal}")
        return Stale(view, f"it refuses to list the cluster: {view.refusal}")
    if not view.rows:
        return Absent("ListClusterNodes answered an empty list")
    own = view.row(name)
    if own is None:
        return Stale(view, f"its answer does not list it, but {', '.join(names_of(view)[:5])}")
    regular = [row for row in view.rows if not row.temporary]
    connected = sum(row.connected for row in regular)
    if not own.connected or connected < quorum(len(regular)):
        return Stale(view, f"it sees {connected} of {len(regular)} regular nodes, which is no majority")
    return Present(view)


def names_of(view: NodeView) -> tuple[str, ...]:
    """The names that a view lists."""
    return tuple(row.node_name for row in view.rows)


@dataclass(frozen=True, slots=True)
class Picture:
    """The merged views of a cluster.

    Args:
        observed: every node's own answer.
        speakers: the nodes whose own fresh view shows a majority, sorted by name. A node that lists
            nobody but itself is no speaker: a node that was never initialised may look the same.
        told: what the speakers say the membership is, each with those who say so.
        shown: name -> whether the speakers that list it show it connected; both where they differ.
    """

    observed: Observed[NodeView]
    speakers: Mapping[str, NodeView]
    told: tuple[tuple[Membership, tuple[str, ...]], ...]
    shown: Mapping[str, frozenset[bool]]

    @property
    def membership(self) -> Membership | None:
        """What all speakers agree on; None where there are none, or where they differ."""
        return self.told[0][0] if len(self.told) == 1 else None

    @property
    def disputed(self) -> tuple[str, ...]:
        """Members that some speakers show connected and others do not."""
        return tuple(sorted(name for name, shown in self.shown.items() if len(shown) > 1))

    @property
    def agreed(self) -> bool:
        """Whether there is a membership and nothing about it is disputed."""
        return self.membership is not None and not self.disputed

    @property
    def day(self) -> date | None:
        """The latest day on which a node answered; None where no answer has one."""
        views = (
            answer.value for answer in self.observed.nodes.values() if isinstance(answer, Present | Stale)
        )
        return max((view.day for view in views if view.day is not None), default=None)

    @property
    def limits(self) -> Mapping[str, int]:
        """Connections that the licence of each node allows, for those of which a speaker tells."""
        rows = (row for view in self.speakers.values() for row in view.rows)
        told = [(row.node_name, row.license_max_connections) for row in rows]
        return {name: limit for name, limit in told if limit is not None}

    def connected(self, name: str) -> bool:
        """Whether every speaker shows the node connected."""
        return self.shown.get(name) == frozenset({True})

    def away(self, name: str) -> bool:
        """Whether there are speakers, and none shows the node connected."""
        return bool(self.speakers) and True not in self.shown.get(name, ())

    def answers(self, name: str) -> bool:
        """Whether something answers at the node's own API; no answer is no proof of the contrary."""
        return isinstance(self.observed.nodes.get(name), Present | Absent | Stale | Unauthorized)

    def down(self, name: str) -> bool:
        """Whether all evidence says that the node is stopped: none shows it, and its API is silent."""
        return self.away(name) and not self.answers(name)

    def blank(self, name: str) -> bool:
        """Whether the node itself answers that it is in no cluster, or lists nobody but itself."""
        answer = self.observed.nodes.get(name)
        if isinstance(answer, Present | Stale):
            return names_of(answer.value) == (name,)
        return isinstance(answer, Absent)

    def alone(self, name: str) -> bool:
        """Whether the node itself answers and is connected to nobody, whatever it remembers."""
        answer = self.observed.nodes.get(name)
        if isinstance(answer, Present | Stale) and answer.value.row(name) is not None:
            return not any(row.connected for row in answer.value.rows if row.node_name != name)
        return isinstance(answer, Absent)


def picture_of(observed: Observed[NodeView], *, regular: Iterable[str] = ()) -> Picture:
    """The picture that the answers of a cluster's nodes give together.

    Args:
        observed: every node's own answer.
        regular: the regular nodes the cluster should have; where it is one, that node may speak alone.
    """
    expected = tuple(regular)
    speakers: dict[str, NodeView] = {}
    told: dict[Membership, list[str]] = {}
    shown: dict[str, set[bool]] = {}
    for name, view in sorted(observed.present().items()):
        if names_of(view) != (name,) or expected == (name,):
            speakers[name] = view
            told.setdefault(_membership(view), []).append(name)
            for row in view.rows:
                shown.setdefault(row.node_name, set()).add(row.connected)
    sayings = sorted(told.items(), key=lambda item: item[1])
    return Picture(
        observed,
        speakers,
        tuple((said, tuple(who)) for said, who in sayings),
        {name: frozenset(kinds) for name, kinds in shown.items()},
    )


def _membership(view: NodeView) -> Membership:
    regular = tuple(row.node_name for row in view.rows if not row.temporary)
    return Membership(regular, tuple(row.node_name for row in view.rows if row.temporary))


def state_of(picture: Picture, names: Iterable[str], temporary: Container[str]) -> tuple[Roster, State]:
    """The machine state that a picture shows.

    Args:
        picture: one that has a membership.
        names: further nodes that the state shall hold.
        temporary: which of those are temporary; members are what the picture says.
    """
    membership = picture.membership or Membership()
    roster = Roster(tuple(sorted({*names, *membership.names})))
    log = Log(0, 0, roster.bits(membership.regular), roster.bits(membership.temporary))
    state = []
    for number, name in enumerate(roster.names):
        if name not in membership.names:
            state.append(Node(up=picture.answers(name), temporary=name in temporary))
            continue
        kind = name in membership.temporary
        if picture.connected(name):
            state.append(Node(temporary=kind, log=log))
        elif picture.down(name) and not kind:
            state.append(Node(up=False, log=log))
        elif picture.blank(name):
            state.append(Node(temporary=kind))
        else:  # cut off; so is a temporary node that is away, for a stopped one would not be listed
            state.append(Node(temporary=kind, side=1 + number, log=log))
    return roster, tuple(state)


def addresses(entry: SoraCluster, observed: Observed[NodeView]) -> dict[str, str]:
    """Where each node's API is: what the fleet file says, else what members say, else what is likely.

    Likely is an address only where all known ones are built alike from the host in the node's name; it
    serves to find out that a node believed to be dead still answers.
    """
    known = {node.name: node.api for node in entry.nodes}
    views = [view for _, view in sorted(observed.present().items())]
    for row in (row for view in views for row in view.rows):
        if row.node_name not in known and row.api and API_URL.fullmatch(row.api):
            known[row.node_name] = row.api
    pattern = {_pattern(name, api) for name, api in known.items()}
    built = pattern.pop() if len(pattern) == 1 else None
    for row in sorted((row for view in views for row in view.rows), key=lambda row: row.node_name):
        if built is not None and row.node_name not in known:
            likely = built.replace("{host}", _host(row))
            if likely not in known.values():
                known[row.node_name] = likely
    return known


def _pattern(name: str, api: str) -> str | None:
    parts, host = urlsplit(api), name.rpartition("@")[2]
    return api.replace(host, "{host}", 1) if parts.hostname == host.lower() else None


def _host(row: NodeRow) -> str:
    return row.node_name.rpartition("@")[2]


def silence(answer: Observation[NodeView] | None) -> str:
    """Why nothing is known from a node itself, in words."""
    if isinstance(answer, Unreachable | Unauthorized | Stale):
        return answer.reason
    return "its API address is not known" if answer is None else "it answered"
