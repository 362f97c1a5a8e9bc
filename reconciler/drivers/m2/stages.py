"""The worlds in which a plan for M2 nodes may begin: few nodes that stand for all; pure.

Nodes that do the same in every case are of one kind, and the model checker walks a few of each: all of
them where there are few, three of a kind where there is one kind, otherwise every two kinds together,
because nodes have to do with each other in pairs only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations, product
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.core.play import Stage
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.access import access
from reconciler.drivers.m2.callers import READ_MORE, callers, said_of_access
from reconciler.drivers.m2.choices import DEFAULTS, Choices, Match, Port, Shown
from reconciler.drivers.m2.hearing import ring
from reconciler.drivers.m2.impact import NEEDED, able, waits
from reconciler.drivers.m2.judge import carries
from reconciler.drivers.m2.rehearsal import M2Play
from reconciler.drivers.m2.schema import Deliver, Desired, Loaded, Target
from reconciler.drivers.m2.seats import Player, Seat, World
from reconciler.drivers.m2.shapes import Shapes

FEW: Final = 3
"""Nodes that are walked together at most."""

MOST: Final = 45
"""Pairs of kinds that are walked at most: those of nine kinds."""

_PORT: Final = "env.management.api.port"


def stages(desired: Desired, observed: Observed[Loaded], plan: ClusterPlan) -> tuple[Stage[World], ...] | str:
    """What stands for a plan, or why nothing can.

    Args:
        desired: what the plan was made for.
        observed: what it was made from.
        plan: one that has steps.
    """
    steps = {step.node: step for step in plan.steps}
    if any(desired.payloads[target.payload].missing for target in desired.targets if target.node in steps):
        return "a secret is not known here, so that what would be delivered is not known either"
    read = [one for one in desired.targets if isinstance(observed.nodes.get(one.node), Present | Absent)]
    if len(read) <= FEW and len(read) == len(desired.targets) == len(desired.entry.nodes):
        return (_stage(desired, observed, plan, read, ""),)
    kinds: dict[tuple[Any, ...], list[Target]] = {}
    for target in read:
        kind = _kind(desired, target, observed, steps.get(target.node))
        if kind is not None:
            kinds.setdefault(kind, []).append(target)
    chosen = list(_chosen(list(kinds.values()), steps.keys()))
    words = _words(len(kinds), sum(map(len, kinds.values())), len(chosen[0]))
    return tuple(_stage(desired, observed, plan, nodes, words) for nodes in chosen[:MOST])


def _words(kinds: int, nodes: int, walked: int) -> str:
    if kinds == 1:
        return f"{walked} nodes stand for {nodes} of one kind" if walked < nodes else ""
    pairs = kinds * (kinds + 1) // 2
    cut = f", the first {MOST} of {pairs} pairs" if pairs > MOST else ""
    return f"every two of {kinds} kinds of nodes stand for {nodes}{cut}"


def _chosen(kinds: Sequence[Sequence[Target]], planned: Iterable[str]) -> Iterator[list[Target]]:
    """Which nodes are walked together; two that stay as they are need no walk."""
    changed = frozenset(planned)
    if len(kinds) == 1:
        yield list(kinds[0][:FEW])
        return
    for kind in kinds:
        if kind[0].node in changed:
            yield list(kind[:2])
    for one, other in combinations(kinds, 2):
        if one[0].node in changed or other[0].node in changed:
            yield [one[0], other[0]]


def _kind(
    desired: Desired, target: Target, observed: Observed[Loaded], step: Step | None
) -> tuple[Any, ...] | None:
    """All that decides what may become of a node; none where it neither changes nor is in a cluster."""
    answer = observed.nodes[target.node]
    loaded = answer.value if isinstance(answer, Present) else None
    before, after = loaded.content if loaded else None, target.content
    rings = tuple(
        (one.port, one.base, one.members) if one else None
        for one in (ring(content.canonical) if content else None for content in (before, after))
    )
    if step is None and rings[0] is None:
        return None
    player = _player(desired, target, loaded)
    ports = tuple(
        machine.lookup(content.canonical, _PORT) if content else None for content in (before, after)
    )
    return (
        step is None,
        loaded is None,
        rings,
        ports[0] == ports[1],
        player.direct,
        tuple(_powers(content, player.hosts) for content in (before, after)),
        bool(waits(before, after)) if before else False,
        bool(loaded and loaded.waiting),
        carries(loaded.held if loaded else None, desired.resources),
        step.wave if step else 0,
    )


def _powers(content: Any, hosts: tuple[str, ...]) -> tuple[Any, ...]:
    """What a setting lets the hosts do under every rule, and whether it lets anybody."""
    said = said_of_access(content) if content else None
    rights = tuple(
        tuple(permission in rights for permission in (NEEDED, READ_MORE))
        for rights in (
            access(said, host, Choices(match=match, open_without_list=free)).permissions
            for host, match, free in product(hosts, Match, (True, False))
        )
    )
    return bool(able(said or {})), rights


def _player(desired: Desired, target: Target, loaded: Loaded | None) -> Player:
    """A node with the hosts that manage it: the known ones, or else one address for each that may."""
    known = callers(
        loaded.content if loaded else None, desired.entry.management, loaded.caller if loaded else ""
    )
    hosts: tuple[str, ...] = known.addresses if known.rules else ()
    if loaded is not None and not hosts:
        spans = able(said_of_access(loaded.content))
        hosts = tuple(
            str(ip_address(span.low.to_bytes(4 if span.version == 4 else 16, "big")))  # noqa: PLR2004
            for span in spans[:FEW]
        )
    at = loaded.base if loaded and loaded.base else target.bases[0]
    port = machine.lookup(loaded.content.canonical, _PORT) if loaded else None
    return Player(target, hosts, urlsplit(at).port == port, loaded.caller if loaded else "")


def _stage(
    desired: Desired,
    observed: Observed[Loaded],
    plan: ClusterPlan,
    targets: Sequence[Target],
    words: str,
) -> Stage[World]:
    """A play of some nodes, with as much at once as fits: all where all is, otherwise one less."""
    names = {target.node for target in targets}
    steps = tuple(step for step in plan.steps if step.node in names)
    fits = len(plan.steps) <= plan.concurrency
    at_once = len(targets) if fits else max(1, min(plan.concurrency, len(targets) - 1))
    nodes = tuple(node for node in desired.entry.nodes if node.name in names)
    entry = desired.entry.model_copy(update={"nodes": nodes, "concurrency": at_once})
    part = replace(desired, entry=entry, targets=tuple(targets), notes=())
    shapes = Shapes()
    seats, players = [], []
    for target in targets:
        answer = observed.nodes[target.node]
        loaded = answer.value if isinstance(answer, Present) else None
        players.append(_player(desired, target, loaded))
        at = loaded.base if loaded and loaded.base else target.bases[0]
        seats.append(Seat(shapes.begun(loaded, _delivered(desired, target, shapes)), at))
    answers = [observed.nodes[target.node] for target in targets]
    rules = tuple(_rules(players, seats, shapes)) or (DEFAULTS,)
    backups = all(
        not (isinstance(one, Present) and one.value.shows(target.content.fingerprint))
        or one.value.held is not None
        for one, target in zip(answers, targets, strict=True)
    )
    play = M2Play(part, tuple(players), rules, shapes, backups=backups)
    worlds = tuple(World(number, tuple(seats)) for number in range(len(rules)))
    play.whole = not play.apart(worlds[0])
    reduced = replace(plan, steps=steps, nodes=len(nodes), unchanged=0, findings=(), concurrency=at_once)
    return Stage(play, worlds, part, reduced, words)


def _delivered(desired: Desired, target: Target, shapes: Shapes) -> machine.Node:
    """A node with what lies ready for it, on its disk or in its repository."""
    package = shapes.package(target.content)
    match desired.entry.deliver:
        case Deliver.LOCAL:
            return machine.Node(local=package)
        case Deliver.CHECKOUT:
            return machine.Node(repository=package)
        case _:
            return machine.Node()


def _rules(players: Sequence[Player], seats: Sequence[Seat], shapes: Shapes) -> Iterator[Choices]:
    """The ways in which the nodes may behave, given that they have just been read; one of each effect."""
    known: set[tuple[Any, ...]] = set()
    pairs = [
        (seat.shape, shapes.wanted(player.target.content))
        for player, seat in zip(players, seats, strict=True)
    ]
    waiting = any(shapes.may_wait(*pair) for pair in pairs)
    moved = any(
        player.direct and len({shapes.port(shape) for shape in pair}) > 1
        for player, pair in zip(players, pairs, strict=True)
    )
    for match, free, shown, port in product(Match, (True, False), Shown, Port):
        rule = Choices(match=match, open_without_list=free, shown=shown, port=port)
        rights = tuple(
            tuple(shapes.rights(shape, host, rule) for shape in pair for host in player.hosts)
            for player, pair in zip(players, pairs, strict=True)
        )
        barred = any(
            player.hosts and not any(NEEDED in shapes.rights(seat.shape, host, rule) for host in player.hosts)
            for player, seat in zip(players, seats, strict=True)
        )
        effect = (rights, shown if waiting else None, port if moved else None)
        if not barred and effect not in known:
            known.add(effect)
            yield rule
