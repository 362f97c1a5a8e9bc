"""The plan of a Go cluster: files, then one node after the other, in an order that the numbers allow; pure.

The order of a change of members follows from the arithmetic of `quorum`, and is found by running each
possible order through `machine` before any step is planned:

- A new node is started first, with a file that names all members. Files first would lose the quorum from 3 to
  4 members: a node with the new file needs 3 of 4 while the next one restarts.
- A node that leaves is stopped as early as every view allows. Stopped first from 4 to 3, it leaves 2 of 4
  to the others while the first of them restarts, so it is stopped when most of them have the new file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.file_state import FilePlace
from reconciler.core.missing_secrets import report_missing_secrets
from reconciler.core.observation import FileReading, Observed, Present
from reconciler.core.plan import ClusterPlan, Payload, Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.gocluster import machine
from reconciler.drivers.gocluster.arguments import START, STOP, find_host
from reconciler.drivers.gocluster.cluster_view import NODE_NAME, ClusterView, Process
from reconciler.drivers.gocluster.desired_state import (
    GoDesired,
    find_changed_authentication,
    has_loaded,
)
from reconciler.drivers.gocluster.go_duration import parse_go_duration
from reconciler.drivers.gocluster.machine import MeshState
from reconciler.drivers.gocluster.mesh import Problem
from reconciler.drivers.gocluster.steps import (
    ADDRESS,
    API,
    AUTHENTICATION,
    OUTDATED_START,
    RESTARTED_FOR,
    SEEN,
    STOPPED_FOR,
    StepMaker,
)
from reconciler.drivers.gocluster.view import NodeView
from reconciler.file_delivery.steps import FilePlan, FileWish, is_file_step, plan_file


@dataclass(frozen=True, slots=True)
class Action:
    """One change of a process, in an order that is being tried."""

    kind: str
    node: str


@dataclass(slots=True)
class PlanDraft:
    """What is known of one cluster, and what was planned so far."""

    desired: GoDesired
    observed: Observed[NodeView | None]
    cluster_view: ClusterView
    files: dict[str, FilePlan] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The members, sorted."""
        return tuple(sorted(self.desired.members))

    def get_reading(self, node: str) -> FileReading | None:
        """What was read of a node's file."""
        return self.observed.files.get(node, {}).get(self.desired.entry.config.file)

    def plan_file(self, node: str, after: tuple[str, ...] = ()) -> FilePlan:
        """What is to be done about the file of a node."""
        entry = self.desired.entry
        if node not in self.desired.files:
            return FilePlan()
        started = self.observed.starts.get(node, "")
        wish = FileWish(
            cluster=entry.name,
            place=get_file_place(self.desired, node),
            content=self.desired.files[node].content,
            facts={OUTDATED_START: started} if started and not self.has_loaded(node) else {},
            settle=entry.timeouts.settle,
            in_flight=entry.timeouts.in_flight,
        )
        return plan_file(wish, self.get_reading(node), after=after)

    def add_file(self, node: str, after: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Add the steps about a node's file; the ids that a step which brings it in waits for."""
        file_plan = self.plan_file(node, after)
        self.steps += file_plan.steps
        self.payloads |= file_plan.payloads
        return file_plan.after

    def add_finding(
        self, code: str, node: str, words: str, remedy: str, severity: Severity = Severity.ERROR
    ) -> None:
        """Add a finding about a node, or about the cluster."""
        name = self.desired.entry.name
        target = f"{name}/{node}" if node else name
        self.findings.append(Diagnostic(severity, code, words, remedy, target=target))

    def has_loaded(self, node: str) -> bool:
        """Whether a node runs with the desired file: one that was edited since is only put back."""
        return has_loaded(self.desired, node, self.observed.starts.get(node, ""))

    def is_outdated(self, node: str) -> bool:
        """Whether a node runs since before its file was changed."""
        started = self.observed.starts.get(node, "")
        return bool(started) and started == self.desired.recall(node, OUTDATED_START)


def get_file_place(desired: GoDesired, node: str) -> FilePlace:
    """The file of a node."""
    return FilePlace(desired.entry.config.file, node, find_host(desired.members[node]))


def plan(desired: GoDesired, observed: Observed[NodeView | None]) -> ClusterPlan:
    """The steps from what the nodes show to the desired state."""
    draft = PlanDraft(desired, observed, ClusterView(desired.members, observed))
    for node in draft.names:
        draft.files[node] = draft.plan_file(node)
        draft.findings += draft.files[node].findings
    draft.findings += report_missing_secrets(
        desired.entry.name,
        (
            place
            for node in draft.names
            if node in desired.files
            for place in desired.files[node].content.list_missing(desired.entry.config.file)
        ),
    )
    _report_unread(draft)
    _report_mesh(draft)
    changed = _find_authentication_changes(draft)
    if changed:
        _plan_all_at_once(draft, changed)
    elif desired.entry.restart is None:
        _plan_files_only(draft)
    else:
        _plan_one_by_one(draft)
    touched = {step.node for step in draft.steps} | {
        finding.target.rpartition("/")[2] for finding in draft.findings if finding.severity is Severity.ERROR
    }
    return ClusterPlan(
        desired.entry.name,
        desired.entry.kind,
        nodes=len(draft.names),
        unchanged=len([node for node in draft.names if node not in touched]),
        steps=tuple(draft.steps),
        findings=tuple(draft.findings),
        concurrency=desired.entry.concurrency,
        payloads=draft.payloads,
    )


def _report_unread(draft: PlanDraft) -> None:
    for node in draft.names:
        if isinstance(draft.observed.nodes.get(node), Present) or _is_to_be_started(draft, node):
            continue
        why = draft.cluster_view.describe_answer(node)
        is_down = draft.cluster_view.get_process(node) is Process.DOWN
        words = f"{node} {'does not run' if is_down else 'shows no view'}: {why}"
        remedy = getattr(draft.observed.nodes.get(node), "remedy", "")
        draft.add_finding("node-unread", node, words, remedy or "start the node, or correct its `api`")


def _report_mesh(draft: PlanDraft) -> None:
    """What the views show otherwise; the end of a plan that puts it right is read again."""
    limit = parse_go_duration(draft.desired.entry.max_lag)
    mesh = draft.cluster_view.mesh
    for one in mesh.find_problems(limit):
        severity = Severity.ERROR if one.problem is Problem.QUORUM else Severity.WARNING
        if one.problem is Problem.OFFLINE and one.peer not in mesh.views:
            severity = Severity.NOTE  # that node is reported itself: those that miss it are as they should be
        draft.add_finding(
            one.problem, one.node, one.words, f"see `reconcile explain {one.problem}`", severity
        )


def _find_authentication_changes(draft: PlanDraft) -> dict[str, str]:
    """Node -> what of its authentication its new file changes, also of one that runs with the former file."""
    found = {}
    for node in draft.names:
        is_down = draft.cluster_view.get_process(node) is Process.DOWN
        if is_down and not _is_part_of_outage(draft, node):
            continue  # nobody meets it, whatever stands in its file
        reading = draft.get_reading(node)
        if isinstance(reading, Present) and not draft.has_loaded(node):
            what = find_changed_authentication(draft.desired, node, reading.value.content)
            if what:
                found[node] = what
    return found


def _plan_files_only(draft: PlanDraft) -> None:
    changed = [node for node in draft.names if draft.add_file(node)]
    if changed:
        words = f"{', '.join(changed)} use the new file after a restart, which the fleet file does not name"
        remedy = "restart one node at a time, and wait until all others show it Online; or set `restart`"
        draft.add_finding("restart-by-hand", "", words, remedy, Severity.NOTE)


def _plan_one_by_one(draft: PlanDraft) -> None:
    """Files and processes, one node at a time, in the first order in which every view keeps its quorum."""
    restarts = {node: why for node in draft.names if (why := _find_reason(draft, node))}
    starts = [node for node in draft.names if _is_to_be_started(draft, node)]
    leaving = [name for name in draft.cluster_view.list_leaving() if NODE_NAME.fullmatch(name)]
    down = [
        node
        for node in draft.names
        if draft.cluster_view.get_process(node) is Process.DOWN and node not in starts
    ]
    if not restarts and not starts and not leaving:
        for node in draft.names:
            draft.add_file(node)
        return
    why = _find_doubt(draft)
    state = draft.cluster_view.make_state(_list_file_peers(draft))
    order = None if why else _find_order(draft, state, starts, list(restarts), leaving)
    if order is None:
        why = why or _explain_order(draft, state, starts, list(restarts), leaving)
        remedy = "remove the cause; the next run continues from there"
        # Of each node, because none of them is as desired.
        waiting = restarts | {node: f"{node} does not run yet" for node in starts}
        for node in sorted(waiting):
            words = f"{waiting[node]}, and waits: {why}"
            draft.add_finding("mesh-restart-waits", node, words, remedy)
        if not waiting:
            words = f"{', '.join(leaving)} runs and is not in the fleet file, and is not stopped now: {why}"
            draft.add_finding("mesh-restart-waits", "", words, remedy)
        return
    for node in draft.names:
        # Its next start loads it, whoever starts it; or it runs with it already.
        if node in down or (node not in restarts and node not in starts):
            draft.add_file(node)
    _add_order(draft, state, order, restarts)


def _find_reason(draft: PlanDraft, node: str) -> str:
    """Why a running node has to be restarted; empty if it does not."""
    if draft.cluster_view.get_process(node) is not Process.RUNNING or draft.has_loaded(node):
        return ""
    if draft.files[node].is_changed:
        return f"{node} gets another file"
    if draft.is_outdated(node):
        return f"{node} was started before its file was changed"
    view = draft.cluster_view.mesh.views.get(node)
    digest = draft.files[node].digest
    if view is None or digest is None or draft.desired.recall(node, RESTARTED_FOR) == digest:
        return ""
    shown = {row.name for row in view.peers}
    if shown != draft.desired.members.keys() - {node}:
        return f"{node} does not use the peers of its file"
    return ""


def _is_to_be_started(draft: PlanDraft, node: str) -> bool:
    """Whether a node that is down is a new one, or one that a run of this host stopped."""
    if draft.cluster_view.get_process(node) is not Process.DOWN or draft.files[node].digest is None:
        return False
    return not draft.desired.recall(node, SEEN) or bool(draft.desired.recall(node, STOPPED_FOR))


def _is_part_of_outage(draft: PlanDraft, node: str) -> bool:
    """Whether a run has stopped a node for a change of all nodes, and it is still down."""
    is_down = draft.cluster_view.get_process(node) is Process.DOWN
    return is_down and draft.desired.recall(node, STOPPED_FOR) == AUTHENTICATION


def _find_doubt(draft: PlanDraft) -> str:
    """Why the answers do not tell whether a node may go down; empty if they do."""
    unknown = draft.cluster_view.list_unknown()
    if unknown:
        return f"whether {', '.join(unknown)} runs is not known"
    unread = [node for node in draft.names if draft.files[node].digest is None]
    if unread:
        return f"the file of {', '.join(unread)} cannot be read"
    for node in draft.names:
        running = draft.cluster_view.get_process(node) is Process.RUNNING
        if running and not draft.observed.starts.get(node):
            return f"when {node} was started last cannot be read by a command of the host"
    if dropped := _find_dropped_peer(draft):
        return dropped
    reserved = sorted(draft.observed.reserved & draft.desired.members.keys())
    return f"{', '.join(reserved)} counts as away: it is reserved or held" if reserved else ""


def _find_dropped_peer(draft: PlanDraft) -> str:
    """A member that a node's file names now and no longer would, in words; empty if there is none.

    The order of restarts is found for files that name all members. A template that lost its list of peers
    would leave nodes alone, and a node without peers always has a quorum.
    """
    for node, own in sorted(draft.desired.files.items()):
        reading = draft.get_reading(node)
        before = reading.value.content if isinstance(reading, Present) else None
        if not before or not draft.files[node].is_changed:
            continue
        after = own.content.render(before)
        for name, address in sorted(draft.desired.members.items()):
            marks = (name.encode(), address.encode())
            if (
                name != node
                and any(map(before.__contains__, marks))
                and not any(map(after.__contains__, marks))
            ):
                return f"the new file of {node} no longer names {name}, which stays a member"
    return ""


def _list_file_peers(draft: PlanDraft) -> dict[str, frozenset[str]]:
    members = draft.desired.members.keys()
    return {node: frozenset(members - {node}) for node in draft.names}


def list_change_orders(
    state: MeshState, starts: list[str], restarts: list[str], leaving: list[str]
) -> Iterator[tuple[Action, ...]]:
    """Orders of one change, the plainest first: starts, then restarts, and stops as early as possible."""
    first = sorted(restarts, key=lambda name: (machine.keeps_quorum(state, name), name))
    begun = tuple(Action(START, name) for name in starts)
    restarted = tuple(Action("restart", name) for name in first)
    stops = tuple(Action(STOP, name) for name in leaving)
    # At the latest before the last restart: afterwards no view shows whether they are gone.
    for place in range(len(restarted) if stops and restarted else 1):
        yield (*begun, *restarted[:place], *stops, *restarted[place:])


def walk_order(state: MeshState, order: tuple[Action, ...]) -> Iterator[tuple[Action, MeshState, str]]:
    """Each change of an order, the state after it, and why it must not be made; empty if it may."""
    for action in order:
        why = "" if action.kind == START else machine.find_stop_obstacle(state, action.node)
        if action.kind != START:
            state = machine.stop(state, action.node)
        if action.kind != STOP:
            state = machine.start(state, action.node)
        yield action, state, why


def _find_order(
    draft: PlanDraft, state: MeshState, starts: list[str], restarts: list[str], leaving: list[str]
) -> tuple[Action, ...] | None:
    """The first order that every view survives."""
    if not draft.desired.entry.observe:
        # Refused by a guard, which has nothing to judge by; the plan says what would be done.
        return next(list_change_orders(state, starts, restarts, leaving))
    for order in list_change_orders(state, starts, restarts, leaving):
        if not any(why for _, _, why in walk_order(state, order)):
            return order
    return None


def _explain_order(
    draft: PlanDraft, state: MeshState, starts: list[str], restarts: list[str], leaving: list[str]
) -> str:
    del draft
    orders = list(list_change_orders(state, starts, restarts, leaving))
    return next(why for _, _, why in walk_order(state, orders[-1]) if why)


def _add_order(
    draft: PlanDraft, state: MeshState, order: tuple[Action, ...], restarts: Mapping[str, str]
) -> None:
    previous: tuple[str, ...] = ()
    for action, after_it, _ in walk_order(state, order):
        maker = _make_maker(draft)
        node = action.node
        if action.kind == STOP:
            address = draft.desired.recall(node, ADDRESS)
            why = f"{node} runs and is not in the fleet file"
            api = draft.desired.recall(node, API)
            step = maker.stop(node, address=address, api=api, after=previous, why=why, state=after_it)
        elif action.kind == START:
            loaded = draft.add_file(node, previous)
            why = f"{node} does not run yet"
            if draft.desired.recall(node, STOPPED_FOR):
                why = f"{node} was stopped by an earlier run"
            resumes = _is_part_of_outage(draft, node)
            step = maker.start(node, after=(*previous, *loaded), state=after_it, why=why, resumes=resumes)
        else:
            # Only right before its restart: a node that crashes meanwhile starts with the file that fits.
            loaded = draft.add_file(node, previous)
            step = maker.restart(
                node,
                after=(*previous, *loaded),
                state=after_it,
                started=draft.observed.starts.get(node, ""),
                why=restarts[node],
                digest=draft.files[node].digest or "",
                joined=_list_joined(draft, node),
            )
        draft.steps.append(step)
        previous = (step.id,)


def _make_maker(draft: PlanDraft) -> StepMaker:
    entry = draft.desired.entry
    apis = {
        node.name: node.api
        for node in sorted(entry.nodes, key=lambda one: one.name)
        if entry.observe and node.api is not None
    }
    return StepMaker(entry, apis)


def _list_joined(draft: PlanDraft, node: str) -> dict[str, str]:
    found = {}
    for name, view in sorted(draft.cluster_view.mesh.views.items()):
        row = view.peer(node)
        if row is not None and row.is_online:
            found[name] = row.joined
    return found


def _plan_all_at_once(draft: PlanDraft, changed: Mapping[str, str]) -> None:
    """Stop every node, give each its file, start every node: no two of them ever run with different secrets.

    A node that is called with a wrong secret stops to accept connections for good, so nodes with the old and
    the new one must never run at the same time, not even for a second.
    """
    entry, what = draft.desired.entry, " and ".join(sorted(set(changed.values())))
    leaving = draft.cluster_view.list_leaving()
    unknown = draft.cluster_view.list_unknown()
    unread = [node for node in draft.names if draft.files[node].digest is None]
    causes = {
        f"whether {', '.join(unknown)} runs is not known": unknown,
        f"the file of {', '.join(unread)} cannot be read": unread,
        f"{', '.join(leaving)} runs and is not in the fleet file; remove it first": leaving,
        _find_dropped_peer(draft): bool(_find_dropped_peer(draft)),
        "the fleet file names no `stop` and `start`": entry.stop is None or entry.start is None,
        "`observe: true` is missing, so nothing shows that all nodes are stopped": not entry.observe,
    }
    for why, is_true in causes.items():
        if is_true:
            for node in sorted(changed):
                words = f"{changed[node]} of {node} changes, which needs all nodes at once, and waits: {why}"
                remedy = "see `reconcile explain auth-change-waits`"
                draft.add_finding("auth-change-waits", node, words, remedy)
            return
    running = [node for node in draft.names if draft.cluster_view.get_process(node) is Process.RUNNING]
    bare = machine.make_state(
        one._replace(up=one.name in running, peers=one.file_peers)
        for one in draft.cluster_view.make_state(_list_file_peers(draft)).nodes
        if one.name in draft.desired.members
    )
    resumes = any(_is_part_of_outage(draft, node) for node in draft.names)
    maker = StepMaker(entry, {one.name: one.api for one in entry.nodes if one.api is not None})
    file_plans = {node: draft.plan_file(node) for node in draft.names}
    staged = [step for one in file_plans.values() for step in one.steps if step.id not in one.after]
    stops = [
        maker.stop(
            node,
            address=draft.desired.members[node],
            after=tuple(step.id for step in staged),
            why=f"{what} changes, so no node may run with the former file",
            at_once=True,
            resumes=resumes,
        )
        for node in running
    ]
    stopped = tuple(step.id for step in stops)
    switches = []
    for node in draft.names:
        again = draft.plan_file(node, stopped)
        switches += [step for step in again.steps if step.id in again.after]
        draft.payloads |= again.payloads
    draft.steps += [*staged, *stops, *switches]
    previous = (*stopped, *(step.id for step in switches))
    state = bare
    for node in running:
        state = machine.stop(state, node)
    for node in draft.names:
        if node not in running and not _is_to_be_started(draft, node):
            continue
        state = machine.start(state, node)
        why = f"all nodes are started with {what} of the fleet file"
        step = maker.start(node, after=previous, state=state, why=why, at_once=True, resumes=resumes)
        draft.steps.append(step)
        previous = (step.id,)


def list_process_steps(plan: ClusterPlan) -> list[Step]:
    """The steps of a plan that are not about files."""
    return [step for step in plan.steps if not is_file_step(step)]
