"""Every course that a Sora plan can take, explored: clusters of 3, 4 and 5 with temporary nodes and faults.

    python benchmarks/states.py [FAULTS] [PASSES]

For each cluster size, number of temporary nodes, commit and behaviour of the product where its documents
are silent, all interleavings of the reconciler with up to FAULTS (2) failures or partitions and one kill
of the reconciler are walked, over PASSES (2) passes. Exit status 1 and the story where an invariant breaks.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

from reconciler.core.guard import Guard, GuardContext, run_guards
from reconciler.core.observation import Observed
from reconciler.core.plan import ClusterPlan
from reconciler.drivers.sora import machine, modelcheck
from reconciler.drivers.sora.choices import (
    Choices,
    MinorityListing,
    RepeatedInit,
    UndocumentedCall,
    UninitialisedListing,
)
from reconciler.drivers.sora.cluster_state import (
    State,
    compute_quorum,
    get_registered,
    make_formed_state,
    make_fresh_state,
)
from reconciler.drivers.sora.guards import GUARDS
from reconciler.drivers.sora.history import ClusterPast, EarlierNode
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel
from reconciler.drivers.sora.schema import NodeView, SoraCluster, SoraDesired
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import Exploration, explore_states
from reconciler.modelcheck.state_table import StateTable

LITERAL = Choices(purge_cut_off=UndocumentedCall.REFUSE)
BEHAVIOURS = {
    "as documented": LITERAL,
    "permissive": Choices(
        repeated_init=RepeatedInit.RESET,
        init_with_away=UndocumentedCall.ACCEPT,
        purge_cut_off=UndocumentedCall.REFUSE,
    ),
    "refusing": Choices(
        repeated_register=UndocumentedCall.REFUSE,
        returned_register=UndocumentedCall.REFUSE,
        purge_cut_off=UndocumentedCall.REFUSE,
        list_uninitialised=UninitialisedListing.ERROR,
        list_without_majority=MinorityListing.ERROR,
    ),
    "refusing without a reason": Choices(
        init_with_away=UndocumentedCall.ACCEPT,
        purge_cut_off=UndocumentedCall.REFUSE,
        list_uninitialised=UninitialisedListing.OTHER_ERROR,
        list_without_majority=MinorityListing.OTHER_ERROR,
    ),
    "refusing without a reason or statistics": Choices(
        purge_cut_off=UndocumentedCall.REFUSE,
        list_uninitialised=UninitialisedListing.OTHER_ERROR,
        list_without_majority=MinorityListing.ERROR,
        statistics=UndocumentedCall.REFUSE,
    ),
}


class Commit(NamedTuple):
    """A starting world and what a commit then wants.

    Args:
        world: nodes in the order: members, spare regular, temporary ones.
        wanted: numbers of the nodes that the fleet file names.
        at_once: how many steps may be under way.
        timeouts: of the cluster's entry.
        modes: number of a node -> what the fleet file says it accepts.
        named: numbers of the nodes that an earlier revision named.
        members: numbers of the nodes that the store knows as members.
        hidden: numbers of the nodes whose API this host cannot ask.
        collapsed: whether the fleet file says that the cluster has collapsed.
        gone: numbers of the nodes that are lost for good.
        confirmed: whether a person has looked, and approves the first plan where nothing proves it.
    """

    story: str
    world: State
    wanted: tuple[int, ...]
    at_once: int = 1
    timeouts: Mapping[str, float] = MappingProxyType({})
    modes: Mapping[int, str] = MappingProxyType({})
    named: tuple[int, ...] = ()
    members: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    collapsed: bool = False
    gone: tuple[int, ...] = ()
    confirmed: bool = False


def commits(regular: int, temporary: int) -> Iterator[Commit]:
    """What people do to a cluster of so many regular and temporary nodes; one spare regular node runs."""
    kinds = [False] * (regular + 1) + [True] * temporary
    members, spare = range(regular), regular
    extra = tuple(range(regular + 1, regular + 1 + temporary))
    healthy = make_formed_state(kinds, outside=1 << spare)
    bare = make_formed_state(kinds, outside=sum(1 << one for one in (spare, *extra)))
    yield Commit("nothing changes", healthy, (*members, *extra))
    yield Commit("a new cluster", make_fresh_state(kinds), (*members, *extra), confirmed=True)
    yield Commit("one more regular node", healthy, (*members, spare, *extra))
    yield Commit("a dead node is replaced", machine.stop(healthy, 0), (*members[1:], spare, *extra))
    yield Commit("a dead node is removed", machine.stop(healthy, 0), (*members[1:], *extra))
    yield Commit("a live node is replaced", healthy, (*members[1:], spare, *extra))
    yield Commit("a live node is removed", healthy, (*members[1:], *extra))
    yield from losses(healthy, members, spare, extra)
    if temporary:
        yield Commit("the temporary nodes join", bare, (*members, *extra))
        yield Commit("the temporary nodes leave", healthy, tuple(members))


def losses(healthy: State, members: Sequence[int], spare: int, extra: tuple[int, ...]) -> Iterator[Commit]:
    """The majority is lost, and words of the fleet file stand that may be older; nothing is known."""
    apart = machine.partition(healthy, range(len(healthy)))
    for collapsed in (False, True):
        words = "`collapsed` stands" if collapsed else "`initialise: true` was left"
        yield Commit(f"no node reaches another, {words}", apart, (*members, *extra), collapsed=collapsed)
    lost = len(members) - compute_quorum(len(members)) + 1
    world = healthy
    for number in members[:lost]:
        world = machine.stop(world, number)
    if len(members) > modelcheck.SMALLEST:
        wanted = (*members[lost:], spare, *extra)
        gone = tuple(members[:lost])
        yield Commit(
            "a collapsed cluster is rebuilt", world, wanted, collapsed=True, gone=gone, confirmed=True
        )


def names(world: State) -> list[str]:
    """A name for each node of a world."""
    return [f"node-{number}@10.0.0.{number + 1}" for number in range(len(world))]


def desired(commit: Commit) -> SoraDesired:
    """The cluster that the fleet file describes."""
    named = names(commit.world)
    nodes = [
        {
            "name": named[number],
            "api": _api(named[number]),
            "temporary": commit.world[number].temporary,
            **({"mode": commit.modes[number]} if number in commit.modes else {}),
        }
        for number in commit.wanted
    ]
    entry = {"name": "live", "kind": "sora", "stop": {"command": "stop"}, "nodes": nodes}
    gone = {"reason": "gone", "until": "2026-12-31"}
    entry |= {"collapsed": gone} if commit.collapsed else {"initialise": True}
    earlier = {
        named[number]: EarlierNode(
            (_api(named[number]),), number in commit.members, regular=True, required=number in commit.named
        )
        for number in sorted({*commit.named, *commit.members})
        if not commit.world[number].temporary
    }
    cluster = SoraCluster.model_validate(
        {**entry, "concurrency": commit.at_once, "timeouts": dict(commit.timeouts)}
    )
    return SoraDesired(cluster, history=ClusterPast(earlier, bool(commit.members), revision="0" * 12))


def _api(name: str) -> str:
    return f"http://{name.partition('@')[2]}:3000/"


def state_table(commit: Commit, choices: Choices, guards: Sequence[Guard] = GUARDS) -> StateTable[State]:
    """A commit to be played, judged by these guards."""
    wanted = desired(commit)

    def weigh(plan: ClusterPlan, observed: Observed[NodeView]) -> bool:
        # A further pass has no approval: each is for one run.
        is_proven = not any(step.arguments.doubt for step in plan.steps)
        return is_proven and not run_guards(GuardContext(plan, wanted.entry, wanted, observed), guards)

    members = get_registered(commit.world).bit_count()
    named = names(commit.world)
    hidden = frozenset(named[number] for number in commit.hidden)
    gone = frozenset(named[number] for number in commit.gone)
    model = SoraModel(wanted, NodeNumbers(tuple(named)), choices, members, hidden, gone)
    return StateTable(model, weigh, single_node=False)


def explored(commit: Commit, choices: Choices, *, faults: int, passes: int) -> Exploration:
    """All that can come of a commit.

    What the fleet file says counts in every pass, as if each had a state of its own that knows nothing.
    """
    stage = state_table(commit, choices)
    rehearsal = ExecutorModel(stage)
    start = rehearsal.begin(commit.world, faults=faults, passes=passes)
    first = stage.model.plan(commit.world)
    if commit.confirmed and any(step.arguments.doubt for step in first.steps):
        start = rehearsal.under(first, start)
    return explore_states([start], rehearsal.moves)


def main() -> None:
    """A row for each size, the total at the end."""
    faults, passes = [*map(int, sys.argv[1:]), *(2, 2)[len(sys.argv) - 1 :]][:2]
    began, total = time.perf_counter(), 0
    for regular, temporary in product((3, 4, 5), (0, 1, 2)):
        seen, started = 0, time.perf_counter()
        for commit, (behaviour, choices) in product(commits(regular, temporary), BEHAVIOURS.items()):
            result = explored(commit, choices, faults=faults, passes=passes)
            seen += result.states
            if result.broken:
                print(f"{regular}+{temporary}, {commit.story}, {behaviour}: {result.broken}")
                print("\n".join(f"  {number}. {line}" for number, line in enumerate(result.story, 1)))
                sys.exit(1)
        total += seen
        seconds = time.perf_counter() - started
        print(f"{regular} regular, {temporary} temporary: {seen:10,} states, {seconds:6.1f} s", flush=True)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"all, up to {faults} faults: {total:,} states, no violation; {seconds:.0f} s,")
    print(f"{seconds / total * 1e6:.1f} s for a million states, {peak:.0f} MB at the most")


if __name__ == "__main__":
    main()
