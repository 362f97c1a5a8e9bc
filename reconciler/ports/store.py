"""What the engine needs of a store: the port behind which SQLite stands, or a database for many hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from reconciler.core.history import Claim, Memory
from reconciler.core.plan import Step
from reconciler.ports.records import Ending, Opening, RunRecord
from reconciler.ports.sink import Outbox


class Journal(Outbox, Protocol):
    """Intents before calls, outcomes after them, and the locks that keep two runs apart.

    Whatever a call writes is durable when it returns. Each raises `StateError` where the store cannot
    be used, and then nothing was written.
    """

    def lock(self, cluster: str) -> AbstractAsyncContextManager[None]:
        """Hold a cluster against every other run; released however the holder ends.

        Raises:
            ClusterBusy: another run holds it.
        """

    async def begin(self, opening: Opening) -> str:
        """Write down a run with all its steps open; gives its id."""

    async def refuse(self, opening: Opening, note: str) -> str:
        """Write down a run that guards refused, with their verdicts; gives its id."""

    async def intend(self, run: str, step: Step, learnt: Mapping[str, str] | None = None) -> None:
        """Write down that a step is about to be performed, with facts of its node that hold from then on."""

    async def conclude(self, run: str, endings: Sequence[Ending]) -> None:
        """Write down outcomes, with their facts and messages, all or none."""

    async def finish(self, run: str, exit_status: int, note: str = "") -> None:
        """Write down that a run has ended."""

    async def run(self, text: str) -> RunRecord:
        """One run by its id or the beginning of it.

        Raises:
            UsageError: no run, or several, begin so.
        """

    async def is_open(self, cluster: str) -> bool:
        """Whether the journal has a step of a cluster that was sent and has no end, or an unknown one."""

    async def unsettled(self) -> Sequence[RunRecord]:
        """Runs that did not finish, or left a step unknown that no later run took up; oldest first."""

    async def remember(
        self, cluster: str, learnt: Mapping[str, Mapping[str, str]], *, fleet: str = ""
    ) -> None:
        """Keep facts of a cluster, by node and key; an empty value forgets.

        Args:
            cluster: its name.
            learnt: node -> key -> value.
            fleet: the source of the fleet that alone may know them; empty where they hold for all.
        """

    async def claim(self, taken: Mapping[str, Claim], given_up: Sequence[str]) -> None:
        """Write down who writes to which places, and which places are named no more."""

    async def recall(self) -> Memory:
        """What earlier runs and people's orders left, as it is now."""
