"""The state of an open wave whose nodes poll: it waits for them over many passes; pure."""

from __future__ import annotations

from collections.abc import Container, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.fields import resolve_amount
from reconciler.core.observation import Absent, Observed, Present
from reconciler.text.one_line import join_some

WAVE_WAITS: Final = "wave-waits"
"""Code of the finding that an open wave waits for nodes that poll."""

_NAMED = 3


@dataclass(frozen=True, slots=True)
class WaveState:
    """How far an open wave has come; each of its nodes is in one of the groups, sorted.

    Args:
        done: they show their content.
        waiting: an offer or a call is open, and not overdue.
        unsent: they have not been sent their content.
        unknown: they are overdue, stalled, or were not heard.
        allowed: how many unknown ones the wave tolerates.
    """

    done: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    unsent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    allowed: int = 0

    @property
    def can_close(self) -> bool:
        """Whether its gates can be evaluated now, without a further offer."""
        # However many unknown ones are tolerated: a wave of which no node shows its content proves nothing.
        if self.waiting or self.unsent:
            return False
        return not self.unknown or (bool(self.done) and len(self.unknown) <= self.allowed)

    def describe(self) -> str:
        """What it waits for, in words."""
        words = []
        if self.waiting:
            words.append(f"{_count(self.waiting)} may still take effect on its offer or call")
        if self.unknown:
            allowed = f" ({self.allowed} may be)" if self.allowed else ""
            words.append(f"{_count(self.unknown)} overdue or not heard{allowed}")
        if self.unsent:
            words.append(f"{_count(self.unsent)} without an offer yet")
        return f"{len(self.done)} done; " + "; ".join(words) if words else f"{len(self.done)} done"


def assess_wave(
    wave: Iterable[str],
    observed: Observed[Any],
    *,
    pending: Container[str],
    planned: Container[str],
    retried: AbstractSet[str],
    withheld: Container[str],
    allowed: str,
) -> WaveState:
    """The state of an open wave.

    Args:
        wave: its nodes that are still members of the cluster.
        observed: what they show now.
        pending: nodes with an open offer or call.
        planned: nodes with a step in the plan of this pass.
        retried: nodes that were sent the same content before, and did not show it.
        withheld: nodes that differ and get nothing now.
        allowed: `Rollout.max_unknown`.
    """
    groups: dict[str, list[str]] = {"done": [], "waiting": [], "unsent": [], "unknown": []}
    names = sorted(wave)
    for node in names:
        if node in pending:
            group = "waiting"
        elif node in planned:
            group = "unknown" if node in retried else "unsent"
        elif node not in withheld and isinstance(observed.nodes.get(node), Present | Absent):
            group = "done"
        else:
            group = "unknown"
        groups[group].append(node)
    return WaveState(
        **{group: tuple(found) for group, found in groups.items()},
        allowed=resolve_amount(allowed, len(names)),
    )


def _count(nodes: tuple[str, ...]) -> str:
    return f"{len(nodes)} of its nodes ({join_some(nodes, _NAMED)})" if nodes else "none"
