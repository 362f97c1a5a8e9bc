"""A bench for Sora: worlds that any walk of faults may lead to, a wire in memory, and a small executor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

from hypothesis import strategies as st

from reconciler.core.command_reference import NamedCommand
from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import (
    Choices,
    MinorityListing,
    RepeatedInit,
    ReturnedListing,
    UndocumentedCall,
    UninitialisedListing,
)
from reconciler.drivers.sora.cluster_state import Mode, find_groups, has_running_majority, list_members
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import Collapsed, SoraCluster, SoraDesired, SoraNode
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.errors import NodeError, NodeRefused, NodeUnreachable
from reconciler.ports.transport import Commands, Http, HttpAnswer, Transports

TODAY = date(2026, 11, 21)
REGULAR, TEMPORARY = 5, 1
NAMES = tuple(f"node-{number}@10.0.0.{number}" for number in range(REGULAR + TEMPORARY))
CHANGES = ("InitCluster", "RegisterClusterNode", "PurgeClusterNode", "ChangeMode")

choices = st.builds(
    Choices,
    repeated_init=st.sampled_from(RepeatedInit),
    init_with_away=st.sampled_from(UndocumentedCall),
    repeated_register=st.sampled_from(UndocumentedCall),
    returned_register=st.sampled_from(UndocumentedCall),
    purge_cut_off=st.sampled_from(UndocumentedCall),
    list_uninitialised=st.sampled_from(UninitialisedListing),
    list_after_purge=st.sampled_from(ReturnedListing),
    list_without_majority=st.sampled_from(MinorityListing),
)


def entry_of(names, *, likely=True, **more):
    """A fleet file's cluster of these nodes; `likely`: addresses that follow from the names."""
    nodes = tuple(
        SoraNode(
            name=name,
            api=f"http://10.0.0.{NAMES.index(name)}:3000/"
            if likely
            else f"http://127.0.0.1:{3000 + NAMES.index(name)}/",
            temporary=NAMES.index(name) >= REGULAR,
        )
        for name in names
    )
    return SoraCluster(name="live", kind="sora", nodes=nodes, stop=NamedCommand(command="stop"), **more)


@dataclass(frozen=True)
class Walk:
    """Random calls and faults, each a verb and two numbers that are taken modulo what there is."""

    converged: bool
    outside: int
    moves: tuple[tuple[str, int, int], ...]


walks = st.builds(
    Walk,
    converged=st.sampled_from([True, True, True, False]),
    outside=st.integers(0, REGULAR - 1),
    moves=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "init",
                    "register",
                    "register",
                    "half",
                    "purge",
                    "stop",
                    "stop",
                    "start",
                    "cut",
                    "heal",
                    "mode",
                ]
            ),
            st.integers(0, REGULAR + TEMPORARY - 1),
            st.integers(0, 2 ** (REGULAR + TEMPORARY) - 1),
        ),
        max_size=8,
    ).map(tuple),
)


@st.composite
def scenes(draw):
    """A walk, and the names of the nodes that the fleet file wants: a few more or fewer, or any."""
    walk = draw(walks)
    start = set(NAMES) - set(NAMES[:REGULAR][REGULAR - walk.outside :] if walk.outside else ())
    few = draw(st.sets(st.sampled_from(NAMES), max_size=3))
    names = start ^ few if draw(st.booleans()) else draw(st.sets(st.sampled_from(NAMES)))
    if not any(NAMES.index(name) < REGULAR for name in names):
        names |= {NAMES[0]}
    return walk, sorted(names)


def world_after(walk, taken, *, likely=True):
    """The world that a walk leads to, from a cluster or from fresh nodes."""
    outside = NAMES[:REGULAR][REGULAR - walk.outside :] if walk.outside else ()
    world = SoraWorld.from_entry(entry_of(NAMES, likely=likely), walk.converged, taken, outside)
    for verb, one, other in walk.moves:
        world.site.state = _moved(world.state, verb, one, other, taken)
    return world


def _moved(state, verb, one, other, taken):
    second = other % len(state)
    match verb:
        case "init":
            result = machine.init(state, one, (other % (1 << REGULAR)) | 1 << one, taken)
        case "register" | "half":
            result = machine.register(state, one, second, taken, half=verb == "half")
        case "purge":
            result = machine.purge(state, second, one, taken)
        case "stop":
            result = machine.stop(state, one)
        case "start":
            result = state if state[one].up else machine.start(state, one)
        case "cut":
            result = machine.partition(state, [other >> number & 1 for number in range(len(state))])
        case "heal":
            result = machine.heal(state)
        case _:
            result = machine.change_mode(state, one, list(Mode)[other % 3])
    return state if isinstance(result, machine.CallRefusal) else result


@dataclass
class Trouble:
    """At most one fault: it strikes at the `at`-th call that goes over the wire.

    Kinds: crash (of node `node`), cut (node `node` off from the others), start, lost (the answer of
    the next change), half (the next registration fails halfway), none.
    """

    kind: str = "none"
    at: int = 0
    node: int = 0
    calls: int = 0
    struck: bool = False

    def before(self, world, change):
        self.calls += 1
        if self.struck or self.calls <= self.at:
            return
        name = NAMES[self.node]
        if self.kind == "crash":
            world.kill(name)
        elif self.kind == "cut":
            world.partition([name])
        elif self.kind == "start":
            world.start(name)
        elif self.kind == "half":
            world.join_halfway()
        elif not (self.kind == "lost" and change):
            return
        self.struck = True


troubles = st.builds(
    Trouble,
    kind=st.sampled_from(["crash", "cut", "start", "lost", "half", "half"]),
    at=st.integers(0, 40),
    node=st.integers(0, REGULAR + TEMPORARY - 1),
)


@dataclass
class MemoryWire(Http, Commands):
    """The wire to a simulated world; every change that has its effect is told to `seen`."""

    world: SoraWorld
    trouble: Trouble = field(default_factory=Trouble)
    seen: Callable[..., None] = lambda *_: None

    async def send(self, method, url, *, node, timeout, connect=0.0, headers=None, content=b""):
        name = {api: name for name, api in self.world.site.apis.items()}.get(url)
        target = (headers or {}).get("x-sora-target", "")
        change = target.rpartition(".")[2] in CHANGES
        struck = self.trouble.struck
        self.trouble.before(self.world, change)
        if name is None or not self.world.running(name):
            raise NodeUnreachable(node, "connection refused", sign="silent")
        state = self.world.state
        status, told, body = self.world.answer(name, target, method, content)
        if change and self.world.state != state:
            self.seen(target.rpartition(".")[2], name, content, state, self.world.state)
        if self.trouble.kind == "lost" and self.trouble.struck and not struck:
            raise NodeUnreachable(node, "no answer within 10 s")
        return HttpAnswer(status, told, body)

    async def run(self, command, values, *, node):
        assert (command, values["node"]) == ("stop", node)
        with suppress(ValueError):
            self.world.kill(node)
        return "stopped"

    async def read(self, command, values, *, node):
        raise AssertionError(command)


@dataclass
class Bench:
    """One world, one desired state, and the pass over them as the program makes it."""

    world: SoraWorld
    entry: SoraCluster
    trouble: Trouble = field(default_factory=Trouble)
    likely: bool = True
    formed: bool = False
    refused: list[str] = field(default_factory=list)
    recalled: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self):
        self.wire = MemoryWire(self.world, self.trouble, self._effect)
        self.driver = SoraDriver(today=lambda: TODAY, pause=self._pause)

    @property
    def desired(self):
        return SoraDesired(self.entry, self.recalled)

    async def plan_result(self):
        observed = await self.driver.observe(self.desired, Transports(self.wire))
        plan = self.driver.plan(self.desired, observed)
        assert plan == self.driver.plan(self.desired, observed), "the same arguments give the same plan"
        case = GuardContext(plan, self.entry, self.desired, observed)
        return plan, run_guards(case, self.driver.guards)

    async def carry_out(self, plan):
        """Every step as the engine does it; the names of those that had their effect."""
        done: set[str] = set()
        for step in plan.steps:
            if set(step.after) <= done and await self._perform(step):
                done.add(step.id)
        return done

    async def _perform(self, step: Step):
        struck, before = self.trouble.struck, self.world.state
        verdict = await self._verdict(step)
        is_held = bool(step.arguments.doubt) and _runs(
            before, self._named(step)
        )  # a person looks, and approves nothing
        if verdict.status is StepStatus.READY and not step.is_manual and not is_held:
            try:
                done = await self.driver.act(step, Transports(self.wire, self.wire), {})
            except NodeRefused as error:
                self.refused.append(error.code)
            except NodeError:
                pass
            else:
                self.recalled.setdefault(step.node, {}).update(done.facts)
            verdict = await self._verdict(step)
        self._still_usable(step, before, faulted=self.trouble.struck and not struck)
        return verdict.status is StepStatus.DONE

    async def _verdict(self, step):
        return self.driver.judge(step, await self.driver.observe_step(step, Transports(self.wire)))

    def _still_usable(self, step, before, *, faulted):
        """The invariant: no step of ours ends with a majority lost, unless a node failed meanwhile."""
        if faulted and self.trouble.kind in {"crash", "cut"}:
            return
        lost = _usable(before) - _usable(self.world.state)
        assert not lost, f"{step.id} lost a majority"

    def _effect(self, call, name, body, before, after):
        if call == "InitCluster":
            named = sum(1 << NAMES.index(one) for one in NAMES if one.encode() in body)
            if not (self.entry.initialise or self.entry.collapsed):
                shown = [
                    machine.list_nodes(before, one, self.world.site.choices) for one in list_members(named)
                ]
                blank = ((), machine.NOT_INITIALISED, machine.NOT_RUNNING)
                assert all(view in blank for view in shown), (
                    "initialised what was in a cluster, without a word"
                )
            live = [group for group in find_groups(before) if group.usable and group.nodes & named]
            if self.entry.initialise or self.entry.collapsed:  # a node that lists itself alone may be new
                live = [group for group in live if group.nodes.bit_count() > 1]
            assert not live, "a live cluster was initialised again"
            assert not self.formed, "initialised twice"
            assert not _runs(before, named), (
                "the nodes of a cluster that only lost its majority were initialised"
            )
            self.formed = bool(_usable(after) - _usable(before))
        if call == "PurgeClusterNode":
            target = next(number for number, one in enumerate(NAMES) if one.encode() in body)
            told = self._askable(NAMES[target]) or before[target].side == before[NAMES.index(name)].side
            assert not (before[target].up and told), "a running node was purged"

    def _named(self, step):
        return sum(1 << NAMES.index(name) for name in getattr(step.arguments, "names", ()))

    def _askable(self, name):
        """Whether this host can know where a node's API is that its peers do not see."""
        return self.likely or self.entry.node(name) is not None

    async def _pause(self, seconds):
        """No time passes here."""


def _usable(state):
    """The clusters that hold a majority; one of a single node may look like none, so that it cannot count."""
    return {
        group.log.epoch for group in find_groups(state) if group.usable and group.log.regular.bit_count() > 1
    }


def _runs(state, named):
    """Whether a majority of the newest cluster, of more than one node, runs with its data among these."""
    seen = tuple(
        node if named >> number & 1 else node._replace(up=False) for number, node in enumerate(state)
    )
    logs = [node.log for node in state if node.log is not None]
    return bool(logs) and max(logs).regular.bit_count() > 1 and has_running_majority(seen)


def members_of(world, name):
    """The names that a node's usable group lists, and those of them that are connected."""
    best = next(one for one in find_groups(world.state) if one.usable and one.nodes >> NAMES.index(name) & 1)
    listed = {NAMES[number] for number in list_members(best.log.listed)}
    return listed, {NAMES[number] for number in list_members(best.nodes)}


def collapsed(reason="two hosts burnt down", until=TODAY):
    return Collapsed(reason=reason, until=until)


def with_word(entry, **words):
    return entry.model_copy(update=words)
