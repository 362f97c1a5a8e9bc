"""Acts: what a person orders by command, page or API, as bounded and checked data, and their results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from reconciler.core.fields import Whole
from reconciler.core.memory import Suspension
from reconciler.core.reservations import Reservation
from reconciler.ports.store import ApprovalRequest
from reconciler.text.one_line import LONGEST_NAME

LONGEST_REASON: Final = 8_000
"""Characters of a reason; the history keeps fewer."""

MOST_TARGETS: Final = 10_000
"""Targets of one purge by the API; a file of the command line may have more."""

# What shows a text removes its control characters; a database cannot keep this one.
_TEXT = r"^[^\x00]*$"

Name = Annotated[str, Field(max_length=LONGEST_NAME, pattern=_TEXT)]
Text = Annotated[str, Field(max_length=2 * LONGEST_NAME + 1, pattern=_TEXT)]
PlanId = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Target = Annotated[str, Field(min_length=1, max_length=8_000, pattern=_TEXT)]
Reason = Annotated[
    str,
    Field(max_length=LONGEST_REASON, pattern=_TEXT, description="Why; kept in the history."),
]
NeededReason = Annotated[
    str,
    Field(
        max_length=LONGEST_REASON,
        pattern=r"^[^\x00]*[^\x00\s][^\x00]*$",
        description="Why; kept in the history, and shown to everyone whose change has to wait.",
    ),
]


@dataclass(frozen=True, slots=True)
class ApproveResult:
    """What was approved.

    Args:
        plan: its complete id.
        requests: the requests of this plan; empty if it was approved before it was planned here.
    """

    plan: str
    requests: tuple[ApprovalRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class SuspendResult:
    """What was suspended.

    Args:
        cluster: its name; empty for all clusters.
        warning: that no run has seen such a cluster; else empty.
    """

    cluster: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class ResumeResult:
    """What may be changed again.

    Args:
        cluster: its name; empty for the suspension of all clusters.
        was_suspended: whether there was such a suspension.
        retried: the stalled nodes that are tried again, as `cluster/node`.
        left: the suspensions that are left.
    """

    cluster: str
    was_suspended: bool
    retried: tuple[str, ...] = ()
    left: tuple[Suspension, ...] = ()


@dataclass(frozen=True, slots=True)
class HoldResult:
    """Which node is held.

    Args:
        node: as `cluster/node`.
        until: the end.
        is_seen: whether a run on this host has seen it.
        is_busy: whether a step on it is in progress, or its effect is not known yet.
    """

    node: str
    until: datetime
    is_seen: bool = True
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """Which holds ended.

    Args:
        node: as it was named.
        ended: the nodes whose hold ended, as `cluster/node`.
        left: the holds that are left.
    """

    node: str
    ended: tuple[str, ...] = ()
    left: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True)
class UnpinResult:
    """Which pin ended.

    Args:
        cluster: its name.
        ended: the revisions where it was pinned; empty if it was not.
        warning: that no run has seen such a cluster; else empty.
        pinned: the clusters that are pinned, if this one was not.
    """

    cluster: str
    ended: tuple[str, ...] = ()
    warning: str = ""
    pinned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What is tried again.

    Args:
        target: as it was named.
        found: the nodes and revisions that had been given up.
    """

    target: str
    found: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LookResult:
    """Which clusters get a pass now."""

    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RollBackResult:
    """A planned rollback, or what came of it.

    Args:
        status: the exit status that the command would end with.
        refused: what guards refuse, one sentence each.
        plan: id of the plan; empty once it was applied.
        is_empty: whether the plan has no step.
        plan_file: the plan as a plan file; empty once it was applied.
        run: id of the run in the history; empty if nothing was applied.
    """

    status: int
    refused: tuple[str, ...] = ()
    plan: str = ""
    is_empty: bool = False
    plan_file: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """A planned purge, or what was begun.

    Args:
        plan: what each cluster would get, as `reconcile purge --format json` shows it; None once it began.
        begun: the operations that were recorded.
    """

    plan: dict[str, Any] | None = None
    begun: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StopResult:
    """The answer to the question whether a node may be stopped, as `reconcile allow-stop` has it."""

    reply: dict[str, Any]


ResultT = TypeVar("ResultT")


class Act(BaseModel, Generic[ResultT]):
    """One act of a person.

    Every act has who asks on whose behalf, which is not checked, and why. The name is that of the command.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""

    @classmethod
    def get_result_type(cls) -> type[ResultT]:
        """The type of what comes of it."""
        base = cls.__mro__[1]
        result: type[ResultT] = base.__pydantic_generic_metadata__["args"][0]  # type: ignore[attr-defined]  # of models
        return result

    by: Annotated[Name, Field(description="On whose behalf; kept in the history, not checked.")] = ""
    reason: Reason = ""


class ApproveAct(Act[ApproveResult]):
    """The consent to exactly one plan."""

    name = "approve"
    summary = "Approve a plan that waits for approval, for one run."

    plan: Annotated[Name, Field(min_length=1, description="Id of the plan, or its first characters.")]


class SuspendAct(Act[SuspendResult]):
    """No changes in a cluster, or in all."""

    name = "suspend"
    summary = "Stop all changes, in one cluster or in all."

    cluster: Annotated[Name, Field(description="Its name; empty for all clusters.")] = ""
    reason: NeededReason


class ResumeAct(Act[ResumeResult]):
    """The end of a suspension."""

    name = "resume"
    summary = "Allow changes again; stalled nodes are tried again."

    cluster: Annotated[Name, Field(description="Its name; empty for the suspension of all clusters.")] = ""


class HoldAct(Act[HoldResult]):
    """Nothing is sent to a node until a moment."""

    name = "hold"
    summary = "Send nothing to one node until a moment."

    node: Annotated[Text, Field(min_length=1, description="Its name, or CLUSTER/NODE.")]
    until: Annotated[
        Name,
        Field(
            min_length=1,
            description="Its end: a day, a moment in UTC (2026-12-24T18:00), or a time from now (4h).",
        ),
    ]
    reason: NeededReason


class ReleaseAct(Act[ReleaseResult]):
    """The end of a hold before its time."""

    name = "release"
    summary = "End the hold of a node before its time."

    node: Annotated[Text, Field(min_length=1, description="Its name, or CLUSTER/NODE.")]


class UnpinAct(Act[UnpinResult]):
    """The end of a pin."""

    name = "unpin"
    summary = "Let a cluster that was rolled back follow the newest revision again."

    cluster: Annotated[Name, Field(min_length=1, description="Its name.")]


class RetryAct(Act[RetryResult]):
    """Another attempt at what was given up."""

    name = "retry"
    summary = "Try a stalled node or a rejected revision again."

    target: Annotated[Text, Field(min_length=1, description="A cluster, a node, or CLUSTER/NODE.")]


class LookAct(Act[LookResult]):
    """A pass now."""

    name = "look-again"
    summary = "Read the source, and run a pass over every cluster or one, now."

    cluster: Annotated[Name, Field(description="Its name; empty for all clusters.")] = ""


class RollBackAct(Act[RollBackResult]):
    """An earlier revision, planned, or applied exactly as planned."""

    name = "rollback"
    summary = "Plan a rollback to an earlier revision; or apply exactly the plan that `plan` names."

    revision: Annotated[Name, Field(min_length=1, description="A commit, tag or branch of the source.")]
    only: Annotated[
        tuple[Text, ...],
        Field(max_length=100, strict=False, description="Clusters and nodes to take back; empty for all."),
    ] = ()
    skip: Annotated[
        tuple[Text, ...], Field(max_length=100, strict=False, description="Clusters and nodes to leave out.")
    ] = ()
    plan: Annotated[PlanId, Field(description="Id of the plan to apply; empty to get the plan.")] = ""


class PurgeAct(Act[PurgeReport]):
    """Content to remove from caches, planned, or recorded exactly as planned."""

    name = "purge"
    summary = "Plan a purge; or begin exactly the plan that `plan` names."

    targets: Annotated[
        tuple[Target, ...],
        Field(min_length=1, max_length=MOST_TARGETS, strict=False, description="URLs; `*` is any text."),
    ]
    cluster: Annotated[Name, Field(description="The only cluster; empty for all that can be purged.")] = ""
    direct: Annotated[bool, Field(description="Whether nodes that poll are called all the same.")] = False
    plan: Annotated[PlanId, Field(description="Id of the plan to begin; empty to get the plan.")] = ""


class StopAct(Act[StopResult]):
    """The question whether a node may be stopped; a yes reserves it."""

    name = "allow-stop"
    summary = "Say whether a node may be stopped now, and reserve it if so."

    node: Annotated[Name, Field(min_length=1, description="Its name.")]
    cluster: Annotated[Name, Field(description="Its cluster, if several have a node of this name.")] = ""
    seconds: Annotated[Whole, Field(ge=60, le=86_400, description="How long a yes counts, in seconds.")] = 900
    release: Annotated[bool, Field(description="Whether to end the reservation of the node.")] = False


ACTS: Final[tuple[type[Act[Any]], ...]] = (
    ApproveAct,
    SuspendAct,
    ResumeAct,
    HoldAct,
    ReleaseAct,
    UnpinAct,
    RetryAct,
    LookAct,
    RollBackAct,
    PurgeAct,
    StopAct,
)
"""Every act."""
