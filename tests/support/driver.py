"""A product that exists only in memory, with faults on request: the double at the driver's seam.

A node of it holds one text; the one verb `set` writes another. Faults are named per node and used up
one per call:

- `lost`: the effect happens, the answer does not arrive;
- `nothing`: no answer and no effect;
- `refused`: the node says no;
- `half`: no answer, and the node is left neither as before nor as wanted;
- `ignored`: the node says yes and does nothing;
- `late`: the effect shows only after a few looks;
- `blind`: no answer, and the node cannot be read any more;
- `killed before`, `killed after`: the reconciler dies on either side of the effect.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import Field

from reconciler.core.arguments import StepFeedback, TypedArguments, read_arguments
from reconciler.core.canonical import fingerprint
from reconciler.core.entries import ClusterEntry, FeedbackEntry, NodeEntry
from reconciler.core.guard import GuardContext, guard
from reconciler.core.observation import Absent, Observed, Present, Stale, Unreachable
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Payload, Revision, Risk, Step
from reconciler.core.policy import ChangeRules, Override, Policy
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.errors import InputError, NodeRefused, NodeUnreachable
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Capabilities, Driver, StepAnswer
from reconciler.ports.source import Snapshot, Source
from reconciler.ports.transport import Transports

REVISION = Revision("/repo", "c0ffee" + "0" * 34, "c0ffee0", "Set everything")
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The reconciler's process ends here, as far as a test can have it so."""


class FakeNode(NodeEntry):
    """One node: the text it is to hold, and the nodes that come before it."""

    value: str
    after: tuple[str, ...] = ()
    person: bool = False
    membership: bool = False


class FakeCluster(ClusterEntry):
    """A cluster of the fake product."""

    kind: str = "fake"
    nodes: tuple[FakeNode, ...] = ()
    settle: float = Field(default=0.2)
    in_flight: float = Field(default=0.0)


@dataclass(frozen=True)
class Wish:
    """The desired state: the entry, and the nodes to keep hands off."""

    entry: FakeCluster
    but: frozenset[str] = frozenset()


@dataclass
class World:
    """All nodes there are, and what was done to them."""

    values: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    faults: dict[str, deque[str]] = field(default_factory=lambda: defaultdict(deque))
    late: dict[str, tuple[int, str]] = field(default_factory=dict)
    acts: list[str] = field(default_factory=list)
    looks: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    peak: int = 0

    def fault(self, node: str, *names: str) -> None:
        self.faults[node].extend(names)

    def read(self, node: str) -> str:
        return self.values.get(node, "")

    def write(self, node: str, value: str) -> None:
        self.values[node] = value
        self.acts.append(node)

    def answer(self, node: str):
        if node in self.silent:
            return Unreachable("timed out")
        looks, value = self.late.get(node, (0, ""))
        if looks == 1:
            self.values[node] = value
        if looks:
            self.late[node] = (looks - 1, value)
        value = self.read(node)
        return Present(value) if value else Absent("empty")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Set(TypedArguments):
    """What the one verb needs."""

    before: str
    want: str
    payload: str
    setting_version: str
    feedback_api: str = "/fake/set"

    @property
    def payload_digest(self) -> str:
        return self.payload

    @property
    def feedback(self) -> StepFeedback:
        return StepFeedback(self.feedback_api, (self.setting_version,))


class FakeDriver(Driver[Wish, str]):
    """A driver over a `World`."""

    kind = "fake"
    title = "fake"
    entry = FakeCluster
    capabilities = Capabilities(single_node=True)
    actions = {"set": Set}  # noqa: RUF012  (a table)

    def __init__(self, world: World) -> None:
        self.world = world
        self.guards = (_forbidden,)

    def desire(self, cluster_input: ClusterInput) -> Wish:
        assert isinstance(cluster_input.entry, FakeCluster)
        problems = [
            Diagnostic(
                Severity.ERROR,
                "bad-value",
                f"{node.name} cannot hold 'bad'",
                position=cluster_input.fleet.position(f"{cluster_input.pointer}/nodes/{index}"),
                pointer=f"{cluster_input.pointer}/nodes/{index}",
            )
            for index, node in enumerate(cluster_input.entry.nodes)
            if node.value == "bad"
        ]
        if problems:
            raise InputError(problems)
        return Wish(cluster_input.entry)

    def exclude_nodes(self, desired: Wish, nodes: frozenset[str]) -> Wish:
        return replace(desired, but=desired.but | nodes)

    def contents(self, desired: Wish) -> dict[str, str]:
        return {node.name: node.value for node in desired.entry.nodes if node.name not in desired.but}

    def fingerprint_purpose(self, step: Step, contents: Mapping[str, str]) -> str:
        return f"{step.action} {contents.get(step.node, '')}"

    def fingerprint_differences(self, step: Step, observed: Observed[str]) -> dict[str, str]:
        return {"": set_of(step).before}

    async def observe(self, desired: Wish, transports: Any) -> Observed[str]:
        await asyncio.sleep(0)
        return Observed({node.name: self.world.answer(node.name) for node in desired.entry.nodes})

    def plan(self, desired: Wish, observed: Observed[str]) -> ClusterPlan:
        entry = desired.entry
        steps: list[Step] = []
        findings: list[Diagnostic] = []
        payloads: dict[str, Payload] = {}
        unchanged = 0
        for node in entry.nodes:
            answer = observed.nodes[node.name]
            if node.name in desired.but:
                continue
            if isinstance(answer, Unreachable | Stale):
                findings.append(
                    Diagnostic(
                        Severity.WARNING, "unreachable", answer.reason, target=f"{entry.name}/{node.name}"
                    )
                )
                continue
            seen = answer.value if isinstance(answer, Present) else ""
            if seen == node.value:
                unchanged += 1
                continue
            digest = fingerprint(node.value)
            payloads[digest] = Payload(node.value)
            steps.append(_step(entry, node, seen, digest))
        ids = {step.id for step in steps}
        return ClusterPlan(
            entry.name,
            "fake",
            nodes=len(entry.nodes),
            unchanged=unchanged,
            steps=tuple(
                replace(step, after=tuple(name for name in step.after if name in ids)) for step in steps
            ),
            findings=tuple(findings),
            concurrency=entry.concurrency,
            payloads=payloads,
        )

    async def observe_step(self, step: Step, transports: Any) -> Observed[str]:
        await asyncio.sleep(0)
        self.world.looks.append(step.node)
        return Observed({step.node: self.world.answer(step.node)})

    def judge(self, step: Step, seen: Observed[str]) -> StepVerdict:
        answer = seen.nodes[step.node]
        if isinstance(answer, Unreachable | Stale):
            return StepVerdict(StepStatus.UNKNOWN, answer.reason)
        value = answer.value if isinstance(answer, Present) else ""
        if value == set_of(step).want:
            return StepVerdict(StepStatus.DONE, f"{step.node} holds {value}")
        if value == set_of(step).before:
            return StepVerdict(StepStatus.READY, f"{step.node} still holds {value or 'nothing'}")
        return StepVerdict(StepStatus.CHANGED, f"{step.node} holds {value}")

    async def act(self, step: Step, transports: Any, payloads: Mapping[str, Payload]) -> StepAnswer:
        world, node = self.world, step.node
        world.under_way += 1
        world.peak = max(world.peak, world.under_way)
        world.entered.set()
        try:
            await (world.gate.wait() if world.gate else asyncio.sleep(0))
            fault = world.faults[node].popleft() if world.faults.get(node) else ""
            return self._act(step, str(payloads[step.payload].document), fault)
        finally:
            world.under_way -= 1

    def _act(self, step: Step, value: str, fault: str) -> StepAnswer:
        world, node = self.world, step.node
        match fault:
            case "nothing":
                raise NodeUnreachable(node, "connection refused")
            case "refused":
                raise NodeRefused(node, "it said no", status=400)
            case "ignored":
                return StepAnswer("accepted")
            case "killed before":
                raise Killed
            case "late":
                world.acts.append(node)
                world.late[node] = (3, value)
                return StepAnswer("accepted")
        world.write(node, "halfway" if fault == "half" else value)
        match fault:
            case "lost" | "half":
                raise NodeUnreachable(node, "the answer did not come")
            case "blind":
                world.silent.add(node)
                raise NodeUnreachable(node, "the answer did not come")
            case "killed after":
                raise Killed
        return StepAnswer("accepted", waiting_for_restart=("port",), facts={"set_by_us": value})


def _step(entry: FakeCluster, node: FakeNode, seen: str, digest: str) -> Step:
    return Step(
        id=f"{entry.name}/{node.name}/set",
        cluster=entry.name,
        node=node.name,
        action="set",
        arguments=Set(before=seen, want=node.value, payload=digest, setting_version=node.value),
        reason=f"{node.name} holds {seen or 'nothing'}",
        effect=Effect.MEMBERSHIP if node.membership else Effect.HOT,
        risk=Risk.LOW,
        risk_reason="it is a fake",
        needs=f"{node.name} holds {seen or 'nothing'}",
        inverse=Inverse("set it back", "set", {"want": seen}),
        after=tuple(f"{entry.name}/{name}/set" for name in node.after),
        is_manual=node.person,
        settle=entry.settle,
        in_flight=entry.in_flight,
    )


def set_of(step: Step) -> Set:
    return read_arguments(step.arguments, Set)


@guard("forbidden")
def _forbidden(case: GuardContext):
    for step in case.plan.steps:
        if set_of(step).want == "forbidden":
            yield Diagnostic(
                Severity.ERROR,
                "forbidden",
                f"{step.node} may not",
                "do not",
                target=f"{case.plan.cluster}/{step.node}",
            )


@dataclass(frozen=True)
class Paper:
    """A fleet file that knows only its name."""

    name: str = "fleet.yaml"
    value: Any = None

    def read_word(self, pointer: str) -> str:
        return ""

    def position(self, pointer: str, *, key: bool = False) -> Position:
        return Position(self.name, 1 + pointer.count("/"), 1)


def cluster(name: str, nodes: Mapping[str, str | FakeNode], **more: Any) -> FakeCluster:
    """A cluster whose nodes are to hold these texts."""
    listed = tuple(
        node if isinstance(node, FakeNode) else FakeNode(name=key, value=node) for key, node in nodes.items()
    )
    return FakeCluster(name=name, nodes=listed, **more)


def fleet(
    *clusters: FakeCluster,
    feedback: FeedbackEntry | None = None,
    revision: Revision = REVISION,
    overrides: tuple[Override, ...] = (),
    policies: Mapping[str, Policy] = MappingProxyType({}),
    change_rules: ChangeRules | None = None,
) -> Fleet:
    """The fleet that a fleet file with these clusters stands for."""
    paper = Paper()
    change_rules_by_cluster = {entry.name: (change_rules or ChangeRules()).of(entry) for entry in clusters}
    cluster_inputs = tuple(
        ClusterInput(entry, paper, f"/clusters/{index}", revision) for index, entry in enumerate(clusters)
    )
    return Fleet(
        revision,
        paper,
        cluster_inputs,
        feedback,
        overrides=overrides,
        policies=policies,
        change_rules_by_cluster=change_rules_by_cluster,
    )


NOWHERE = Transports()
"""No way to any node: nothing of the fake product travels."""


class FleetSource(Source):
    """A source that has no files: whoever wants its fleet asks for it."""

    def __init__(self, fleet: Any = None) -> None:
        self.fleet = fleet

    async def snapshot(self) -> Snapshot:
        raise AssertionError("nothing is read from files here")
