"""The model of a Collaboration Server cluster for the model checker: its nodes, files, faults and invariants.

The cluster is `machine`; planner, judgement, guards and the contents of files are the real ones; only the
wire is left out, and every process reads its file with the simulator's readers. Bounds besides those of
`modelcheck.executor_model`: the management host reaches every machine and every running process; what the
store remembers of starts is derived from the world, so that it is never out of date; a process that others
start answers at once, and they start none in the milliseconds between the reading before a switch of its file
and the switch, after which its start would not tell which file it uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step_status import StepStatus
from reconciler.drivers.collab import machine, planner
from reconciler.drivers.collab.judge import judge
from reconciler.drivers.collab.modelcheck.answers import observe_world, recall_starts
from reconciler.drivers.collab.modelcheck.effects import list_partial_effects, perform_step
from reconciler.drivers.collab.modelcheck.rules import find_broken_invariant, find_obstacle, is_effective
from reconciler.drivers.collab.modelcheck.world import ModelSite, ModelWorld, with_file, with_state
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.model import COMMENT, FileEdit, FileModel, add_comment
from reconciler.file_delivery.steps import is_file_step

_KEY_BY_HAND = b'"byHand": 1, '
_BRACE = b"} # by hand\n"


@dataclass
class CollabModel(ModelSite):
    """The model of one cluster.

    Args:
        has_file_faults: whether people change files and disks become full.
    """

    has_file_faults: bool = True
    _contents: FileModel = field(init=False, default_factory=FileModel)
    _observed: dict[ModelWorld, Observed[CollabView]] = field(init=False, default_factory=dict)

    def learn(self, plan: ClusterPlan) -> ClusterPlan:
        """The same plan, whose contents are known from now on."""
        return self._contents.learn(plan)

    def list_faults(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A process fails, the database goes away, a person changes a file or restarts something."""
        state = world.state
        for number, name in enumerate(self.servers):
            if state.servers[number].running is None:
                continue
            yield f"{name} fails", with_state(world, machine.stop_server(state, number))
            again = machine.restart_server(
                state, number, self.load_server(world.files, name), replace(self.choices, start_readings=0)
            )
            yield f"a person restarts {name}", with_state(world, again)
        if state.redis.running is not None:
            yield f"{self.redis} fails", with_state(world, machine.stop_redis(state, self.choices))
            again = machine.restart_redis(state, self.load_redis(world.files), self.choices)
            yield f"a person restarts {self.redis}", with_state(world, again)
        if state.is_database_up:
            yield "the database goes away", with_state(world, machine.fail_database(state))
        if state.balancer.running is not None:
            yield f"{self.balancer} fails", with_state(world, machine.stop_balancer(state))
        for node, entry in self.entries.items() if self.has_file_faults else ():
            place = self.nodes.index(node)
            edits = self._list_edits(node)
            for story, file in self._contents.list_faults(world.files[place], f"{entry} of {node}", edits):
                yield story, with_file(world, place, file)

    def _list_edits(self, node: str) -> Mapping[str, FileEdit]:
        """What a person may do to the file of a node."""
        if node in self.servers:  # a comment makes a config.json invalid
            return {"is changed by hand": _add_key, "is broken by hand": add_comment}
        if node == self.balancer:
            return {**COMMENT, "is broken by hand": _break_block}
        return COMMENT

    def list_returns(self, world: ModelWorld) -> Iterator[tuple[str, ModelWorld]]:
        """A process comes up or is started again, the database is back, a disk has room again."""
        state, files = world.state, world.files
        for number, name in enumerate(self.servers):
            yield from self._list_server_returns(world, number, name)
        if self.redis and state.redis.running is None and (redis := self.load_redis(files)) is not None:
            yield (
                f"{self.redis} is started",
                with_state(world, machine.start_redis(state, redis, self.choices)),
            )
        if not state.is_database_up:
            yield "the database is back", with_state(world, machine.return_database(state, self.choices))
        if self.balancer and state.balancer.running is None:
            loaded = self.load_balancer(files)
            if loaded is not None:
                yield f"{self.balancer} is started", with_state(world, machine.start_balancer(state, loaded))
        for node, entry in self.entries.items() if self.has_file_faults else ():
            place = self.nodes.index(node)
            for story, file in self._contents.list_returns(files[place], f"{entry} of {node}"):
                yield story, with_file(world, place, file)

    def _list_server_returns(
        self, world: ModelWorld, number: int, name: str
    ) -> Iterator[tuple[str, ModelWorld]]:
        state, server = world.state, world.state.servers[number]
        if server.running is None:
            at_once = replace(self.choices, start_readings=0)
            started = machine.start_server(state, number, self.load_server(world.files, name), at_once)
            # Nobody starts again what has left the fleet file.
            if started.servers[number].running is not None and self.desired.entry.server(name):
                yield f"{name} is started", with_state(world, started)
        elif server.starting or (server.pausing and not machine.list_missing_services(state, number)):
            is_missing = machine.list_missing_services(state, number)
            up = server._replace(starting=0, pausing=server.pausing if is_missing else 0)
            yield f"{name} comes up", with_state(world, state.replace_server(number, up))

    def observe(self, world: ModelWorld) -> Observed[CollabView]:
        """What the driver's `observe` would see."""
        if world not in self._observed:
            self._observed[world] = observe_world(self, world)
        return self._observed[world]

    def plan(self, world: ModelWorld) -> ClusterPlan:
        """What a pass that begins now would plan."""
        return self.learn(planner.plan(recall_starts(self, world), self.observe(world)))

    def judge_step(self, world: ModelWorld, step: Step) -> StepStatus:
        """The status of the step, by the answers of its witnesses."""
        return judge(step, self.observe(world)).status

    def perform(self, world: ModelWorld, step: Step) -> ModelWorld:
        """What a step's call makes of the cluster; the same where it is refused."""
        return perform_step(self, self._contents, world, step)

    def list_partial_effects(self, world: ModelWorld, step: Step) -> Iterator[tuple[str, ModelWorld]]:
        """A file step that breaks off, a process that does not come back, a password that is not written."""
        return list_partial_effects(self, self._contents, world, step)

    def find_obstacle(self, world: ModelWorld, step: Step) -> str:
        """Why the step must not begin, by the world itself: the judgement has just read it."""
        return find_obstacle(self, world, step)

    def find_broken_invariant(self, before: ModelWorld, step: Step, after: ModelWorld) -> str:
        """The contents of files, and the passwords that Redis accepts."""
        return find_broken_invariant(self, self._contents, before, step, after)

    def find_leftover(self, world: ModelWorld, plan: ClusterPlan) -> str:
        """Nothing lies beside the files of nodes that the plan was about."""
        changed = {step.node for step in plan.steps if is_file_step(step)}
        found = (
            self._contents.find_leftover(
                world.files[self.nodes.index(node)], f"{self.entries[node]} of {node}"
            )
            for node in sorted(changed)
        )
        return next(filter(None, found), "")

    def is_effective(self, world: ModelWorld, step: Step) -> bool:
        """Whether a step's effect is there, by the state and the files themselves."""
        return is_effective(self, self._contents, world, step)


def _add_key(content: bytes) -> bytes:
    """A config.json with a key that is not ours."""
    return content if _KEY_BY_HAND in content else content.replace(b"{", b"{" + _KEY_BY_HAND, 1)


def _break_block(content: bytes) -> bytes:
    """An nginx file with a brace too many."""
    return content if content.endswith(_BRACE) else content + _BRACE
