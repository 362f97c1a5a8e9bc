"""The driver of the Go `cluster` package: desired state, observation, plan, and one call for each step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.command_reference import fill_node_command
from reconciler.core.endpoint import Endpoint, parse_api, parse_endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.guard import Guard
from reconciler.core.observation import (
    Liveness,
    Observation,
    Observed,
    Present,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.observation_digests import digest_observations
from reconciler.core.plan import ClusterPlan, Payload, Step
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import StopQuestion
from reconciler.core.unmanaged import UnmanagedRules
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.gocluster import adopt, attempts, judge, lints, planner, stop_decision
from reconciler.drivers.gocluster.arguments import ACTIONS, RestartArguments, find_host, read_node_arguments
from reconciler.drivers.gocluster.client import READS, Client
from reconciler.drivers.gocluster.cluster_view import ClusterView, Process
from reconciler.drivers.gocluster.desired_state import (
    LOADED,
    GoDesired,
    describe_loaded,
    load_template,
    make_files,
    with_recalled,
)
from reconciler.drivers.gocluster.guards import GUARDS
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.drivers.gocluster.steps import (
    ADDRESS,
    API,
    OUTDATED_START,
    SEEN,
    STOPPED_FOR,
    undo_restart,
)
from reconciler.drivers.gocluster.view import NodeView
from reconciler.errors import InputError, NodeError, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.file_delivery.node_starts import read_starts
from reconciler.file_delivery.reading import read_node_files, read_step_file
from reconciler.file_delivery.steps import FILE_ACTIONS, is_file_step, perform_file_step, undo_file_step
from reconciler.host.config import HostConfig
from reconciler.host.defect_capture import capture_defects
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Capabilities, Driver, Facts, ImportOption, StepAnswer, Undo
from reconciler.ports.simulator import Simulator
from reconciler.ports.transport import TransportKind, Transports
from reconciler.secrets.redaction import SHAPES

MAX_CALLS: Final = 64
"""Calls of one observation that run at the same time."""

_NOT_YET: Final = Unreachable("it is asked once the node shows all others", Liveness.UNASKED)


class GoClusterDriver(Driver[GoDesired, "NodeView | None"]):
    """The product; what a node shows is the view of its API, or None where the entry does not ask for it."""

    kind = "gocluster"
    title = "Go cluster"
    entry: type[ClusterEntry] = GoCluster
    capabilities = Capabilities(
        imports=True,
        model_check=True,
        simulation=True,
        history=True,
        transports=frozenset({TransportKind.FILE}),
    )
    unmanaged_rules = UnmanagedRules(
        refusal="each file is made of a template as a whole, so that the field belongs into the template"
    )
    guards: tuple[Guard, ...] = GUARDS
    reads = READS
    actions = MappingProxyType({**FILE_ACTIONS, **ACTIONS})
    lint_codes = lints.CODES
    import_option = ImportOption(
        "NAME=URL,…",
        "A new Go cluster and the APIs of its nodes, or of one of them; `MANAGER@URL` if a process has "
        "several managers or does not answer; `file=ENTRY` if the host configuration has several files. "
        "May be given more than once.",
    )

    def __init__(self, host_files: Iterable[str] = ()) -> None:
        self._host_files = tuple(sorted(host_files))

    plan = staticmethod(planner.plan)
    judge = staticmethod(judge.judge)
    contents = staticmethod(attempts.fingerprint_contents)
    fingerprint_purpose = staticmethod(attempts.fingerprint_purpose)
    fingerprint_differences = staticmethod(attempts.fingerprint_readings)
    find_remedy = staticmethod(attempts.suggest_remedy)
    build_live_state = staticmethod(adopt.read_live_state)
    lint = staticmethod(lints.lint)
    decide_stop = staticmethod(stop_decision.decide_stop)

    def with_host_config(self, config: HostConfig) -> GoClusterDriver:
        """The driver with the names of the host's files, for an import."""
        return type(self)(config.files)

    def desire(self, cluster_input: ClusterInput) -> GoDesired:
        entry = cluster_input.entry
        assert isinstance(entry, GoCluster)
        files, problems = make_files(cluster_input)
        if problems:
            raise InputError(problems)
        values = {
            node: document.value
            for node, document in cluster_input.documents.items()
            if isinstance(document.value, Mapping)
        }
        return GoDesired(entry, files, template=load_template(cluster_input), values=values)

    def list_transports(self, desired: GoDesired) -> frozenset[TransportKind]:
        entry = desired.entry
        wanted = {TransportKind.FILE}
        if entry.observe:
            wanted.add(TransportKind.HTTP)
        if entry.restart or entry.start or entry.stop:
            wanted.add(TransportKind.COMMAND)
        return frozenset(wanted)

    def add_history(self, desired: GoDesired, facts: Facts, prior: PriorRevisions) -> GoDesired:  # noqa: ARG002
        return with_recalled(desired, facts)

    def derive_facts(
        self, desired: GoDesired, observed: Observed[NodeView | None]
    ) -> Mapping[str, Mapping[str, str]]:
        """That a node was seen, where and with which file, and that one which left is gone."""
        shown = {name for name, view in observed.present().items() if view is not None}
        found: dict[str, dict[str, str]] = {}
        for name, address in desired.members.items():
            if name in shown:
                found[name] = {SEEN: "yes", ADDRESS: address, **_tell_loaded(desired, observed, name)}
                if (node := desired.entry.node(name)) is not None and node.api is not None:
                    found[name][API] = node.api
                if desired.recall(name, STOPPED_FOR):
                    found[name][STOPPED_FOR] = ""
        cluster_view = ClusterView(desired.members, observed)
        for name in _list_former_apis(desired):
            if cluster_view.get_process(name) is Process.DOWN:
                # It is asked no more, and a new node if it comes back.
                found[name] = {SEEN: "", API: "", STOPPED_FOR: ""}
        return found

    async def observe(self, desired: GoDesired, transports: Transports) -> Observed[NodeView | None]:
        """Read files and last starts, and with `observe: true` one view of each node."""
        entry = desired.entry
        places = [planner.get_file_place(desired, node.name) for node in entry.nodes]
        apis = {node.name: node.api for node in entry.nodes if node.api is not None and entry.observe}
        waits = (entry.timeouts.read, entry.timeouts.connect)
        nodes: dict[str, Observation[NodeView | None]] = {node.name: Present(None) for node in entry.nodes}
        # No view may list a node that leaves any more, and it may still run.
        apis |= _list_former_apis(desired) if entry.observe else {}
        views, files = await asyncio.gather(
            _read_views(apis, transports, *waits), read_node_files(transports.files, places)
        )
        nodes |= views
        starts: Mapping[str, str] = {}
        if entry.restart is not None:
            started = entry.restart.started
            values = {
                node.name: fill_node_command(started, node.name, find_host(node.addr))
                for node in entry.nodes
                # Not of nodes that do not answer: their machine may be down, and be waited for.
                if isinstance(nodes[node.name], Present)
            }
            starts = await read_starts(transports.commands, started.command, values)
        return Observed(dict(sorted(nodes.items())), files=files, starts=starts)

    async def observe_step(self, step: Step, transports: Transports) -> Observed[NodeView | None]:
        """The views that show the status of the step; after a restart first that of the node itself."""
        if is_file_step(step):
            return await read_step_file(step, transports)
        own, starts = read_node_arguments(step), {}
        waits = (own.timeout, own.connect)
        if not isinstance(own, RestartArguments):
            return Observed(await _read_views(own.apis, transports, *waits))
        starts = await read_starts(transports.commands, own.started_command, {own.target: own.started_values})
        if not judge.is_started_again(own, Observed({}, starts=starts)):
            return Observed(await _read_views(own.apis, transports, *waits), starts=starts)
        # Each reading leaves a lock: the others are asked only when the started node shows all of them.
        mine = {name: api for name, api in own.apis.items() if name == own.target}
        nodes = await _read_views(mine, transports, *waits)
        answer = nodes.get(own.target)
        view = answer.value if isinstance(answer, Present) else None
        others = {name: api for name, api in own.apis.items() if name != own.target}
        if view is None or not view.connected.issuperset(own.shows):
            return Observed({**dict.fromkeys(others, _NOT_YET), **nodes}, starts=starts)
        return Observed({**await _read_views(others, transports, *waits), **nodes}, starts=starts)

    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        """Run the step's command, or make its one call about a file.

        Raises:
            NodeError: the call failed; only a reading shows whether it had an effect.
        """
        if is_file_step(step):
            return await perform_file_step(step, transports, payloads)
        own = read_node_arguments(step)
        return StepAnswer(await transports.commands.run(own.command, own.values, node=step.node))

    def undo(
        self,
        step: Step,
        observed: Observed[NodeView | None],
        payloads: Mapping[str, Payload],  # noqa: ARG002
    ) -> Undo | None:
        """The way back of a step about a file."""
        return undo_file_step(step, observed) if is_file_step(step) else None

    def undo_part(
        self,
        step: Step,
        observed: Observed[NodeView | None],  # noqa: ARG002
        payloads: Mapping[str, Payload],  # noqa: ARG002
        shown: Observed[NodeView | None],
    ) -> Undo | None:
        """A restart with the former file, from the start that the node shows now."""
        return undo_restart(step, shown)

    def fingerprint_observations(
        self,
        desired: GoDesired,  # noqa: ARG002
        observed: Observed[NodeView | None],
    ) -> Mapping[str, str]:
        return digest_observations(observed, redact_text=SHAPES.redact_text)

    def remark(
        self,
        desired: GoDesired,
        observed: Observed[NodeView | None],
        plan: ClusterPlan,
    ) -> tuple[Diagnostic, ...]:
        """What reading costs: said with each plan that changes something."""
        count = len([view for view in observed.present().values() if view is not None])
        if not count or not plan.steps:
            return ()
        read = f"{count} nodes were" if count > 1 else "1 node was"
        words = (
            f"{read} read once through the API; each reading leaves a lock in the library, so that AddNode, "
            "RemoveNode and UpdateSettings freeze in that process until it is restarted"
        )
        remedy = "change members and settings by file and restart only, as this plan does"
        return (Diagnostic(Severity.NOTE, "reading-locks", words, remedy, target=desired.entry.name),)

    def find_reservation_conflict(self, step: Step, question: StopQuestion) -> str:  # noqa: ARG002
        """None: planner, guards and judge count reserved nodes as away."""
        return ""

    def explanations(self) -> Traversable:
        return Path(__file__).with_name("explanations")

    def simulator(self) -> Simulator:
        from reconciler.drivers.gocluster.simulator.simulator import SIMULATOR  # noqa: PLC0415

        return SIMULATOR

    def list_model_setups(self, desired: GoDesired, observed: Observed[Any], plan: ClusterPlan) -> Any:
        from reconciler.drivers.gocluster import modelcheck  # noqa: PLC0415  (few runs need it)

        return modelcheck.make_setups(desired, observed, plan)

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        """The nodes' `api`, or where they listen."""
        entry = cluster_input.entry
        assert isinstance(entry, GoCluster)
        return {
            node.name: parse_api(node.api) if node.api else parse_endpoint(node.addr) for node in entry.nodes
        }

    async def read_cluster_entry(
        self, name: str, addresses: Sequence[str], transports: Transports
    ) -> dict[str, Any]:
        """The cluster that the nodes at some addresses show; see `adopt.make_entry`."""
        return await adopt.make_entry(name, addresses, transports, self._host_files)


def _list_former_apis(desired: GoDesired) -> dict[str, str]:
    """Node -> its API, of earlier members that are not known to be gone."""
    taken = {node.api for node in desired.entry.nodes}
    return {
        name: api
        for name in sorted(desired.recalled.keys() - desired.members.keys())
        if desired.recall(name, SEEN) and (api := desired.recall(name, API)) and api not in taken
    }


def _tell_loaded(desired: GoDesired, observed: Observed[NodeView | None], node: str) -> dict[str, str]:
    """That the process of a node was started with its desired file, if that is shown."""
    started = observed.starts.get(node, "")
    reading = observed.files.get(node, {}).get(desired.entry.config.file)
    loaded = describe_loaded(desired, node, started)
    is_desired = isinstance(reading, Present) and loaded == f"{reading.value.digest} {started}"
    return {LOADED: loaded} if is_desired and started != desired.recall(node, OUTDATED_START) else {}


async def _read_views(
    apis: Mapping[str, str],
    transports: Transports,
    timeout: float,  # noqa: ASYNC109  (handed on to each call)
    connect: float,
) -> dict[str, Observation[NodeView | None]]:
    slots = asyncio.Semaphore(MAX_CALLS)

    async def read(name: str, api: str) -> Observation[NodeView | None]:
        async with slots:
            client = Client(transports.http, name, api, timeout, connect)
            return await capture_defects(name, _read_view(client))

    answers = await asyncio.gather(*(read(name, api) for name, api in apis.items()))
    return dict(zip(apis, answers, strict=True))


async def _read_view(client: Client) -> Observation[NodeView | None]:
    try:
        return Present(await client.read_view())
    except NodeUnauthorized as error:
        return Unauthorized(error.reason, remedy=error.remedy)
    except NodeUnidentified as error:
        return Unidentified(error.reason, remedy=error.remedy)
    except NodeError as error:
        # Any other failure is an answer of something: the node is not proven silent.
        sign = Liveness(error.sign) if isinstance(error, NodeUnreachable) else Liveness.ALIVE
        return Unreachable(error.reason, sign, remedy=error.remedy)


DRIVER: Final = GoClusterDriver()
"""The driver for the registry."""
