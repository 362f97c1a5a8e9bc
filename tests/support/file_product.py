"""A product whose nodes have a file, and a process that reads it when it starts: how a driver uses files."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pydantic import Field

from reconciler.core.arguments import TypedArguments, read_arguments
from reconciler.core.entries import ClusterEntry, NodeEntry
from reconciler.core.file_state import FilePlace
from reconciler.core.observation import Observed, Present, Unreachable
from reconciler.core.observation_digests import digest_observations
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Risk, Step
from reconciler.core.secret import Secret
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.errors import NodeError, NodeRefused, NodeUnreachable
from reconciler.file_delivery import reading, steps
from reconciler.file_delivery.content import OwnedKeys, WholeFile
from reconciler.file_delivery.simulated_machines import SimulatedCommands, SimulatedFiles
from reconciler.ports.driver import Capabilities, Driver, StepAnswer
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.transport import Files, TransportKind, Transports
from reconciler.secrets.redaction import SHAPES
from support.driver import Killed

ENTRY = "conf"


class FileNode(NodeEntry):
    """A node, and what its file has to be: text, or values of keys."""

    text: str = ""
    values: Mapping[str, str | int | bool | None] = Field(default_factory=dict)
    secret: str = ""

    def content(self):
        """What of the file is desired."""
        if self.text:
            return WholeFile((self.text, *((Secret(self.secret, "${env:S}"),) if self.secret else ())))
        secret = {"license": Secret(self.secret, "${env:S}")} if self.secret else {}
        return OwnedKeys({**self.values, **secret})


class FileCluster(ClusterEntry):
    """A cluster of such nodes."""

    kind: str = "filed"
    nodes: tuple[FileNode, ...] = ()
    settle: float = 0.2
    in_flight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Restart(TypedArguments):
    """What a restart needs: the content that the process has to have loaded."""

    digest: str
    count: int

    @property
    def undone_last(self) -> bool:
        return True


@dataclass(frozen=True)
class FileWishes:
    """The desired state."""

    entry: FileCluster
    but: frozenset[str] = frozenset()

    def wishes(self):
        return [
            steps.FileWish(
                cluster=self.entry.name,
                place=FilePlace(ENTRY, node.name),
                content=node.content(),
                settle=self.entry.settle,
                in_flight=self.entry.in_flight,
            )
            for node in self.entry.nodes
            if node.name not in self.but
        ]


class FileDriver(Driver):
    """The product; what a node shows is how often it was started and the digest of what it has loaded."""

    kind = "filed"
    title = "filed"
    entry = FileCluster
    capabilities = Capabilities(
        single_node=True, transports=frozenset({TransportKind.FILE, TransportKind.COMMAND})
    )
    actions = MappingProxyType({**steps.FILE_ACTIONS, "restart": Restart})

    def desire(self, cluster_input):
        return FileWishes(cluster_input.entry)

    def exclude_nodes(self, desired, nodes):
        return replace(desired, but=frozenset(nodes))

    async def observe(self, desired, transports):
        wishes = desired.wishes()
        nodes = [wish.place.node for wish in wishes]
        answers = await asyncio.gather(*(self._ask(node, transports) for node in nodes))
        files = await reading.read_node_files(transports.files, [wish.place for wish in wishes])
        return Observed(dict(zip(nodes, answers, strict=True)), files=files)

    async def _ask(self, node, transports):
        try:
            count, _, digest = (await transports.commands.read("shown", {}, node=node)).partition(" ")
            return Present((int(count), digest))
        except NodeError as error:
            return Unreachable(error.reason)

    def plan(self, desired, observed):
        plans = {wish.place.node: self._plan_node(wish, observed) for wish in desired.wishes()}
        return ClusterPlan(
            desired.entry.name,
            self.kind,
            nodes=len(desired.entry.nodes),
            unchanged=sum(not plan.steps and not plan.findings for plan in plans.values()),
            steps=tuple(step for plan in plans.values() for step in plan.steps),
            findings=tuple(finding for plan in plans.values() for finding in plan.findings),
            payloads={digest: one for plan in plans.values() for digest, one in plan.payloads.items()},
            concurrency=4,
        )

    def _plan_node(self, wish, observed):
        node = wish.place.node
        plan = steps.plan_file(wish, observed.files.get(node, {}).get(ENTRY))
        shown = observed.nodes[node]
        if plan.digest is None or not isinstance(shown, Present) or shown.value[1] == plan.digest:
            return plan
        restart = Step(
            id=f"{wish.cluster}/{node}/restart",
            cluster=wish.cluster,
            node=node,
            action="restart",
            arguments=Restart(digest=plan.digest, count=shown.value[0]),
            reason=f"{node} has not loaded its file",
            effect=Effect.RESTART,
            risk=Risk.MEDIUM,
            risk_reason="its connections end",
            needs="the file is in place",
            inverse=Inverse("restart again with the former file", "restart"),
            after=plan.after,
            settle=wish.settle,
            in_flight=wish.in_flight,
        )
        return replace(plan, steps=(*plan.steps, restart))

    async def observe_step(self, step, transports):
        if steps.is_file_step(step):
            return await reading.read_step_file(step, transports)
        return Observed({step.node: await self._ask(step.node, transports)})

    def judge(self, step, seen):
        if steps.is_file_step(step):
            return steps.judge_file_step(step, seen)
        own, shown = read_arguments(step.arguments, Restart), seen.nodes[step.node]
        if not isinstance(shown, Present):
            return StepVerdict(StepStatus.UNKNOWN, shown.reason)
        count, digest = shown.value
        if digest == own.digest:
            return StepVerdict(StepStatus.DONE, "it has loaded its file")
        return StepVerdict(StepStatus.READY if count == own.count else StepStatus.CHANGED, f"{count} starts")

    async def act(self, step, transports, payloads):
        if steps.is_file_step(step):
            return await steps.perform_file_step(step, transports, payloads)
        return StepAnswer(await transports.commands.run("restart", {}, node=step.node))

    def undo(self, step, observed, payloads):
        if steps.is_file_step(step):
            return steps.undo_file_step(step, observed)
        return None

    def undo_part(self, step, observed, payloads, shown):
        former, now = observed.nodes[step.node], shown.nodes[step.node]
        arguments = Restart(digest=former.value[1], count=now.value[0])
        return replace(step, arguments=arguments, reason="restarts with the former file"), {}

    def fingerprint_purpose(self, step, contents):
        if steps.is_file_step(step):
            return steps.fingerprint_file_purpose(step)
        return super().fingerprint_purpose(step, contents)

    def fingerprint_differences(self, step, observed):
        if steps.is_file_step(step):
            return steps.fingerprint_file_differences(step, observed)
        return super().fingerprint_differences(step, observed)

    def fingerprint_observations(self, desired, observed):
        return digest_observations(observed, redact_text=SHAPES.redact_text)


def machine(content: bytes | None) -> SimulatedMachine:
    """A machine whose process runs with its file."""

    def shown(own, values):
        loaded = own.loaded.get(ENTRY)
        return f"{own.starts} {SimulatedFile(loaded).state().digest}"

    def restart(own, values):
        if own.loaded.get("broken"):
            raise NodeRefused("n", "the process does not start", status=1, code="E")
        own.start()
        return "restarted"

    made = SimulatedMachine({ENTRY: SimulatedFile(content)}, {"shown": shown, "restart": restart})
    made.start()
    return made


@dataclass
class Interrupted(Files):
    """Files whose calls fail as a test says: `(call, number)` -> what happens.

    - `lost`: the effect happens, the answer does not arrive;
    - `nothing`: no answer and no effect;
    - `killed before`, `killed after`: the reconciler dies on either side of the effect.
    """

    below: Files
    faults: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def read(self, place):
        return await self.below.read(place)

    async def stage(self, place, content):
        return await self._call("stage", place, lambda: self.below.stage(place, content))

    async def switch(self, place, *, before, after):
        return await self._call("switch", place, lambda: self.below.switch(place, before=before, after=after))

    async def restore(self, place, *, before, after):
        return await self._call(
            "restore", place, lambda: self.below.restore(place, before=before, after=after)
        )

    async def discard(self, place):
        return await self._call("discard", place, lambda: self.below.discard(place))

    async def _call(self, name, place, perform):
        self.calls.append(name)
        fault = self.faults.pop(name, "")
        if fault == "killed before":
            raise Killed
        if fault == "nothing":
            raise NodeUnreachable(place.node, "timed out")
        answer = await perform()
        if fault == "killed after":
            raise Killed
        if fault == "lost":
            raise NodeUnreachable(place.node, "timed out")
        return answer


@dataclass
class FileWorld:
    """All machines, and the transports to them."""

    machines: dict[str, SimulatedMachine]
    check: object = None

    def __post_init__(self):
        files = SimulatedFiles(self.machines, **({"check": self.check} if self.check else {}))
        self.files = Interrupted(files)
        self.transports = Transports(commands=SimulatedCommands(self.machines), files=self.files)
