"""The executor's model tied to the executor: every trace up to a length is replayed through the real one.

    python benchmarks/replay.py [EXTRA]

The model checker explores `modelcheck.executor_model`, which is not the executor. Here the executor itself,
from the call of a pass to the last write of its journal in SQLite, is driven along each trace of the model:
the product's own state machine stands for the nodes, a clock that leaps stands for waiting, and whatever the
executor asks of a node is answered at the moment at which the trace has it. After each move, what has been
written, called and announced must be what `modelcheck.journal_model` says, and in that order; at the end the
journal is read back and compared once more. EXTRA (3) moves are added to the lengths that the tests replay.

The order of steps that are free to begin is the planner's to choose, and the model allows every order: the
plan of a replay lists its steps in the order in which the trace takes them up.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import count, groupby, pairwise
from typing import Any

import scenes
import states

from reconciler.api.reader import Reader
from reconciler.api.reconciler import Reconciler
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import ClusterPlan, Revision, Step
from reconciler.core.policy import Policy
from reconciler.core.step_status import StepVerdict
from reconciler.desired.fleet import Fleet
from reconciler.documents.document import parse_document
from reconciler.drivers.m2.product import DRIVER as M2
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.product import DRIVER as SORA
from reconciler.errors import NodeError, NodeRefused, NodeUnreachable
from reconciler.fault_trials.clock import StampClock, run_skipping_waits
from reconciler.fault_trials.trial import make_scratch_folder
from reconciler.host.config import HostCommand, HostConfig
from reconciler.host.host import Host
from reconciler.modelcheck.executor_model import ExecutorModel, ModelState, StepPhase
from reconciler.modelcheck.explore import list_traces
from reconciler.modelcheck.journal_model import EMPTY, EventKind, JournalEvent, ModelJournal, follow_move
from reconciler.modelcheck.state_table import StateTable
from reconciler.ports.driver import ClusterInput, StepAnswer
from reconciler.ports.listener import PassListener
from reconciler.ports.source import Snapshot, Source
from reconciler.ports.store import RunStart, StepEnd, Store
from reconciler.ports.transport import Commands, Http, HttpAnswer, Transports
from reconciler.store.factory import open_store

OVER = 90_000.0
"""Seconds after which no call is under way any more, and the next try of any step is due."""

TIMEOUTS = {"settle": 0.1, "in_flight": 86_400.0}

WAITS = {"begin": 5.0, "look": 2.0, "other": 0.001}
"""Seconds of the leaping clock within which the executor has done all that it can do after a move."""

FREE = Policy(max_risky="100%", max_shrink="100%")


@dataclass(frozen=True)
class Scene:
    """What is replayed.

    Args:
        product: its driver; observing, looking and calling are replaced by the world of the model.
        start: the moment before the first pass.
        length: moves of each trace.
    """

    name: str
    product: Any
    state_table: StateTable[Any]
    start: ModelState
    length: int

    def traces(self) -> Iterator[tuple[ModelState, ...]]:
        """All of them."""
        return list_traces(self.start, ExecutorModel(self.state_table).moves, length=self.length)


class Difference(AssertionError):
    """The executor did something else than its model says."""


class Nodes:
    """The world of the model as the executor meets it; what is asked waits until the trace comes to it."""

    def __init__(self, state_table: StateTable[Any]) -> None:
        self.state_table = state_table
        self.world = 0
        self.first: Sequence[str] = ()
        self.answer: Callable[[Step], NodeError | None] = lambda _: None
        self.gated: frozenset[str] = frozenset()
        self.called: Callable[[Step], None] = lambda _: None
        self._let: str = ""
        self._waiting: list[asyncio.Future[None]] = []

    def let(self, what: str) -> None:
        """Answer what waits for this, and nothing else."""
        self._let = what
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    async def passing(self, what: str) -> None:
        """Wait until the trace comes to it."""
        while what != self._let:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting

    async def look(self, step: Step) -> None:
        """The nodes are read for a step: of the run under way when the trace says so, of others at once."""
        if step.id in self.gated:
            await self.passing(f"look {step.id}")

    async def call(self, step: Step) -> StepAnswer:
        """A node is called.

        Raises:
            NodeError: as the trace has it.
        """
        await self.passing(f"call {step.id}")
        self.let("")
        self.called(step)
        if error := self.answer(step):
            raise error
        return StepAnswer("accepted")

    def verdict(self, step: Step) -> StepVerdict:
        """How a step stands in the world as it is."""
        return StepVerdict(self.state_table.model.judge_step(self.state_table.worlds[self.world], step))


def driven(product: Any, nodes: Nodes) -> Any:
    """The product's driver over the world of a model."""

    class Driven(type(product)):  # type: ignore[misc]
        def with_host_config(self, *_: Any) -> Any:
            return self

        def desire(self, *_: Any) -> Any:
            return nodes.state_table.model.desired  # type: ignore[attr-defined]

        def add_history(self, desired: Any, *_: Any) -> Any:
            return desired

        async def observe(self, *_: Any) -> Observed[Any]:
            return nodes.state_table.model.observe(nodes.state_table.worlds[nodes.world])

        def plan(self, desired: Any, observed: Observed[Any]) -> ClusterPlan:
            plan: ClusterPlan = super().plan(desired, observed)
            place = {name: index for index, name in enumerate(nodes.first)}
            return replace(
                plan, steps=tuple(sorted(plan.steps, key=lambda one: place.get(one.id, len(place))))
            )

        async def observe_step(self, step: Step, *_: Any) -> Observed[Any]:
            await nodes.look(step)
            return Observed({})

        def judge(self, step: Step, _: Observed[Any]) -> StepVerdict:
            return nodes.verdict(step)

        async def act(self, step: Step, *_: Any) -> StepAnswer:
            return await nodes.call(step)

    return Driven()


class Recorder(PassListener):
    """A journal, and a listener, of one process: tells what is written and announced, and may die."""

    def __init__(self, store: Store, nodes: Nodes, runs: list[str]) -> None:
        self._store = store
        self._nodes = nodes
        self._runs = runs
        self.events: list[JournalEvent] = []
        self.opened: Mapping[str, Step] = {}
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def select_fleet(self, fleet: int) -> Recorder:
        """See `Store`; a fleet's own part is recorded as the whole is."""
        self._store = self._store.select_fleet(fleet)
        return self

    async def enter_fleet(self, identity: FleetIdentity) -> Recorder:
        """See `Store`."""
        self._store = await self._store.enter_fleet(identity)
        return self

    def called(self, step: Step) -> None:
        """The trace has come to a call."""
        self._note(EventKind.CALL, self._runs[-1], step.id)

    def on_step_ended(self, outcome: Outcome) -> None:
        """See `PassListener`."""
        self._note(EventKind.ANNOUNCE, self._runs[-1], outcome.step.id, outcome.state)

    async def begin_run(self, opening: RunStart) -> str:
        """See `Journal`."""
        self._live()
        run = await self._store.begin_run(opening)
        self._runs.append(run)
        self.opened = {step.id: step for step in opening.plan.steps()}
        self._nodes.gated = frozenset(self.opened)
        self._note(EventKind.BEGIN, run, tuple(sorted(self.opened)))
        return run

    async def record_intent(self, run: str, step: Step, *rest: Any, **options: Any) -> None:
        """See `Journal`."""
        self._live()
        await self._store.record_intent(run, step, *rest, **options)
        self._note(EventKind.INTEND, run, step.id)

    async def record_outcomes(self, run: str, endings: Sequence[StepEnd]) -> None:
        """See `Journal`."""
        self._live()
        await self._store.record_outcomes(run, endings)
        for ending in endings:
            self._note(EventKind.CONCLUDE, run, ending.outcome.step.id, ending.outcome.state)

    async def finish_run(self, run: str, *rest: Any) -> None:
        """See `Journal`; the end of the run under way is the trace's to tell."""
        if self._nodes.gated and run == self._runs[-1]:
            await self._nodes.passing("finish")
        self._live()
        self._nodes.gated = frozenset()
        await self._store.finish_run(run, *rest)
        self._note(EventKind.FINISH, run)

    def _live(self) -> None:
        if self.dead:
            raise asyncio.CancelledError

    def _note(
        self, kind: EventKind, run: str, step: str | tuple[str, ...] = "", state: State | None = None
    ) -> None:
        self.events.append(JournalEvent(kind, self._runs.index(run), step, state))


class NoSource(Source):
    """A source that is never read: the fleet is there already."""

    async def snapshot(self) -> Snapshot:
        """Never called."""
        raise NotImplementedError


class NoHttp(Http):
    """A way to nowhere: the world of the model is asked directly."""

    async def send(self, method: str, url: str, *, node: str, **_: Any) -> HttpAnswer:
        """Never called."""
        raise NodeUnreachable(node, f"{method} {url} was not expected")


class NoCommands(Commands):
    """The same for commands."""

    async def run(self, command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG002
        """Never called."""
        raise NodeUnreachable(node, f"the command {command} was not expected")

    async def read(self, command: str, values: Mapping[str, str], *, node: str) -> str:  # noqa: ARG002
        """Never called."""
        raise NodeUnreachable(node, f"the command {command} was not expected")


NOWHERE = Transports(NoHttp(), NoCommands())


@dataclass
class Replay:
    """One trace on its way through the executor.

    Args:
        variant: how a call that changed nothing is answered.
    """

    scene: Scene
    trace: Sequence[ModelState]
    variant: int
    store: Store
    clock: StampClock
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.scene.state_table)
        self.drivers = {self.scene.product.kind: driven(self.scene.product, self.nodes)}
        entry = self.scene.state_table.model.desired.entry  # type: ignore[attr-defined]
        revision, paper = Revision("/fleet", "c0ffee", "c0ffee"), parse_document("f", b"{}")
        self.fleet = Fleet(
            revision, paper, (ClusterInput(entry, paper, "", revision),), policies={entry.name: FREE}
        )
        self.task: asyncio.Task[Any] | None = None
        self.process()

    def process(self) -> None:
        """A new process of the reconciler."""
        self.nodes.gated = frozenset()
        self.journal = Recorder(self.store, self.nodes, self.runs)
        self.nodes.called = self.journal.called
        host = Host(HostConfig(commands={"stop": HostCommand(run=("true",))}))
        reader = Reader(NoSource(), host=host, drivers=self.drivers, connect=lambda _: nullcontext(NOWHERE))
        self.reconciler = Reconciler(reader, self.journal, self.clock)

    async def model(self) -> None:
        """All moves.

        Raises:
            Difference: what the executor did after one of them is not what the model says.
        """
        expected: ModelJournal = EMPTY
        self.nodes.world = self.trace[0].world
        try:
            for number, (before, after) in enumerate(pairwise(self.trace), 1):
                self.journal.events.clear()
                await self.move(number, before, after)
                expected, events = follow_move(self.scene.state_table, expected, before, after)
                self.compare(number, "the events", batched(events), batched(self.journal.events))
                if self.task is not None and self.task.done():
                    self.compare(number, "the failure", None, self.task.exception())
            written = [await self.store.run(run, is_whole=True) for run in self.runs]
        finally:
            await self.kill()
        self.compare(
            len(self.trace) - 1,
            "the journal read back",
            [
                {
                    self.scene.state_table.steps[line.number].id: (line.intended, line.state)
                    for line in run.lines
                }
                for run in expected
            ],
            [
                {entry.step.id: (entry.intended is not None, entry.state) for entry in record.entries}
                for record in written
            ],
        )
        self.compare(
            len(self.trace) - 1,
            "which runs have ended",
            [run.finished for run in expected],
            [record.summary.finished is not None for record in written],
        )

    def compare(self, number: int, what: str, expected: Any, found: Any) -> None:
        """Nothing, where both are equal."""
        if expected != found:
            told = told_by(self.scene, self.trace[: number + 1])
            lines = [f"{self.scene.name}, variant {self.variant}: {what}", *told]
            raise Difference("\n".join([*lines, f"the model:    {expected}", f"the executor: {found}"]))

    async def move(self, number: int, before: ModelState, after: ModelState) -> None:
        """Let one thing happen, and the executor do all that it does then."""
        self.nodes.world = after.world
        wait, what = WAITS["other"], ""
        if (before.plan, before.running) != (after.plan, after.running):
            if not after.running:
                await self.kill()
            elif after.plan >= 0:
                await self.begin(number, after)
                wait = WAITS["begin"]
            elif before.running:
                what = "finish"
            else:
                self.process()
                await asyncio.sleep(OVER)
                await self.reconciler.settle(self.fleet)
        elif before.phases != after.phases:
            place = next(
                place
                for place, (old, new) in enumerate(zip(before.phases, after.phases, strict=True))
                if old is not new
            )
            step = self.scene.state_table.plans[after.plan].steps[place]
            if after.phases[place] is StepPhase.SENT:
                self.nodes.answer = self.answered(before, after)
                what = f"call {step.id}"
            else:
                what, wait = f"look {step.id}", WAITS["look"]
        self.nodes.let(what)
        await asyncio.sleep(wait)
        self.nodes.let("")
        if after.plan >= 0 and before.plan != after.plan:
            plan = {step.id: step for step in self.scene.state_table.plans[after.plan].steps}
            self.compare(number, "the plan", plan, self.journal.opened)

    async def begin(self, number: int, after: ModelState) -> None:
        """A pass, of this process or of a new one."""
        if not self.trace[number - 1].running:
            self.process()
        if not (after.late or after.held):
            await asyncio.sleep(OVER)
        self.nodes.first = self.taken_up(number)
        self.task = asyncio.ensure_future(self.reconciler.run(self.fleet, listener=self.journal))

    def taken_up(self, number: int) -> list[str]:
        """The steps of a pass in the order in which the trace looks at them."""
        plan, found = self.trace[number].plan, []
        steps = self.scene.state_table.plans[plan].steps
        for before, after in pairwise(self.trace[number:]):
            if after.plan != plan:
                break
            pairs = zip(steps, before.phases, after.phases, strict=True)
            found += [step.id for step, old, new in pairs if old is StepPhase.PENDING and new is not old][:1]
        return found

    def answered(self, before: ModelState, after: ModelState) -> Callable[[Step], NodeError | None]:
        """How the call of a step is answered; what the executor believes must not depend on it."""

        def answer(step: Step) -> NodeError | None:
            if after.late != before.late:
                return NodeUnreachable(step.node, "it did not answer in time")
            failed = after.faults != before.faults  # halfway
            if (failed or after.world == before.world) and self.variant == 1:
                return NodeRefused(step.node, "it said no", status=409, code="busy", again=True)
            if after.world == before.world and self.variant == 2:
                return NodeUnreachable(step.node, "connection refused", sent=False)
            return None

        return answer

    async def kill(self) -> None:
        """The process ends where it stands; what it would still write is not written."""
        self.journal.dead = True
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})
        self.task = None


def batched(events: Iterable[JournalEvent]) -> list[list[JournalEvent]]:
    """Events with those of one kind and run together: one transaction has no order."""
    return [sorted(group) for _, group in groupby(events, key=lambda one: (one.kind, one.run))]


def told_by(scene: Scene, trace: Sequence[ModelState]) -> list[str]:
    """A trace in words."""
    moves = ExecutorModel(scene.state_table).moves
    return [
        f"  {number}. {next(move.story for move in moves(before) if move.state == after)}"
        for number, (before, after) in enumerate(pairwise(trace), 1)
    ]


def replay(scene: Scene, trace: Sequence[ModelState], variant: int = 0) -> None:
    """One trace through the executor.

    Raises:
        Difference: the executor does something else than its model.
    """

    async def model() -> None:
        clock = StampClock()
        names = (f"run-{number}" for number in count())
        with make_scratch_folder() as folder, open_store(folder, clock=clock, name=names.__next__) as store:
            await Replay(scene, trace, variant, store, clock).model()

    run_skipping_waits(model())


def replay_all(scene: Scene) -> int:
    """Every trace of a scene; gives how many there are."""
    number = 0
    for number, trace in enumerate(scene.traces(), 1):
        replay(scene, trace, number % 3)
    return number


class Calm:
    """A play in which no node fails by itself: what is left are the faults of calls and of the reconciler."""

    def __init__(self, model: Any) -> None:
        self._play = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._play, name)

    def list_faults(self, world: Any) -> Iterable[tuple[str, Any]]:  # noqa: ARG002  (see `ProductModel`)
        """None."""
        return ()

    def list_returns(self, world: Any) -> Iterable[tuple[str, Any]]:  # noqa: ARG002  (see `ProductModel`)
        """None."""
        return ()


def scene(
    name: str, product: Any, state_table: StateTable[Any], world: Any, *, length: int, is_calm: bool = False
) -> Scene:
    """A scene with one fault, one kill and two passes."""
    if is_calm:
        state_table.model = Calm(state_table.model)
    return Scene(name, product, state_table, ExecutorModel(state_table).begin(world), length)


def m2(name: str, *, length: int, is_calm: bool = False, nodes: int = 1, at_once: int = 1) -> Scene:
    """M2 nodes of which a commit changes the version."""
    stage, state_table = scenes.m2_stage(
        scenes.AFTER, scenes.BEFORE, nodes=nodes, at_once=at_once, timeouts=TIMEOUTS
    )
    return scene(name, M2, state_table, stage.worlds[0], length=length, is_calm=is_calm)


def sora(
    name: str, world: Any, wanted: Sequence[int], *, length: int, is_calm: bool = False, **more: Any
) -> Scene:
    """A Sora cluster of which a commit names these nodes."""
    commit = states.Commit(name, world, tuple(wanted), timeouts=TIMEOUTS, **more)
    return scene(
        name, SORA, states.state_table(commit, states.LITERAL), world, length=length, is_calm=is_calm
    )


def all_scenes(extra: int = 0) -> list[Scene]:
    """What the tests replay, with so many moves more."""
    dead = machine.stop(scenes.regular(4, outside=(3,)), 0)
    drained = dict.fromkeys((0, 1), "block_new_connection")
    return [
        m2("one M2 node", length=7 + extra),
        m2("two M2 nodes, both at once", nodes=2, at_once=2, length=3 + extra),
        m2("two M2 nodes that do not fail, one after the other", nodes=2, length=6 + extra, is_calm=True),
        m2(
            "three M2 nodes that do not fail, two at once", nodes=3, at_once=2, length=4 + extra, is_calm=True
        ),
        sora("a dead Sora node replaced", dead, (1, 2, 3), length=2 + extra),
        sora("a dead Sora node replaced, no other fails", dead, (1, 2, 3), length=9 + extra, is_calm=True),
        sora("a new Sora cluster, no node fails", scenes.new(3), (0, 1, 2), length=9 + extra, is_calm=True),
        sora(
            "modes of two Sora nodes",
            scenes.regular(3),
            (0, 1, 2),
            modes=drained,
            at_once=2,
            length=4 + extra,
            is_calm=True,
        ),
    ]


def main() -> None:
    extra = int(sys.argv[1]) if sys.argv[1:] else 3
    total, began = 0, time.perf_counter()
    for scene in all_scenes(extra):
        started = time.perf_counter()
        number = replay_all(scene)
        total += number
        seconds = time.perf_counter() - started
        print(f"{scene.name}: {number:7,} traces of {scene.length} moves, {seconds:6.1f} s", flush=True)
    print(f"all: {total:,} traces, journals equal; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
