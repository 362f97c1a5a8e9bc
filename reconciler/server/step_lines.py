"""The log lines about the steps of a pass: one a step, and of many steps one line with counts and names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.outcome import SUCCESSES, Outcome, State
from reconciler.core.plan import Step
from reconciler.server.logs import Log

EACH: Final = 50
"""Steps of a pass with a line of their own, for each event and state; the history has every step."""

EACH_SERIOUS: Final = 200
"""The same for steps that failed or are unknown."""

_CALM: Final = SUCCESSES | {State.WAITING, State.OFFERED, State.SUPERSEDED, State.SKIPPED}

_NAMES = 10
_REASONS = 3
_SECONDS = 10.0


@dataclass(slots=True)
class _Bundle:
    """Steps without a line of their own: their number, the first of them, and why they ended so."""

    count: int = 0
    names: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, step: Step, reason: str) -> None:
        self.count += 1
        if len(self.names) < _NAMES:
            self.names.append(step.id)
        if reason and reason not in self.reasons and len(self.reasons) < _REASONS:
            self.reasons.append(reason)


@dataclass(slots=True)
class StepLines:
    """Writes the lines of one pass; what is bundled is written by `flush`, and every few seconds.

    Ten thousand lines in one second are more than a reader of the log takes, and some would be lost.

    Args:
        log: bound to the cluster.
        clock: monotonic.
    """

    log: Log
    clock: Callable[[], float] = time.monotonic
    _written: Counter[tuple[str, State | None]] = field(default_factory=Counter)
    _bundles: dict[tuple[str, int, State | None], _Bundle] = field(default_factory=dict)
    _flushed: float = 0.0

    def note_start(self, step: Step) -> None:
        """A step begins."""
        if self._take(step, "step started", None, step.reason):
            self.log.info("step started", step=step.id, node=step.node, reason=step.reason)

    def note_end(self, outcome: Outcome) -> None:
        """A step has ended in this run."""
        step, state = outcome.step, outcome.state
        if not self._take(step, "step ended", state, outcome.reason):
            return
        fields: dict[str, Any] = {
            "step": step.id,
            "node": step.node,
            "state": state.value,
            "message": outcome.reason,
        }
        if outcome.waiting_for_restart:
            fields["waiting_for_restart"] = ", ".join(outcome.waiting_for_restart)
        self._choose_level(self.log, state)(
            "step ended",
            seconds=round(outcome.seconds, 3),
            **{key: text for key, text in fields.items() if text},
        )

    def note_settled(self, outcome: Outcome) -> None:
        """A step that an earlier run left open is settled by reading."""
        if not self._take(outcome.step, "step settled", outcome.state, outcome.reason):
            return
        # Another revision may have planned the step.
        self._choose_level(self.log.try_unbind("revision"), outcome.state)(
            "step settled",
            cluster=outcome.step.cluster,
            step=outcome.step.id,
            state=outcome.state.value,
            message=outcome.reason,
        )

    def flush(self) -> None:
        """Write a line for each bundle: for the steps of one wave, event and state."""
        bundles, self._bundles = self._bundles, {}
        self._flushed = self.clock()
        # What needs an operator comes first.
        for (event, wave, state), bundle in sorted(
            bundles.items(), key=lambda one: (one[0][2] is None or one[0][2] in _CALM, one[0][1])
        ):
            log = self.log.try_unbind("revision") if event == "step settled" else self.log
            fields: dict[str, Any] = {
                "state": state.value if state else "",
                "steps": bundle.count,
                "wave": wave,
                "first": bundle.names,
                "messages": bundle.reasons,
            }
            self._choose_level(log, state)(
                event.replace("step", "further steps"), **{key: item for key, item in fields.items() if item}
            )

    def _take(self, step: Step, event: str, state: State | None, reason: str) -> bool:
        """Whether a step gets a line of its own; otherwise it is in a bundle now."""
        is_calm = state is None or state in _CALM
        self._written[event, state] += 1
        if self._written[event, state] <= (EACH if is_calm else EACH_SERIOUS):
            return True
        if not self._bundles and not self._flushed:
            self._flushed = self.clock()
        self._bundles.setdefault((event, step.wave, state), _Bundle()).add(step, reason)
        if self.clock() - self._flushed >= _SECONDS:
            self.flush()
        return False

    @staticmethod
    def _choose_level(log: Log, state: State | None) -> Callable[..., Any]:
        return log.info if state is None or state in _CALM else log.warning
