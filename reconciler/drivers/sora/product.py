"""The driver of Sora: desired state, observation, plan, and one call for each step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from http import HTTPStatus
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from reconciler.core.endpoint import Endpoint
from reconciler.core.entries import ClusterEntry
from reconciler.core.expiry import Expiry
from reconciler.core.file_state import FilePlace
from reconciler.core.guard import Guard
from reconciler.core.json_schema import Schema
from reconciler.core.observation import (
    Liveness,
    Observation,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.plan import Payload, Step
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.reservations import StopQuestion
from reconciler.core.unmanaged import UnmanagedRules
from reconciler.documents.document import make_diagnostic
from reconciler.drivers.sora import (
    adopt,
    adopt_conf,
    attempts,
    conf_status,
    judge,
    licences,
    lints,
    modelcheck,
    planner,
    stop_decision,
    swapped_addresses,
)
from reconciler.drivers.sora.addresses import (
    SoraRules,
    find_endpoints,
    find_unfit_addresses,
    is_allowed,
    read_allowed_addresses,
)
from reconciler.drivers.sora.arguments import (
    ACTIONS,
    DrainArguments,
    InitArguments,
    ModeChangeArguments,
    PurgeArguments,
    RegisterArguments,
    RestartArguments,
    StopArguments,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.client import READS, Client
from reconciler.drivers.sora.cluster_view import (
    NodeAddresses,
    choose_addresses,
    find_node_addresses,
    format_api_address,
    view_cluster,
)
from reconciler.drivers.sora.conf_delivery import derive_conf_facts, list_conf_places, list_nodes_with_start
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.history import learn_members, merge_past
from reconciler.drivers.sora.interruptions import list_ended_interruptions
from reconciler.drivers.sora.node_actions import list_uncounted
from reconciler.drivers.sora.node_commands import fill_command, get_host
from reconciler.drivers.sora.observation import (
    MOST_ADDRESSES,
    ROUNDS,
    Reply,
    list_further_addresses,
    list_known_names,
    merge_replies,
)
from reconciler.drivers.sora.schema import (
    ConfTarget,
    NodeView,
    SoraCluster,
    SoraDesired,
    make_confirmation_key,
)
from reconciler.drivers.sora.steps import find_stop_command, undo_restart
from reconciler.drivers.sora.stops import perform_stop
from reconciler.errors import (
    InputError,
    NodeError,
    NodeRefused,
    NodeUnauthorized,
    NodeUnidentified,
    NodeUnreachable,
)
from reconciler.file_delivery.node_starts import read_starts
from reconciler.file_delivery.reading import read_node_files, read_step_file
from reconciler.file_delivery.steps import FILE_ACTIONS, is_file_step, perform_file_step, undo_file_step
from reconciler.host.config import HostConfig
from reconciler.host.defect_capture import capture_defects
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Capabilities, Driver, Facts, ImportOption, StepAnswer, Undo
from reconciler.ports.simulator import Simulator
from reconciler.ports.transport import TransportKind, Transports

MAX_CALLS: Final = 64
"""Calls of one observation that run at the same time."""


def _today() -> date:
    return datetime.now(UTC).date()


class SoraDriver(Driver[SoraDesired, NodeView]):
    """Sora, as `ports.driver.Driver` describes a product.

    Args:
        today: the day (UTC), which observations carry for words that expire.
        pause: waits some seconds.
        api_paths: addresses of APIs that may have a path; every other one is scheme, host and port.
        conf_files: entries of the host configuration that are a sora.conf, for imports.
    """

    kind = "sora"
    title = "Sora"
    capabilities = Capabilities(
        imports=True,
        model_check=True,
        simulation=True,
        history=True,
        transports=frozenset({TransportKind.HTTP, TransportKind.COMMAND}),
    )
    entry: type[ClusterEntry] = SoraCluster
    unmanaged_rules = UnmanagedRules(
        refusal="with `conf: {own: keys}` every key that the fleet does not name stays as it is already"
    )
    guards: tuple[Guard, ...] = (*GUARDS, *swapped_addresses.GUARDS)
    import_option = ImportOption(
        "NAME=URL,…",
        "A new Sora cluster and the APIs of some of its nodes; may be given more than once.",
    )
    reads = READS
    host_section = SoraRules
    actions = MappingProxyType({**ACTIONS, **FILE_ACTIONS})
    lint_codes = lints.CODES

    # Hooks that need nothing but their arguments: the functions themselves, each pure and in its own file.
    plan = staticmethod(planner.plan)
    judge = staticmethod(judge.judge)
    contents = staticmethod(attempts.fingerprint_contents)
    fingerprint_purpose = staticmethod(attempts.fingerprint_aim)
    fingerprint_differences = staticmethod(attempts.fingerprint_readings)
    find_remedy = staticmethod(attempts.suggest_remedy)
    list_model_setups = staticmethod(modelcheck.make_setups)
    build_live_state = staticmethod(adopt.read_live_members)
    lint = staticmethod(lints.lint)
    decide_stop = staticmethod(stop_decision.decide_stop)
    remark = staticmethod(stop_decision.report_channels_left)
    list_file_statuses = staticmethod(conf_status.list_conf_statuses)

    def __init__(
        self,
        *,
        today: Callable[[], date] = _today,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        api_paths: Iterable[str] = (),
        conf_files: Iterable[str] = (),
    ) -> None:
        self._api_paths = frozenset(api_paths)
        self._conf_files = tuple(sorted(conf_files))
        self._allowed = read_allowed_addresses(self._api_paths)
        self._today = today
        self._pause = pause

    def with_host_config(self, config: HostConfig) -> SoraDriver:
        """The driver with the addresses that a host allows."""
        rules = config.section(self.kind, SoraRules)
        return type(self)(
            today=self._today,
            pause=self._pause,
            api_paths=rules.api_paths,
            conf_files=(
                name for name, entry in config.files.items() if adopt_conf.is_conf_path(str(entry.path))
            ),
        )

    def desire(self, cluster_input: ClusterInput) -> SoraDesired:
        """The desired state of one cluster.

        Raises:
            InputError: no regular node, addresses that this host does not allow, or a wrong sora.conf.
        """
        assert isinstance(cluster_input.entry, SoraCluster)
        entry = cluster_input.entry
        problems = list(find_unfit_addresses(cluster_input, entry, self._allowed))
        if not entry.regular:
            pointer = f"{cluster_input.pointer}/nodes"
            words = f"{entry.name} has only temporary nodes, which cannot form a cluster"
            remedy = "add at least one regular node, better three"
            problems.insert(
                0, make_diagnostic(cluster_input.fleet, pointer, "temporary-alone", words, remedy)
            )
        if entry.conf is None:
            confs: Mapping[str, ConfTarget] = {}
        else:
            from reconciler.drivers.sora import conf  # noqa: PLC0415  (most clusters have no file)

            problems += conf.find_conf_problems(cluster_input)
            confs = {} if problems else conf.make_conf_targets(cluster_input)
        if problems:
            raise InputError(problems)
        return SoraDesired(entry, source=cluster_input.revision.source, confs=confs)

    def list_transports(self, desired: SoraDesired) -> frozenset[TransportKind]:
        """Files only where the cluster has a sora.conf."""
        files = {TransportKind.FILE} if desired.entry.conf is not None else frozenset[TransportKind]()
        return self.capabilities.transports | files

    def add_history(self, desired: SoraDesired, facts: Facts, prior: PriorRevisions) -> SoraDesired:
        """The desired state with the cluster's past: earlier nodes, and what earlier runs did."""
        names = [node.name for node in desired.entry.nodes]
        history = merge_past(names, prior, facts, desired.source, address=format_api_address)
        return replace(desired, recalled=facts, history=history)

    async def observe(self, desired: SoraDesired, transports: Transports) -> Observed[NodeView]:
        """Ask every node of the fleet file and of earlier revisions, then the members that they list.

        Earlier nodes are asked in the first round, because no answer of a new node shows whether the old ones
        live. All calls are reading calls, at addresses that are known for the nodes.
        """
        entry, history = desired.entry, desired.history
        waits = (entry.timeouts.read, entry.timeouts.connect)
        apis = {node.name: node.api for node in entry.nodes}
        replies: dict[str, Reply] = {}
        observed: Observed[NodeView] = Observed({})
        # Members list members: a bound on the rounds keeps hostile lists from leading on without end.
        for _ in range(ROUNDS):
            elsewhere = list_further_addresses(entry, history, observed)
            places = {place: name for name, own in elsewhere.items() for place in own}
            new = {} if replies else {api: name for name, api in apis.items()}
            fresh = [(place, name) for place, name in places.items() if place not in replies]
            # Addresses of the fleet file are always asked; the bound applies to what nodes listed.
            new = dict(fresh[:MOST_ADDRESSES]) | new
            if not new:
                break
            replies |= await self._read_addresses(new, transports, *waits)
            observed = merge_replies(apis, elsewhere, replies)
        observed = merge_replies(
            apis, list_further_addresses(entry, history, observed), replies, list_known_names(observed)
        )
        observed = await self._observe_leaving(desired, observed, transports)
        return await self._observe_machines(desired, observed, transports)

    async def _observe_leaving(
        self, desired: SoraDesired, observed: Observed[NodeView], transports: Transports
    ) -> Observed[NodeView]:
        """The same answers, with the channels of the nodes that a person is going to be asked to stop."""
        entry = desired.entry
        apis = choose_addresses(entry, observed, desired.history)
        leaving = {
            name: apis[name]
            for name in list_known_names(observed)
            if entry.node(name) is None and name in apis and find_stop_command(entry, name) is None
        }
        if not leaving:
            return observed
        waits = (entry.timeouts.read, entry.timeouts.connect)
        return await self._count_sessions(
            observed, leaving, transports, waits, channels_of=leaving, with_connections=False
        )

    async def _observe_machines(
        self, desired: SoraDesired, observed: Observed[NodeView], transports: Transports
    ) -> Observed[NodeView]:
        """The same answers, with what the nodes' machines show: their sora.conf and their last start."""
        entry = desired.entry
        if entry.conf is not None:
            places = list_conf_places(entry, entry.conf)
            observed = replace(observed, files=await read_node_files(transports.files, places))
        if entry.restart is not None:
            started = entry.restart.started
            running = list_nodes_with_start(desired, observed)
            values = {node: fill_command(started, node) for node in running}
            starts = await read_starts(transports.commands, started.command, values)
            observed = replace(observed, starts=starts)
        return observed

    def list_expiries(self, desired: SoraDesired, observed: Observed[NodeView]) -> Iterable[Expiry]:
        return licences.list_licence_ends(desired, view_cluster(desired, observed))

    def list_uncounted_nodes(self, desired: SoraDesired, observed: Observed[NodeView]) -> frozenset[str]:
        """Temporary nodes, and members that are dead; see `node_actions.list_uncounted`."""
        places = find_node_addresses(desired.entry, observed, desired.history)
        return list_uncounted(desired, view_cluster(desired, observed), places)

    def explanations(self) -> Traversable:
        """The pages of the product's codes."""
        return Path(__file__).with_name("explanations")

    def schemas(self) -> Mapping[str, Callable[[], Schema]]:
        """The schema of the product's own file."""
        from reconciler.drivers.sora.conf import make_conf_schema  # noqa: PLC0415  (few runs need it)

        return {"sora-conf": make_conf_schema}

    def simulator(self) -> Simulator:
        """Simulated nodes."""
        from reconciler.drivers.sora.simulator.simulator import SIMULATOR  # noqa: PLC0415  (few runs need it)

        return SIMULATOR

    def derive_facts(
        self, desired: SoraDesired, observed: Observed[NodeView]
    ) -> Mapping[str, Mapping[str, str]]:
        """Who is in the cluster, with every address known; see `history.learn_members`."""
        entry, history = desired.entry, desired.history
        cluster_view = view_cluster(desired, observed)
        membership = cluster_view.membership
        # Whoever stops such a node from now on is somebody else.
        own = derive_conf_facts(desired, observed)
        for name, ended in list_ended_interruptions(desired, cluster_view):
            own[name] = {**own.get(name, {}), **dict.fromkeys(ended, "")}
        if membership is None:
            return own
        places = find_node_addresses(entry, observed, history)
        members = {name: places.get(name, NodeAddresses()).known for name in membership.names}
        found = learn_members(desired.source, members, desired.recalled)
        # A living cluster has not collapsed: a `collapsed` entry that is in the file now must not count
        # later, when the cluster may be out of reach.
        spent, name = make_confirmation_key(entry.collapsed), entry.regular[0]
        if spent and desired.recalled.get(name, {}).get("collapsed") != spent:
            found[name] = {**found.get(name, {}), "collapsed": spent}
        return {name: {**found.get(name, {}), **own.get(name, {})} for name in {**found, **own}}

    def endpoints(self, cluster_input: ClusterInput) -> Mapping[str, Endpoint]:
        """The nodes' `api`."""
        assert isinstance(cluster_input.entry, SoraCluster)
        return find_endpoints(cluster_input.entry)

    async def read_cluster_entry(
        self, name: str, addresses: Sequence[str], transports: Transports
    ) -> dict[str, Any]:
        """The cluster that the nodes at some addresses are in; see `adopt.make_entry`.

        Raises:
            NodeError: the nodes do not show enough.
            UsageError: an address is invalid.
        """
        return await adopt.make_entry(name, addresses, transports)

    async def observe_import(
        self, desired: SoraDesired, observed: Observed[NodeView], transports: Transports
    ) -> Observed[NodeView]:
        """With the sora.conf of each node, if the host configuration has one entry for it and no more."""
        if desired.entry.conf is not None or len(self._conf_files) != 1:
            return observed
        places = (
            FilePlace(self._conf_files[0], node.name, get_host(node.name)) for node in desired.entry.nodes
        )
        return replace(observed, files=await read_node_files(transports.files, places))

    async def observe_stop(
        self, desired: SoraDesired, observed: Observed[NodeView], node: str, transports: Transports
    ) -> Observed[NodeView]:
        """With the channels of the node, and the connections of all nodes."""
        apis = choose_addresses(desired.entry, observed, desired.history)
        asked = {name: apis[name] for name in observed.present() if name in apis}
        waits = (desired.entry.timeouts.read, desired.entry.timeouts.connect)
        return await self._count_sessions(observed, asked, transports, waits, channels_of={node})

    def find_reservation_conflict(self, step: Step, question: StopQuestion) -> str:  # noqa: ARG002
        """None: planner, guards and judge count reserved nodes as away."""
        return ""

    async def _count_sessions(
        self,
        observed: Observed[NodeView],
        asked: Mapping[str, str],
        transports: Transports,
        waits: tuple[float, float],
        *,
        channels_of: Collection[str] = (),
        with_connections: bool = True,
    ) -> Observed[NodeView]:
        """The same observations, with what nodes show of their sessions; `asked` has their addresses."""
        slots = asyncio.Semaphore(MAX_CALLS)

        async def count(name: str, place: str) -> tuple[str, Observation[NodeView]]:
            answer, client = observed.nodes[name], Client(transports.http, name, place, *waits)
            assert isinstance(answer, Present | Stale)
            if not is_allowed(place, self._allowed):
                return name, answer
            channels: int | None = None
            async with slots:
                if name in channels_of:
                    with suppress(NodeError):  # not known, which is told
                        channels = await client.count_channels()
                connections = await client.count_connections() if with_connections else None
            view = replace(answer.value, channels=channels, connections=connections)
            return name, replace(answer, value=view)

        shown = {
            name: place
            for name, place in asked.items()
            if isinstance(observed.nodes.get(name), Present | Stale)
        }
        found = await asyncio.gather(*(count(name, place) for name, place in shown.items()))
        return replace(observed, nodes={**observed.nodes, **dict(found)})

    async def observe_step(self, step: Step, transports: Transports) -> Observed[NodeView]:
        """Ask the step's witnesses for their own views; of a step about a file, read the file."""
        if is_file_step(step):
            return await read_step_file(step, transports)
        own = read_cluster_arguments(step)
        waits, apis, elsewhere = (own.timeout, own.connect), own.witnesses, own.elsewhere
        places = {place: name for name, others in elsewhere.items() for place in others}
        replies = await self._read_addresses(
            places | {api: name for name, api in apis.items()}, transports, *waits
        )
        observed = merge_replies(apis, elsewhere, replies)
        if isinstance(own, StopArguments) and step.is_manual and own.own:
            # Whoever is asked to stop it has to know what is left on it.
            return await self._count_sessions(
                observed,
                {own.target: own.own},
                transports,
                waits,
                channels_of={own.target},
                with_connections=False,
            )
        if isinstance(own, RestartArguments):
            values = {own.target: own.started_values}
            starts = await read_starts(transports.commands, own.started_command, values)
            observed = replace(observed, starts=starts)
        return observed

    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        """Make the step's one call, or run its command.

        Raises:
            NodeError: the call failed; only `observe_step` and `judge` show whether it had an effect.
        """
        if is_file_step(step):
            return await perform_file_step(step, transports, payloads)
        # The answer is kept for the journal and never taken as evidence: it may be lost, or come from a node
        # that crashes before the cluster has agreed.
        http, own = transports.http, read_cluster_arguments(step)
        waits = (own.timeout, own.connect)
        match own:
            case StopArguments() | RestartArguments() | UpgradeArguments():
                return await perform_stop(own, step.node, transports, self._pause)
            case InitArguments():
                words = await Client(http, step.node, own.api, *waits).init(own.names)
                # For all fleets: the entry must not count again if the repository moves to another URL.
                spent = {"initialised": self._today().isoformat()}
                return StepAnswer(
                    words, used_confirmations=spent | ({"collapsed": own.spends} if own.spends else {})
                )
            case RegisterArguments():
                return StepAnswer(await Client(http, step.node, own.api, *waits).register(own.contact))
            case PurgeArguments():
                return StepAnswer(await Client(http, own.contact, own.api, *waits).purge(own.target))
            case ModeChangeArguments():
                words = await Client(http, step.node, own.api, *waits).change_mode(own.mode)
                # Remembered: a node that stays after all gets back exactly the mode that a run changed.
                drained = own.previous if isinstance(own, DrainArguments) else ""
                return StepAnswer(words, facts={"mode": own.mode, "drained": drained})
        raise AssertionError(step.action)

    def undo(self, step: Step, observed: Observed[NodeView], payloads: Mapping[str, Payload]) -> Undo | None:  # noqa: ARG002
        """The way back of a step about a file; changes of the cluster have none."""
        return undo_file_step(step, observed) if is_file_step(step) else None

    def undo_part(
        self,
        step: Step,
        observed: Observed[NodeView],  # noqa: ARG002
        payloads: Mapping[str, Payload],  # noqa: ARG002
        shown: Observed[NodeView],
    ) -> Undo | None:
        """A restart with the former sora.conf, from the start that the node shows now."""
        return undo_restart(step, shown)

    async def _read_addresses(
        self,
        places: Mapping[str, str],
        transports: Transports,
        timeout: float,  # noqa: ASYNC109  (handed on to each call)
        connect: float,
    ) -> dict[str, Reply]:
        """What each address answers; `places` gives the node it is known for, for messages."""
        slots, day = asyncio.Semaphore(MAX_CALLS), self._today()

        async def ask(place: str, name: str) -> Reply:
            # Checked at each call, not only in the fleet file: a hostile node can list any URL for a peer.
            if not is_allowed(place, self._allowed):
                return _NOT_ASKED
            # A bound for this host and its network: a fleet of hundreds of nodes is asked at once.
            async with slots:
                return await capture_defects(
                    name, _read_reply(Client(transports.http, name, place, timeout, connect), day)
                )

        answers = await asyncio.gather(*(ask(place, name) for place, name in places.items()))
        return dict(zip(places, answers, strict=True))


_NOT_ASKED: Final = Unreachable(
    "its API address has a path that the host configuration does not list under sora.api_paths",
    Liveness.UNASKED,
)


async def _read_reply(client: Client, day: date) -> Reply:
    """The view of the node at one address, or why it cannot be read."""
    try:
        rows = await client.nodes()
        # Of a node that lists only itself, only its statistics tell whether it is a cluster of one.
        return NodeView(rows, day, clustered=await client.clustered() if len(rows) == 1 else None)
    except NodeUnauthorized as error:
        return Unauthorized(error.reason, remedy=error.remedy)
    except NodeRefused as error:
        if error.status == HTTPStatus.TEMPORARY_REDIRECT:  # it identifies another address, not a node
            return Unidentified(error.reason, remedy=error.remedy)
        refusal = error.code or str(error.status)
        return NodeView((), day, refusal=refusal, clustered=await client.clustered())
    except NodeUnidentified as error:
        return Unidentified(error.reason, remedy=error.remedy)
    except NodeError as error:
        # Any other failure is an answer of something: the node is not proven silent.
        sign = Liveness(error.sign) if isinstance(error, NodeUnreachable) else Liveness.ALIVE
        return Unreachable(error.reason, sign, remedy=error.remedy)


DRIVER: Final = SoraDriver()
"""The driver for the registry."""
