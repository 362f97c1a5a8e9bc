"""What a product supplies: the abstract base of drivers, with its hooks and what they give."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from reconciler.core import attempts
from reconciler.core.arguments import TypedArguments, read_arguments
from reconciler.core.canonical import fingerprint
from reconciler.core.endpoint import Endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.fields import StrictModel
from reconciler.core.guard import Guard
from reconciler.core.json_schema import Schema
from reconciler.core.observation import NodeReport, Observed
from reconciler.core.observation_digests import digest_observations
from reconciler.core.plan import ClusterPlan, Payload, Step
from reconciler.core.policy import Policy
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.product_model import ModelSetup
from reconciler.core.secret import reveal
from reconciler.core.step import StepVerdict
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.errors import InputError, UnreadableArguments
from reconciler.host.config import HostConfig
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import Simulator
from reconciler.ports.transport import ReadingCall, ReadingCommand, TransportKind, Transports
from reconciler.text.one_line import LONGEST_SENTENCE, list_first_names, make_one_line


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """What a node answered to a step: the words go into the journal, nobody believes them.

    Whatever a node wrote is bounded here, before the store, the log or a message sees it.

    Args:
        facts: what the step taught of its node, for later runs of the same fleet.
        spent: the words of the fleet file that the step used up, whatever fleet gives them again.
        offered: whether what was sent only lies ready for the node to take, for as long as the step's
            `in_flight`: the step outlives the pass, and a later one settles it by reading.
    """

    words: str
    waiting_for_restart: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, str] = field(default_factory=dict)
    offered: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", make_one_line(self.words, LONGEST_SENTENCE))
        object.__setattr__(self, "waiting_for_restart", list_first_names(self.waiting_for_restart))


@dataclass(frozen=True, slots=True)
class MemberClaim:
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


@dataclass(frozen=True, slots=True)
class LiveState:
    """What a cluster's nodes show.

    Args:
        documents: node -> its settings, plain; empty for products without settings files.
        nodes: the cluster's nodes as entries of the fleet file, sorted by name; None where the nodes do not
            tell who belongs to the cluster.
        missing: why not everything is known, one sentence each; then nothing may be written.
        followed: keys of a node's entry in which the file follows the nodes; one that is shown as None is
            taken out.
        left_open: what a new cluster's entry cannot say, because nodes do not tell it, one sentence each.
    """

    documents: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] | None = None
    missing: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    left_open: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportOption:
    """The option that names a new cluster to `reconcile import`.

    Args:
        metavar: its value's form, a name and addresses.
        help: what it says of itself; empty for the usual sentence.
    """

    metavar: str = "NAME=ADDRESS,…"
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a product can do beyond what every product must, where "cannot" is said to a person.

    A flag and the hooks that it names go together: the conformance suite holds one against the other.

    Args:
        single_node: nodes are changed one by one, so that some can stay as they are (`without`).
        metrics: nodes have metrics by which they are compared (`health`).
        reports: nodes report by themselves (`reported`).
        imports: live clusters can be written down as files (`entry_of`, `shown`).
        model_check: the model checker can explore its plans (`stages`).
        simulation: its nodes can be simulated, and put on trial (`simulator`).
        history: plans rest on who was in the cluster before, so that earlier fleet files are read
            (`learnt`).
        transports: the ways to nodes that `observe`, `look`, `act` and the other methods use; a cluster
            whose product needs one that this program lacks is refused before anything starts.
    """

    single_node: bool = False
    metrics: bool = False
    reports: bool = False
    imports: bool = False
    model_check: bool = False
    history: bool = False
    simulation: bool = False
    transports: frozenset[TransportKind] = frozenset()


Facts: TypeAlias = Mapping[str, Mapping[str, str]]
"""Node -> key -> value."""

D = TypeVar("D")
S = TypeVar("S")

Undo: TypeAlias = tuple[Step, Mapping[str, Payload]]
"""A step that takes something back, and the payloads that it needs."""


class Driver(ABC, Generic[D, S]):
    """All that the program needs of a product. D: its desired state; S: what one node shows.

    A product has the abstract methods, and overrides those hooks that it has something to say to. All
    but `observe`, `look`, `act`, `health` and `entry_of` are pure.
    """

    kind: str
    """The word for it in the fleet file."""

    title: str
    """Its name in sentences."""

    entry: type[ClusterEntry]
    """The model of a cluster's entry in the fleet file."""

    capabilities: Capabilities = Capabilities()
    policy: type[Policy] = Policy
    """The limits of its clusters; a product extends it with limits of its own."""

    host_section: type[StrictModel] | None = None
    """The model of the product's own section of the host configuration, which has the kind as its key."""

    guards: tuple[Guard, ...] = ()
    reads: tuple[ReadingCall | ReadingCommand, ...] = ()
    """All calls that `observe`, `look` and other reading methods make; no other reaches a node from there."""

    actions: Mapping[str, type[TypedArguments]] = MappingProxyType({})
    """Action of a step -> the type of its arguments."""

    lone_file: str = ""
    """Name of the settings file that is enough without a fleet file; empty where there is none."""

    lint_codes: frozenset[str] = frozenset()
    """The codes that `lint` uses; each has a page, as all codes of the product have (`explanations`)."""

    @abstractmethod
    def desire(self, cluster_input: ClusterInput) -> D:
        """The desired state of one cluster, which depends on the files alone: it is made once a revision.

        Raises:
            InputError: with every problem found, each with its position.
        """

    @abstractmethod
    async def observe(self, desired: D, transports: Transports) -> Observed[S]:
        """Ask every node, concurrently and bounded; a failure is an observation, never an exception."""

    @abstractmethod
    def plan(self, desired: D, observed: Observed[S]) -> ClusterPlan:
        """The steps from observed to desired; the same arguments give the same plan."""

    @abstractmethod
    async def look(self, step: Step, transports: Transports) -> Observed[S]:
        """Ask the nodes that tell how this step stands, using nothing but its arguments."""

    @abstractmethod
    def judge(self, step: Step, seen: Observed[S]) -> StepVerdict:
        """How the step stands, given what `look` saw."""

    @abstractmethod
    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        """Perform the step, once.

        Raises:
            NodeError: the call failed; whether it had an effect is for `look` and `judge` to tell.
        """

    def on_host(self, config: HostConfig) -> Driver[D, S]:
        """The driver with what a host allows, by `host_section`."""
        return self

    def explanations(self) -> Traversable | None:
        """The folder with a page of Markdown for each code of the product's own: `CODE.md`; None for none."""
        return None

    def schemas(self) -> Mapping[str, Callable[[], Schema]]:
        """Name -> what makes the JSON Schema of a file of the product, such as `setting`."""
        return {}

    def typed(self, step: Step) -> Step:
        """A step that was written down, with its arguments as this product's type.

        Raises:
            UnreadableArguments: another version of the schema wrote them, or they are damaged.
        """
        kind = self.actions.get(step.action)
        if kind is None:
            raise UnreadableArguments(f"{self.title} has no step {step.action!r}")
        return replace(step, arguments=read_arguments(step.arguments, kind))

    # What the files say.

    def alone(self, document: Document) -> dict[str, Any]:
        """The cluster entry, as plain data, that a lone settings file stands for.

        Raises:
            InputError: the file does not name its nodes, or the product has no such file.
        """
        words = f"a {self.title} cluster is described in a fleet file only"
        raise InputError([Diagnostic(Severity.ERROR, "no-fleet", words, position=document.position(""))])

    def examine(self, cluster_input: ClusterInput) -> Iterator[Diagnostic]:
        """Every error and warning that `desire` would meet; total, whatever the files hold.

        Args:
            cluster_input: nodes whose settings cannot be read are without a document, and nothing is said of
                that.
        """
        try:
            self.desire(cluster_input)
        except InputError as error:
            yield from error.problems

    def lint(self, cluster_input: ClusterInput) -> Iterable[Diagnostic]:
        """Warnings about one cluster, each place once; total, whatever the settings hold."""
        return ()

    def claims(self, cluster_input: ClusterInput) -> Iterable[MemberClaim]:
        """The members that the cluster's settings name, so that one in two clusters is noticed."""
        return ()

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        """Node -> where the files say that it is reached, with a port; what is no address is left out."""
        return {}

    # What is planned, and whether it may be sent again.

    def recall(self, desired: D, facts: Facts, prior: PriorRevisions) -> D:
        """The same desired state with what is known of the cluster's past; asked before each pass.

        Args:
            desired: as `desire` made it.
            facts: what the store remembers from runs of this fleet, such as `mode` set by us, and which words
                of the fleet file are spent.
            prior: the same cluster in earlier revisions.
        """
        return desired

    def without(self, desired: D, nodes: frozenset[str]) -> D:
        """The same desired state, in which these nodes stay as they are; see `Capabilities.single_node`."""
        raise NotImplementedError

    def stamped(self, entry: ClusterEntry) -> bool:
        """Whether what is delivered to this cluster carries the revision; then nodes can be left out, too."""
        return False

    def stamps(self, desired: D, observed: Observed[S]) -> Mapping[str, str]:
        """Node -> the stamp that it shows, by its own answer; nodes that show none are left out."""
        return {}

    def delivered(self, desired: D) -> Facts:
        """What would be remembered of each node that was brought to this desired state, and it may not show.

        Asked of the revision whose stamp a node shows, where the store remembers nothing of the node.
        """
        return {}

    def learnt(self, desired: D, observed: Observed[S]) -> Mapping[str, Mapping[str, str]]:
        """Node -> key -> value to remember of what the nodes showed; an empty value forgets."""
        return {}

    def shown_prints(self, desired: D, observed: Observed[S]) -> Mapping[str, str]:
        """Node -> the print of its answer as a plan file keeps it: nothing secret counts in it.

        Args:
            desired: tells what is secret.
            observed: what the nodes answered.
        """
        return digest_observations(observed)

    def completed(self, step: Step, desired: D) -> Step:
        """A step that was read from its plain form, with what that leaves out, where it still delivers this.

        Args:
            step: of the product's own types, from a plan file.
            desired: what the file's revision asks for.
        """
        return step

    def contents(self, desired: D) -> Mapping[str, str]:
        """Node -> fingerprint of what it is to get, without the stamp of the revision; empty: not told."""
        return {}

    def aim(self, step: Step, contents: Mapping[str, str]) -> str:
        """Fingerprint of what a step is to bring about: equal where a further try would be the same.

        Args:
            step: of a plan for the desired state.
            contents: what `contents` gave for it.
        """
        return fingerprint([step.action, step.node, step.payload or None])

    def uncounted(self, desired: D, observed: Observed[S]) -> frozenset[str]:
        """Nodes that may leave the desired state in any number, such as those that are gone already."""
        return frozenset()

    def way_out(self, step: Step) -> str:
        """What a person does where a step fails each time, in the imperative; empty for the general words."""
        return ""

    def readings(self, step: Step, observed: Observed[S]) -> Mapping[str, str]:
        """What shows where it is not as the step wants it: place -> short fingerprint; bounded.

        Args:
            step: of a plan.
            observed: what the plan was made from.
        """
        return attempts.fingerprint_places(step.changes) or {"": fingerprint(step.needs)[:16]}

    def stages(
        self, desired: D, observed: Observed[S], plan: ClusterPlan
    ) -> tuple[ModelSetup[Any], ...] | str:
        """What the model checker walks for a plan, or why it cannot, without a final stop.

        Args:
            desired: the cluster's desired state, which every pass of a play plans for.
            observed: what the nodes showed.
            plan: what was made of the two; it has steps.
        """
        return f"there is no model of {plan.kind} to explore"

    def simulator(self) -> Simulator | None:
        """The product's nodes, simulated; loaded late, for only simulations and trials pay for it."""
        return None

    # What comes after a step.

    def undo(self, step: Step, observed: Observed[S], payloads: Mapping[str, Payload]) -> Undo | None:
        """The way back from a step that was done; none where there is none.

        Args:
            step: a step of the plan that was performed and has its effect.
            observed: what the nodes showed when the plan was made; what a node had is taken from here.
            payloads: those of the plan.
        """
        return None

    def undo_part(
        self, step: Step, observed: Observed[S], payloads: Mapping[str, Payload], shown: Observed[S]
    ) -> Undo | None:
        """The way back from what shows of a step that took effect in part; none where it is not of it.

        Args:
            step: a step of the plan that was sent and does not show as it should.
            observed: what the nodes showed when the plan was made.
            payloads: those of the plan.
            shown: what the step's nodes show now.
        """
        return None

    async def health(
        self, desired: D, nodes: Sequence[str], transports: Transports
    ) -> Mapping[str, Mapping[str, float]]:
        """Node -> metric -> value, summed over labels; a node that does not tell is left out.

        Args:
            desired: the cluster's desired state.
            nodes: which nodes to ask, by name; others are not asked.
            transports: the ways to them.
        """
        return {}

    def reported(self, desired: D, message: Mapping[str, Any]) -> NodeReport | None:
        """What a message says of which node; none where it is of no node of this cluster.

        Args:
            desired: the cluster's desired state.
            message: as it came, an object of plain JSON that nobody has checked.
        """
        return None

    # What live nodes show, written down.

    import_option: ImportOption = ImportOption()
    """The option `--KIND` of `reconcile import`; see `Capabilities.imports`."""

    def unsaid(self, entry: ClusterEntry) -> frozenset[str]:
        """JSON pointers of what nodes show in their settings and files do not say, because it is stamped."""
        return frozenset()

    def meaning(self, document: Any) -> str:
        """What tells one meaning of a node's settings from another: equal for two that need no change.

        An import leaves out of the files what differs in spelling, in a default that is written out or in an
        order that means nothing. Secrets count by their value.

        Args:
            document: a whole settings document, or a part of one at its place.
        """
        return fingerprint(reveal(document))

    async def entry_of(self, name: str, addresses: Sequence[str], transports: Transports) -> dict[str, Any]:
        """The fleet file's entry of a cluster that no file names yet, as plain data.

        Args:
            name: what the cluster is to be called.
            addresses: of its nodes, or of one that tells the others.
            transports: the ways to them.

        Raises:
            NodeError: nobody told enough.
            UsageError: an address is none.
        """
        raise NotImplementedError

    def shown(self, desired: D, observed: Observed[S]) -> LiveState:
        """What the nodes show, for the fleet file and its settings files; see `Capabilities.imports`."""
        raise NotImplementedError
