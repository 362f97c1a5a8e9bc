"""Reservations and holds: nodes that count as away, because a person works on them or may stop them.

A reservation is a question about a node that was answered with yes. It counts from its record until its time
is over, whatever the node shows: the one who asked may stop it at any moment of that time. After that it
counts until a reading shows the node back. So the node is away for everybody else also if it is stopped at
the last moment, or takes long to come back.

A hold is an order that nothing at all is sent to a node. It ends with its time, or when it is released.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.actor import Actor
from reconciler.core.diagnostic_json import to_plain_finding
from reconciler.core.entries import ClusterEntry
from reconciler.core.observation import Absent, Observed, Present, Stale, Unreachable
from reconciler.core.plan import UNDO, Effect, Risk, Step
from reconciler.core.policy import ChangeRules, Policy
from reconciler.core.timestamps import format_minute, format_timestamp, parse_timestamp
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import bound_sentence

ALLOW_STOP: Final = "allow-stop"
"""Kind of the operation that asks whether a node may be stopped."""

RELEASE: Final = "release"
"""Kind of the operation that ends a reservation."""

ANSWERED_KINDS: Final = frozenset({ALLOW_STOP, RELEASE})
"""Kinds of operations that nobody performs: they are over when they are recorded."""

RESERVED: Final = "node-reserved"
"""Code of everything that a reservation holds back."""

HELD: Final = "node-held"
"""Code of everything that a hold keeps back."""

DEFAULT_TIME: Final = timedelta(minutes=15)
SHORTEST_TIME: Final = timedelta(minutes=1)
LONGEST_TIME: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A node that counts as away: somebody may stop it, or works on it.

    Args:
        id: of the operation that asked, or of the hold.
        actor: who asked, and why.
        at: when it was recorded.
        until: the end of its time.
        is_hold: whether nothing at all is sent to the node, and the end of the time ends it.
        in_file: whether the fleet file holds the node.
        places: of a hold, where the node was reached when it was ordered: another name for the same node
            does not end it.
        ordered_as: `cluster/node` of the order, if the node has another name by now.
    """

    id: str
    cluster: str
    node: str
    actor: Actor
    at: datetime
    until: datetime
    is_hold: bool = False
    in_file: bool = False
    places: frozenset[str] = frozenset()
    ordered_as: str = ""

    @property
    def description(self) -> str:
        """Who reserved or holds the node, until when and why; for people."""
        who = "the fleet file" if self.in_file else self.actor.description or "somebody"
        why = f": {self.actor.why}" if self.actor.why else ""
        word = "held" if self.is_hold else "reserved"
        name = f", as {self.ordered_as}" if self.ordered_as else ""
        return f"{word} until {format_minute(self.until)} UTC by {who}{name}{why}"

    @property
    def code(self) -> str:
        """The code of what it keeps back."""
        return HELD if self.is_hold else RESERVED

    @property
    def remedy(self) -> str:
        """How to end it."""
        if self.in_file:
            return "remove `hold` of the node from the fleet file to end it sooner"
        return (
            f"`reconcile release {self.ordered_as or self.node}` ends it"
            if self.is_hold
            else (f"`reconcile allow-stop {self.node} --release` ends it")
        )

    def blocks(self, step: Step) -> bool:
        """Whether it keeps back a step on its own node.

        A hold keeps back everything. Whoever reserved a node works on it: a step that waits for a person, an
        undo of a failed wave, and a step for a node that is meant to be stopped do not get in the way.
        """
        if self.is_hold:
            return True
        return not (step.is_manual or step.id.endswith(UNDO) or step.arguments.suits_stopped_node)

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "id": self.id,
            "cluster": self.cluster,
            "node": self.node,
            "by": self.actor.description,
            "reason": self.actor.why,
            "at": format_timestamp(self.at),
            "until": format_timestamp(self.until),
        }

    def plain_hold(self) -> dict[str, Any]:
        """A hold as plain JSON."""
        return {
            "cluster": self.cluster,
            "node": self.node,
            "by": "" if self.in_file else self.actor.description,
            "reason": self.actor.why,
            "at": None if self.in_file else format_timestamp(self.at),
            "until": format_timestamp(self.until),
            "in_file": self.in_file,
            "ordered_as": self.ordered_as,
        }


@dataclass(frozen=True, slots=True)
class ReservedNodes:
    """The reservations and holds of one cluster that count at one moment, by node; and those that are over.

    Args:
        nodes: node -> what makes it count as away; a hold before a reservation, of several the one that ends
            last.
        over: ids of reservations whose time is over and whose node is back, and of holds whose time is over.
        holds: all holds that count, sorted by node and end.
    """

    nodes: Mapping[str, Reservation] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    holds: tuple[Reservation, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The nodes that count as away."""
        return frozenset(self.nodes)

    @property
    def held(self) -> frozenset[str]:
        """The nodes that nothing is sent to."""
        return frozenset(one.node for one in self.holds)


def find_reserved_nodes(
    reservations: Iterable[Reservation],
    observed: Observed[Any],
    now: datetime,
    *,
    members: AbstractSet[str],
) -> ReservedNodes:
    """Which reservations and holds count, by a reading that was made at `now` or later.

    Args:
        reservations: of one cluster, not released.
        observed: the reading.
        now: of the clock of this host. A clock that is set back makes a reservation longer, never shorter.
        members: the nodes in the fleet file; one that left it is not waited for after its time.
    """
    nodes: dict[str, Reservation] = {}
    over: list[str] = []
    holds: list[Reservation] = []
    for one in sorted(reservations, key=lambda one: (one.is_hold, one.until, one.id)):
        # By its time alone a reservation never ends: at the last moment of it the node may have been stopped.
        # A hold ends so: a node that is still away is treated as any other one that does not answer.
        if now >= one.until and (
            one.is_hold or one.node not in members or is_back(observed, one.node, now - one.until)
        ):
            over.append(one.id)
            continue
        nodes[one.node] = one
        if one.is_hold:
            holds.append(one)
    return ReservedNodes(nodes, tuple(over), tuple(sorted(holds, key=lambda one: (one.node, one.until))))


def find_moved_holds(
    holds: Iterable[Reservation], cluster: str, places: Mapping[str, Iterable[str]]
) -> list[Reservation]:
    """The holds that apply to nodes of a cluster by another name than they were ordered with.

    Args:
        holds: of the whole fleet.
        cluster: its name.
        places: node of the cluster -> where it is reached.
    """
    found: list[Reservation] = []
    for one in holds:
        for node, own in places.items():
            if (one.cluster, one.node) != (cluster, node) and not one.places.isdisjoint(own):
                former = f"{one.cluster}/{one.node}"
                found.append(replace(one, cluster=cluster, node=node, ordered_as=former))
    return found


def list_file_holds(cluster: str, rules: ChangeRules) -> tuple[Reservation, ...]:
    """The holds of a cluster's nodes in the fleet file, whether or not they are over."""
    return tuple(
        Reservation(
            id=f"file/{cluster}/{node}",
            cluster=cluster,
            node=node,
            actor=Actor(why=hold.reason),
            at=hold.end,
            until=hold.end,
            is_hold=True,
            in_file=True,
        )
        for node, hold in rules.holds.items()
    )


def is_back(observed: Observed[Any], node: str, since: timedelta) -> bool:
    """Whether a reading shows that a node has run at some moment within `since` before it."""
    answer = observed.nodes.get(node)
    if isinstance(answer, Absent):
        return True
    if isinstance(answer, Present | Stale):
        return answer.age <= since.total_seconds()
    # Something answers that refuses this host, or is not shown to be the node: that proves nothing.
    return False


def interrupts_node(step: Step) -> bool:
    """Whether a step may make its node unavailable for a while."""
    return step.effect is Effect.RESTART or step.risk is Risk.HIGH


@dataclass(frozen=True, slots=True)
class SeenCluster:
    """What the store knows of a cluster, on which the answer to a question depends.

    Args:
        reservations: ids of those that are not known to be over.
        busy: nodes with a step of a run whose effect is not settled.
    """

    reservations: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()


class StopAnswer(StrEnum):
    """Whether a node may be stopped."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """It could not be found out; whoever asks must not stop it."""


@dataclass(frozen=True, slots=True)
class StopDecision:
    """The answer to the question whether a node may be stopped now.

    Args:
        reasons: for the answer, one sentence each.
        facts: what the one who stops it should know, such as what is left on it, one sentence each.
        findings: about the cluster, that do not change the answer.
    """

    answer: StopAnswer
    reasons: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    findings: tuple[Diagnostic, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", tuple(map(bound_sentence, self.reasons)))
        object.__setattr__(self, "facts", tuple(map(bound_sentence, self.facts)))

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "answer": self.answer.value,
            "reasons": list(self.reasons),
            "facts": list(self.facts),
            "findings": [to_plain_finding(one) for one in self.findings],
        }


@dataclass(frozen=True, slots=True)
class StopQuestion:
    """The question whether one node may be stopped. `desired` and `observed` are the product's own types.

    Args:
        node: the node.
        observed: a reading that was made for this question.
        away: nodes that count as away whatever they show, because they are reserved or a run changes them;
            each with the reason, such as `is reserved until …`.
    """

    node: str
    entry: ClusterEntry
    desired: Any
    observed: Observed[Any]
    policy: Policy = field(default_factory=Policy)
    away: Mapping[str, str] = field(default_factory=dict)

    @property
    def others(self) -> tuple[str, ...]:
        """The other nodes of the cluster, in the order of the fleet file."""
        return tuple(one.name for one in self.entry.members() if one.name != self.node)


def describe_absence(question: StopQuestion) -> dict[str, str]:
    """Other node -> why it does not count as available, of those that do not."""
    found: dict[str, str] = {}
    for node in question.others:
        answer = question.observed.nodes.get(node)
        if node in question.away:
            found[node] = question.away[node]
        elif isinstance(answer, Unreachable):
            found[node] = f"does not answer ({answer.reason})"
        elif not isinstance(answer, Present):
            words = getattr(answer, "reason", "") or getattr(answer, "evidence", "") or "was not read"
            found[node] = f"is not known to work ({words})"
    return found


def decide_one_at_a_time(question: StopQuestion) -> StopDecision:
    """The rule for a product without one of its own: no node is stopped while another one is away."""
    absent = describe_absence(question)
    if absent:
        return StopDecision(StopAnswer.NO, tuple(f"{name} {why}" for name, why in sorted(absent.items())))
    return StopDecision(StopAnswer.YES, ("every other node of the cluster answers",))


_NO_DECISION: Final = MappingProxyType({"answer": None, "reasons": (), "facts": (), "findings": ()})


@dataclass(frozen=True, slots=True)
class StopRequest:
    """What is asked about a node.

    Args:
        node: its name, or `cluster/node`.
        cluster: the only cluster; empty for all.
        time: how long a yes is to count.
        release: whether to end its reservations, instead of asking whether it may be stopped.
    """

    node: str
    cluster: str = ""
    time: timedelta = DEFAULT_TIME
    release: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReply:
    """What came of a request about a node.

    Args:
        decision: None for a release.
        operation: id of its record in the history; empty if a release found nothing.
        until: the end of the reservation of a yes.
        released: reservations that a release ended.
    """

    cluster: str
    node: str
    decision: StopDecision | None = None
    operation: str = ""
    until: datetime | None = None
    released: int = 0

    def plain(self) -> dict[str, Any]:
        """As plain JSON; `load_stop_reply` reads it."""
        return {
            "cluster": self.cluster,
            "node": self.node,
            "operation": self.operation,
            "until": format_timestamp(self.until) if self.until else None,
            "released": self.released,
            **(self.decision.plain() if self.decision else _NO_DECISION),
        }


def load_stop_reply(plain: Mapping[str, Any]) -> StopReply:
    """The reply that `StopReply.plain` gave."""
    decision = None
    if plain["answer"] is not None:
        findings = tuple(
            Diagnostic(
                Severity(one["severity"]), one["code"], one["message"], one["remedy"], target=one["target"]
            )
            for one in plain["findings"]
        )
        decision = StopDecision(
            StopAnswer(plain["answer"]), tuple(plain["reasons"]), tuple(plain["facts"]), findings
        )
    return StopReply(
        cluster=plain["cluster"],
        node=plain["node"],
        decision=decision,
        operation=plain["operation"],
        until=parse_timestamp(plain["until"]) if plain["until"] else None,
        released=plain["released"],
    )
