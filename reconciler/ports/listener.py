"""Receivers of the progress of a pass: terminal, metrics, log."""

from __future__ import annotations

from typing import Any

from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome
from reconciler.core.plan import ClusterPlan, Plan, Step


class PassListener:
    """Called at each stage of a pass; must not block and must not raise. This one does nothing."""

    def on_step_settled(self, outcome: Outcome) -> None:
        """A step that an earlier run left open is settled by reading."""

    def on_observing(self, cluster: str, nodes: int) -> None:
        """Observing the nodes of a cluster begins."""

    def on_observed(self, cluster: str, observed: Observed[Any]) -> None:
        """Every node of a cluster is observed; some may not have answered."""

    def on_cluster_planned(self, plan: ClusterPlan) -> None:
        """The plan of one cluster is made."""

    def on_planned(self, plan: Plan) -> None:
        """The plan of all clusters is complete; guards have not checked it yet."""

    def on_guarded(self, plan: Plan, violations: int) -> None:
        """Guards have checked the plan; so many violations are in force."""

    def on_run_begun(self, run: str) -> None:
        """The run is in the journal under this id."""

    def on_run_ended(self, run: str, exit_status: int) -> None:
        """The end of the run is in the journal."""

    def on_step_started(self, step: Step) -> None:
        """A step begins with a reading, which decides whether it is performed."""

    def on_step_ended(self, outcome: Outcome) -> None:
        """A step has ended; its outcome is in the journal."""

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave is complete and soaks for `seconds` before its gates are evaluated."""

    def on_gated(self, cluster: str, wave: int, result: str) -> None:
        """The gates of a wave are evaluated, with one of the values of `GateStatus`."""

    def on_delivering(self, message: str, sink: str) -> None:
        """A message of the outbox, by its id, is sent to a sink."""

    def on_delivered(self, message: str, problem: str) -> None:
        """The sink has it; or it has not, with the reason."""


SILENT = PassListener()
