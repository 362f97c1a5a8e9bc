"""What the model of offers has at one moment: nodes with open steps, a pass under way, the rollout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from reconciler.core.polled_model import BEFORE, NOTHING, WANTED, ModelMail, OfferedChange

NO_DATE: Final = -1
"""What a node sends that has no date of its feed."""

ABSURD: Final = -2
"""A date that no answer of a server can explain."""


class StepState(IntEnum):
    """What the journal has of an open step."""

    INTENDED = 0
    OFFERED = 1
    UNKNOWN = 2


class OpenStep(NamedTuple):
    """A step in the journal whose outcome is not final.

    Args:
        date: of its offer; 0 if it was not recorded.
        is_overdue: whether its time is over.
        heard: whether the node has polled since its offer was made.
    """

    change: OfferedChange
    revision: int
    state: StepState
    date: int = 0
    is_overdue: bool = False
    heard: bool = False


class NodeState(NamedTuple):
    """One node, and what the store has of it.

    Args:
        has: what it has loaded.
        loaded: all that it has ever loaded, sorted; it decides nothing, and outcomes are judged by it.
        asked: the date that it sends with its next poll.
        job: the content that it is loading; `NOTHING` for none.
        about: date of the offer that it is loading; `NOTHING` if the store does not have it any more.
        steps: its open steps, oldest first.
        purpose: content of its last attempts.
        attempts: how many of them there were.
        is_refused: whether it reported that it cannot load it.
    """

    has: int = BEFORE
    loaded: tuple[int, ...] = ()
    asked: int = NO_DATE
    job: int = NOTHING
    about: int = 0
    mail: ModelMail = ModelMail()
    steps: tuple[OpenStep, ...] = ()
    purpose: int = NOTHING
    attempts: int = 0
    is_refused: bool = False


class Stage(IntEnum):
    """What a pass does next."""

    PLAN = 0
    WITHDRAW = 1
    END_WITHDRAWN = 2
    RUN = 3
    INTEND = 4
    OFFER = 5
    CONCLUDE = 6
    CLOSE = 7
    REJECT = 8
    RETURN = 9
    END_WAVE = 10
    UNDO = 11
    UNDO_OFFER = 12
    UNDO_CONCLUDE = 13
    NARROW = 14


class PassState(NamedTuple):
    """A pass that is under way.

    Args:
        revision: that it applies.
        steps: that are left to be sent after the wave at hand, in the order of the plan.
        wave: steps of the wave at hand that are left.
        superseded: nodes whose older offers are withdrawn.
        refused: nodes of the open wave that reported that they cannot load their content.
        can_close: whether the open wave can close by what was read for the plan.
        waits: whether a step of the wave has not shown its effect.
        undo: steps of the way back that are left.
        goes_on: whether the plan is performed after the way back of an earlier revision.
    """

    stage: Stage
    revision: int
    steps: tuple[OfferedChange, ...] = ()
    wave: tuple[OfferedChange, ...] = ()
    superseded: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    can_close: bool = True
    waits: bool = False
    undo: tuple[OfferedChange, ...] = ()
    goes_on: bool = False


class Return(NamedTuple):
    """What is to do for the offers of a failed wave, as it is stored with the rejection.

    Args:
        revision: that was rejected.
        nodes: whose offers are to be withdrawn or taken back.
    """

    revision: int
    nodes: tuple[int, ...]


class OfferState(NamedTuple):
    """The whole system at one moment.

    Args:
        revision: the newest commit.
        rollout: the revision whose rollout is open; `NOTHING` for none.
        number: how many waves of it have begun.
        wave: nodes of the wave that has not passed.
        rejected: revisions that failed.
        owed: what is left to do for a failed wave.
        failed: nodes of the failed wave; it decides nothing, and the end is judged by it.
        under_way: the pass; None between two of them.
        faults: how many may still happen.
        kills: how often a pass may still be killed.
        commits: how many further commits may come.
        suspensions: how often somebody may still suspend changes.
    """

    nodes: tuple[NodeState, ...]
    revision: int = WANTED
    rollout: int = NOTHING
    number: int = 0
    wave: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()
    owed: Return | None = None
    failed: tuple[int, ...] = ()
    is_suspended: bool = False
    under_way: PassState | None = None
    faults: int = 1
    kills: int = 1
    commits: int = 1
    suspensions: int = 1


@dataclass(frozen=True, slots=True)
class OfferRules:
    """What the fleet file says about a rollout.

    Args:
        sizes: nodes of each wave; empty for a cluster without waves.
        allowed: `Rollout.max_unknown`.
        returns: whether a failed wave is offered what it had before.
        interleaves: whether nodes may call while a pass is under way.
    """

    sizes: tuple[int, ...] = ()
    allowed: str = "0"
    returns: bool = False
    interleaves: bool = True
