"""Compares one metric of changed nodes with that of unchanged ones; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from reconciler.core.rollout_rules import MetricGate

Samples = Mapping[str, Mapping[str, float]]
"""Node -> metric -> value; nodes that gave none are missing."""


class GateStatus(StrEnum):
    """The result of a gate."""

    GOOD = "good"
    BAD = "bad"
    UNCLEAR = "unclear"
    PENDING = "pending"
    """Nodes that poll were not heard, which proves nothing: a later run evaluates the gates again."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of a gate, with the reason as one sentence without a final stop; empty if it is good."""

    status: GateStatus
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
        """The metric's value, or its growth per second, of one node; None if the node gave none."""
        now = self.after.get(node, {}).get(gate.name)
        if gate.compare == "value" or now is None:
            return now
        then = self.before.get(node, {}).get(gate.name)
        if then is None or self.seconds <= 0:
            return None
        # A restart sets counters to 0. The difference would then be a negative rate, which looks healthier
        # than any other. What was counted since the restart is the smallest growth that is certain.
        return (now - then if now >= then else now) / self.seconds


def compare_metric(
    gate: MetricGate, changed: tuple[str, ...], unchanged: tuple[str, ...], soaked: SoakReadings
) -> GateResult:
    """One metric of each changed node against the median of the unchanged ones."""
    values = {node: soaked.of(gate, node) for node in (*changed, *unchanged)}
    silent = [node for node in changed if values[node] is None]
    others = [value for node in unchanged if (value := values[node]) is not None]
    what = f"the {'rate' if gate.compare == 'rate' else 'value'} of {gate.name}"
    if gate.compare == "rate" and soaked.seconds <= 0:
        return GateResult(GateStatus.UNCLEAR, f"{what} needs a soak time")
    # A missing value is no proof of health: a changed node without one stops the rollout.
    if silent:
        return GateResult(GateStatus.UNCLEAR, f"{what} is missing from {', '.join(sorted(silent)[:5])}")
    if not others:
        return GateResult(GateStatus.UNCLEAR, f"no unchanged node gives {what} to compare with")
    # The median, not the mean: one unchanged node that is ill already would hide what the change broke.
    usual = median(others)
    # Both bounds have to be passed, so that noise around a value near 0 does not fail a gate.
    upper, lower = (
        max(usual * gate.factor, usual + gate.ignore),
        min(usual / gate.factor, usual - gate.ignore),
    )
    bad = {
        node: value
        for node in changed
        if (value := values[node]) is not None
        and (value > upper if gate.worse == "higher" else value < lower)
    }
    if not bad:
        return GOOD
    node, value = max(bad.items(), key=lambda item: (abs(item[1] - usual), item[0]))
    more = f" (and of {len(bad) - 1} more)" if len(bad) > 1 else ""
    reason = f"{what} of {node}{more} is {value:g}, on unchanged nodes it is {usual:g}"
    return GateResult(GateStatus.BAD, f"{reason}; a factor of {gate.factor:g} is allowed")
