"""The record of a trial: every request as the nodes saw it, its effect, and the states of the nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.core.timestamps import Clock
from reconciler.ports.simulator import NodeRequest, Oracle, Reply, RequestWay
from reconciler.simulation.node_host import RecordedCall


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that came to a node.

    Args:
        node: the node that received it.
        about: the node that it changes; of a reading request the same as `node`.
        peer: address of the sender.
        took: whether it changed the nodes.
        repeated: whether it requested a state that the nodes already had.
        broke: the invariant that it violated, and how; empty texts for none.
    """

    at: datetime
    cluster: str
    node: str
    about: str
    call: RecordedCall
    peer: str
    took: bool = False
    repeated: bool = False
    broke: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        met = f", {self.call.fault}" if self.call.fault else ""
        did = "changes it" if self.took else "changes nothing" if self.call.change else "reads"
        answered = f"answered {self.call.status}" if self.call.status else "no answer"
        return f"{self.node} gets {self.call.asked}: {did}, {answered}{met}"


@dataclass(frozen=True, slots=True)
class ServedOffer:
    """An offer as a node was answered it.

    Args:
        before: the latest date that the node was answered before, by another offer; None if there was none.
    """

    cluster: str
    node: str
    run: str
    step: str
    date: datetime
    before: datetime | None


@dataclass(slots=True)
class TrialRecorder:
    """Watches a simulation, as `Simulation(around=recorder.around, watcher=recorder)`.

    Args:
        clock: stamps everything.
        clusters: node -> its cluster.
        polled: clusters whose nodes poll.
        struck: called with each request before it meets a fault: node, whether it is a change.
    """

    clock: Clock
    clusters: Mapping[str, str]
    polled: frozenset[str] = frozenset()
    struck: Callable[[str, bool], None] = lambda _node, _change: None
    witnesses: dict[str, Oracle] = field(default_factory=dict)
    asked: list[RecordedRequest] = field(default_factory=list)
    events: list[tuple[datetime, str]] = field(default_factory=list)
    served: list[ServedOffer] = field(default_factory=list)
    _states: dict[str, list[tuple[datetime, Any]]] = field(default_factory=dict)
    _shown: dict[str, Any] = field(default_factory=dict)
    _is_telling: bool = False
    _open: tuple[str, str] | None = None
    _effect: dict[str, Any] = field(default_factory=dict)

    def begin(self, witnesses: Mapping[str, Oracle]) -> None:
        """Record the first state of the nodes."""
        self.witnesses.update(witnesses)
        self.look()

    def note(self, words: str) -> None:
        """Record an event that is no request."""
        self.events.append((self.clock(), words))

    def look(self) -> None:
        """Record the state of each cluster, if it differs from the last recorded one."""
        for name, oracle in self.witnesses.items():
            state, known = oracle.state(), self._states.setdefault(name, [])
            if not known or known[-1][1] != state:
                known.append((self.clock(), state))

    def states(self, cluster: str, since: datetime, until: datetime) -> Sequence[Any]:
        """All states of a cluster between two moments, including the state at the first moment."""
        known = self._states[cluster]
        # The state at `since` was recorded when it began, usually before.
        first = max(0, bisect_right(known, since, key=lambda each: each[0]) - 1)
        return [state for at, state in known[first:] if at <= until]

    def arrived(self, node: str, request: NodeRequest, *, change: bool) -> None:
        """A request has reached a node."""
        # Before the fault: it may change the nodes, which would look like an effect of the request.
        self.look()
        self.struck(node, change)
        # A file, or a start, of one node tells nothing of the others.
        self._is_telling = not change and request.way in {RequestWay.HTTP, RequestWay.STREAM}
        oracle = self.witnesses[self.clusters[node]]
        self._open, self._effect = (
            (oracle.find_affected_node(node, request) if change else node, request.peer),
            {},
        )

    def around(self, cluster: str, node: str, request: NodeRequest, perform: Callable[[], Reply]) -> Reply:
        """Perform a change, and record its effect."""
        # By the states of the simulated product itself. The answer is no evidence: a fault may have changed
        # it, or the product may answer before it acts.
        oracle = self.witnesses[cluster]
        before = oracle.state()
        reply = perform()
        after = oracle.state()
        broke = oracle.find_broken_invariant(node, request, before, after)
        if broke[0] and request.way is RequestWay.COMMAND:
            # A command is judged by what it does to the others: a node that failed after the last reading is
            # nothing that anybody could have known of.
            broke = oracle.find_broken_invariant(node, request, self._shown.get(cluster, before), after)
        self._effect = {
            "took": before != after,
            "repeated": oracle.is_repetition(node, request, before, after),
            "broke": broke,
        }
        return reply

    def answered(self, call: RecordedCall) -> None:
        """The request was answered, or dropped."""
        if self._open is None:
            return
        at, cluster, (about, peer) = self.clock(), self.clusters[call.node], self._open
        self._open = None
        self.asked.append(RecordedRequest(at, cluster, call.node, about, call, peer, **self._effect))
        if self._is_telling:
            self._shown[cluster] = self.witnesses[cluster].state()
        self.events.append((at, str(self.asked[-1])))
        self.look()
