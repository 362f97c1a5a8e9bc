"""The record of a trial: every request as the nodes saw it, its effect, and the states of the nodes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.core.timestamps import Clock
from reconciler.ports.simulator import NodeRequest, Oracle, Reply
from reconciler.simulation.node_host import RecordedCall


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that came to a node.

    Args:
        about: the node that it is about, where it is a change.
        peer: who asked.
        took: whether it changed the nodes.
        repeated: whether it asked for what was so already.
        broke: the invariant it broke, and how; empty texts for none.
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


@dataclass(slots=True)
class _OpenRequest:
    """A request between its arrival and its answer."""

    request: NodeRequest
    about: str
    took: bool = False
    repeated: bool = False
    broke: tuple[str, str] = ("", "")


@dataclass(slots=True)
class TrialRecorder:
    """Watches a simulation, as `Simulation(around=recorder.around, watcher=recorder)`.

    Args:
        clock: stamps everything.
        clusters: node -> its cluster.
        struck: called with each request before it meets a fault: node, whether it is a change.
    """

    clock: Clock
    clusters: Mapping[str, str]
    struck: Callable[[str, bool], None] = lambda _node, _change: None
    witnesses: dict[str, Oracle] = field(default_factory=dict)
    asked: list[RecordedRequest] = field(default_factory=list)
    events: list[tuple[datetime, str]] = field(default_factory=list)
    _states: dict[str, list[tuple[datetime, Any]]] = field(default_factory=dict)
    _open: _OpenRequest | None = None

    def begin(self, witnesses: Mapping[str, Oracle]) -> None:
        """Take down how the nodes are at the beginning."""
        self.witnesses.update(witnesses)
        self.look()

    def note(self, words: str) -> None:
        """Something happened that is no request."""
        self.events.append((self.clock(), words))

    def look(self) -> None:
        """Take down how the nodes are now, where they are not as before."""
        for name, oracle in self.witnesses.items():
            state, known = oracle.state(), self._states.setdefault(name, [])
            if not known or known[-1][1] != state:
                known.append((self.clock(), state))

    def states(self, cluster: str, since: datetime, until: datetime) -> Sequence[Any]:
        """All states of a cluster between two moments, the one at the beginning included."""
        known = self._states[cluster]
        first = max(0, bisect_right(known, since, key=lambda each: each[0]) - 1)
        return [state for at, state in known[first:] if at <= until]

    def arrived(self, node: str, request: NodeRequest, *, change: bool) -> None:
        """A request has come."""
        self.look()
        self.struck(node, change)
        oracle = self.witnesses[self.clusters[node]]
        self._open = _OpenRequest(request, oracle.about(node, request) if change else node)

    def around(self, cluster: str, node: str, request: NodeRequest, perform: Callable[[], Reply]) -> Reply:
        """Performs a change and sees what it does."""
        oracle = self.witnesses[cluster]
        before = oracle.state()
        reply = perform()
        after = oracle.state()
        if self._open is not None:
            self._open.took = before != after
            self._open.repeated = oracle.repeated(node, request, before, after)
            self._open.broke = oracle.broken(node, request, before, after)
        return reply

    def answered(self, call: RecordedCall) -> None:
        """The request was answered, or dropped."""
        one, self._open = self._open, None
        if one is None:
            return
        cluster = self.clusters[call.node]
        at = self.clock()
        self.asked.append(
            RecordedRequest(
                at, cluster, call.node, one.about, call, one.request.peer, one.took, one.repeated, one.broke
            )
        )
        self.events.append((at, str(self.asked[-1])))
        self.look()
