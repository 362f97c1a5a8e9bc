"""Behaviours that Sora's documents leave open, each a named option of the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RepeatedInit(StrEnum):
    """What InitCluster does where one of the named nodes is in a cluster that holds its majority."""

    REFUSE = "refuse"
    ACCEPT_SAME = "accept-same"
    """Answers 200 and changes nothing where the same nodes are named, refuses otherwise."""

    RESET = "reset"
    """Starts the cluster anew, and forgets what was registered since."""


class UndocumentedCall(StrEnum):
    """Whether a call that the documents do not describe is accepted."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class UninitialisedListing(StrEnum):
    """What ListClusterNodes answers on a node that was never in a cluster."""

    EMPTY = "empty"
    SELF = "self"
    """The node alone, connected: the same answer as that of a cluster of one node."""

    ERROR = "error"
    OTHER_ERROR = "other-error"
    """An error whose code does not mention a cluster."""


class ReturnedListing(StrEnum):
    """What ListClusterNodes answers on a purged node that was started again."""

    STALE = "stale"
    """What it knew when it was stopped, with every other node away."""

    EMPTY = "empty"
    ERROR = "error"


class MinorityListing(StrEnum):
    """What ListClusterNodes answers on a node whose group has lost the majority."""

    SHOW = "show"
    ERROR = "error"
    OTHER_ERROR = "other-error"
    """The same error that does not mention a cluster."""


class ModeAfterStart(StrEnum):
    """The mode of a node that was started."""

    NORMAL = "normal"
    KEEP = "keep"
    """The mode in which it was stopped."""


@dataclass(frozen=True, slots=True)
class Choices:
    """Which of the possible behaviours a cluster has, where the product's documents leave it open.

    Args:
        repeated_init: InitCluster on a live cluster.
        init_with_away: InitCluster that names a node which the executing node does not reach.
        repeated_register: RegisterClusterNode by a regular node that is registered already, be it
            connected or left half-registered by a call that failed.
        returned_register: RegisterClusterNode by a node that still holds the log of a cluster it was
            purged from, or that collapsed.
        purge_cut_off: PurgeClusterNode of a node that runs, but is cut off from the executing node.
        list_uninitialised: ListClusterNodes on a node that was never in a cluster.
        list_after_purge: ListClusterNodes on a purged node that was started again.
        list_without_majority: ListClusterNodes in a group that has lost the majority.
        init_with_temporary: InitCluster that names a temporary node beside regular ones; it becomes a
            temporary member.
        statistics: GetStatsReport, which only the vendor's public documents describe. Where it is refused,
            and nodes in no cluster and in one without majority refuse to list with the same code, nothing
            tells the two apart; then `initialise: true` decides where nothing is known of a past.
        mode_after_start: whether the mode of a node survives its stop.
    """

    repeated_init: RepeatedInit = RepeatedInit.REFUSE
    init_with_away: UndocumentedCall = UndocumentedCall.REFUSE
    repeated_register: UndocumentedCall = UndocumentedCall.ACCEPT
    returned_register: UndocumentedCall = UndocumentedCall.ACCEPT
    purge_cut_off: UndocumentedCall = UndocumentedCall.ACCEPT
    list_uninitialised: UninitialisedListing = UninitialisedListing.EMPTY
    list_after_purge: ReturnedListing = ReturnedListing.STALE
    list_without_majority: MinorityListing = MinorityListing.SHOW
    init_with_temporary: UndocumentedCall = UndocumentedCall.REFUSE
    statistics: UndocumentedCall = UndocumentedCall.ACCEPT
    mode_after_start: ModeAfterStart = ModeAfterStart.NORMAL


DEFAULTS: Final = Choices()
"""The behaviour of the simulator by default."""
