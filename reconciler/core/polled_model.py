"""What a product whose nodes poll supplies to the model checker: its contents, and what mail proves; pure.

Contents are numbers: `BEFORE` is what a node has when the plan is made, `WANTED` what the plan gives it,
`NEWER` what a further commit gives it, and `FOREIGN` and `EDITED` what somebody else may give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from reconciler.core.plan import ClusterPlan
from reconciler.core.step_status import StepVerdict

BEFORE: Final = 0
WANTED: Final = 1
NEWER: Final = 2
FOREIGN: Final = 3
"""With another version, which shows in the polls of the node."""

EDITED: Final = 4
"""With the version that the node had."""

NOTHING: Final = -1
"""No content: the node is not known to have any."""


class ModelOffer(NamedTuple):
    """An offer in the store.

    Args:
        content: that the node gets.
        former: what the node had before, to go back to; `NOTHING` if that is not known.
        date: its `Last-Modified`, by rank: equal numbers are equal dates, higher ones are later.
        revision: number of the revision that it is of.
        is_undo: whether it takes a failed wave back.
        is_taken: whether it was served.
        is_withdrawn: whether it must not be served first any more.
        is_closed: whether its time is over.
    """

    content: int
    former: int
    date: int
    revision: int
    is_undo: bool = False
    is_taken: bool = False
    is_withdrawn: bool = False
    is_closed: bool = False


class MailEvent(NamedTuple):
    """One call of a node, as the store keeps it.

    Args:
        has: what the node really had then; the store does not know it.
        is_report: a report, or else a poll that shows the version of what the node has.
        content: the setting in the report.
        about: date of the offer that it reports about; 0 for none, `NOTHING` for one that is not kept.
        is_ok: whether it reports a success.
        took: date of the offer that the poll took; 0 for none.
    """

    has: int
    is_report: bool = False
    content: int = NOTHING
    about: int = 0
    is_ok: bool = True
    took: int = 0


class ModelMail(NamedTuple):
    """What the store has of one node.

    Args:
        newest: the newest offer.
        last: the newest offer that was taken.
        log: what the node sent, oldest first, as far as it matters.
        old: how many of these are out of date.
    """

    newest: ModelOffer | None = None
    last: ModelOffer | None = None
    log: tuple[MailEvent, ...] = ()
    old: int = 0


class OfferedChange(NamedTuple):
    """One step: what a node is offered.

    Args:
        node: its index.
        before: what the node has to show.
        after: what it gets.
        is_undo: whether it takes a failed wave back.
    """

    node: int
    before: int
    after: int
    is_undo: bool = False


class PolledModel(Protocol):
    """What a product supplies about nodes that poll; all of it is pure."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the nodes."""

    def plan_node(self, node: int, mail: ModelMail, wanted: int) -> OfferedChange | None:
        """The step that a pass plans for a node; None if it has the content, or does not show what it has."""

    def is_present(self, node: int, mail: ModelMail) -> bool:
        """Whether the mail shows, and shows in time, what the node has."""

    def judge(self, change: OfferedChange, mail: ModelMail) -> StepVerdict:
        """The status of a step, by the mail of its node."""

    def undo(self, change: OfferedChange, offer: ModelOffer) -> OfferedChange | None:
        """The step that goes back from an offer that was taken; None if nothing is known to go back to."""

    def is_accepted(self, node: int, content: int) -> bool:
        """Whether the node loads a content."""

    def find_lost_access(self, node: int, before: int, after: int) -> str:
        """Why the node cannot be changed again after it has loaded a content; empty if it can."""


@dataclass(frozen=True, slots=True)
class PolledSetup:
    """What a product sets up for the offers of a plan.

    Args:
        desired: what the pass plans for.
        plan: the part of the plan that the nodes of the model are about.
        words: which nodes represent which, for people; empty if all nodes are explored.
    """

    model: PolledModel
    desired: Any
    plan: ClusterPlan
    words: str = ""
