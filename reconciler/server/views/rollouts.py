"""Rollouts that last many passes: open waves, and nodes that poll, with those that lag behind (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from reconciler.core.timestamps import parse_timestamp
from reconciler.server.nodes.summary import PolledCluster
from reconciler.server.views.lists import Signal
from reconciler.server.watch_state import WatchedCluster, WatchState
from reconciler.text.one_line import clean_line

MOST_STRAGGLERS: Final = 50
"""Nodes of a cluster that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class Stragglers:
    """Nodes that lag behind for one reason.

    Args:
        nodes: the first of them.
        count: all of them.
    """

    reason: str
    signal: Signal
    nodes: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """The rollout of one cluster, or what is known of its nodes that poll.

    Args:
        wave: number of the open wave; 0 if no rollout is open.
        total: nodes that the rollout changes in all.
        passed: nodes of the waves that have passed.
        begun: when the open wave was begun.
        waits: what the open wave waits for, in words.
        polling: nodes that poll.
        versions: version that nodes said last -> number of nodes.
        oldest_call: the oldest last call of all nodes that ever called.
    """

    cluster: str
    wave: int
    total: int
    passed: int
    begun: datetime | None
    waits: str
    polling: int
    versions: tuple[tuple[str, int], ...]
    oldest_call: datetime | None
    stragglers: tuple[Stragglers, ...]


def list_rollouts(watch_state: WatchState) -> tuple[RolloutLine, ...]:
    """The open rollouts, and every cluster with nodes that poll, by name."""
    server = watch_state.node_server
    polled = dict(server.state.clusters) if server is not None else {}
    lines = (_make_line(watched, polled.get(name)) for name, watched in sorted(watch_state.clusters.items()))
    return tuple(line for line in lines if line is not None)


def _make_line(watched: WatchedCluster, polled: PolledCluster | None) -> RolloutLine | None:
    reading = watched.reading
    progress = reading.progress if reading else None
    if progress is None and polled is None and not (reading and reading.polling):
        return None
    wave = reading.wave_state if reading else None
    groups: list[tuple[str, Signal, tuple[str, ...] | list[str]]] = []
    if wave is not None:
        groups.append(("overdue or not heard", Signal.PROBLEM, wave.unknown))
        groups.append(("may still take effect", Signal.ACTIVE, wave.waiting))
        groups.append(("not sent yet", Signal.UNKNOWN, wave.unsent))
    if polled is not None:
        groups.append(("silent for longer than allowed", Signal.PROBLEM, polled.silent))
        groups.append(("has not taken the newest setting", Signal.ACTIVE, polled.waiting))
        groups.append(("does not agree with its token", Signal.PROBLEM, list(polled.clashes)))
    versions = polled.count_versions() if polled else {}
    return RolloutLine(
        watched.name,
        progress.number if progress and progress.wave else 0,
        progress.total if progress else 0,
        len(progress.passed) if progress else 0,
        parse_timestamp(progress.begun) if progress and progress.begun else None,
        wave.describe() if wave else "",
        polled.nodes if polled else len(reading.polling) if reading else 0,
        tuple((clean_line(label) or "not said", count) for label, count in versions.items()),
        polled.heard if polled else None,
        tuple(
            Stragglers(reason, signal, tuple(nodes[:MOST_STRAGGLERS]), len(nodes))
            for reason, signal, nodes in groups
            if nodes
        ),
    )
