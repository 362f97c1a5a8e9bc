"""Receivers of the progress of a pass: terminal, metrics, log."""

from __future__ import annotations

from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome
from reconciler.core.plan import Plan, Step


class PassListener:
    """Called at each stage of a pass; must not block and must not raise. This one does nothing."""

    def settled(self, outcome: Outcome) -> None:
        """A step that an earlier run left open is settled by reading."""

    def observing(self, cluster: str, nodes: int) -> None:
        """Observing the nodes of a cluster begins."""

    def observed(self, cluster: str, observed: Observed[Any]) -> None:
        """Every node of a cluster is observed; some may not have answered."""

    def planned(self, plan: Plan) -> None:
        """The plan of all clusters is complete; guards have not checked it yet."""

    def begun(self, run: str) -> None:
        """The run is in the journal under this id."""

    def started(self, step: Step) -> None:
        """A step begins with a reading, which decides whether it is performed."""

    def ended(self, outcome: Outcome) -> None:
        """A step has ended; its outcome is in the journal."""

    def soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave is complete and soaks for `seconds` before its gates are evaluated."""


SILENT = PassListener()
