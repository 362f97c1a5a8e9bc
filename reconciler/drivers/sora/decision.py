"""When InitCluster may be sent: one table over what is known, what the nodes answer and what the file says.

A cluster is initialised once (Sora's documents, "InitCluster"); a second InitCluster beside a cluster that
lives creates a second one, and clients find either. So what stood before counts as much as what the fleet
file names now, and a blank node proves nothing about the others.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.drivers.sora.history import Knowledge


class Answers(StrEnum):
    """What the nodes answer together; of several that hold, the first counts."""

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


class Collapsed(StrEnum):
    """What the fleet file's entry `collapsed` is worth today."""

    NONE = "none"
    VALID = "valid"
    EXPIRED = "expired"
    USED = "used"
    APART = "apart"
    """A majority of the cluster's nodes runs with its data: they do not reach each other."""


class Outcome(StrEnum):
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
        return self in {Outcome.INITIALISE, Outcome.COLLAPSED}


class Row(NamedTuple):
    """One line of the table; what is empty fits everything."""

    answers: frozenset[Answers]
    knowledge: frozenset[Knowledge]
    initialise: frozenset[bool]
    collapsed: frozenset[Collapsed]
    outcome: Outcome


def _row(
    outcome: Outcome,
    answers: tuple[Answers, ...] = (),
    knowledge: tuple[Knowledge, ...] = (),
    initialise: tuple[bool, ...] = (),
    collapsed: tuple[Collapsed, ...] = (),
) -> Row:
    return Row(frozenset(answers), frozenset(knowledge), frozenset(initialise), frozenset(collapsed), outcome)


_NOT_MEMBER = (Knowledge.NOTHING, Knowledge.NAMED, Knowledge.UNREAD)
_FREE = (Answers.ALONE, Answers.BLANK)

TABLE: Final[tuple[Row, ...]] = (
    # Whatever the file says: a living cluster is never initialised, and a node that may be in one is asked.
    _row(Outcome.LIVING, answers=(Answers.LIVING,)),
    _row(Outcome.UNREACHABLE, answers=(Answers.SILENT,)),
    # InitCluster takes no temporary node, whatever the file says of it.
    _row(Outcome.KIND, answers=(Answers.MISFIT,)),
    # `initialise: true` is enough while no node is known to have been in the cluster; it is never used up.
    _row(Outcome.INITIALISE, answers=_FREE, knowledge=_NOT_MEMBER, initialise=(True,)),
    # Of nodes that only refuse, the statement is enough where nothing at all is known of a past: an earlier
    # revision that names them may have been applied by somebody, and their refusal proves nothing.
    _row(
        Outcome.INITIALISE,
        answers=(Answers.UNCLEAR,),
        knowledge=(Knowledge.NOTHING,),
        initialise=(True,),
    ),
    # Everything else needs `collapsed`, and that is enough.
    _row(Outcome.COLLAPSED, collapsed=(Collapsed.VALID,)),
    _row(Outcome.EXPIRED, collapsed=(Collapsed.EXPIRED,)),
    _row(Outcome.USED, collapsed=(Collapsed.USED,)),
    _row(Outcome.APART, collapsed=(Collapsed.APART,)),
    # Without it: what is missing, said by what stands in the way.
    _row(Outcome.LOST, answers=(Answers.REMEMBERED,)),
    _row(Outcome.NEEDS_COLLAPSED, knowledge=(Knowledge.MEMBER,)),
    _row(Outcome.EARLIER_SILENT, answers=(Answers.EARLIER_SILENT,)),
    _row(Outcome.UNCLEAR, answers=(Answers.UNCLEAR,)),
    _row(Outcome.NEEDS_INITIALISE),
)
"""The first line that fits decides."""


def decide(answers: Answers, knowledge: Knowledge, *, initialise: bool, collapsed: Collapsed) -> Outcome:
    """Whether a cluster may be initialised, and on which entry of the fleet file; total and pure.

    Args:
        answers: what the nodes show.
        knowledge: what is known of the cluster's past.
        initialise: whether the fleet file says `initialise: true`.
        collapsed: what its entry `collapsed` is worth.
    """
    case = (answers, knowledge, initialise, collapsed)
    return next(row.outcome for row in TABLE if _fits(row, case))


def _fits(row: Row, case: tuple[Answers, Knowledge, bool, Collapsed]) -> bool:
    return all(not allowed or one in allowed for allowed, one in zip(row[:-1], case, strict=True))
