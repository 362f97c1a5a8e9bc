"""Whether changed nodes are as well as unchanged ones, by one metric: pure comparison of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from reconciler.core.rollout import MetricGate

Samples = Mapping[str, Mapping[str, float]]
"""Node -> metric -> value; nodes that did not tell are missing."""


class GateStatus(StrEnum):
    """What a gate comes to."""

    GOOD = "good"
    BAD = "bad"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate comes to, with the reason as one sentence without a final stop; empty where it is good."""

    weight: GateStatus
    reason: str = ""


GOOD = GateResult(GateStatus.GOOD)


@dataclass(frozen=True, slots=True)
class SoakReadings:
    """Two readings of the same nodes.

    Args:
        before: right after the wave.
        after: after its soak.
        seconds: between them.
    """

    before: Samples
    after: Samples
    seconds: float

    def of(self, gate: MetricGate, node: str) -> float | None:
        """What the gate looks at, of one node: a value, or its growth in a second; none where not told.

        A counter that is smaller than before began anew, and grew by what it has now.
        """
        now = self.after.get(node, {}).get(gate.name)
        if gate.compare == "value" or now is None:
            return now
        then = self.before.get(node, {}).get(gate.name)
        if then is None or self.seconds <= 0:
            return None
        # A restart sets counters to 0. Taken as a difference, that would be a negative rate, which looks
        # healthier than any other; what was counted since the restart is the least that happened.
        return (now - then if now >= then else now) / self.seconds


def compare_metric(
    gate: MetricGate, changed: tuple[str, ...], unchanged: tuple[str, ...], soaked: SoakReadings
) -> GateResult:
    """One metric of each changed node against the median of the unchanged ones."""
    told = {node: soaked.of(gate, node) for node in (*changed, *unchanged)}
    silent = [node for node in changed if told[node] is None]
    others = [value for node in unchanged if (value := told[node]) is not None]
    what = f"the {'rate' if gate.compare == 'rate' else 'value'} of {gate.name}"
    if gate.compare == "rate" and soaked.seconds <= 0:
        return GateResult(GateStatus.UNCLEAR, f"{what} cannot be told without a soak")
    # Silence is no proof of health: a node that was changed and tells nothing holds the rollout up.
    if silent:
        return GateResult(GateStatus.UNCLEAR, f"{', '.join(sorted(silent)[:5])} did not tell {what}")
    if not others:
        return GateResult(GateStatus.UNCLEAR, f"there is no unchanged node that tells {what} to compare with")
    usual = median(others)
    bad = {node: value for node in changed if (value := told[node]) is not None and _bad(gate, value, usual)}
    if not bad:
        return GOOD
    node, value = max(bad.items(), key=lambda item: (abs(item[1] - usual), item[0]))
    more = f" (and of {len(bad) - 1} more)" if len(bad) > 1 else ""
    reason = f"{what} of {node}{more} is {value:g}, on unchanged nodes it is {usual:g}"
    return GateResult(GateStatus.BAD, f"{reason}; a factor of {gate.factor:g} is allowed")


def _bad(gate: MetricGate, value: float, usual: float) -> bool:
    if gate.worse == "higher":
        return value > max(usual * gate.factor, usual + gate.ignore)
    # Both bounds must be passed, so that noise around a value near 0 does not fail a gate.
    return value < min(usual / gate.factor, usual - gate.ignore)
