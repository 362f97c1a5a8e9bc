"""M2 on the model checker's stage: nodes, what may happen to them, and what must never happen by our act.

Each node is `machine`; the planner, the guards and the judgement are the real ones; only the wire is left
out. Nodes have nothing to do with each other but that those of a cluster have to find each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.core.diff import Change
from reconciler.core.observation import Absent, Observation, Observed, Present, Unauthorized, Unreachable
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.step import Standing
from reconciler.drivers.m2 import machine, planner
from reconciler.drivers.m2.arguments import Checkout, Upload, delivery_of
from reconciler.drivers.m2.choices import Choices, Port
from reconciler.drivers.m2.feed_topology import ring
from reconciler.drivers.m2.judge import carries, judge
from reconciler.drivers.m2.management_access import READ_MORE
from reconciler.drivers.m2.modelcheck.seats import Player, Seat, World, seated
from reconciler.drivers.m2.modelcheck.shapes import Shapes
from reconciler.drivers.m2.risk import NEEDED
from reconciler.drivers.m2.schema import Desired, Expected, Loaded

_CLUSTER: Final = "/env/management/cluster"


@dataclass(slots=True)
class M2Play:
    """Some nodes of one cluster under one desired state; see `core.play.Play`.

    Args:
        desired: what every pass plans for, of these nodes alone.
        players: in the order of a world's seats.
        rules: the ways in which nodes may behave where M2's pages are silent.
        shapes: what the nodes have, by number.
        backups: whether nodes tell which files they have.
    """

    desired: Desired
    players: tuple[Player, ...]
    rules: tuple[Choices, ...]
    shapes: Shapes
    backups: bool = True
    _places: Mapping[str, int] = field(init=False)
    _answers: dict[tuple[int, Seat, int, Expected, tuple[str, ...]], Observation[Loaded]] = field(
        init=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        self._places = {player.name: place for place, player in enumerate(self.players)}

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        """A node fails or is cut off from this host, or somebody else changes its setting."""
        for place, (player, seat) in enumerate(zip(self.players, world.seats, strict=True)):
            if not seat.up:
                continue
            yield f"{player.name} fails", seated(world, place, seat._replace(up=False))
            if not seat.far:
                yield (
                    f"{player.name} is cut off from this host",
                    seated(world, place, seat._replace(far=True)),
                )
            for story, shape in self.shapes.foreign(seat.shape, player.target.content):
                after = seat._replace(shape=shape, ours=False, again=False)
                yield f"somebody else {story} {player.name}", seated(world, place, after)

    def returns(self, world: World) -> Iterator[tuple[str, World]]:
        """A stopped node is started, one that was cut off is reached again, one that waits is restarted."""
        for place, (player, seat) in enumerate(zip(self.players, world.seats, strict=True)):
            if not seat.up:
                yield f"{player.name} is started", seated(world, place, self._restarted(world, player, seat))
            elif self.shapes.waiting(seat.shape):
                after = self._restarted(world, player, seat)
                yield f"somebody restarts {player.name}, which waits for it", seated(world, place, after)
            if seat.far:
                yield f"{player.name} is reached again", seated(world, place, seat._replace(far=False))

    def observed(self, world: World) -> Observed[Loaded]:
        """What the driver's `observe` would see."""
        targets = [player.target for player in self.players]
        return Observed(
            {
                target.node: self._answer(world, place, self.desired.expected(target.content), target.bases)
                for place, target in enumerate(targets)
            }
        )

    def plan(self, world: World) -> ClusterPlan:
        """What a pass that begins now would plan."""
        return planner.plan(self.desired, self.observed(world))

    def standing(self, world: World, step: Step) -> Standing:
        """How a delivery stands, judged from what its node answers."""
        place, own = self._places[step.node], delivery_of(step)
        return judge(step, self._answer(world, place, Expected(own.after), own.bases)).standing

    def performed(self, world: World, step: Step) -> World:
        """What a delivery makes of its node; the same where it does not arrive or is not taken."""
        place, own = self._places[step.node], delivery_of(step)
        seat, player = world.seats[place], self.players[place]
        if not self._reached(world, place) or seat.at != own.bases[0]:
            return world
        if NEEDED not in self._rights(world, place):
            return world
        shape = self.shapes.shape(seat.shape)
        result: machine.Accepted | machine.Refused
        match own:
            case Upload():
                payload = self.desired.payloads[own.payload]
                result = machine.upload(
                    shape.node, self.shapes.package(player.target.content, payload.resources)
                )
            case Checkout():
                result = machine.checkout(shape.node)
            case _:
                result = machine.deploy_local(shape.node)
        if isinstance(result, machine.Refused):
            return world
        number = self.shapes.number(result.node, self.desired.resources or shape.held)
        content = self.shapes.loaded(number)
        ours = content is not None and content.fingerprint == own.after
        again = ours and seat.ours and number == seat.shape
        return seated(world, place, seat._replace(shape=number, ours=ours, again=again))

    def halves(self, world: World, step: Step) -> Iterator[tuple[str, World]]:  # noqa: ARG002  (see Play)
        """A node takes a setting whole or not at all."""
        return iter(())

    def against(self, world: World, step: Step) -> str:
        """A node that has not the setting any more that was planned from."""
        seat, own = world.seats[self._places[step.node]], delivery_of(step)
        has = {
            content.fingerprint
            for content in (self.shapes.loaded(seat.shape), self.shapes.running(seat.shape))
            if content is not None
        } or {""}
        bare = carries(self.shapes.shape(seat.shape).held, own.resources) is False
        if own.before in has or (bare and own.after in has):
            return ""
        return f"{step.id} begins, and would overwrite what somebody else has changed meanwhile"

    def broken(self, before: World, step: Step, after: World) -> str:
        """A node nobody could change again, a delivery made twice, a cluster in two parts."""
        place = self._places[step.node]
        old, new = before.seats[place], after.seats[place]
        if new.again and not old.again:
            return f"{step.id} delivers once more what it has delivered already"
        if old.shape == new.shape:
            return ""
        return self._shut(before.rule, place, step, new.shape, old.shape) or self._parting(
            before, step, after
        )

    def left(self, world: World, plan: ClusterPlan) -> str:
        """A cluster in two parts because of steps that change whom a node finds."""
        moved = {step.node for step in plan.steps if any(map(_of_ring, step.changes))}
        apart = [pair for pair in self.apart(world) if moved & {*pair}]
        return f"the run leaves {' and '.join(min(apart))} unable to find each other" if apart else ""

    def effective(self, world: World, step: Step) -> bool:
        """Whether the node has what was to be delivered."""
        number, own = world.seats[self._places[step.node]].shape, delivery_of(step)
        content = self.shapes.loaded(number)
        held = carries(self.shapes.shape(number).held, own.resources)
        return content is not None and content.fingerprint == own.after and held is True

    def _shut(self, rule: int, place: int, step: Step, new: int, old: int) -> str:
        choices, player = self.rules[rule], self.players[place]
        for host in player.hosts:
            may = (NEEDED in self.shapes.rights(number, host, choices) for number in (old, new))
            if tuple(may) == (True, False):
                return f"{step.id} shuts {host} out of {player.name}, which it then cannot change again"
        if self.shapes.repairable(old, choices) and not self.shapes.repairable(new, choices):
            return f"after {step.id} nobody may change {player.name} again"
        base = delivery_of(step).bases[0]
        at = self._moved(rule, player, new, base)
        if at not in (base, *player.target.bases):
            return f"once it is restarted, {player.name} answers at {at}, where no further pass looks for it"
        return ""

    def _moved(self, rule: int, player: Player, shape: int, at: str) -> str:
        """Where a node answers that is restarted with this setting."""
        moves = self.rules[rule].port is Port.RESTART and player.direct
        return f"{at.rpartition(':')[0]}:{self.shapes.port(shape)}" if moves else at

    def _parting(self, before: World, step: Step, after: World) -> str:
        """A step parts a cluster, but where all that have to move do so at once."""
        apart = self.apart(after) - self.apart(before)
        if not apart:
            return ""
        moving = sum(
            not self._meets(seat.shape, player)
            for player, seat in zip(self.players, before.seats, strict=True)
        )
        if step.wave == 0 and moving <= self.desired.entry.concurrency:
            return ""
        return f"{step.id} parts the cluster: {' and '.join(min(apart))} no longer find each other"

    def _meets(self, shape: int, player: Player) -> bool:
        """Whether a node finds, as it is, what it is to find."""
        old, new = self.shapes.ring(shape), ring(player.target.content.canonical)
        return old is None or new is None or old.meets(new)

    def apart(self, world: World) -> frozenset[tuple[str, str]]:
        """The pairs of running nodes of the cluster that do not find each other."""
        rings = [
            (player.name, self.shapes.ring(seat.shape))
            for player, seat in zip(self.players, world.seats, strict=True)
            if seat.up
        ]
        return frozenset(
            (one, other)
            for index, (one, here) in enumerate(rings)
            for other, there in rings[index + 1 :]
            if here is not None and there is not None and not here.meets(there)
        )

    def _restarted(self, world: World, player: Player, seat: Seat) -> Seat:
        number = self.shapes.restarted(seat.shape)
        at = self._moved(world.rule, player, number, seat.at)
        kept = number == seat.shape
        return seat._replace(shape=number, at=at, up=True, ours=seat.ours and kept, again=seat.again and kept)

    def _reached(self, world: World, place: int) -> bool:
        return world.seats[place].up and not world.seats[place].far

    def _rights(self, world: World, place: int) -> frozenset[str]:
        """What this host, or any other that manages the node, may do there."""
        hosts, shape = self.players[place].hosts, world.seats[place].shape
        if not hosts:
            return frozenset({NEEDED, READ_MORE})
        rule = self.rules[world.rule]
        return frozenset[str]().union(*(self.shapes.rights(shape, host, rule) for host in hosts))

    def _answer(
        self, world: World, place: int, expected: Expected, bases: tuple[str, ...]
    ) -> Observation[Loaded]:
        key = (place, world.seats[place], world.rule, expected, bases)
        if key not in self._answers:
            self._answers[key] = self._answered(world, place, expected, bases)
        return self._answers[key]

    def _answered(
        self, world: World, place: int, expected: Expected, bases: tuple[str, ...]
    ) -> Observation[Loaded]:
        seat, rule = world.seats[place], self.rules[world.rule]
        if not self._reached(world, place) or seat.at not in bases:
            return Unreachable("connection refused" if not seat.up else "it did not answer in time")
        rights = self._rights(world, place)
        if NEEDED not in rights:
            return Unauthorized("this host may not read its setting (401)")
        content = self.shapes.shown(seat.shape, rule)
        if content is None:
            return Absent("it answered 404: no setting is loaded yet")
        waiting, asked = None, None
        if READ_MORE in rights:
            waiting, asked = self.shapes.open_questions(seat.shape, rule, expected)
        prints = (asked.fingerprint, asked.unstamped) if asked else ("", "")
        here = expected.is_met_by(content.fingerprint, content.unstamped) or expected.is_met_by(*prints)
        held = (
            self.shapes.shape(seat.shape).held if self.backups and self.desired.resources and here else None
        )
        caller = self.players[place].caller
        return Present(Loaded(content, seat.at, waiting, prints[0], held, caller, asked_unstamped=prints[1]))


def _of_ring(change: Change) -> bool:
    """Whether a change, or one of those that are told together at its place, touches the cluster."""
    place = change.pointer
    return place.startswith(_CLUSTER) or _CLUSTER.startswith(f"{place}/")
