"""Who wants to hear how a pass goes on: progress on a terminal, metrics, logs."""

from __future__ import annotations

from typing import Any, Protocol

from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome
from reconciler.core.plan import Plan, Step


class PassListener(Protocol):
    """Told of each stage of a pass as it happens; must not block and must not raise."""

    def settled(self, outcome: Outcome) -> None:
        """A step that an earlier run left open has its end now, by reading."""

    def observing(self, cluster: str, nodes: int) -> None:
        """The nodes of a cluster are being asked."""

    def observed(self, cluster: str, observed: Observed[Any]) -> None:
        """Every node of a cluster has answered, or failed to."""

    def planned(self, plan: Plan) -> None:
        """The plan of all clusters is made; guards have not looked at it yet."""

    def begun(self, run: str) -> None:
        """The run is in the journal, by this id."""

    def started(self, step: Step) -> None:
        """A step is taken up; whether it is performed is for its first look to tell."""

    def ended(self, outcome: Outcome) -> None:
        """A step has ended, and the journal has it."""

    def soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave of a rollout is performed; so long is waited before its gates are judged."""


class SilentListener:
    """A listener that does nothing."""

    def settled(self, outcome: Outcome) -> None:
        """Nothing."""

    def observing(self, cluster: str, nodes: int) -> None:
        """Nothing."""

    def observed(self, cluster: str, observed: Observed[Any]) -> None:
        """Nothing."""

    def planned(self, plan: Plan) -> None:
        """Nothing."""

    def begun(self, run: str) -> None:
        """Nothing."""

    def started(self, step: Step) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Nothing."""

    def soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """Nothing."""


SILENT: PassListener = SilentListener()
"""For whoever does not listen."""
