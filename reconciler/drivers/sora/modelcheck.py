"""The model of Sora for the model checker: its cluster, its faults, and its invariants.

The cluster is `machine`; the planner, the guards and the judgement are the real ones; only the wire is
left out. Bounds besides those of `modelcheck.executor_model`: the management host reaches every running node,
and a stopped node is not started while it is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from reconciler.core.observation import Liveness, Observation, Observed, Present, Stale, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.product_model import ModelSetup
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora import machine, planner
from reconciler.drivers.sora.arguments import (
    InitArguments,
    ModeChangeArguments,
    PurgeArguments,
    RegisterArguments,
    RestartArguments,
    StopArguments,
    UpgradeArguments,
    read_cluster_arguments,
)
from reconciler.drivers.sora.choices import DEFAULTS, Choices, UndocumentedCall
from reconciler.drivers.sora.cluster_state import (
    Mode,
    SoraNodeState,
    State,
    compute_margin,
    find_group,
    find_groups,
    find_leading_group,
    get_registered,
    has_majority,
    has_running_majority,
)
from reconciler.drivers.sora.cluster_view import (
    classify_view,
    make_machine_state,
    view_cluster,
)
from reconciler.drivers.sora.conf_delivery import OUTDATED_START
from reconciler.drivers.sora.conf_model import ConfModel, adapt_plan, place_files
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.observation import (
    ROUNDS,
    list_further_addresses,
    list_known_names,
    merge_answers,
)
from reconciler.drivers.sora.restarts import get_outdated_start
from reconciler.drivers.sora.schema import NodeRow, NodeView, SoraDesired
from reconciler.drivers.sora.steps import RESTARTED, STOPPED_FOR, TRIED, simulate_step
from reconciler.file_delivery.steps import CONTENT, SWITCH, is_file_step

DOCUMENTED = Choices(purge_cut_off=UndocumentedCall.REFUSE)
"""What Sora's documents say: a node that runs is never purged, cut off or not."""

_STARTED_AGAIN = "started again"
"""Text of a start in the model, of a node that uses its present sora.conf."""

_FORMER = "former"
"""A version in the model that is not the desired one."""

SMALLEST = 3
"""Regular nodes that a cluster has at least where it is to survive a failure."""


def make_setups(
    desired: SoraDesired, observed: Observed[NodeView], plan: ClusterPlan
) -> tuple[ModelSetup[State], ...] | str:
    """The world that the nodes' answers show, or why they show none."""
    cluster_view = view_cluster(desired, observed)
    if cluster_view.disputed_members or len(cluster_view.memberships) > 1:
        return "the nodes' answers do not show one whole cluster"
    names = sorted({*observed.nodes, *(node.name for node in desired.entry.nodes)})
    temporary = {node.name for node in desired.entry.nodes if node.temporary}
    node_numbers, world = make_machine_state(cluster_view, names, temporary)
    shown = {name: view.row(name) for name, view in observed.present().items()}
    modes = {name: Mode(row.mode) for name, row in shown.items() if row and row.mode in set(Mode)}
    pairs = zip(node_numbers.names, world, strict=True)
    switched = {step.node for step in plan.steps if step.action == SWITCH}
    outdated = {step.node for step in plan.steps if step.action == "restart"} - switched
    upgraded = {step.node for step in plan.steps if step.action == "upgrade"}
    moded = tuple(
        node._replace(
            mode=modes.get(name, node.mode),
            is_outdated=name in outdated,
            is_old=name in upgraded,
            is_ours=name in upgraded and not node.up,
            restarts=_count_restarts(desired, name) if not node.up else 0,
        )
        for name, node in pairs
    )
    down = (name for name, node in zip(node_numbers.names, moded, strict=True) if not node.up)
    is_word = desired.entry.collapsed is not None and cluster_view.membership is None
    gone = frozenset(name for name in down if is_word and desired.entry.node(name) is None)
    entry, members = desired.entry.conf, get_registered(moded).bit_count()
    if entry is None:
        outdated_starts = _list_outdated_starts(plan)
        recalled = {
            name: {**desired.recalled.get(name, {}), **outdated_starts.get(name, {})}
            for name in {*desired.recalled, *outdated_starts}
        }
        desired = replace(desired, recalled=recalled)
        model = SoraModel(desired, node_numbers, DOCUMENTED, members, gone=gone)
        return (ModelSetup(model, (moded,), desired, plan),)
    moded = place_files(node_numbers.names, moded, desired, observed)
    plan = adapt_plan(plan, observed, node_numbers.names)
    setups = []
    # The file may be fit, or one with which no node starts.
    for unfit in dict.fromkeys((frozenset[bytes](), _list_contents(plan))):
        # Files do not influence each other: one of them may be changed by hand, or be on a full disk.
        faulty = next((step.node for step in plan.steps if is_file_step(step)), "") if not unfit else ""
        confs = ConfModel(node_numbers, entry.file, unfit, faulty)
        confs.learn(plan)
        model = SoraModel(desired, node_numbers, DOCUMENTED, members, gone=gone, confs=confs)
        setups.append(ModelSetup(model, (moded,), desired, plan))
    return tuple(setups)


def _count_restarts(desired: SoraDesired, name: str) -> int:
    """How often a run has tried to start a node that is down by a restart of this host."""
    fact = desired.recalled.get(name, {}).get(RESTARTED, "")
    return (2 if fact == TRIED else 1) if fact and desired.entry.restart is not None else 0


def _list_contents(plan: ClusterPlan) -> frozenset[bytes]:
    """The contents of files that a plan delivers and brings in."""
    is_restarted = any(step.action in {"restart", "upgrade"} for step in plan.steps)
    payloads = [plan.payloads[step.payload] for step in plan.steps if step.payload in plan.payloads]
    return frozenset(one.resources[CONTENT] for one in payloads if is_restarted)


def _list_outdated_starts(plan: ClusterPlan) -> dict[str, dict[str, str]]:
    """Node -> the fact by which it is restarted, where its file is not explored."""
    restarts = (read_cluster_arguments(step) for step in plan.steps if step.action == "restart")
    return {
        one.target: {OUTDATED_START: one.started} for one in restarts if isinstance(one, RestartArguments)
    }


@dataclass(slots=True)
class SoraModel:
    """One cluster under one desired state; see `core.product_model.ProductModel`.

    Args:
        desired: what every pass plans for.
        node_numbers: the names of the world's nodes, by number.
        choices: how the cluster behaves where Sora's pages are silent.
        members: how many regular nodes were registered in the beginning.
        hidden: nodes whose API this host cannot ask.
        gone: nodes that are not started again, because an operator confirmed that they are permanently lost.
        confs: the files of the nodes, where they are explored.
    """

    desired: SoraDesired
    node_numbers: NodeNumbers
    choices: Choices = DEFAULTS
    members: int = 0
    hidden: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    confs: ConfModel | None = None
    _numbers_by_address: dict[str, int] = field(init=False)
    _answers: dict[State, dict[str, Observation[NodeView]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = {_api(name): name for name in self.node_numbers.names}
        for name, one in self.desired.history.nodes.items():
            names |= dict.fromkeys(one.addresses, name)
        names |= {node.api: node.name for node in self.desired.entry.nodes}
        known = {place: name for place, name in names.items() if name in self.node_numbers.names}
        self._numbers_by_address = {place: self.node_numbers.at(name) for place, name in known.items()}

    def list_faults(self, world: State) -> Iterator[tuple[str, State]]:
        """A running node fails, or is cut off from the others."""
        for number, node in enumerate(world):
            if node.up:
                yield f"{self.node_numbers.names[number]} fails", machine.stop(world, number)
                if not node.side:
                    cut = _move_to_side(world, number, 1 + number)
                    yield f"{self.node_numbers.names[number]} is cut off from the others", cut
        if self.confs is not None:
            yield from self.confs.list_faults(world)

    def list_returns(self, world: State) -> Iterator[tuple[str, State]]:
        """A stopped node is started, or one that was cut off is reached again."""
        for number, node in enumerate(world):
            if node.side:
                yield f"{self.node_numbers.names[number]} is reached again", _move_to_side(world, number, 0)
            elif not node.up and self.node_numbers.names[number] not in self.gone and self._can_start(node):
                started = machine.start(world, number, self.choices)
                yield f"{self.node_numbers.names[number]} is started", started
        if self.confs is not None:
            yield from self.confs.list_returns(world)

    def _can_start(self, node: SoraNodeState) -> bool:
        return self.confs is None or self.confs.can_start(node)

    def plan(self, world: State) -> ClusterPlan:
        """What a pass that begins now would plan."""
        plan = planner.plan(self._recall(world), self.observe(world))
        return plan if self.confs is None else self.confs.learn(plan)

    def _recall(self, world: State) -> SoraDesired:
        """The desired state with what the store remembers: which nodes a run stopped, and their starts."""
        facts = {} if self.confs is None else self.confs.list_noted_starts(world)
        for name, node in zip(self.node_numbers.names, world, strict=True):
            is_known = RESTARTED in self.desired.recalled.get(name, {})
            if node.is_ours or node.restarts or is_known:
                stopped = {RESTARTED: ("", "restarted", TRIED)[node.restarts]}
                stopped |= {STOPPED_FOR: _FORMER} if node.is_ours else {}
                facts[name] = {**facts.get(name, {}), **stopped}
        recalled = self.desired.recalled
        if not facts:
            return self.desired
        merged = {name: {**recalled.get(name, {}), **own} for name, own in facts.items()}
        return replace(self.desired, recalled={**recalled, **merged})

    def judge_step(self, world: State, step: Step) -> StepStatus:
        """The status of the step, by the answers of its witnesses."""
        if self.confs is not None and is_file_step(step):
            return judge(step, self.confs.observe(world)).status
        own = read_cluster_arguments(step)
        seen = merge_answers(own.witnesses, own.elsewhere, partial(self._answer_at, world))
        return judge(step, replace(seen, starts=self._list_starts(world))).status

    def perform(self, world: State, step: Step) -> State:
        """What a step's call makes of the cluster; the same where the cluster refuses."""
        if self.confs is not None and is_file_step(step):
            return self.confs.perform(world, step)
        # With a file with which it does not start, a node stays down.
        is_lost = step.action in {"restart", "upgrade"} and not self._can_start(
            world[self.node_numbers.at(step.node)]
        )
        result = simulate_step(step, self.node_numbers, world, self.choices, half=is_lost)
        return world if isinstance(result, machine.CallRefusal) else result

    def list_partial_effects(self, world: State, step: Step) -> Iterator[tuple[str, State]]:
        """A registration that raises the number of registered nodes, a restart that does not come back.

        An upgrade may not come back, or come back with the former version.
        """
        if self.confs is not None and is_file_step(step):
            yield from self.confs.list_partial_effects(world, step)
            return
        if step.action == "upgrade" and self._can_start(world[self.node_numbers.at(step.node)]):
            node = self.node_numbers.at(step.node)
            stopped = machine.stop_for_upgrade(world, node)
            yield f"{step.id} has no effect but a restart", machine.start(stopped, node, self.choices)
        if step.action in {"register", "restart", "upgrade"}:
            half = simulate_step(step, self.node_numbers, world, self.choices, half=True)
            if not isinstance(half, machine.CallRefusal):
                yield f"{step.id} is called and fails halfway", half

    def find_obstacle(self, world: State, step: Step) -> str:
        """Who is away when a running node is stopped for a restart or an upgrade.

        It is not restarted before a node is back that a restart has left down, nor upgraded while any regular
        node is away. Of other steps the result of the call is judged instead.
        """
        own = read_cluster_arguments(step) if step.action in {"restart", "upgrade"} else None
        if not isinstance(own, RestartArguments | UpgradeArguments):
            return ""
        number = self.node_numbers.at(step.node)
        if own.is_resumed or not world[number].up:
            return ""
        group, others = find_leading_group(world), get_registered(world) & ~(1 << number)
        away = self.node_numbers.list_names(others & ~(group.nodes if group is not None else 0))
        down = [name for name in away if world[self.node_numbers.at(name)].restarts]
        if down:
            return f"{step.id} starts while {down[0]} is down since its restart"
        return f"{step.id} starts while {away[0]} is away" if away and step.action == "upgrade" else ""

    def find_leftover(self, world: State, plan: ClusterPlan) -> str:
        """Fewer regular nodes than it takes for one to fail, on purpose, where there were enough.

        A dead node may be purged before another takes its place: it was of no use any more. And a node that
        was restarted and still uses its former sora.conf.
        """
        for step in plan.steps:
            if step.action == "restart" and world[self.node_numbers.at(step.node)].is_outdated:
                return f"{step.node} does not use its present sora.conf, although it was restarted for it"
        if self.confs is not None and (found := self.confs.find_leftover(world, plan)):
            return found
        count, wanted = get_registered(world).bit_count(), len(self.desired.entry.regular)
        if max(count, wanted) >= min(self.members, SMALLEST):
            return ""
        return f"the run leaves {count} regular nodes, of which none may fail"

    def find_broken_invariant(self, before: State, step: Step, after: State) -> str:
        """The majority, one cluster ever, and no purge of what runs.

        A cluster whose nodes are stopped or cut off is still there: they may be started again.
        """
        if self.confs is not None and is_file_step(step):
            return self.confs.find_broken_invariant(before, step, after)
        # Only a majority that existed can be lost by the call: a loss by faults alone is not its error.
        own = read_cluster_arguments(step)
        is_resumed = isinstance(own, UpgradeArguments | RestartArguments) and own.is_resumed
        is_stopped = step.action in {"restart", "upgrade"} and not is_resumed
        down = machine.stop(before, self.node_numbers.at(step.node)) if is_stopped else after
        if has_majority(before) and not has_majority(down) and not self._is_in_window(before, step):
            return f"{step.id} loses an existing majority"
        if after == before:
            return ""
        target = self.node_numbers.at(step.node)
        # Judged by the true state: a peer that sees the node as away may itself be the one that is cut off.
        if step.action == "purge" and (before[target].up or before[target].temporary):
            return f"{step.id} purges a node that runs, or a temporary one"
        if step.action == "init" and any(group.usable for group in find_groups(before)):
            return f"{step.id} initialises a second time"
        return self._find_second_cluster(before, step) if step.action == "init" else ""

    def _find_second_cluster(self, before: State, step: Step) -> str:
        """A cluster that existed, and that no entry ends, or an entry that is not true."""
        if all(node.log is None for node in before):
            return ""
        if self.desired.entry.collapsed is None:
            return f"{step.id} creates a second cluster: one existed, and no `collapsed` entry ends it"
        if has_running_majority(before):
            return f"{step.id} creates a second cluster: a majority of the one before runs with its data"
        return ""

    def _is_in_window(self, before: State, step: Step) -> bool:
        """Whether the stop announced that it leaves no reserve, and a node failed after the last reading.

        In a cluster of three or four no order of steps removes a live node otherwise. Started again, the node
        gives the majority back.
        """
        own = read_cluster_arguments(step)
        if isinstance(own, RestartArguments) and own.is_resumed:
            # It was down when it was read: somebody has started it in this moment.
            return True
        as_planned = get_registered(before) == self.node_numbers.bits(own.before.regular)
        announced = (isinstance(own, StopArguments) and own.window > 0) or (
            isinstance(own, RestartArguments | UpgradeArguments) and not own.spare
        )
        return announced and as_planned and compute_margin(before) == 0

    def is_effective(self, world: State, step: Step) -> bool:
        """Whether a step's effect is there, by the state itself and not by a view."""
        if self.confs is not None and is_file_step(step):
            return self.confs.is_effective(world, step)
        node, group = self.node_numbers.at(step.node), find_leading_group(world)
        match read_cluster_arguments(step):
            case InitArguments(names=names):
                return group is not None and group.log.listed == self.node_numbers.bits(names)
            case RegisterArguments():
                return group is not None and bool(group.nodes & group.log.listed & 1 << node)
            case PurgeArguments():
                return group is not None and not group.log.listed & 1 << node
        return self._is_as_asked(world, step)

    def _is_as_asked(self, world: State, step: Step) -> bool:
        """The same of a step that changes one node, and not who is in the cluster."""
        number, group = self.node_numbers.at(step.node), find_leading_group(world)
        node = world[number]
        match read_cluster_arguments(step):
            case StopArguments():
                return not node.up or group is None or not group.nodes & 1 << number
            case ModeChangeArguments(mode=mode):
                return node.mode in {mode, Mode.BLOCK_NEW_CONNECTION}
            case RestartArguments():
                return node.up and not node.is_outdated
            case UpgradeArguments():
                return node.up and not node.is_old
        raise AssertionError(step.action)

    def observe(self, world: State) -> Observed[NodeView]:
        """What the driver's `observe` would see: the desired nodes, those of earlier, and whom they list."""
        entry, history = self.desired.entry, self.desired.history
        apis = {node.name: node.api for node in entry.nodes}
        answer = partial(self._answer_at, world)
        elsewhere: dict[str, tuple[str, ...]] = {}
        observed = merge_answers(apis, elsewhere, answer)
        for _ in range(ROUNDS):
            further = list_further_addresses(entry, history, observed)
            if further == elsewhere:
                break
            elsewhere = further
            observed = merge_answers(apis, elsewhere, answer)
        found = merge_answers(apis, elsewhere, answer, list_known_names(observed))
        files = {} if self.confs is None else self.confs.read(world)
        return replace(found, starts=self._list_starts(world), files=files)

    def _list_starts(self, world: State) -> dict[str, str]:
        """What the host's command shows of each running node."""
        if self.confs is not None:
            starts = self.confs.list_starts(world)
            nodes = zip(self.node_numbers.names, world, strict=True)
            # A pass does not ask the machines of nodes that are down, unless a restart has left them so.
            asked = {name for name, node in nodes if node.up or node.restarts}
            return {name: text for name, text in starts.items() if name in asked}
        return {
            name: get_outdated_start(self.desired, name) if node.is_outdated else _STARTED_AGAIN
            for name, node in zip(self.node_numbers.names, world, strict=True)
            if node.up
        }

    def _answer_at(self, world: State, name: str, place: str) -> Observation[NodeView]:
        """What an address answers, as an answer of the node that it is known for."""
        number = self._numbers_by_address.get(place)
        if number is None or self.node_numbers.names[number] in self.hidden:
            return Unreachable("name does not resolve", Liveness.UNASKED)
        own = self.node_numbers.names[number]
        answer = self._answer_all(world)[own]
        # An address that belongs to another node now: its answer is judged as one of the expected node.
        if own == name or not isinstance(answer, Present | Stale):
            return answer
        return classify_view(name, answer.value)

    def _answer_all(self, world: State) -> dict[str, Observation[NodeView]]:
        # One world is read by every pass and every witness; validating rows is the slowest part of the model.
        if world not in self._answers:
            self._answers[world] = {
                name: self._answer(world, number, name) for number, name in enumerate(self.node_numbers.names)
            }
        return self._answers[world]

    def _answer(self, world: State, number: int, name: str) -> Observation[NodeView]:
        rows = machine.list_nodes(world, number, self.choices)
        if not world[number].up:
            return Unreachable("connection refused")
        has_statistics = self.choices.statistics is UndocumentedCall.ACCEPT
        clustered = find_group(world, number) is not None if has_statistics else None
        if isinstance(rows, machine.CallRefusal):
            refused = NodeView((), refusal=rows.error_type, clustered=clustered)
            return classify_view(name, refused)
        listed = tuple(sorted((self._row(world, row) for row in rows), key=lambda row: row.node_name))
        alone = clustered if len(listed) == 1 else None
        return classify_view(name, NodeView(listed, clustered=alone))

    def _row(self, world: State, row: machine.ListedNode) -> NodeRow:
        name = self.node_numbers.names[row.node]
        shown = {"api_url": _api(name), "mode": world[row.node].mode.value} if row.connected else {}
        if row.connected and self.desired.entry.version is not None:
            shown["version"] = _FORMER if world[row.node].is_old else self.desired.entry.version
        return NodeRow.model_validate(
            {"node_name": name, "connected": row.connected, "temporary_node": row.temporary, **shown}
        )


def _api(name: str) -> str:
    return f"http://{name.rpartition('@')[2]}:3000/"


def _move_to_side(world: State, number: int, side: int) -> State:
    return machine.partition(world, [side if one == number else node.side for one, node in enumerate(world)])
