"""When InitCluster may be sent: one table over what is known, what the nodes answer and what the file says.

A cluster is initialised once (Sora documentation, "InitCluster"). InitCluster on new nodes while the old
cluster lives creates a second one, and clients then find either of them. So the nodes of earlier revisions
count as much as those of the fleet file, and a blank node proves nothing about the others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.drivers.sora.history import PastKnowledge


class AnswerSummary(StrEnum):
    """What the nodes answer together; the first that applies counts."""

    LIVING = "living"
    """A node, at any of its addresses, sees a cluster that holds its majority."""

    SILENT = "silent"
    """A regular node of the fleet file has not answered."""

    MISFIT = "misfit"
    """A node that the fleet file names as a regular one shows itself as a temporary one."""

    REMEMBERED = "remembered"
    """No majority is seen, but a node lists other nodes, or refuses as one that lost its majority."""

    EARLIER_SILENT = "earlier-silent"
    """The fleet file's nodes remember nothing; a node known from earlier has not answered so itself."""

    UNCLEAR = "unclear"
    """A regular node refuses to list, in words that speak of no cluster: how a new node refuses is not
    documented."""

    ALONE = "alone"
    """All are blank, but one lists itself: a cluster of one node and a node in none may look so. A node that
    refuses to list counts as one, where its statistics show no cluster."""

    BLANK = "blank"
    """Every node answers that it was never initialised."""


class CollapsedState(StrEnum):
    """What the fleet file's entry `collapsed` is worth today."""

    NONE = "none"
    VALID = "valid"
    EXPIRED = "expired"
    USED = "used"
    APART = "apart"
    """A majority of the cluster's nodes runs with its data: they do not reach each other."""


class InitDecision(StrEnum):
    """What follows: an init on one of the two entries, or a refusal, by the code of its finding."""

    INITIALISE = "initialise"
    COLLAPSED = "collapsed"
    LIVING = "living-elsewhere"
    UNREACHABLE = "node-unreachable"
    KIND = "kind-differs"
    LOST = "majority-lost"
    EARLIER_SILENT = "earlier-node-silent"
    UNCLEAR = "initialised-unclear"
    NEEDS_INITIALISE = "initialise-needed"
    NEEDS_COLLAPSED = "collapsed-needed"
    EXPIRED = "collapsed-expired"
    USED = "collapsed-used"
    APART = "collapsed-apart"

    @property
    def allowed(self) -> bool:
        """Whether the cluster may be initialised."""
        return self in {InitDecision.INITIALISE, InitDecision.COLLAPSED}


class DecisionRow(NamedTuple):
    """One line of the table; an empty set matches everything."""

    answers: frozenset[AnswerSummary]
    knowledge: frozenset[PastKnowledge]
    initialise: frozenset[bool]
    collapsed: frozenset[CollapsedState]
    outcome: InitDecision


def _row(
    outcome: InitDecision,
    answers: tuple[AnswerSummary, ...] = (),
    knowledge: tuple[PastKnowledge, ...] = (),
    initialise: tuple[bool, ...] = (),
    collapsed: tuple[CollapsedState, ...] = (),
) -> DecisionRow:
    return DecisionRow(
        frozenset(answers), frozenset(knowledge), frozenset(initialise), frozenset(collapsed), outcome
    )


_NOT_MEMBER = (PastKnowledge.NOTHING, PastKnowledge.NAMED, PastKnowledge.UNREAD)
_FREE = (AnswerSummary.ALONE, AnswerSummary.BLANK)

TABLE: Final[tuple[DecisionRow, ...]] = (
    # Whatever the file says: a living cluster is never initialised, and a node that may be in one is asked.
    _row(InitDecision.LIVING, answers=(AnswerSummary.LIVING,)),
    _row(InitDecision.UNREACHABLE, answers=(AnswerSummary.SILENT,)),
    # InitCluster takes no temporary node, whatever the file says of it.
    _row(InitDecision.KIND, answers=(AnswerSummary.MISFIT,)),
    # `initialise: true` is enough while no node is known to have been in the cluster; it is never used up.
    _row(InitDecision.INITIALISE, answers=_FREE, knowledge=_NOT_MEMBER, initialise=(True,)),
    # Of nodes that only refuse, the statement is enough where nothing at all is known of a past: an earlier
    # revision that names them may have been applied elsewhere, and their refusal proves nothing.
    _row(
        InitDecision.INITIALISE,
        answers=(AnswerSummary.UNCLEAR,),
        knowledge=(PastKnowledge.NOTHING,),
        initialise=(True,),
    ),
    # Everything else needs `collapsed`, and that is enough.
    _row(InitDecision.COLLAPSED, collapsed=(CollapsedState.VALID,)),
    _row(InitDecision.EXPIRED, collapsed=(CollapsedState.EXPIRED,)),
    _row(InitDecision.USED, collapsed=(CollapsedState.USED,)),
    _row(InitDecision.APART, collapsed=(CollapsedState.APART,)),
    # Without it, the finding names what is missing.
    _row(InitDecision.LOST, answers=(AnswerSummary.REMEMBERED,)),
    _row(InitDecision.NEEDS_COLLAPSED, knowledge=(PastKnowledge.MEMBER,)),
    _row(InitDecision.EARLIER_SILENT, answers=(AnswerSummary.EARLIER_SILENT,)),
    _row(InitDecision.UNCLEAR, answers=(AnswerSummary.UNCLEAR,)),
    _row(InitDecision.NEEDS_INITIALISE),
)
"""The first line that matches decides."""


def decide_init(
    answers: AnswerSummary, knowledge: PastKnowledge, *, initialise: bool, collapsed: CollapsedState
) -> InitDecision:
    """Whether a cluster may be initialised, and on which entry of the fleet file; total and pure.

    Args:
        answers: what the nodes show.
        knowledge: what is known of the cluster's past.
        initialise: whether the fleet file says `initialise: true`.
        collapsed: what its entry `collapsed` is worth.
    """
    case = (answers, knowledge, initialise, collapsed)
    return next(
        row.outcome
        for row in TABLE
        if all(not allowed or one in allowed for allowed, one in zip(row[:-1], case, strict=True))
    )
