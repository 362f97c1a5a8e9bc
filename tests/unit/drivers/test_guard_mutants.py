"""For each guard a change that nobody but this guard refuses: without the guard, it would be made.

Beside each stands a change that is near to it and passes, which catches a guard that refuses everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from support import collab_guard_cases
from support.driver import NOON, NOWHERE, FakeDriver, World, cluster, fleet
from support.driver import REVISION as FAKE_REVISION
from support.gocluster import another_secret, parallel, restarting, unobserved
from support.guard_cases import (
    ADMIN,
    API,
    BLANK,
    DEAD,
    FIVE,
    FREE,
    HEALTHY,
    KEPT,
    LARGER,
    NOBODY,
    OTHERS,
    RESTART,
    WEAK,
    WITHOUT,
    doubtful,
    edge,
    fed,
    freeze,
    hasty,
    live,
    locked_out,
    lost_by_half_a_registration,
    lost_by_one_more_failure,
    polled,
    replaced,
    ring,
    told,
    unread,
    upgrading,
)
from support.m2_wire import REVISION, setting
from support.sora_clusters import agreeing

from reconciler.core.actor import Actor
from reconciler.core.change_windows import Window
from reconciler.core.file_state import FileState
from reconciler.core.guard import Guard, GuardContext, run_guards
from reconciler.core.host_entries import EntryKind
from reconciler.core.memory import ClusterMemory, FleetMemory, Suspension
from reconciler.core.observation import Present
from reconciler.core.pins import LeftRevision, Pin
from reconciler.core.plan import Effect, Revision
from reconciler.core.policy import Budget, ChangeRules, Policy
from reconciler.core.reservations import Reservation, ReservedNodes
from reconciler.core.revision import Ancestry
from reconciler.core.rollout_rules import Rollout
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.collab import guards as collab
from reconciler.drivers.gocluster import guards as gocluster
from reconciler.drivers.m2 import guards as m2
from reconciler.drivers.m2 import stop_decision as m2_stops
from reconciler.drivers.m2.schema import M2Policy
from reconciler.drivers.sora import guards as sora
from reconciler.drivers.sora import swapped_addresses
from reconciler.drivers.sora.history import ClusterPast
from reconciler.guards import (
    change_control,
    failure_domains,
    host_commands,
    limits,
    place_conflicts,
    provenance,
    reservations,
    rollout_gates,
)
from reconciler.guards.cluster_order import ClusterOrder
from reconciler.guards.registry import EVERYWHERE
from reconciler.planning import plan_pass as surveying

PRODUCTS = {
    "collab": collab.GUARDS,
    "gocluster": gocluster.GUARDS,
    "m2": (*m2.GUARDS, *m2_stops.GUARDS),
    "sora": (*sora.GUARDS, *swapped_addresses.GUARDS),
}


@dataclass(frozen=True)
class Scenario:
    """A guard, what it alone refuses, what is near and passes, and what harm a machine sees come of it."""

    code: str
    module: object
    guard: str
    refused: Callable[[], GuardContext]
    passes: Callable[[], GuardContext]
    harm: Callable[[], bool] = lambda: True


def swapped(case: GuardContext) -> GuardContext:
    """The same with the addresses of its first two nodes exchanged."""
    first, second, *others = case.desired.entry.nodes
    nodes = (
        first.model_copy(update={"api": second.api}),
        second.model_copy(update={"api": first.api}),
        *others,
    )
    entry = case.desired.entry.model_copy(update={"nodes": nodes})
    return replace(case, desired=replace(case.desired, entry=entry), entry=entry)


def beside_reserved(*names, effect=Effect.HOT, is_hold=False):
    """A change of the node n1 while others are reserved or held."""
    case = edge(policy=replaced(FREE, max_risky="1"))
    steps = tuple(replace(step, effect=effect) for step in case.plan.steps if step.node == "n1")
    until = NOON + timedelta(hours=1)
    reserved = {
        name: Reservation(
            id=name, cluster="edge", node=name, actor=Actor("kim"), at=NOON, until=until, is_hold=is_hold
        )
        for name in names
    }
    return replace(case, plan=replace(case.plan, steps=steps), reserved=ReservedNodes(reserved))


def pin_edge(revision):
    """An order that the cluster stays at a revision."""
    place = Revision("/fleet", revision, "pinned")
    return Pin("edge", place, (LeftRevision("2" * 40),), "kim", "", NOON)


REPORTED = ChangeRules(rollout=Rollout.model_validate({"waves": [1], "gates": {"reports": {}}}))

UNKNOWN_WAY = {
    (EntryKind.SSH, "door"): Diagnostic(Severity.ERROR, "unknown-entry", "door is not there", target="studio")
}


def _share_file(name):
    """What is found about a cluster whose file has the path `other` of another cluster, or not."""

    def read(path):
        return Present(FileState(b"", identity=f"machine: /{path}"))

    found = place_conflicts.find_shared_files(
        {"edge": {"n1": {"conf": read(name)}}, "lab": {"n1": {"conf": read("other")}}}
    )
    return tuple(found.get("edge", ()))


SCENARIOS = [
    Scenario(
        "node-reserved",
        reservations,
        "refuse_steps_on_reserved_nodes",
        lambda: beside_reserved("n1"),
        lambda: beside_reserved("n2"),
    ),
    Scenario(
        "node-held",
        reservations,
        "refuse_steps_on_reserved_nodes",
        lambda: beside_reserved("n1", is_hold=True),
        lambda: beside_reserved("n2", is_hold=True),
    ),
    Scenario(
        "node-reserved",
        m2_stops,
        "refuse_interruption_beside_reserved_nodes",
        lambda: beside_reserved("n2", effect=Effect.RESTART),
        lambda: beside_reserved(effect=Effect.RESTART),
    ),
    Scenario(
        "blast-radius",
        limits,
        "refuse_blast_radius",
        lambda: edge(policy=Policy(max_changed="2")),
        lambda: edge(policy=Policy(max_changed="3")),
    ),
    Scenario(
        "blast-radius-risky",
        limits,
        "refuse_blast_radius",
        lambda: edge(WITHOUT, policy=replaced(FREE, max_risky="2")),
        lambda: edge(WITHOUT, policy=replaced(FREE, max_risky="3")),
    ),
    Scenario(
        "desired-shrank",
        limits,
        "refuse_shrink",
        lambda: edge(cluster_memory=ClusterMemory(nodes=5)),
        lambda: edge(cluster_memory=ClusterMemory(nodes=4)),
    ),
    Scenario(
        "budget",
        limits,
        "refuse_over_budget",
        lambda: edge(
            policy=Policy(budget=Budget(nodes="3", hours=1)),
            cluster_memory=ClusterMemory(recent_changes=(("n9", 0.5),)),
        ),
        lambda: edge(
            policy=Policy(budget=Budget(nodes="3", hours=1)),
            cluster_memory=ClusterMemory(recent_changes=(("n9", 1.5),)),
        ),
    ),
    Scenario(
        "failure-domain",
        failure_domains,
        "refuse_crossing_domains",
        lambda: edge(WITHOUT, domain="rrs", policy=M2Policy(max_risky="3", max_cache_lost="3")),
        lambda: edge(WITHOUT, domain="rrr", policy=M2Policy(max_risky="3", max_cache_lost="3")),
    ),
    Scenario(
        "failure-domain-share",
        failure_domains,
        "refuse_emptying_domains",
        lambda: edge(WITHOUT, domain="rrr", policy=replaced(FREE, max_of_domain="2")),
        lambda: edge(WITHOUT, domain="rrr", policy=replaced(FREE, max_of_domain="3")),
    ),
    Scenario(
        "gate-without-reports",
        rollout_gates,
        "refuse_gate_without_reports",
        lambda: edge(change_rules=REPORTED, reporting=frozenset({"n1", "n2"})),
        lambda: edge(change_rules=REPORTED, reporting=frozenset({"n1", "n2", "n3"})),
    ),
    Scenario(
        "outside-window",
        change_control,
        "refuse_outside_window",
        lambda: edge(change_rules=ChangeRules(windows=(Window(cron="0 2 * * *", duration="1h"),))),
        lambda: edge(change_rules=ChangeRules(windows=(Window(cron="0 12 * * *", duration="1h"),))),
    ),
    Scenario(
        "frozen",
        change_control,
        "refuse_in_freeze",
        lambda: edge(change_rules=ChangeRules(freezes=(freeze(0),))),
        lambda: edge(change_rules=ChangeRules(freezes=(freeze(1),))),
    ),
    Scenario(
        "suspended",
        change_control,
        "refuse_suspended",
        lambda: edge(
            cluster_memory=ClusterMemory(suspended=(Suspension("edge", "it looks odd", "kim", NOON),))
        ),
        lambda: edge(
            setting(),
            cluster_memory=ClusterMemory(suspended=(Suspension("edge", "it looks odd", "kim", NOON),)),
        ),
    ),
    Scenario(
        "revision-rejected",
        change_control,
        "refuse_rejected_revision",
        lambda: edge(cluster_memory=ClusterMemory(rejected={REVISION.id: "its wave failed"})),
        lambda: edge(cluster_memory=ClusterMemory(rejected={"1" * 40: "its wave failed"})),
    ),
    Scenario(
        "rolled-back",
        change_control,
        "refuse_rolled_back",
        lambda: edge(cluster_memory=ClusterMemory(pin=pin_edge("1" * 40))),
        lambda: edge(cluster_memory=ClusterMemory(pin=pin_edge(REVISION.id))),
    ),
    Scenario(
        "older-revision",
        provenance,
        "refuse_older_revision",
        lambda: edge(cluster_memory=ClusterMemory(applied=FAKE_REVISION, ancestry=Ancestry.OLDER)),
        lambda: edge(cluster_memory=ClusterMemory(applied=FAKE_REVISION, ancestry=Ancestry.NEWER)),
    ),
    Scenario(
        "signature-required",
        provenance,
        "refuse_unsigned",
        lambda: edge(change_rules=ChangeRules(require_signed="ssh")),
        lambda: edge(setting(), change_rules=ChangeRules(require_signed="ssh")),
    ),
    Scenario(
        "approval-needed",
        change_control,
        "refuse_unapproved",
        lambda: edge(WITHOUT, policy=replaced(FREE, approve=("high",)), digest="d1"),
        lambda: edge(
            WITHOUT,
            policy=replaced(FREE, approve=("high",)),
            digest="d1",
            cluster_memory=ClusterMemory(approved=frozenset({"d1"})),
        ),
    ),
    Scenario(
        "proof-missing",
        change_control,
        "refuse_unproven_steps",
        lambda: doubtful(ClusterMemory()),
        lambda: doubtful(ClusterMemory(approved=frozenset({"d1"}))),
    ),
    Scenario(
        "lock-out",
        m2,
        "refuse_lockout_of_this_host",
        lambda: edge(OTHERS, KEPT, policy=FREE),
        lambda: edge(setting(**{API: [ADMIN, {"role": "admin", "addr": "10.0.0.1"}]}), KEPT, policy=FREE),
        locked_out,
    ),
    Scenario(
        "lock-out",
        m2,
        "refuse_unreachable_port",
        lambda: edge(setting(env__management__api__port=10041), policy=FREE, port=":10040"),
        lambda: edge(setting(env__management__api__port=10041), policy=FREE),
    ),
    Scenario(
        "lock-out-all",
        m2,
        "refuse_lockout_of_everybody",
        lambda: unread(NOBODY),
        lambda: unread(setting()),
    ),
    Scenario(
        "feed-detached",
        m2,
        "refuse_feed_detachment",
        lambda: edge(fed("http://10.0.0.8:9000/"), fed("http://10.0.0.9:9000/")),
        lambda: edge(fed("http://10.0.0.9:9000/new"), fed("http://10.0.0.9:9000/")),
    ),
    Scenario(
        "lock-out",
        m2,
        "refuse_lost_polling",
        lambda: polled(1, counting=2),
        lambda: polled(2, counting=2),
    ),
    Scenario(
        "shared-feed",
        m2,
        "refuse_shared_feed",
        lambda: told("m2.all"),
        lambda: told("m2.{node}"),
    ),
    Scenario(
        "uniformity",
        m2,
        "refuse_cluster_split",
        lambda: edge(ring(9901), ring(9900), concurrency=2),
        lambda: edge(ring(9900, "B"), ring(9900), concurrency=2),
    ),
    Scenario(
        "hosting-deleted",
        m2,
        "refuse_hosting_deletion",
        lambda: edge(WITHOUT, policy=replaced(FREE, max_cache_lost="2")),
        lambda: edge(WITHOUT, policy=replaced(FREE, max_cache_lost="3")),
    ),
    Scenario(
        "hosting-interrupted",
        m2,
        "refuse_interruption_of_hosting",
        lambda: edge(LARGER, restart=RESTART, concurrency=3),
        lambda: edge(LARGER, restart=RESTART, concurrency=2),
    ),
    Scenario(
        "mesh-quorum",
        gocluster,
        "refuse_quorum_loss",
        lambda: restarting(3, away=["node3"]),
        lambda: restarting(5, away=["node5"]),
    ),
    Scenario(
        "unobserved-restart",
        gocluster,
        "refuse_unobserved_restart",
        unobserved,
        lambda: unobserved(restart=None),
    ),
    Scenario(
        "mesh-order",
        gocluster,
        "refuse_parallel_steps",
        parallel,
        lambda: restarting(5),
    ),
    Scenario(
        "auth-change",
        gocluster,
        "refuse_rolling_authentication_change",
        another_secret,
        lambda: another_secret(windows=(Window(cron="0 12 * * *", duration="1h"),)),
    ),
    Scenario(
        "quorum",
        sora,
        "refuse_quorum_loss",
        lambda: live("a b c d", WEAK, HEALTHY),
        lambda: live("a b c d", HEALTHY),
        lost_by_half_a_registration,
    ),
    Scenario(
        "quorum-margin",
        sora,
        "refuse_missing_reserve",
        lambda: live("a b c e", agreeing("a b c d e!", *"abcd", e=None)),
        lambda: live("a b c d", FIVE),
        lost_by_one_more_failure,
    ),
    Scenario(
        "capacity",
        sora,
        "refuse_capacity_loss",
        lambda: live("a b c d", FIVE, limits=dict.fromkeys("abcde", 100), connections=301),
        lambda: live("a b c d", FIVE, limits=dict.fromkeys("abcde", 100), connections=300),
    ),
    Scenario(
        "capacity",
        sora,
        "refuse_connection_loss",
        lambda: live("a b c", DEAD, limits=dict.fromkeys("abcd", 100), connections=301),
        lambda: live("a b c", DEAD, limits=dict.fromkeys("abcd", 100), connections=300),
    ),
    Scenario(
        "upgrade-overlap",
        sora,
        "refuse_overlapping_upgrade",
        lambda: upgrading("a b c d e", agreeing("a b c d e!", *"abcd", e=None)),
        lambda: upgrading("a b c d e", agreeing("a b c d e", *"abcde")),
    ),
    Scenario(
        "version-downgrade",
        sora,
        "refuse_downgrade",
        lambda: upgrading("a b c", agreeing("a b c", *"abc"), version="2024.1.2"),
        lambda: upgrading("a b c", agreeing("a b c", *"abc"), version="2024.1.4"),
    ),
    Scenario(
        "membership",
        sora,
        "refuse_unordered_membership_change",
        lambda: live("a b c d e", agreeing("a b c", *"abc", d="", e=""), change=hasty),
        lambda: live("a b c d e", agreeing("a b c", *"abc", d="", e="")),
    ),
    Scenario(
        "cluster-size",
        sora,
        "refuse_cluster_shrink",
        lambda: live("a b", agreeing("a b c!", *"ab", c=None)),
        lambda: live("a b c", DEAD),
    ),
    Scenario(
        "purge-alive",
        sora,
        "refuse_purge_of_live_node",
        lambda: live("a b c", agreeing("a b c d!", *"abc", d="?NO-MAJORITY"), DEAD),
        lambda: live("a b c", DEAD),
    ),
    Scenario(
        "double-init",
        sora,
        "refuse_repeated_init",
        lambda: live("a b c", BLANK | {"c": None}, BLANK, initialise=True),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "one-address-twice",
        place_conflicts,
        "refuse_place_conflict",
        lambda: replace(
            edge(),
            place_conflicts=(
                Diagnostic(Severity.ERROR, "one-address-twice", "twice", "once", target="edge/n1"),
            ),
        ),
        edge,
    ),
    Scenario(
        "one-file-twice",
        place_conflicts,
        "refuse_place_conflict",
        lambda: replace(edge(), place_conflicts=_share_file("other")),
        lambda: replace(edge(), place_conflicts=_share_file("another")),
    ),
    Scenario(
        "addresses-swapped",
        swapped_addresses,
        "find_swapped_addresses",
        lambda: swapped(live("a b c d", agreeing("a b c", "a", "b", "c", d=""))),
        lambda: live("a b c d", agreeing("a b c", "a", "b", "c", d="")),
    ),
    Scenario(
        "past-unread",
        sora,
        "refuse_init_with_unread_past",
        lambda: live("a b c", BLANK, initialise=True, history=ClusterPast(unread="the clone is shallow")),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "cluster-renamed",
        sora,
        "refuse_init_of_renamed_cluster",
        lambda: live("a b c", BLANK, initialise=True, history=ClusterPast(replaced=("studio",))),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "unknown-command",
        host_commands,
        "refuse_unknown_command",
        lambda: live("a b c d", FIVE, commands=frozenset({"other"})),
        lambda: live("a b c d", FIVE, commands=frozenset({"other", "stop"})),
    ),
    Scenario(
        "last-healthy-server",
        collab,
        "refuse_last_server",
        lambda: collab_guard_cases.without_peer(is_away=True),
        lambda: collab_guard_cases.without_peer(is_away=False),
    ),
    Scenario(
        "service-away",
        collab,
        "refuse_without_services",
        lambda: collab_guard_cases.without_database(is_away=True),
        lambda: collab_guard_cases.without_database(is_away=False),
    ),
    Scenario(
        "servers-together",
        collab,
        "refuse_together",
        lambda: collab_guard_cases.together(is_chained=False),
        lambda: collab_guard_cases.together(is_chained=True),
    ),
    Scenario(
        "balancer-order",
        collab,
        "refuse_balancer_order",
        lambda: collab_guard_cases.removal(is_forgotten=False),
        lambda: collab_guard_cases.removal(is_forgotten=True),
    ),
    Scenario(
        "balancer-unchecked",
        collab,
        "refuse_unchecked_file",
        lambda: collab_guard_cases.reload(is_checked=False),
        lambda: collab_guard_cases.reload(is_checked=True),
    ),
    Scenario(
        "password-order",
        collab,
        "refuse_password_order",
        lambda: collab_guard_cases.new_password(is_added=False),
        lambda: collab_guard_cases.new_password(is_added=True),
    ),
    Scenario(
        "redis-restart",
        collab,
        "refuse_unannounced_redis_restart",
        lambda: collab_guard_cases.redis_restart(rules=ChangeRules()),
        lambda: collab_guard_cases.redis_restart(rules=collab_guard_cases.OPEN),
    ),
    Scenario(
        "unknown-entry",
        host_commands,
        "refuse_unknown_entry",
        lambda: replace(live("a b c d", FIVE), unknown_entries=UNKNOWN_WAY),
        lambda: live("a b c d", FIVE),
    ),
]


def guards_of(case: GuardContext) -> list[Guard]:
    return [*EVERYWHERE, *PRODUCTS[case.plan.kind]]


def codes(case, guards):
    assert case.plan.steps, "a scenario in which nothing would be done shows nothing"
    return {one.code for one in run_guards(case, guards)}


def silent(_: GuardContext):
    return ()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.guard)
def test_exactly_one_guard_stands_in_the_way(scenario, monkeypatch):
    case = scenario.refused()
    own = getattr(scenario.module, scenario.guard)
    assert codes(case, guards_of(case)) == {scenario.code}
    assert scenario.harm()
    monkeypatch.setattr(scenario.module, scenario.guard, silent)
    assert codes(case, [one for one in guards_of(case) if one is not own]) == set()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.guard)
def test_what_is_near_passes_every_guard(scenario):
    case = scenario.passes()
    assert run_guards(case, guards_of(case)) == ()


def test_every_guard_has_a_scenario():
    """`holding` is the sum of the guards of time, which have scenarios of their own."""
    every = {*EVERYWHERE, *(guard for guards in PRODUCTS.values() for guard in guards)} - {
        change_control.refuse_held_changes
    }
    shown = {getattr(scenario.module, scenario.guard) for scenario in SCENARIOS}
    assert {one.rule.__name__ for one in every - shown} == set()


async def test_a_lost_cluster_is_refused_by_that_guard_alone(monkeypatch):
    memory = FleetMemory(
        cluster_memory={"gone": ClusterMemory(nodes=3, source=FAKE_REVISION.source)}, at=NOON
    )

    async def told():
        drivers = {"fake": FakeDriver(World({"a": "old"}))}
        found = await surveying.run_plan_pass(
            fleet(cluster("here", {"a": "new"})), drivers=drivers, transports=NOWHERE, recalled=memory
        )
        return [one.code for one in found.violations]

    assert await told() == ["cluster-vanished"]
    monkeypatch.setattr(surveying, "find_removed_clusters", lambda *_: ())
    assert await told() == []


async def test_the_order_of_clusters_is_kept_by_that_guard_alone(monkeypatch):
    async def told():
        world = World({"a": "old", "b": "old"}, silent={"a"})
        found = await surveying.run_plan_pass(
            fleet(cluster("first", {"a": "new"}), cluster("then", {"b": "new"}, after=("first",))),
            drivers={"fake": FakeDriver(world)},
            transports=NOWHERE,
        )
        return [one.code for one in found.violations]

    assert await told() == ["waits-for-cluster"]
    monkeypatch.setattr(surveying, "check_cluster_order", lambda *_: ClusterOrder())
    assert await told() == []
