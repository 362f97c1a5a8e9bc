"""What a product supplies, and what it is given to make its desired state from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

from reconciler.core.endpoint import Endpoint
from reconciler.core.guard import Guard
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Payload, Revision, Step
from reconciler.core.prior import Prior
from reconciler.core.product_model import Stage
from reconciler.core.reports import Report
from reconciler.core.spec import ClusterEntry
from reconciler.core.step import Verdict
from reconciler.diagnostic import Problem
from reconciler.documents.document import Document
from reconciler.ports.transport import ReadingCall, Wire
from reconciler.text.one_line import LONGEST_SENTENCE, first_names, one_line


@dataclass(frozen=True, slots=True)
class Desk:
    """What a product is given to make its desired state from: pure data.

    Args:
        entry: the cluster's entry of the fleet file, of the product's own model.
        where: the entry's place in the fleet file; values inside it by `fleet.position`.
        documents: node name -> its settings file, rendered for that node; nodes that get the same
            share one object. Empty for products without such files.
        resources: path -> bytes of the files to pack beside the settings.
        recalled: node name -> what the store remembers of it from runs of this fleet, such as `mode` set by
            us, and which words of the fleet file are spent.
        missing: path -> why, of files to pack that are encrypted and cannot be opened here.
        prior: the same cluster in earlier revisions.
    """

    entry: ClusterEntry
    fleet: Document
    pointer: str
    revision: Revision
    documents: Mapping[str, Document] = field(default_factory=dict)
    resources: Mapping[str, bytes] = field(default_factory=dict)
    recalled: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    prior: Prior = field(default_factory=Prior)


@dataclass(frozen=True, slots=True)
class Done:
    """What a node answered to a step: the words go into the journal, nobody believes them.

    Whatever a node wrote is bounded here, before the store, the log or a message sees it.

    Args:
        facts: what the step taught of its node, for later runs of the same fleet.
        spent: the words of the fleet file that the step used up, whatever fleet gives them again.
    """

    words: str
    waiting_for_restart: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", one_line(self.words, LONGEST_SENTENCE))
        object.__setattr__(self, "waiting_for_restart", first_names(self.waiting_for_restart))


D = TypeVar("D")
S = TypeVar("S")


class Driver(Protocol[D, S]):
    """All that the program needs of a product. D: its desired state; S: what one node shows.

    `desire`, `plan` and `judge` are pure; `observe`, `look` and `act` talk to nodes.
    """

    kind: str
    entry: type[ClusterEntry]
    guards: tuple[Guard, ...]
    reads: tuple[ReadingCall, ...]
    """All calls that `observe`, `look` and other reading methods make; no other reaches a node from there."""

    lone_file: str
    """Name of the settings file that is enough without a fleet file; empty where there is none."""

    def alone(self, document: Document) -> dict[str, Any]:
        """The cluster entry, as plain data, that a lone settings file stands for.

        Raises:
            InputError: the file does not name its nodes.
        """

    def desire(self, desk: Desk) -> D:
        """The desired state of one cluster.

        Raises:
            InputError: with every problem found, each with its position.
        """

    def narrow(self, desired: D, node: str) -> D:
        """The same desired state, in which every node but this one stays as it is.

        Raises:
            UsageError: the product decides for whole clusters only.
        """

    async def observe(self, desired: D, wire: Wire) -> Observed[S]:
        """Ask every node, concurrently and bounded; a failure is an observation, never an exception."""

    def plan(self, desired: D, observed: Observed[S]) -> ClusterPlan:
        """The steps from observed to desired; the same arguments give the same plan."""

    async def look(self, step: Step, wire: Wire) -> Observed[S]:
        """Ask the nodes that tell how this step stands, using nothing but its arguments."""

    def judge(self, step: Step, seen: Observed[S]) -> Verdict:
        """How the step stands, given what `look` saw."""

    async def act(self, step: Step, wire: Wire, payloads: Mapping[str, Payload]) -> Done:
        """Perform the step, once.

        Raises:
            NodeError: the call failed; whether it had an effect is for `look` and `judge` to tell.
        """


@runtime_checkable
class Locates(Protocol):
    """What a driver also has whose nodes have addresses that must be told apart."""

    def endpoints(self, desk: Desk) -> Mapping[str, Endpoint]:
        """Node -> where the files say that it is reached, with a port; what is no address is left out."""


@runtime_checkable
class Examines(Protocol):
    """What a driver also has that tells what is wrong in a cluster without making its desired state."""

    def examine(self, desk: Desk) -> Iterator[Problem]:
        """Every error and warning that `desire` would meet; total, whatever the files hold. Pure.

        Args:
            desk: nodes whose settings cannot be read are without a document, and nothing is said of that.
        """


@runtime_checkable
class Undoes(Protocol):
    """What a driver also has whose product has a way back from a step that was done."""

    def undo(
        self, step: Step, observed: Observed[Any], payloads: Mapping[str, Payload]
    ) -> tuple[Step, Mapping[str, Payload]] | None:
        """The step that takes back `step`, and the payloads it needs; none where there is no way back. Pure.

        Args:
            step: a step of the plan that was performed and has its effect.
            observed: what the nodes showed when the plan was made; what a node had is taken from here.
            payloads: those of the plan.
        """


@runtime_checkable
class UndoesPart(Protocol):
    """What a driver also has whose product has a way back from a step that took effect in part."""

    def undo_part(
        self, step: Step, observed: Observed[Any], payloads: Mapping[str, Payload], shown: Observed[Any]
    ) -> tuple[Step, Mapping[str, Payload]] | None:
        """The step that takes back what shows of `step`; none where what shows is not of it. Pure.

        Args:
            step: a step of the plan that was sent and does not show as it should.
            observed: what the nodes showed when the plan was made.
            payloads: those of the plan.
            shown: what the step's nodes show now.
        """


@runtime_checkable
class LeavesOut(Protocol):
    """What a driver also has whose nodes are changed one by one, so that some can be left out. Pure."""

    def without(self, desired: Any, nodes: frozenset[str]) -> Any:
        """The same desired state, in which these nodes stay as they are."""


@runtime_checkable
class Stamps(LeavesOut, Protocol):
    """What a driver also has whose nodes may tell which revision they run. All of it is pure."""

    def stamped(self, entry: ClusterEntry) -> bool:
        """Whether what is delivered to this cluster carries the revision."""

    def stamps(self, desired: Any, observed: Observed[Any]) -> Mapping[str, str]:
        """Node -> the stamp that it shows, by its own answer; nodes that show none are left out."""


@runtime_checkable
class Remembers(Protocol):
    """What a driver also has whose plans rest on which nodes were in the cluster before. Pure."""

    def learnt(self, desired: Any, observed: Observed[Any]) -> Mapping[str, Mapping[str, str]]:
        """Node -> key -> value to remember of what the nodes showed; an empty value forgets."""


@runtime_checkable
class Repeats(Protocol):
    """What a driver also has that tells whether a further try would be the same again. All of it is pure."""

    def contents(self, desired: Any) -> Mapping[str, str]:
        """Node -> fingerprint of what it is to get, without the stamp of the revision."""

    def aim(self, step: Step, contents: Mapping[str, str]) -> str:
        """Fingerprint of what a step is to bring about: equal where a further try would be the same.

        Args:
            step: of a plan for the desired state.
            contents: what `contents` gave for it.
        """

    def readings(self, step: Step, observed: Observed[Any]) -> Mapping[str, str]:
        """What shows where it is not as the step wants it: place -> short fingerprint; bounded.

        Args:
            step: of a plan.
            observed: what the plan was made from.
        """


@runtime_checkable
class Measures(Protocol):
    """What a driver also has whose product has metrics to compare nodes by."""

    async def health(
        self, desired: Any, nodes: Sequence[str], wire: Wire
    ) -> Mapping[str, Mapping[str, float]]:
        """Node -> metric -> value, summed over labels; a node that does not tell is left out.

        Args:
            desired: the cluster's desired state.
            nodes: which nodes to ask, by name; others are not asked.
            wire: the way to them.
        """


@runtime_checkable
class Reports(Protocol):
    """What a driver also has whose product's nodes report by themselves."""

    def reported(self, desired: Any, message: Mapping[str, Any]) -> Report | None:
        """What a message says of which node; none where it is of no node of this cluster. Pure.

        Args:
            desired: the cluster's desired state.
            message: as it came, an object of plain JSON that nobody has checked.
        """


@runtime_checkable
class Rehearses(Protocol):
    """What a driver also has whose product the model checker can play."""

    def stages(
        self, desired: Any, observed: Observed[Any], plan: ClusterPlan
    ) -> tuple[Stage[Any], ...] | str:
        """What the model checker walks for a plan, or why it cannot, without a final stop. Pure.

        Args:
            desired: the cluster's desired state, which every pass of a play plans for.
            observed: what the nodes showed.
            plan: what was made of the two; it has steps.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """A member that a cluster's settings name.

    Args:
        name: the same for the same member in whichever cluster of the kind: an address, or an
            expression that stands for several.
        document: where it is named.
        pointer: its place there.
    """

    name: str
    document: Document
    pointer: str


@runtime_checkable
class Lints(Protocol):
    """What a driver also has that knows what is doubtful, though not wrong, in a cluster."""

    lint_codes: frozenset[str]
    """The codes that `lint` uses; each has a page under `reconciler/explanations`."""

    def lint(self, desk: Desk) -> Iterator[Problem]:
        """Warnings about one cluster, each place once; total, whatever the settings hold. Pure."""

    def claims(self, desk: Desk) -> Iterator[Claim]:
        """The members that the cluster's settings name, so that one in two clusters is noticed. Pure."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a cluster's nodes show.

    Args:
        documents: node -> its settings, plain; empty for products without settings files.
        nodes: the cluster's nodes as entries of the fleet file, sorted by name; None where the nodes do not
            tell who belongs to the cluster.
        missing: why not everything is known, one sentence each; then nothing may be written.
    """

    documents: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] | None = None
    missing: tuple[str, ...] = ()


@runtime_checkable
class Adopts(Protocol):
    """What a driver also has whose clusters can be written down as they are."""

    async def entry_of(self, name: str, addresses: Sequence[str], wire: Wire) -> dict[str, Any]:
        """The fleet file's entry of a cluster that no file names yet, as plain data.

        Args:
            name: what the cluster is to be called.
            addresses: of its nodes, or of one that tells the others.
            wire: the way to them.

        Raises:
            NodeError: nobody told enough.
            UsageError: an address is none.
        """

    def shown(self, desired: Any, observed: Observed[Any]) -> Shown:
        """What the nodes show, for the fleet file and its settings files. Pure."""
