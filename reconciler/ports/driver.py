"""The port of a product: the abstract base of drivers, its hooks and their results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from reconciler.core import attempts
from reconciler.core.arguments import NO_FEEDBACK, StepFeedback, TypedArguments, read_arguments
from reconciler.core.canonical import fingerprint
from reconciler.core.cloud_expressions import CloudExpression
from reconciler.core.endpoint import Endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.expiry import Expiry
from reconciler.core.fields import StrictModel
from reconciler.core.file_state import FileStatus
from reconciler.core.guard import Guard
from reconciler.core.json_schema import Schema
from reconciler.core.observation import NodeReport, Observed, Present
from reconciler.core.observation_digests import digest_observation, digest_observations
from reconciler.core.plan import ClusterPlan, Payload, Step
from reconciler.core.policy import Policy
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import (
    StopAnswer,
    StopDecision,
    StopQuestion,
    decide_one_at_a_time,
    interrupts_node,
)
from reconciler.core.secret import reveal
from reconciler.core.step_status import StepVerdict
from reconciler.core.unmanaged import UnmanagedRules
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.errors import InputError, UnreadableArguments
from reconciler.host.config import HostConfig
from reconciler.ports.backups import ExpectedBackup
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.ports.operations import ProductOperation
from reconciler.ports.transport import OfferedContent, ReadingRule, TransportKind, Transports
from reconciler.text.one_line import LONGEST_SENTENCE, list_first_names, make_one_line

if TYPE_CHECKING:
    from reconciler.core.polled_model import PolledSetup
    from reconciler.core.product_model import ModelSetup
    from reconciler.ports.central_server import CentralServer
    from reconciler.ports.node_store import NodeTokens
    from reconciler.ports.simulator import Simulator


@dataclass(frozen=True, slots=True)
class StepAnswer:
    """What a node answered to a step: a text for the journal, never evidence of an effect.

    Args:
        facts: about the node, for later runs of the same fleet.
        used_confirmations: of the fleet file; they do not count again in any fleet.
        is_pending: whether the node must still take what was sent, within the step's `in_flight`: the step
            outlives the pass, and a later pass settles it by reading.
        feedback: what the node says of itself, for messages.
    """

    text: str
    waiting_for_restart: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    used_confirmations: Mapping[str, str] = field(default_factory=dict)
    is_pending: bool = False
    feedback: StepFeedback = NO_FEEDBACK

    def __post_init__(self) -> None:
        # A node may answer with any amount of text: it is shortened before store, log or message get it.
        object.__setattr__(self, "text", make_one_line(self.text, LONGEST_SENTENCE))
        object.__setattr__(self, "waiting_for_restart", list_first_names(self.waiting_for_restart))


@dataclass(frozen=True, slots=True)
class MemberClaim:
    """A member that a cluster's settings name.

    Args:
        name: equal for the same member in every cluster of the kind: an address, or an expression for
            several addresses.
        document: that names it.
        pointer: its place in the document.
    """

    name: str
    document: Document
    pointer: str


@dataclass(frozen=True, slots=True)
class LiveState:
    """What a cluster's nodes show.

    Args:
        documents: node -> its settings as plain data; empty for products without settings files.
        nodes: the cluster's nodes as entries of the fleet file, sorted by name; None if the nodes do not show
            the members of the cluster.
        missing: why the state is incomplete, one sentence each; then nothing may be written.
        updated_keys: keys of a node's entry that an import updates; a key with the value None is removed.
        open_points: what a new cluster's entry lacks because nodes do not show it, one sentence each.
        entry: members of a new cluster's entry that its nodes show.
        individual_keys: keys of the documents that are each node's own, and stay out of their common base.
        files: new file -> its text, of a new cluster beside its settings, such as a template.
        is_careful: whether of a new cluster each value becomes a reference whose key only may be a secret's.
    """

    documents: Mapping[str, Any] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] | None = None
    missing: tuple[str, ...] = ()
    updated_keys: tuple[str, ...] = ()
    open_points: tuple[str, ...] = ()
    entry: Mapping[str, Any] = field(default_factory=dict)
    individual_keys: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    is_careful: bool = False


@dataclass(frozen=True, slots=True)
class InstallationFile:
    """A file that is installed on a node by hand.

    Args:
        suffix: of its name, such as `.json`.
        content: with secrets in clear.
        instructions: how it is installed, one sentence.
    """

    suffix: str
    content: bytes = field(repr=False)
    instructions: str


@dataclass(frozen=True, slots=True)
class ImportOption:
    """The option of `reconcile import` for a new cluster.

    Args:
        metavar: form of its value, a name and addresses.
        help: its help text; empty for the default text.
    """

    metavar: str = "NAME=ADDRESS,…"
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a product can do in addition to the required methods.

    Each flag belongs to the hooks that it names; the conformance suite checks that they agree.

    Args:
        single_node: nodes are changed one by one, so that some can be left out (`exclude_nodes`).
        metrics: nodes have metrics for gates (`health`).
        reports: nodes send reports (`parse_report`).
        imports: live clusters can be written to files (`read_cluster_entry`, `build_live_state`).
        model_check: the model checker can explore its plans (`list_model_setups`).
        simulation: its nodes can be simulated, also in fault trials (`simulator`).
        history: plans depend on earlier members of the cluster, so that earlier fleet files are read
            (`derive_facts`).
        transports: those that every cluster needs (`list_transports`); a cluster that needs a missing one is
            refused before anything starts.
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
"""A step that undoes another one, and the payloads that it needs."""


class Driver(ABC, Generic[D, S]):
    """All that the program knows of a product. D: its desired state; S: the observed state of one node.

    A product implements the abstract methods and overrides the hooks that it needs. All methods except
    `observe`, `observe_step`, `act`, `health` and `read_cluster_entry` are pure.
    """

    kind: str
    """Its name in the fleet file."""

    title: str
    """Its name in sentences."""

    entry: type[ClusterEntry]
    """The model of a cluster's entry in the fleet file."""

    capabilities: Capabilities = Capabilities()
    policy: type[Policy] = Policy
    """The limits of its clusters; a product may add its own limits."""

    host_section: type[StrictModel] | None = None
    """The model of its section of the host configuration; the key of the section is the kind."""

    guards: tuple[Guard, ...] = ()
    reads: tuple[ReadingRule, ...] = ()
    """All calls over HTTP and streams of the reading methods. The transports of a dry run refuse every other
    call."""

    actions: Mapping[str, type[TypedArguments]] = MappingProxyType({})
    """Action of a step -> the type of its arguments."""

    unmanaged_rules: UnmanagedRules = UnmanagedRules()
    """Which fields of its settings may keep what each node shows; see `keep_unmanaged`."""

    lone_file: str = ""
    """Name of a settings file that works without a fleet file; empty for none."""

    commit_codes: frozenset[str] = frozenset()
    """Codes of findings that ask to change the files: they do not apply to nodes that only drifted."""

    lint_codes: frozenset[str] = frozenset()
    """The codes of `lint`; each has a page, as every code of the product (`explanations`)."""

    @abstractmethod
    def desire(self, cluster_input: ClusterInput) -> D:
        """The desired state of one cluster. It depends only on the files and is made once for each revision.

        Raises:
            InputError: with every problem found, each with its position.
        """

    @abstractmethod
    async def observe(self, desired: D, transports: Transports) -> Observed[S]:
        """Query all nodes concurrently, with limits; a failure is an observation, never an exception."""

    @abstractmethod
    def plan(self, desired: D, observed: Observed[S]) -> ClusterPlan:
        """The steps from observed to desired; the same arguments give the same plan."""

    @abstractmethod
    async def observe_step(self, step: Step, transports: Transports) -> Observed[S]:
        """Query the nodes that show the status of this step, with nothing but its arguments."""

    @abstractmethod
    def judge(self, step: Step, seen: Observed[S]) -> StepVerdict:
        """The status of the step, from the result of `observe_step`."""

    @abstractmethod
    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        """Perform the step, once.

        Raises:
            NodeError: the call failed; `observe_step` and `judge` find out whether it had an effect.
        """

    def with_host_config(self, config: HostConfig) -> Driver[D, S]:
        """The driver with the host's settings from `host_section`."""
        return self

    def explanations(self) -> Traversable | None:
        """The folder with a Markdown page for each code of this product, `CODE.md`; None for none."""
        return None

    def schemas(self) -> Mapping[str, Callable[[], Schema]]:
        """Name of a file of the product, such as `setting` -> function that makes its JSON Schema."""
        return {}

    def load_step(self, step: Step) -> Step:
        """A stored step, with its arguments converted to this product's type.

        Raises:
            UnreadableArguments: they have another schema version, or are damaged.
        """
        kind = self.actions.get(step.action)
        if kind is None:
            raise UnreadableArguments(f"{self.title} has no step {step.action!r}")
        return replace(step, arguments=read_arguments(step.arguments, kind))

    # Files.

    def build_lone_entry(self, document: Document) -> dict[str, Any]:
        """The cluster entry for a single settings file, as plain data.

        Raises:
            InputError: the file does not name its nodes, or the product has no such file.
        """
        words = f"a {self.title} cluster needs a fleet file"
        raise InputError([Diagnostic(Severity.ERROR, "no-fleet", words, position=document.position(""))])

    def examine(self, cluster_input: ClusterInput) -> Iterator[Diagnostic]:
        """Every error and warning of `desire`; never raises, whatever the files contain.

        Args:
            cluster_input: nodes with unreadable settings have no document; that is reported elsewhere.
        """
        # One path for both: a check of its own would some day accept what `desire` refuses.
        try:
            self.desire(cluster_input)
        except InputError as error:
            yield from error.problems

    def lint(self, cluster_input: ClusterInput) -> Iterable[Diagnostic]:
        """Warnings about one cluster, each place once; never raises, whatever the settings contain."""
        return ()

    def claims(self, cluster_input: ClusterInput) -> Iterable[MemberClaim]:
        """The members that the cluster's settings name, to find a member of two clusters."""
        return ()

    def find_cloud_expressions(self, cluster_input: ClusterInput) -> Mapping[str, CloudExpression]:
        """Place in the settings, in words -> a cloud expression there, which the nodes resolve themselves."""
        return {}

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        """Node -> its endpoint in the files, with a port; invalid addresses are left out."""
        return {}

    # Planning and repetition.

    def add_history(self, desired: D, facts: Facts, prior: PriorRevisions) -> D:
        """The desired state with what is known of the cluster's past; called before each pass.

        Args:
            desired: from `desire`.
            facts: of earlier runs of this fleet, such as a `mode` that it set, and used confirmations.
            prior: the same cluster in earlier revisions.
        """
        return desired

    def list_transports(self, desired: D) -> frozenset[TransportKind]:
        """The transports that a cluster needs."""
        return self.capabilities.transports

    def list_polling_nodes(self, desired: D) -> tuple[str, ...]:
        """The nodes that fetch what they get from this host; also left-out ones.

        Silence of such a node is no failure: a wave waits for it, see `Rollout.max_unknown`.
        """
        return ()

    def list_reporting_nodes(self, desired: D) -> tuple[str, ...]:
        """The nodes that call this host by a path of their own, and so need a token; also left-out ones.

        These are the nodes that poll, and those that only report. Their tokens count before anything is sent
        to the cluster, and those of all other nodes of the cluster end.
        """
        return self.list_polling_nodes(desired)

    def list_bus_channels(self, cluster_input: ClusterInput) -> Sequence[NamedChannel]:
        """The channels of message buses on which nodes listen and report that this host tells and hears.

        By the files alone: what a node has loaded may name others.
        """
        return ()

    def assign_tokens(self, desired: D, tokens: Mapping[str, NodeTokens]) -> D:
        """The desired state with the tokens of nodes that report; called before each plan of such a cluster.

        A node without a token, as where there is no state, keeps a `Secret` that is missing.

        Args:
            desired: from `add_history`.
            tokens: node -> its tokens.
        """
        raise NotImplementedError

    def keep_unmanaged(self, desired: D, observed: Observed[S]) -> D:
        """The desired state with what each node shows in its unmanaged fields; called before each plan.

        A node of which these values are not known is not changed, and the plan says why.
        """
        return desired

    def count_unmanaged(self, desired: D, observed: Observed[S]) -> Mapping[str, int]:
        """Each pattern of unmanaged fields -> how many nodes show a value there."""
        return {}

    def exclude_nodes(self, desired: D, nodes: frozenset[str]) -> D:
        """The desired state without changes to these nodes; see `Capabilities.single_node`."""
        raise NotImplementedError

    def has_stamps(self, entry: ClusterEntry) -> bool:
        """Whether the nodes' content contains the revision; then nodes can be left out, too."""
        return False

    def stamps(self, desired: D, observed: Observed[S]) -> Mapping[str, str]:
        """Node -> the revision stamp that it shows; nodes without one are left out."""
        return {}

    def list_delivered_facts(self, desired: D) -> Facts:
        """Facts about each node after it got this desired state, which the node itself may not show.

        Used for the revision whose stamp a node shows, if the store has no facts about the node.
        """
        return {}

    def derive_facts(self, desired: D, observed: Observed[S]) -> Mapping[str, Mapping[str, str]]:
        """Node -> key -> value to store from observations; an empty value deletes."""
        return {}

    def fingerprint_observations(self, desired: D, observed: Observed[S]) -> Mapping[str, str]:
        """Node -> digest of its observation for plan files, without what `desired` defines as secret."""
        return digest_observations(observed)

    def digest_shown(self, answer: Present[S]) -> tuple[str, ...]:
        """Digests of what a node shows, by which drift is found: equal ones as long as nobody changed it.

        They must not depend on the desired state. What is read in some passes only comes last, and is left
        out where it was not read.
        """
        return (digest_observation(answer),)

    def complete_step(self, step: Step, desired: D) -> Step:
        """A step from a plan file with what the file leaves out, if `desired` still has the same content."""
        return step

    def contents(self, desired: D) -> Mapping[str, str]:
        """Node -> fingerprint of its content, without the revision stamp; empty if unknown."""
        return {}

    def contents_without_version(self, desired: D) -> Mapping[str, str]:
        """Like `contents`, also without a version that people write into the settings themselves."""
        return self.contents(desired)

    def fingerprint_purpose(self, step: Step, contents: Mapping[str, str]) -> str:
        """Fingerprint of the purpose of a step: equal if a further attempt would do the same."""
        return fingerprint([step.action, step.node, step.payload or None])

    def list_uncounted_nodes(self, desired: D, observed: Observed[S]) -> frozenset[str]:
        """Nodes that the guard of removed nodes does not count, such as those that no longer run."""
        return frozenset()

    def find_remedy(self, step: Step) -> str:
        """Remedy for a step that fails at every attempt, in the imperative; empty for the general one."""
        return ""

    def fingerprint_differences(self, step: Step, observed: Observed[S]) -> Mapping[str, str]:
        """Values that differ from the step's target: place -> short fingerprint; limited in number."""
        return attempts.fingerprint_places(step.changes) or {"": fingerprint(step.needs)[:16]}

    def list_model_setups(
        self, desired: D, observed: Observed[S], plan: ClusterPlan
    ) -> tuple[ModelSetup[Any] | PolledSetup, ...] | str:
        """What the model checker explores for a non-empty plan, or why it cannot, without a full stop."""
        return f"there is no model of {plan.kind} to explore"

    def simulator(self) -> Simulator | None:
        """The simulator of the product; imported late, since only simulations and trials need it."""
        return None

    def central_server(self) -> CentralServer | None:
        """What its nodes poll, download and report; None if they do not call a central server."""
        return None

    # After a step.

    def undo(self, step: Step, observed: Observed[S], payloads: Mapping[str, Payload]) -> Undo | None:
        """The step that undoes a completed one; None if there is none.

        Args:
            step: of the plan, performed and effective.
            observed: the observations of the plan, with the previous state of the node.
            payloads: of the plan.
        """
        return None

    def undo_offer(self, step: Step, offered: OfferedContent) -> Undo | None:
        """The step that offers a node what it had before an offer; None if that is not known.

        An offer outlives its pass, so that `undo` has no observation from before it: the content is in
        `OfferedContent.former`.

        Args:
            step: made the offer, in this run or an earlier one.
            offered: the offer, which the node has taken.
        """
        return None

    def rebuild_offer(self, desired: D, offered: OfferedContent) -> Step | None:
        """The step of an offer as this version makes it, from the offer alone; None where that is impossible.

        Nodes go back from offers of earlier runs, which other versions of this program may have planned.

        Args:
            desired: the desired state of the cluster now; the node may be left out of it.
            offered: the offer, which the node has taken.
        """
        return None

    def undo_part(
        self, step: Step, observed: Observed[S], payloads: Mapping[str, Payload], shown: Observed[S]
    ) -> Undo | None:
        """The step that undoes a partial effect; None if what shows is not an effect of this step.

        Args:
            step: of the plan, sent but not fully effective.
            observed: the observations of the plan.
            payloads: of the plan.
            shown: current observation of the step's nodes.
        """
        return None

    async def health(
        self, desired: D, nodes: Sequence[str], transports: Transports
    ) -> Mapping[str, Mapping[str, float]]:
        """Node -> metric -> value, summed over labels; nodes without metrics are left out."""
        return {}

    def parse_report(self, node: str, message: Mapping[str, Any]) -> NodeReport | None:
        """The report in a stored message, for the gate of reports; None if it is about something else.

        Args:
            node: that sent it, by its token.
            message: as it was stored.
        """
        return None

    def make_installation_file(self, desired: D, node: str) -> InstallationFile:
        """What a node that polls needs for its first call, to be installed by hand.

        Raises:
            SecretError: a secret in it is not known here.
        """
        raise NotImplementedError

    # Stopping nodes.

    async def observe_stop(
        self, desired: D, observed: Observed[S], node: str, transports: Transports
    ) -> Observed[S]:
        """The same observations, with what only the question whether a node may be stopped needs."""
        return observed

    def decide_stop(self, question: StopQuestion) -> StopDecision:
        """Whether a node may be stopped now, and why; pure.

        Args:
            question: with the nodes that count as away, because they are reserved or a run changes them.
        """
        return decide_one_at_a_time(question)

    def list_file_statuses(self, desired: D, observed: Observed[S]) -> Mapping[str, tuple[FileStatus, ...]]:
        """Node -> its files as a status tells them; empty for products without files."""
        return {}

    def list_expiries(self, desired: D, observed: Observed[S]) -> Iterable[Expiry]:
        """What of the nodes' own things ends at a moment that they show, such as licences."""
        return ()

    def remark(self, desired: D, observed: Observed[S], plan: ClusterPlan) -> Iterable[Diagnostic]:
        """What somebody who carries out a plan should know of its nodes at this moment.

        It is shown with the plan and is no part of it, so that it does not change the plan's id.
        """
        return ()

    def list_expected_backups(self, desired: D) -> Sequence[ExpectedBackup]:
        """Backups that its nodes write by themselves after they have loaded what was delivered."""
        return ()

    def find_backup_difference(self, desired: D, expected: ExpectedBackup, files: Mapping[str, bytes]) -> str:
        """Why the files of a backup are not what its node has loaded; empty if they are.

        Args:
            desired: what was delivered.
            expected: one of `list_expected_backups`.
            files: path -> bytes.
        """
        return ""

    def find_reservation_conflict(self, step: Step, question: StopQuestion) -> str:
        """Why a step must not make its node unavailable while the reserved nodes may be; "" if it may.

        Products whose `plan` and `judge` count `Observed.reserved` as away need no second rule.

        Args:
            step: of a plan, or about to be performed.
            question: whether its node may be stopped; `away` has the reserved nodes alone.
        """
        if not interrupts_node(step):
            return ""
        decision = self.decide_stop(question)
        if decision.answer is StopAnswer.YES:
            return ""
        # What is away without any reservation is the concern of other guards and gates.
        if self.decide_stop(replace(question, away={})).answer is not StopAnswer.YES:
            return ""
        return "; ".join(decision.reasons)

    # Operations.

    def operations(self) -> Mapping[str, ProductOperation[D]]:
        """Kind -> what operators can ask of its nodes beside desired state, such as `purge`."""
        return {}

    # Import.

    import_option: ImportOption = ImportOption()
    """The option `--KIND` of `reconcile import`; see `Capabilities.imports`."""

    def list_stamp_pointers(self, entry: ClusterEntry) -> frozenset[str]:
        """JSON pointers of settings that hold the revision stamp: nodes show them, files do not."""
        return frozenset()

    def fingerprint_meaning(self, document: Any) -> str:
        """Fingerprint of the meaning of settings: equal if no change is needed between two documents.

        An import ignores differences in notation, in explicit defaults and in order without meaning. Secrets
        count by value.

        Args:
            document: a complete settings document, or a part of one at its place.
        """
        return fingerprint(reveal(document))

    async def read_cluster_entry(
        self, name: str, addresses: Sequence[str], transports: Transports
    ) -> dict[str, Any]:
        """The fleet file entry of a new cluster, as plain data.

        Args:
            name: of the cluster.
            addresses: of its nodes, or of one that knows the others.
            transports: to the nodes.

        Raises:
            NodeError: the nodes do not show enough.
            UsageError: an address is invalid.
        """
        raise NotImplementedError

    async def observe_import(self, desired: D, observed: Observed[S], transports: Transports) -> Observed[S]:
        """The same observations of a new cluster, with what only its import needs, such as files."""
        return observed

    def build_live_state(self, desired: D, observed: Observed[S]) -> LiveState:
        """The live state, for the fleet file and its settings files; see `Capabilities.imports`."""
        raise NotImplementedError
