"""Messages about outcomes, ready for the outbox."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.core.canonical import encode
from reconciler.core.plan import Revision
from reconciler.core.timestamps import Clock
from reconciler.feedback.message import identity, is_told, message
from reconciler.ports.store import Ending, Letter


@dataclass(frozen=True, slots=True)
class Letters:
    """Writes the messages of one run.

    Args:
        wanted: whether there is a sink; the history keeps the messages either way.
    """

    run: str
    revision: Revision
    wanted: bool
    clock: Clock

    def enclose(self, ending: Ending) -> Ending:
        """The same ending, with its message where one is to be told."""
        outcome = ending.outcome
        if not is_told(outcome):
            return ending
        body = encode(message(outcome, run=self.run, revision=self.revision, now=self.clock()))
        return replace(ending, letter=Letter(identity(self.run, outcome), body, wanted=self.wanted))
