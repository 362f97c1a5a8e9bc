"""Clusters, commits and faults in which the planted faults of `mutants.py` have to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import states

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Absent, Observation, Observed, Present
from reconciler.core.plan import ClusterPlan, Revision
from reconciler.core.polled_model import PolledSetup
from reconciler.core.product_model import ModelSetup
from reconciler.core.secret import Secret, reveal
from reconciler.documents.document import parse_document
from reconciler.drivers.m2 import guards as m2_guards
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.modelcheck.model import ModelWorld
from reconciler.drivers.m2.product import DRIVER as M2
from reconciler.drivers.m2.schema import LoadedSetting, M2Cluster
from reconciler.drivers.sora import guards as sora_guards
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.choices import Choices, MinorityListing, UndocumentedCall, UninitialisedListing
from reconciler.drivers.sora.cluster_state import State, make_formed_state, make_fresh_state
from reconciler.drivers.sora.conf_delivery import OUTDATED_START
from reconciler.drivers.sora.conf_model import ConfModel
from reconciler.drivers.sora.membership import NodeNumbers
from reconciler.drivers.sora.modelcheck import SoraModel
from reconciler.drivers.sora.schema import ConfTarget, SoraCluster, SoraDesired
from reconciler.file_delivery.model import ModelFile
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import Exploration, explore_states
from reconciler.modelcheck.offer_model import OfferModel
from reconciler.modelcheck.offer_state import OfferRules
from reconciler.modelcheck.state_table import StateTable
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.node_store import NodeTokens

MOST = 300_000
"""States after which a scene is given up; none needs them."""

PERMISSIVE = Choices(purge_cut_off=UndocumentedCall.ACCEPT, init_with_away=UndocumentedCall.ACCEPT)
"""A cluster that purges a running node that is cut off, and is initialised though a node is away."""

MUTE = Choices(
    init_with_away=UndocumentedCall.ACCEPT,
    purge_cut_off=UndocumentedCall.REFUSE,
    list_uninitialised=UninitialisedListing.OTHER_ERROR,
    list_without_majority=MinorityListing.OTHER_ERROR,
    statistics=UndocumentedCall.REFUSE,
)
"""A cluster whose nodes do not tell whether they lost their majority or were never in one."""

Scene: TypeAlias = Callable[[], Exploration]


def sora(
    world: State,
    wanted: Sequence[int],
    *,
    faults: int = 1,
    choices: Choices = states.LITERAL,
    at_once: int = 1,
    collapsed: bool = False,
    **known: tuple[int, ...],
) -> Scene:
    """A Sora cluster in which a commit names these nodes; `known` is what `states.Commit` has of the past."""

    def walked() -> Exploration:
        commit = states.Commit("", world, tuple(wanted), at_once, collapsed=collapsed, **known)
        state_table = states.state_table(commit, choices)
        rehearsal = ExecutorModel(state_table)
        return explore_states([rehearsal.begin(world, faults=faults)], rehearsal.moves, most=MOST)

    return walked


def confs(
    world: State,
    *,
    faults: int = 1,
    outdated: Sequence[int] = (),
    unfit: bool = False,
    drain: int = 0,
    delivers: bool = True,
    choices: Choices = states.LITERAL,
    **keys: Any,
) -> Scene:
    """A Sora cluster whose sora.conf changes, so that its nodes are restarted, or which is upgraded.

    Args:
        world: before the run.
        faults: see `ExecutorModel`.
        outdated: nodes that were not restarted since their file was changed.
        unfit: whether no node starts with the new file.
        drain: see the fleet file.
        delivers: whether the files are explored; else they are as committed.
        choices: how the cluster behaves.
        keys: further ones of the cluster's entry.
    """

    def walked() -> Exploration:
        model = conf_model(world, unfit=unfit, drain=drain, delivers=delivers, choices=choices, **keys)
        begin = tuple(
            node._replace(
                is_outdated=number in outdated,
                file=(node.file or ModelFile(b"cluster_relay = true\n")) if delivers else None,
            )
            for number, node in enumerate(world)
        )

        def weigh(plan: ClusterPlan, observed: Observed[Any]) -> bool:
            desired = model.desired
            return not run_guards(GuardContext(plan, desired.entry, desired, observed), sora_guards.GUARDS)

        rehearsal = ExecutorModel(StateTable(model, weigh, single_node=False))
        return explore_states([rehearsal.begin(begin, faults=faults)], rehearsal.moves, most=MOST)

    return walked


CONF = b"cluster_relay = false\n"
"""The sora.conf of the scenes as it is to be."""


def conf_model(
    world: State, *, unfit: bool, drain: int, delivers: bool, choices: Choices, **keys: Any
) -> SoraModel:
    """The model of such a cluster."""
    names = tuple(f"n{number}@10.0.0.{number}" for number in range(1, len(world) + 1))
    apis = (f"http://{name.partition('@')[2]}:3000/" for name in names)
    raw: dict[str, Any] = {
        "name": "live",
        "kind": "sora",
        "drain": drain,
        "restart": {"command": "restart", "started": {"command": "started"}},
        "nodes": [
            {"name": name, "api": api, "temporary": node.temporary}
            for name, api, node in zip(names, apis, world, strict=True)
        ],
        **({"conf": {"source": "sora.conf", "file": "sora-conf"}} if delivers else {}),
        **keys,
    }
    recalled = {} if delivers else {name: {OUTDATED_START: "before"} for name in names}
    targets = {name: ConfTarget({"cluster_relay": False}) for name in names} if delivers else {}
    desired = SoraDesired(SoraCluster.model_validate(raw), recalled, confs=targets)
    numbers = NodeNumbers(names)
    files = ConfModel(numbers, "sora-conf", frozenset({CONF} if unfit else ()), "" if unfit else names[0])
    return SoraModel(desired, numbers, choices, len(world), confs=files if delivers else None)


def m2(
    wanted: Mapping[str, Any],
    shown: Mapping[str, Any] | None,
    *,
    nodes: int = 1,
    faults: int = 1,
    at_once: int = 1,
    base: str = "",
    most: int = MOST,
) -> Scene:
    """Like M2 nodes that show one setting, none where `shown` is None, and are to have another."""

    def walked() -> Exploration:
        stage, state_table = m2_stage(wanted, shown, nodes=nodes, at_once=at_once, base=base)
        rehearsal = ExecutorModel(state_table)
        starts = [rehearsal.begin(world, faults=faults) for world in stage.worlds]
        return explore_states(starts, rehearsal.moves, most=most)

    return walked


def m2_stage(
    wanted: Mapping[str, Any],
    shown: Mapping[str, Any] | None,
    *,
    nodes: int = 1,
    at_once: int = 1,
    base: str = "",
    timeouts: Mapping[str, float] = MappingProxyType({}),
) -> tuple[ModelSetup[ModelWorld], StateTable[ModelWorld]]:
    """What `m2` walks: the product's stage, and the ground to play it on."""
    names = [f"edge-{number}" for number in range(1, nodes + 1)]
    listed = [{"name": name, "address": f"{name}.example.com{base}"} for name in names]
    raw = {"name": "edge", "kind": "m2", "setting": "s", "concurrency": at_once, "nodes": listed}
    file, fleet = (
        parse_document("s", json.dumps(wanted).encode()),
        parse_document("f", json.dumps({}).encode()),
    )
    entry = M2Cluster.model_validate({**raw, "timeouts": dict(timeouts)})
    desired = M2.desire(ClusterInput(entry, fleet, "", Revision("", "", ""), dict.fromkeys(names, file)))
    observed = Observed({name: _shown(name, shown) for name in names})
    (stage,) = M2.list_model_setups(desired, observed, M2.plan(desired, observed))
    assert isinstance(stage, ModelSetup)

    def weigh(plan: ClusterPlan, seen: Observed[Any]) -> bool:
        return not run_guards(GuardContext(plan, stage.desired.entry, stage.desired, seen), m2_guards.GUARDS)

    return stage, StateTable(stage.model, weigh, single_node=True)


def _shown(name: str, document: Mapping[str, Any] | None) -> Observation[LoadedSetting]:
    if document is None:
        return Absent("404")
    return Present(
        LoadedSetting(ContentCache().of(document), f"http://{name}.example.com:10040", (), caller="10.0.0.9")
    )


def setting(
    *addresses: str,
    version: str = "A",
    port: int = 10040,
    members: Sequence[str] = (),
    http: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """A setting that lets these addresses in, in this order."""
    cluster = {"meta": {"enable": bool(members)}, "discover": {"members": list(members)}}
    roles = [
        {"name": "admin", "permissions": {"enableSetting": True}},
        {"name": "user", "permissions": {"enableMetric": True}},
    ]
    entries = [
        {"addr": text.lstrip("-"), "role": "user" if text.startswith("-") else "admin"} for text in addresses
    ]
    management = {"api": {"port": port, "allowList": entries}, "roles": roles, "cluster": cluster}
    return {"meta": {"version": version}, "env": {"management": management, "network": {"http": dict(http)}}}


HERE, ELSEWHERE, NET = "10.0.0.9", "10.0.0.1", "10.0.0.0/24"
BEFORE = setting(HERE, ELSEWHERE)
AFTER = setting(HERE, ELSEWHERE, version="B")
SHUT = setting(ELSEWHERE)
HIDDEN = setting(f"-{NET}", HERE)
NOBODY = setting(f"-{NET}")
MOVED = setting(HERE, port=10041)

RINGED, PARTED = setting(HERE, members=["a", "b"]), setting(HERE, members=["a", "c"])


def regular(count: int, *, outside: Sequence[int] = (), down: Sequence[int] = ()) -> State:
    """A cluster of regular nodes, some of them not in it, some of them stopped."""
    world = make_formed_state([False] * count, outside=sum(1 << one for one in outside))
    for one in down:
        world = machine.stop(world, one)
    return world


def cut_off(world: State, node: int) -> State:
    """The same with one node that reaches no other."""
    return machine.partition(world, [1 + node if one == node else 0 for one in range(len(world))])


def apart(world: State) -> State:
    """The same with nodes of which none reaches another."""
    return machine.partition(world, range(len(world)))


def new(count: int) -> State:
    """Nodes that were never in a cluster."""
    return make_fresh_state([False] * count)


POLLS_HERE = {"server": "https://central.example.com:9443"}


def polled(
    *,
    nodes: int = 1,
    stamped: bool = False,
    extra: Mapping[str, Any] = MappingProxyType({}),
    rules: OfferRules | None = None,
    faults: int = 0,
    kills: int = 0,
    commits: int = 0,
    suspensions: int = 0,
    most: int = MOST,
) -> Scene:
    """M2 nodes that poll, and are offered another setting; nothing is explored if a guard refuses it.

    Args:
        nodes: how many.
        stamped: whether the version of each setting is that of its commit.
        extra: keys of the new setting.
        rules: of the rollout; None for waves of one node, whose failure is taken back.
        faults: as for `OfferModel.begin`, like the following ones.
        kills: see there.
        commits: see there.
        suspensions: see there.
        most: states after which the scene is given up.
    """
    rules = rules or OfferRules((1,), returns=True, interleaves=False)

    def walked() -> Exploration:
        setup, is_refused = polled_setup(nodes=nodes, stamped=stamped, extra=extra)
        if is_refused:
            return Exploration(0, 0, 0, complete=True)
        rehearsal = OfferModel(setup.model, rules)
        bounds = {"faults": faults, "kills": kills, "commits": commits, "suspensions": suspensions}
        return explore_states([rehearsal.begin(**bounds)], rehearsal.moves, most=most)

    return walked


def polled_setup(
    *, nodes: int = 1, stamped: bool = False, extra: Mapping[str, Any] = MappingProxyType({})
) -> tuple[PolledSetup, bool]:
    """What `polled` walks, and whether a guard refuses the plan."""
    names = [f"edge-{number}" for number in range(1, nodes + 1)]
    raw = {
        "name": "edge",
        "kind": "m2",
        "setting": "s",
        "deliver": "poll",
        "poll": POLLS_HERE,
        "nodes": [{"name": name} for name in names],
        **({"version": "commit"} if stamped else {}),
    }
    text = json.dumps({**setting(HERE), "functions": {"new": True}}).encode()
    file, fleet = parse_document("s", text), parse_document("f", b"{}")
    entry = M2Cluster.model_validate(raw)
    revision = Revision("test", "c0ffee1" * 5, "c0ffee1")
    desired = M2.desire(ClusterInput(entry, fleet, "", revision, dict.fromkeys(names, file)))
    tokens = {name: NodeTokens(Secret(f"{name}-".ljust(43, "x"))) for name in names}
    desired = M2.assign_tokens(desired, tokens)
    shown = {target.node: _before(target.content.document, stamped=stamped) for target in desired.targets}
    if extra:
        contents = ContentCache()
        changed = [
            replace(target, content=contents.of({**reveal(target.content.document), **extra}))
            for target in desired.targets
        ]
        desired = replace(desired, targets=tuple(changed))
    observed = Observed({name: Present(loaded) for name, loaded in shown.items()})
    plan = M2.plan(desired, observed)
    (setup,) = M2.list_model_setups(desired, observed, plan)
    assert isinstance(setup, PolledSetup)
    found = run_guards(GuardContext(plan, desired.entry, desired, observed), m2_guards.GUARDS)
    return setup, bool(found)


def _before(document: Any, *, stamped: bool) -> LoadedSetting:
    """What a node shows before: the same feeds, and another content."""
    former = {**reveal(document), "functions": {}, "meta": {"version": "0123456" if stamped else "A"}}
    return LoadedSetting(ContentCache().of(former))
