"""Merges the views of many nodes: where they agree, where they differ, and what is unknown.

A node cannot know that it is cut off: its own list is only what it saw last. So a view counts only if it
shows a majority connected, and a fact only if all such views agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from reconciler.core.defect import REPORT
from reconciler.core.endpoint import InvalidAddress, check_single_machine, parse_api
from reconciler.core.observation import (
    Absent,
    Liveness,
    Observation,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.drivers.sora.cluster_state import ClusterLog, SoraNodeState, State, compute_quorum
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.membership import Membership, NodeNumbers
from reconciler.drivers.sora.schema import API_URL, NodeView, SoraCluster, SoraDesired

_NEVER: Final = re.compile(r"NOT-INITIALI[SZ]ED")


def classify_view(name: str, view: NodeView) -> Observation[NodeView]:
    """The observation that one node's own ListClusterNodes gives.

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
        return Stale(view, f"its own list does not contain it, but {', '.join(list_view_names(view)[:5])}")
    regular = [row for row in view.rows if not row.temporary]
    connected = sum(row.connected for row in regular)
    if not own.connected or connected < compute_quorum(len(regular)):
        return Stale(view, f"it sees {connected} of {len(regular)} regular nodes, less than a majority")
    return Present(view)


def list_view_names(view: NodeView) -> tuple[str, ...]:
    """The names that a view lists."""
    return tuple(row.node_name for row in view.rows)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The merged views of a cluster.

    Args:
        observed: every node's own answer.
        answering_nodes: the nodes whose own fresh view shows a majority, sorted by name. A node that lists
            nobody but itself is one only where its statistics show a cluster, or its past does: a node that
            was never initialised may look the same.
        memberships: those in their answers, each with the nodes that report it.
        connections: name -> whether they show it connected; both values if they differ.
        errors: name -> the error that one of them shows for it: it then counts neither as up nor as down.
        live_elsewhere: (name, address) of nodes that answer at another address than the fleet file names for
            them, and see a majority there.
    """

    observed: Observed[NodeView]
    answering_nodes: Mapping[str, NodeView]
    memberships: tuple[tuple[Membership, tuple[str, ...]], ...]
    connections: Mapping[str, frozenset[bool]]
    errors: Mapping[str, str] = field(default_factory=dict)
    live_elsewhere: tuple[tuple[str, str], ...] = ()

    @property
    def membership(self) -> Membership | None:
        """The membership that all answering nodes report; None if there is none, or if they differ."""
        return self.memberships[0][0] if len(self.memberships) == 1 else None

    @property
    def disputed_members(self) -> tuple[str, ...]:
        """Members that some answering nodes show connected and others do not."""
        return tuple(sorted(name for name, kinds in self.connections.items() if len(kinds) > 1))

    @property
    def is_agreed(self) -> bool:
        """Whether there is a membership and nothing about it is disputed."""
        return self.membership is not None and not self.disputed_members

    @property
    def day(self) -> date | None:
        """The latest day on which a node answered; None where no answer has one."""
        views = (self.own_view(name) for name in self.observed.nodes)
        return max((view.day for view in views if view is not None and view.day is not None), default=None)

    @property
    def limits(self) -> Mapping[str, int]:
        """Connections that the licence of each node allows, as far as the answers show it."""
        rows = (row for view in self.answering_nodes.values() for row in view.rows)
        limits = ((row.node_name, row.license_max_connections) for row in rows)
        return {name: limit for name, limit in limits if limit is not None}

    def is_past(self, until: date) -> bool:
        """Whether the last day of an entry is over on the day of the answers."""
        # The day of the answers, not of the clock: planner, guard and judge decide alike about one reading.
        return self.day is not None and self.day > until

    def is_connected(self, name: str) -> bool:
        """Whether every answering node shows the node connected, and none an error."""
        return self.connections.get(name) == frozenset({True}) and name not in self.errors

    def is_away(self, name: str) -> bool:
        """Whether nodes answer, and none shows the node connected or with an error."""
        return (
            bool(self.answering_nodes)
            and True not in self.connections.get(name, ())
            and name not in self.errors
        )

    def answers(self, name: str) -> bool:
        """Whether something answers at any address of the node; no answer is no proof of the contrary.

        The answer of another node, which has its address now, does not count.
        """
        return any(
            not isinstance(answer, Unreachable) or answer.liveness is Liveness.ALIVE
            for answer in self.answers_of(name)
            if not self.is_other(name, answer)
        )

    def answers_of(self, name: str) -> tuple[Observation[NodeView], ...]:
        """The answers at every address that was asked for the node."""
        elsewhere = self.observed.elsewhere.get(name, {})
        own = self.observed.nodes.get(name)
        return (*((own,) if own is not None and own not in elsewhere.values() else ()), *elsewhere.values())

    def answers_of_all(self) -> Iterator[tuple[str, Observation[NodeView]]]:
        """(name, answer) of every node at every address that was asked."""
        for name in {*self.observed.nodes, *self.observed.elsewhere}:
            yield from ((name, answer) for answer in self.answers_of(name))

    def list_views(self) -> Iterator[tuple[str, NodeView]]:
        """(name, view) of every node at every address that answered with a view, fresh or not."""
        for name, answer in self.answers_of_all():
            if isinstance(answer, Present | Stale):
                yield name, answer.value

    def own_view(self, name: str) -> NodeView | None:
        """The view of the node itself, fresh or not; None where it gave none at the address that counts."""
        answer = self.observed.nodes.get(name)
        return answer.value if isinstance(answer, Present | Stale) else None

    def get_started(self, name: str) -> str:
        """Text of the node's last start; empty where it is not known."""
        return self.observed.starts.get(name, "")

    def describe_answer(self, name: str) -> str:
        """Why nothing is known from the node itself, in words."""
        answer = self.observed.nodes.get(name)
        if isinstance(answer, Unreachable | Unidentified | Unauthorized | Stale):
            return answer.reason
        return "its API address is not known" if answer is None else "it answered"

    def suggest_remedy(self, name: str) -> str:
        """What to do where nothing is known from the node itself."""
        answer = self.observed.nodes.get(name)
        is_defect = isinstance(answer, Unreachable) and answer.defect
        if is_defect:
            return REPORT
        return getattr(answer, "remedy", "") or "start the node, or correct `api` in the fleet file"

    def is_other(self, name: str, answer: Observation[NodeView]) -> bool:
        """Whether an answer is shown to be another node's: a node that runs lists itself as connected.

        This one lists the named node as not connected, and otherwise agrees with the majority.
        """
        if not isinstance(answer, Stale) or self.membership is None:
            return False
        own = answer.value.row(name)
        if own is None or own.connected or own.error or _read_membership(answer.value) != self.membership:
            return False
        return all(
            self.connections.get(row.node_name) == frozenset({row.connected}) for row in answer.value.rows
        )

    def is_down(self, name: str) -> bool:
        """Whether no member sees the node and nothing answers for it; `stopped` says if that is proof."""
        return self.is_away(name) and not self.answers(name)

    def is_blank(self, name: str) -> bool:
        """Whether the node itself answers that it is in no cluster, or lists only itself.

        Where its statistics show a cluster, it is the only node of one.
        """
        view = self.own_view(name)
        if view is not None:
            return list_view_names(view) == (name,) and not view.clustered
        return isinstance(self.observed.nodes.get(name), Absent)

    def is_refusing(self, name: str) -> bool:
        """Whether the node itself answers that it does not list its cluster; that names no cluster."""
        view = self.own_view(name)
        return view is not None and bool(view.refusal)

    def is_outside(self, name: str) -> bool:
        """Whether nothing that the node answers shows a cluster: it is blank, or refuses in other words."""
        view = self.own_view(name)
        return self.is_blank(name) or (view is not None and bool(view.refusal) and not view.holds_cluster)

    def is_joinable(self, name: str) -> bool:
        """Whether the node itself answers and shows no connected other node.

        A new node need not be able to list: how it refuses is not documented, and Sora itself decides
        whether it takes the node in.
        """
        return self.is_blank(name) or self.is_alone(name) or self.is_refusing(name)

    def is_alone(self, name: str) -> bool:
        """Whether the node itself answers and is connected to no other node, whatever it lists."""
        view = self.own_view(name)
        if view is not None and view.row(name) is not None:
            return not any(row.connected for row in view.rows if row.node_name != name)
        return isinstance(self.observed.nodes.get(name), Absent)

    @property
    def has_enough_views(self) -> bool:
        """Whether the regular members that gave their view are themselves a majority."""
        regular = self.membership.regular if self.membership is not None else ()
        return sum(name in self.answering_nodes for name in regular) >= compute_quorum(len(regular))

    def list_unknown_members(self, *, but: str) -> tuple[str, ...]:
        """Members of which nothing is known first-hand: shown connected, but silent to this host."""
        names = self.membership.names if self.membership is not None else ()
        return tuple(
            name for name in names if name not in {but, *self.answering_nodes} and not self.is_away(name)
        )


def view_cluster(desired: SoraDesired, observed: Observed[NodeView]) -> ClusterView:
    """The merged view of a cluster by the answers of its nodes, with what is known of its past."""
    return merge_views(observed, regular=desired.entry.regular, single=desired.history.single)


def merge_views(
    observed: Observed[NodeView], *, regular: Iterable[str] = (), single: Iterable[str] = ()
) -> ClusterView:
    """The merged view of a cluster by the answers of its nodes.

    Args:
        observed: every node's own answer.
        regular: the regular nodes that the cluster should have; a single one may answer alone.
        single: further nodes that may answer alone, each known as the only node of a cluster.
    """
    expected = tuple(regular)
    # A new node may list only itself, exactly as the only node of a cluster does.
    lonely = {*(expected if len(expected) == 1 else ()), *single}
    answering_nodes: dict[str, NodeView] = {}
    reporters: dict[Membership, list[str]] = {}
    connections: dict[str, set[bool]] = {}
    errors: dict[str, str] = {}
    for name, view in sorted(observed.present().items()):
        if _has_cluster_answer(name, view, lonely):
            answering_nodes[name] = view
            reporters.setdefault(_read_membership(view), []).append(name)
            for row in view.rows:
                if row.error:
                    errors.setdefault(row.node_name, row.error)
                else:
                    connections.setdefault(row.node_name, set()).add(row.connected)
    sorted_memberships = sorted(reporters.items(), key=lambda item: item[1])
    return ClusterView(
        observed,
        answering_nodes,
        tuple((membership, tuple(names)) for membership, names in sorted_memberships),
        {name: frozenset(kinds) for name, kinds in connections.items()},
        errors,
        tuple(
            (name, address)
            for name, answers in sorted(observed.elsewhere.items())
            for address, answer in sorted(answers.items())
            # Such a node may serve clients at its old address: InitCluster would create a second cluster.
            if isinstance(answer, Present) and _has_cluster_answer(name, answer.value, lonely)
        ),
    )


def _has_cluster_answer(name: str, view: NodeView, lonely: Container[str]) -> bool:
    return list_view_names(view) != (name,) or bool(view.clustered) or name in lonely


def _read_membership(view: NodeView) -> Membership:
    regular = tuple(row.node_name for row in view.rows if not row.temporary)
    return Membership(regular, tuple(row.node_name for row in view.rows if row.temporary))


def make_machine_state(
    cluster_view: ClusterView, names: Iterable[str], temporary: Container[str]
) -> tuple[NodeNumbers, State]:
    """The state of the state machine that a merged view shows.

    Args:
        cluster_view: one that has a membership.
        names: further nodes that the state shall hold.
        temporary: which of those are temporary; of members the view shows it.
    """
    membership = cluster_view.membership or Membership()
    node_numbers = NodeNumbers(tuple(sorted({*names, *membership.names})))
    log = ClusterLog(0, 0, node_numbers.bits(membership.regular), node_numbers.bits(membership.temporary))
    state = []
    for number, name in enumerate(node_numbers.names):
        if name not in membership.names:
            state.append(SoraNodeState(up=cluster_view.answers(name), temporary=name in temporary))
            continue
        kind = name in membership.temporary
        # Somebody may stop it at any moment: what is safe now must be safe without it, too.
        if name in cluster_view.observed.reserved and not kind:
            state.append(SoraNodeState(up=False, log=log))
        elif cluster_view.is_connected(name):
            state.append(SoraNodeState(temporary=kind, log=log))
        elif cluster_view.is_down(name) and not kind:
            state.append(SoraNodeState(up=False, log=log))
        elif cluster_view.is_outside(name):
            state.append(SoraNodeState(temporary=kind))
        else:  # cut off; so is a temporary node that is away, for a stopped one would not be listed
            state.append(SoraNodeState(temporary=kind, side=1 + number, log=log))
    return node_numbers, tuple(state)


def choose_addresses(
    entry: SoraCluster, observed: Observed[NodeView], history: ClusterPast
) -> dict[str, str]:
    """One API address for each node: of the fleet file, else where it answers, else where it may be."""
    found = {node.name: node.api for node in entry.nodes}
    for name, places in find_node_addresses(entry, observed, history).items():
        if name not in found:
            answers = observed.elsewhere.get(name, {})
            good = (place for place in places.guessed if isinstance(answers.get(place), Present))
            able = sorted((*places.known, *good), key=lambda place: _rank(answers.get(place)))
            found |= {name: able[0]} if able else {}
    return found


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """The API addresses of one node.

    Args:
        known: from a fleet file, the store or the cluster itself; or from its name, where the addresses of
            all other nodes follow from theirs in the same way.
        guessed: the host in its name with the port that is usual in the cluster: worth a question, but
            silence there proves nothing.
    """

    known: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()


def find_node_addresses(
    entry: SoraCluster, observed: Observed[NodeView], history: ClusterPast
) -> dict[str, NodeAddresses]:
    """Where to ask for every node of the fleet file, of earlier, and of the members' lists.

    A node of the fleet file is asked at its `api`, and where it was before.
    """
    listed: dict[str, set[str]] = {}
    for view in select_lists(observed):
        for row in view.rows:
            own = listed.setdefault(row.node_name, set())
            if row.api and format_api_address(row.api):
                own.add(format_api_address(row.api))
    # Where every address of the fleet file is its node's host in one pattern, the pattern gives the address
    # of other nodes too; else the usual scheme and port are only a guess.
    patterns = {_find_pattern(node.name, node.api) for node in entry.nodes}
    built = patterns.pop() if len(patterns) == 1 else None
    ends = Counter((parts.scheme, parts.port) for parts in (urlsplit(node.api) for node in entry.nodes))
    (scheme, port), _ = min(ends.items(), key=lambda one: (-one[1], one[0][0], one[0][1] or 0))
    usual = f"{scheme}://{{host}}:{port}/" if port else f"{scheme}://{{host}}/"
    # What answers at the `api` of a node of the fleet file is that node: it says nothing about another one.
    taken = {node.api for node in entry.nodes}
    found: dict[str, NodeAddresses] = {}
    for name in sorted({*(node.name for node in entry.nodes), *listed, *history.nodes}):
        known = {*history.addresses(name)}
        named = entry.node(name)
        if named is not None:
            found[name] = NodeAddresses(tuple(sorted(known | {named.api})))
            continue
        known |= listed.get(name, set())
        host = name.rpartition("@")[2]
        likely = {built.replace("{host}", host)} if built is not None else set()
        known |= likely - taken
        guessed = {usual.replace("{host}", host)} - known - taken
        if known or guessed:
            found[name] = NodeAddresses(tuple(sorted(known)), tuple(sorted(guessed)))
    return found


def select_lists(observed: Observed[NodeView]) -> tuple[NodeView, ...]:
    """The lists that show the members: those of nodes that see a majority, else all lists.

    If no node sees a majority, other nodes in the list of a survivor may run and be a majority with it.
    """
    present = tuple(observed.present().values())
    stale = (answer.value for answer in observed.nodes.values() if isinstance(answer, Stale))
    return present or tuple(view for view in stale if view.rows)


def format_api_address(value: object) -> str:
    """An API address as fleet files have it; empty if the text is invalid.

    The driver asks an address with a path only if the host lists it.
    """
    return _api_address(value) if isinstance(value, str) else ""


# Every list of every node repeats the same few addresses, and the model checker lists millions of times.
@lru_cache(maxsize=4096)
def _api_address(text: str) -> str:
    if not API_URL.fullmatch(text):
        return ""
    try:
        check_single_machine(parse_api(text))
    except InvalidAddress:
        return ""
    parts = urlsplit(text)
    return text if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/"


def choose_best_answer(answers: Iterable[Observation[NodeView]]) -> Observation[NodeView] | None:
    """The most informative of several answers of one node; None if there is none."""
    return min(answers, key=_rank, default=None)


def _rank(answer: Observation[NodeView] | None) -> int:
    if isinstance(answer, Unreachable):
        return 5 if answer.liveness is Liveness.ALIVE else 6
    order = (Present, Stale, Absent, Unauthorized, Unidentified)
    return next((number for number, kind in enumerate(order) if isinstance(answer, kind)), 7)


def _find_pattern(name: str, api: str) -> str | None:
    parts, host = urlsplit(api), name.rpartition("@")[2]
    return api.replace(host, "{host}", 1) if parts.hostname == host.lower() else None
