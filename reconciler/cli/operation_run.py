"""An operation from the command line: plan, show, ask, record, follow; here or through the running watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from reconciler.api.acts import PurgeAct, PurgeReport
from reconciler.api.operator import Operator
from reconciler.api.reader import Reader
from reconciler.cli.options import PlanFormat
from reconciler.cli.render import operations as rendered
from reconciler.cli.run_options import RunOptions
from reconciler.cli.server_client import ServerClient
from reconciler.cli.state_access import StateAccess
from reconciler.cli.terminal import Terminal, catch_stop_signal
from reconciler.core.actor import Actor
from reconciler.core.operations import OPEN_STATES, Operation, OperationState, load_operation
from reconciler.descriptions.act_results import describe_recorded_operation
from reconciler.descriptions.values import format_count
from reconciler.desired.fleet import Fleet
from reconciler.errors import GuardRefusal, UsageError
from reconciler.exit_status import ExitStatus
from reconciler.host import aio
from reconciler.host.control_socket import RunningWatch
from reconciler.planning.plan_operation import OperationPlan, OperationRequest, load_operation_plan
from reconciler.ports.store import Store
from reconciler.sources.locate import is_same_source
from reconciler.store.factory import open_store
from reconciler.text.one_line import join_some

_STOPPING: Final = (
    "Stopping: calls in progress are completed. The operation stays recorded: a running watch continues it, "
    "and so does the next command for the cluster. `reconcile history operations` lists it.\n"
)

LOOK: Final = 0.5
"""Seconds between two looks at an operation that the watch performs."""

_MOST_NAMED: Final = 5


class OperationPlace(Protocol):
    """Where an operation is planned and performed."""

    async def plan(self, request: OperationRequest) -> OperationPlan:
        """Plan it.

        Raises:
            ReconcilerError: it cannot be planned.
        """

    async def begin(self, plan: OperationPlan) -> tuple[Operation, ...]:
        """Record it.

        Raises:
            ReconcilerError: it is refused, or something else would be done now.
        """

    async def look(self, ids: Sequence[str]) -> tuple[Operation, ...]:
        """How far these operations are."""

    async def follow(self, ids: Sequence[str], stop: asyncio.Event) -> None:
        """Return when these operations are over, or `stop` is set."""


@dataclass(slots=True)
class OperationsHere:
    """Plans and performs operations in this process, for a fleet whose nodes can be called.

    Args:
        without: why no watch does.
    """

    reader: Reader
    store: Store
    actor: Actor
    without: str = "no watch runs with this state"
    _fleet: Fleet | None = field(default=None, repr=False)

    @property
    def _operator(self) -> Operator:
        return Operator(self.reader, self.store)

    async def plan(self, request: OperationRequest) -> OperationPlan:
        self._fleet = await self.reader.read_fleet()
        plan = await self._operator.plan(request, self._fleet)
        if polling := plan.polling_nodes:
            raise UsageError(
                f"{format_count(len(polling), 'node')} can only be reached when they poll "
                f"({join_some(polling, _MOST_NAMED)}), and {self.without}; nothing was done",
                remedy="start `reconcile watch` with this source and state, or name those of a running one; "
                "add --direct to call nodes that have an address",
            )
        return plan

    async def begin(self, plan: OperationPlan) -> tuple[Operation, ...]:
        assert self._fleet is not None
        return await self._operator.begin(plan, self.actor, self._fleet)

    async def look(self, ids: Sequence[str]) -> tuple[Operation, ...]:
        return tuple([await self.store.operation(name) for name in ids])

    async def follow(self, ids: Sequence[str], stop: asyncio.Event) -> None:
        fleet = self._fleet
        assert fleet is not None
        await self._operator.perform(lambda: fleet, stop, until=frozenset(ids))


@dataclass(slots=True)
class OperationsByWatch:
    """Lets the running watch plan and perform operations, with its own source and options."""

    access: StateAccess
    actor: Actor
    _request: OperationRequest | None = None

    async def plan(self, request: OperationRequest) -> OperationPlan:
        self._request = request
        return load_operation_plan(self._ask(""))

    async def begin(self, plan: OperationPlan) -> tuple[Operation, ...]:
        # The second request names the plan that was shown: if the watch now plans another one, it refuses.
        return tuple(load_operation(one) for one in self._ask(plan.digest))

    async def look(self, ids: Sequence[str]) -> tuple[Operation, ...]:
        _, data = self.access.ask_watch({"do": "look at operations", "ids": " ".join(ids)})
        return tuple(load_operation(one) for one in json.loads(data))

    async def follow(self, ids: Sequence[str], stop: asyncio.Event) -> None:
        while not stop.is_set() and not all(one.is_over for one in await self.look(ids)):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK)

    def _ask(self, plan: str) -> Any:
        request = self._request
        assert request is not None
        asked = {
            "do": "operate",
            "kind": request.kind,
            "cluster": request.cluster,
            "direct": "yes" if request.direct else "",
            "by": self.actor.encode(),
            "plan": plan,
        }
        _, data = self.access.ask_watch(asked, json.dumps(request.targets).encode())
        return json.loads(data)


@dataclass(slots=True)
class OperationsByServer:
    """Lets a watch elsewhere plan and perform purges, as the holder of a token."""

    client: ServerClient
    by: str
    reason: str
    _request: OperationRequest | None = None

    async def plan(self, request: OperationRequest) -> OperationPlan:
        self._request = request
        report = await self._ask("")
        assert report.plan is not None
        return load_operation_plan(report.plan)

    async def begin(self, plan: OperationPlan) -> tuple[Operation, ...]:
        return tuple(load_operation(one) for one in (await self._ask(plan.digest)).begun)

    async def look(self, ids: Sequence[str]) -> tuple[Operation, ...]:
        return tuple([await self.client.fetch(f"/operations/{name}", Operation) for name in ids])

    async def follow(self, ids: Sequence[str], stop: asyncio.Event) -> None:
        while not stop.is_set() and not all(one.is_over for one in await self.look(ids)):
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 2 * LOOK)

    async def _ask(self, plan: str) -> PurgeReport:
        request = self._request
        assert request is not None
        act = PurgeAct(
            targets=request.targets,
            cluster=request.cluster,
            direct=request.direct,
            plan=plan,
            by=self.by,
            reason=self.reason,
        )
        return await self.client.send(act)


@contextmanager
def choose_place(options: RunOptions, access: StateAccess) -> Iterator[OperationPlace]:
    """Where an operation is performed: by the watch that uses the state, else in this process.

    Args:
        options: `source` is empty where the command does not name one.
        access: the state and its watch.

    Raises:
        UsageError: this user cannot open the state, and an option contradicts the watch's own.
        ReconcilerError: the source cannot be found, or the state cannot be opened.
    """
    watch = choose_watch(options, access)
    # One process for each fleet: nodes that poll can be reached by the watch alone, and it follows what it
    # sends after this command has ended.
    if watch is not None:
        yield OperationsByWatch(replace(access, watch=watch), options.actor)
        return
    if not access.is_open:
        raise UsageError(
            f"this user cannot open the state {access.folder}; instead, the watch ({access.watch}) sends it, "
            "from its own source and with its own options",
            remedy="leave out --source, --path and the options for signers, or run the command as root",
        )
    own = replace(options, source=options.source or ".")
    reader = Reader(
        own.locate(trust=own.trust, state=own.required_state.path), host=own.host, is_applying=True
    )
    with open_store(own.required_state.store, keep=own.keep) as store:
        yield OperationsHere(reader, store, own.actor, _explain_without_watch(options, access))


def choose_watch(options: RunOptions, access: StateAccess) -> RunningWatch | None:
    """The watch that performs an operation of these options; None if none does."""
    if options.trust is not None:
        return None
    for watch in access.watches:
        is_own = not options.source or is_same_source(options.source, watch.source)
        if not watch.dry_run and is_own and options.path in {"", watch.within}:
            return watch
    return None


def _explain_without_watch(options: RunOptions, access: StateAccess) -> str:
    """Why no watch performs an operation."""
    if access.watch is None:
        return "no watch runs with this state"
    if all(one.dry_run for one in access.watches):
        return f"the watch of this state ({access.watch}) only plans"
    if options.trust is not None:
        return f"the watch of this state ({access.watch}) has its own signers"
    given = join_some([one for one in (options.source, options.path) if one], 2)
    return f"the watch of this state ({access.watch}) has another source than {given}"


def run_operation(
    place: OperationPlace, request: OperationRequest, terminal: Terminal, *, yes: bool, form: PlanFormat
) -> int:
    """Plan, show, ask, record, follow, report; gives the exit status.

    Args:
        place: where it is planned and performed.
        request: what is asked for.
        terminal: where to show and ask.
        yes: whether to send an operation of low risk without asking.
        form: of the result.

    Raises:
        ReconcilerError: it cannot be planned or recorded, or nobody can confirm.
    """
    plan = aio.run_until_signal(place.plan(request))
    released = [planned for planned in plan.clusters if not planned.violations]
    if form is PlanFormat.TEXT or not yes or not released:
        terminal.remark(rendered.render_operation_plan(plan, layout=terminal.layout) + "\n", is_asked=True)
    if not released:
        _print(plan, (), form, terminal, GuardRefusal.exit_status)
        return GuardRefusal.exit_status
    if not _is_agreed(plan, terminal, yes=yes):
        terminal.remark("Nothing was done.\n")
        return ExitStatus.ERROR
    begun = aio.run_until_signal(place.begin(plan))
    for operation in begun:
        terminal.remark(f"{describe_recorded_operation(operation)}\n")
    found = aio.run_until_signal(_follow(place, [one.id for one in begun], terminal))
    status = get_operation_exit_status(found)
    if status == ExitStatus.DONE and plan.violations:
        status = ExitStatus.IN_PART
    _print(plan, found, form, terminal, status)
    return status


def get_operation_exit_status(operations: Sequence[Operation]) -> int:
    """0 if every node reported success, 1 if none did, 5 otherwise."""
    states = [one.result(node).state for one in operations for node in one.nodes]
    if all(state is OperationState.DONE for state in states):
        return ExitStatus.DONE
    is_in_part = OperationState.DONE in states or not OPEN_STATES.isdisjoint(states)
    return ExitStatus.IN_PART if is_in_part else ExitStatus.ERROR


def _is_agreed(plan: OperationPlan, terminal: Terminal, *, yes: bool) -> bool:
    """Whether the operator wants it.

    Raises:
        UsageError: nobody can answer.
    """
    released = [planned for planned in plan.clusters if not planned.violations]
    nodes = sum(len(planned.operation.nodes) for planned in released)
    question = f"{plan.kind.capitalize()} this on {format_count(nodes, 'node')}?"
    # --yes in a script is for routine. A whole host empties a cache that the origin has to fill again.
    if plan.is_high_risk:
        if all(planned.is_approved for planned in released):
            return True
        ids = ", ".join(planned.operation.digest for planned in released if not planned.is_approved)
        remedy = f"run it on a terminal, or approve it before: `reconcile approve ID`; id: {ids}"
        return terminal.get_consent(f"High risk. {question}", verb=plan.kind, remedy=remedy)
    remedy = "add --yes to send it without asking"
    return yes or terminal.get_consent(question, verb=plan.kind, remedy=remedy)


async def _follow(place: OperationPlace, ids: Sequence[str], terminal: Terminal) -> tuple[Operation, ...]:
    """Follow operations to their end, with a line for each change; gives what came of them."""
    with catch_stop_signal(lambda: terminal.remark(_STOPPING)) as stop:
        following = asyncio.create_task(place.follow(ids, stop))
        shown: dict[str, str] = {}
        while not following.done():
            await asyncio.wait({following}, timeout=LOOK)
            for operation in await place.look(ids):
                counts = rendered.describe_states(operation)
                if shown.get(operation.id, "") != counts:
                    shown[operation.id] = counts
                    terminal.remark(f"{operation.cluster}: {counts}\n")
        following.result()
        return await place.look(ids)


def _print(
    plan: OperationPlan, found: Sequence[Operation], form: PlanFormat, terminal: Terminal, status: int
) -> None:
    match form:
        case PlanFormat.TEXT:
            blocks = [rendered.render_operation(one, layout=terminal.layout) for one in found]
            terminal.say("\n" + "\n".join(blocks) if blocks else "")
        case PlanFormat.JSON:
            terminal.say(rendered.render_operations_json(found, plan, status=status))
        case PlanFormat.MARKDOWN:
            terminal.say(rendered.render_operation_plan_markdown(plan, found))
