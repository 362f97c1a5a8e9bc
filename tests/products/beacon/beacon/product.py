"""A cluster of beacons that flash one pattern: set as a whole, by a command, with no way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import Field

from reconciler.core.arguments import TypedArguments, read_arguments
from reconciler.core.entries import ClusterEntry, NodeEntry
from reconciler.core.observation import Observation, Observed, Present, Unreachable
from reconciler.core.plan import ClusterPlan, Effect, Inverse, Payload, Risk, Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import NodeError, UsageError
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.driver import Capabilities, Driver, LiveState, StepAnswer
from reconciler.ports.simulator import Simulator
from reconciler.ports.transport import Commands, TransportKind, Transports


class Beacon(NodeEntry):
    """One light."""

    address: str = Field(description="Where it is controlled.", examples=["192.0.2.7:20001"])

    def endpoint(self) -> str:
        """Where it is controlled."""
        return self.address


class Beacons(ClusterEntry):
    """Lights that flash one pattern."""

    pattern: str = Field(pattern="^[a-z]+$", description="How all of them flash.", examples=["slow"])
    nodes: tuple[Beacon, ...] = Field(min_length=1, description="The lights; the first controls the others.")


@dataclass(frozen=True, slots=True, eq=False)
class SetPattern(TypedArguments):
    """What the one step needs.

    Args:
        pattern: the one to flash.
        before: node -> the pattern that it flashed when the step was planned.
        addresses: node -> where it is controlled.
        names: the nodes that it speaks for; the program reads this key of any product's plain form.
    """

    pattern: str
    before: Mapping[str, str]
    addresses: Mapping[str, str]
    names: tuple[str, ...]

    @property
    def named_nodes(self) -> tuple[str, ...]:
        """The step speaks for all lights."""
        return self.names


class BeaconDriver(Driver[Beacons, str]):
    """Beacons; what one shows is its pattern."""

    kind = "beacon"
    title = "beacon"
    entry = Beacons
    capabilities = Capabilities(imports=True, simulation=True, transports=frozenset({TransportKind.COMMAND}))
    actions = MappingProxyType({"set": SetPattern})

    def desire(self, cluster_input: ClusterInput) -> Beacons:
        """The entry itself."""
        assert isinstance(cluster_input.entry, Beacons)
        return cluster_input.entry

    async def observe(self, desired: Beacons, transports: Transports) -> Observed[str]:
        """Ask every light."""
        return await _shown({node.name: node.address for node in desired.nodes}, transports.commands)

    def plan(self, desired: Beacons, observed: Observed[str]) -> ClusterPlan:
        """One step for the whole cluster, where a light flashes otherwise and all of them answer."""
        findings = tuple(_silent(desired, name, answer) for name, answer in observed.nodes.items())
        flashing = observed.present()
        right = sum(pattern == desired.pattern for pattern in flashing.values())
        needed = observed.complete and right < len(desired.nodes)
        return ClusterPlan(
            desired.name,
            self.kind,
            nodes=len(desired.nodes),
            unchanged=right,
            steps=(_step(desired, flashing),) if needed else (),
            findings=tuple(finding for finding in findings if finding is not None),
        )

    async def observe_step(self, step: Step, transports: Transports) -> Observed[str]:
        """Ask every light again."""
        return await _shown(read_arguments(step.arguments, SetPattern).addresses, transports.commands)

    def judge(self, step: Step, seen: Observed[str]) -> StepVerdict:
        """Done where all flash the pattern, ready where all flash as before."""
        arguments, flashing = read_arguments(step.arguments, SetPattern), seen.present()
        if not seen.complete:
            silent = sorted(seen.nodes.keys() - flashing.keys())
            return StepVerdict(StepStatus.UNKNOWN, f"{', '.join(silent)} does not answer")
        if set(flashing.values()) == {arguments.pattern}:
            return StepVerdict(StepStatus.DONE, f"all flash {arguments.pattern}")
        if flashing == arguments.before:
            return StepVerdict(StepStatus.READY, "all flash as before")
        return StepVerdict(StepStatus.CHANGED, "they flash neither as before nor as wanted")

    async def act(self, step: Step, transports: Transports, payloads: Mapping[str, Payload]) -> StepAnswer:
        """Run the command that sets the pattern, once."""
        arguments = read_arguments(step.arguments, SetPattern)
        values = {"host": arguments.addresses[step.node], "pattern": arguments.pattern}
        return StepAnswer(await transports.commands.run("beacon-set", values, node=step.node))

    async def read_cluster_entry(
        self, name: str, addresses: Sequence[str], transports: Transports
    ) -> dict[str, Any]:
        """The cluster of the lights at these addresses."""
        found = [await _told(address, address, transports.commands) for address in addresses]
        patterns = sorted({light["pattern"] for light in found})
        if len(patterns) > 1:
            raise UsageError(f"the lights of {name} flash {' and '.join(patterns)}", remedy="set one first")
        nodes = [{"name": light["name"], "address": at} for light, at in zip(found, addresses, strict=True)]
        return {"name": name, "kind": self.kind, "pattern": patterns[0], "nodes": nodes}

    def build_live_state(self, desired: Beacons, observed: Observed[str]) -> LiveState:
        """The lights that the entry names, as long as all of them answer."""
        missing = tuple(
            f"{name} does not answer" for name in observed.nodes.keys() - observed.present().keys()
        )
        nodes = tuple({"name": node.name, "address": node.address} for node in desired.nodes)
        return LiveState(nodes=nodes, missing=missing)

    def simulator(self) -> Simulator:
        """Simulated lights."""
        from beacon.simulator import BeaconSimulator  # noqa: PLC0415  (few runs need it)

        return BeaconSimulator()


def _step(desired: Beacons, flashing: Mapping[str, str]) -> Step:
    controller = desired.nodes[0].name
    addresses = {node.name: node.address for node in desired.nodes}
    patterns = ", ".join(f"{name} flashes {pattern}" for name, pattern in flashing.items())
    return Step(
        id=f"{desired.name}/{controller}/set",
        cluster=desired.name,
        node=controller,
        action="set",
        arguments=SetPattern(desired.pattern, dict(flashing), addresses, tuple(addresses)),
        reason=patterns,
        effect=Effect.HOT,
        risk=Risk.LOW,
        risk_reason="the lights go on flashing meanwhile",
        needs="all flash as before",
        inverse=Inverse("set the pattern of before again"),
        settle=desired.timeouts.settle,
        in_flight=desired.timeouts.in_flight,
    )


async def _told(name: str, address: str, commands: Commands) -> Any:
    """What one light says of itself: an object with its name and its pattern."""
    return json.loads(await commands.read("beacon-show", {"host": address}, node=name))


async def _shown(addresses: Mapping[str, str], commands: Commands) -> Observed[str]:
    async def ask(name: str, address: str) -> Observation[str]:
        try:
            return Present(str((await _told(name, address, commands))["pattern"]))
        except NodeError as error:
            return Unreachable(error.reason)
        except (ValueError, TypeError, KeyError):
            return Unreachable("what it says is not what a beacon says")

    answers = await asyncio.gather(*(ask(name, address) for name, address in addresses.items()))
    return Observed(dict(zip(addresses, answers, strict=True)))


def _silent(desired: Beacons, name: str, answer: Observation[str]) -> Diagnostic | None:
    if not isinstance(answer, Unreachable):
        return None
    return Diagnostic(
        Severity.ERROR,
        "node-unreachable",
        f"{name} cannot be asked: {answer.reason}",
        "bring it back, or take it out of the fleet file",
        target=f"{desired.name}/{name}",
    )


DRIVER = BeaconDriver()
