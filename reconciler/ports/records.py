"""What is written down and read back: the rows of the store as typed, frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.core.contradictions import Claim
from reconciler.core.guard import Past
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, Step
from reconciler.core.prior import Prior
from reconciler.text.one_line import sentence


def utc_now() -> datetime:
    """The present moment, the clock of everything that is not given another."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of a run.

    Args:
        trigger: what asked for it: `command`, `webhook`, `interval` …
        plan: what it is going to do.
    """

    trigger: str
    plan: Plan


@dataclass(frozen=True, slots=True)
class Letter:
    """A message about one outcome, on its way to the sink.

    Args:
        id: the same in every delivery of the same message.
        body: the JSON that is sent.
        wanted: whether there is a sink; without one the message is for the history alone.
        number: its place in the outbox, given by the store.
    """

    id: str
    body: bytes
    wanted: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """An outcome with all that is to be recorded in the same moment.

    Args:
        answer: the node's own words, which nobody believes.
        facts: what was learnt of the step's node, for later runs of the same fleet; an empty value forgets.
        spent: the words of the fleet file that the step used up; remembered whatever the fleet.
        facts: what was learnt of the step's node; an empty value forgets the fact.
        until: until when the call may still be under way; none where it is not.
    """

    outcome: Outcome
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    until: datetime | None = None
    letter: Letter | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer", sentence(self.answer))


@dataclass(frozen=True, slots=True)
class Entry:
    """One step in the journal.

    Args:
        intended: when the intent was written; none where nothing was sent.
        ended: when the outcome was written; none where the run was killed, or still goes on.
        reason: why the step ended as it did.
        answer: the node's own words.
        until: until when its call may still be under way; none where it is not.
    """

    step: Step
    intended: datetime | None = None
    ended: datetime | None = None
    state: State | None = None
    reason: str = ""
    seconds: float = 0.0
    answer: str = ""
    waiting_for_restart: tuple[str, ...] = ()
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the history; `attempts` counts the tries to deliver it."""

    id: str
    step: str
    created: datetime
    body: str
    wanted: bool
    delivered: datetime | None
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run, as a line of the history.

    Args:
        note: why it ended as it did, where its steps do not tell: the verdicts of a refusal.
        counts: state -> number of steps; steps without outcome count as `open`.
        finished: none where the run was killed, or still goes on.
    """

    id: str
    trigger: str
    source: str
    revision: str
    short: str
    title: str
    program: str
    digest: str
    started: datetime
    finished: datetime | None
    exit_status: int | None
    note: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run with everything that is known of it, steps in the plan's order."""

    line: RunLine
    plan: Plan
    entries: tuple[Entry, ...]
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """The revision that a node was last seen to run, and since when."""

    revision: str
    since: datetime


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A call that may still take effect: nobody answered for it, or nobody has read its effect yet.

    Args:
        step: its id in the run's plan.
        until: when it is over at the latest.
    """

    cluster: str
    node: str
    step: str
    run: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of earlier runs, as it stood at one moment.

    Args:
        facts: cluster -> node -> key -> value, whatever the fleet: revisions, words that are spent.
        learnt: fleet -> cluster -> node -> key -> value: what steps taught. A cluster's name says nothing
            about whose it is: another fleet on this host may have one of the same name.
        claims: place (`address:port`) -> who has written there last, of all fleets of this host.
        past: cluster -> what guards need to know of earlier runs.
        everywhere: what holds for every cluster: the fleet's suspension, and all approvals.
        at: when it was recalled; expiries are judged by it.
        acted: (id, short) of the revisions that runs here have applied, the latest last.
        prior: cluster -> what earlier revisions said of it; filled in by `engine.prior.read_prior`.
        lineage: short ids of the revision of this pass and of all that it descends from; None where that
            was not asked, or is not known.
        under_way: calls that may still take effect at `at`, sorted by cluster and node.
    """

    facts: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    past: Mapping[str, Past] = field(default_factory=dict)
    everywhere: Past = field(default_factory=Past)
    at: datetime = field(default_factory=utc_now)
    acted: tuple[tuple[str, str], ...] = ()
    lineage: frozenset[str] | None = None
    under_way: tuple[UnderWay, ...] = ()
    learnt: Mapping[str, Mapping[str, Mapping[str, Mapping[str, str]]]] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    prior: Mapping[str, Prior] = field(default_factory=dict)

    def recalled(self, fleet: str, cluster: str) -> dict[str, Mapping[str, str]]:
        """Node -> key -> value: all that a driver may know of a cluster of this fleet.

        Args:
            fleet: the source that its desired state was read from.
            cluster: its name.
        """
        shared, own = self.facts.get(cluster, {}), self.learnt.get(fleet, {}).get(cluster, {})
        return {node: {**shared.get(node, {}), **own.get(node, {})} for node in sorted({*shared, *own})}

    def of(self, cluster: str) -> Past:
        """What guards need to know of one cluster, with what holds everywhere."""
        own, all_ = self.past.get(cluster, Past()), self.everywhere
        return replace(
            own, suspended=(*all_.suspended, *own.suspended), approved=all_.approved | own.approved
        )
