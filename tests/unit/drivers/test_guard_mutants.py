"""For each guard a change that nobody but this guard refuses: without the guard, it would be made.

Beside each stands a change that is near to it and passes, which catches a guard that refuses everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from guard_cases import (
    ADMIN,
    API,
    BLANK,
    DEAD,
    FIVE,
    FREE,
    HEALTHY,
    KEPT,
    NOBODY,
    OTHERS,
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
    replaced,
    ring,
    unread,
)
from sora_kit import agreeing
from support_driver import NOON, NOWHERE, FakeDriver, World, cluster, fleet
from support_driver import REVISION as FAKE_REVISION
from support_m2_wire import REVISION, setting

from reconciler.core import contradictions
from reconciler.core.change_rules import Conduct
from reconciler.core.change_windows import Window
from reconciler.core.guard import Case, Guard, verdicts
from reconciler.core.history import Memory, Past, RolledBack, Suspension
from reconciler.core.policy import Budget, Policy
from reconciler.core.revision import Descent
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2 import guards as m2
from reconciler.drivers.m2.schema import M2Policy
from reconciler.drivers.sora import contradictions as sora_contradictions
from reconciler.drivers.sora import guards as sora
from reconciler.drivers.sora.history import History
from reconciler.guards import change_control, failure_domains, limits, provenance
from reconciler.guards.registry import EVERYWHERE
from reconciler.planning import plan_pass as surveying

PRODUCTS = {"m2": m2.GUARDS, "sora": (*sora.GUARDS, *sora_contradictions.GUARDS)}


@dataclass(frozen=True)
class Scenario:
    """A guard, what it alone refuses, what is near and passes, and what harm a machine sees come of it."""

    code: str
    module: object
    guard: str
    refused: Callable[[], Case]
    passes: Callable[[], Case]
    harm: Callable[[], bool] = lambda: True


def swapped(case: Case) -> Case:
    """The same with the addresses of its first two nodes exchanged."""
    first, second, *others = case.desired.entry.nodes
    nodes = (
        first.model_copy(update={"api": second.api}),
        second.model_copy(update={"api": first.api}),
        *others,
    )
    entry = case.desired.entry.model_copy(update={"nodes": nodes})
    return replace(case, desired=replace(case.desired, entry=entry), entry=entry)


SCENARIOS = [
    Scenario(
        "blast-radius",
        limits,
        "blast_radius",
        lambda: edge(policy=Policy(max_changed="2")),
        lambda: edge(policy=Policy(max_changed="3")),
    ),
    Scenario(
        "blast-radius-risky",
        limits,
        "blast_radius",
        lambda: edge(WITHOUT, policy=replaced(FREE, max_risky="2")),
        lambda: edge(WITHOUT, policy=replaced(FREE, max_risky="3")),
    ),
    Scenario(
        "desired-shrank",
        limits,
        "shrinking",
        lambda: edge(past=Past(nodes=5)),
        lambda: edge(past=Past(nodes=4)),
    ),
    Scenario(
        "budget",
        limits,
        "budget",
        lambda: edge(policy=Policy(budget=Budget(nodes="3", hours=1)), past=Past(changed=(("n9", 0.5),))),
        lambda: edge(policy=Policy(budget=Budget(nodes="3", hours=1)), past=Past(changed=(("n9", 1.5),))),
    ),
    Scenario(
        "failure-domain",
        failure_domains,
        "crossing_domains",
        lambda: edge(WITHOUT, domain="rrs", policy=M2Policy(max_risky="3", max_cache_lost="3")),
        lambda: edge(WITHOUT, domain="rrr", policy=M2Policy(max_risky="3", max_cache_lost="3")),
    ),
    Scenario(
        "failure-domain-share",
        failure_domains,
        "emptying_domains",
        lambda: edge(WITHOUT, domain="rrr", policy=replaced(FREE, max_of_domain="2")),
        lambda: edge(WITHOUT, domain="rrr", policy=replaced(FREE, max_of_domain="3")),
    ),
    Scenario(
        "outside-window",
        change_control,
        "outside_window",
        lambda: edge(conduct=Conduct(windows=(Window(cron="0 2 * * *", duration="1h"),))),
        lambda: edge(conduct=Conduct(windows=(Window(cron="0 12 * * *", duration="1h"),))),
    ),
    Scenario(
        "frozen",
        change_control,
        "in_freeze",
        lambda: edge(conduct=Conduct(freezes=(freeze(0),))),
        lambda: edge(conduct=Conduct(freezes=(freeze(1),))),
    ),
    Scenario(
        "suspended",
        change_control,
        "suspended",
        lambda: edge(past=Past(suspended=(Suspension("edge", "it looks odd", "kim", NOON),))),
        lambda: edge(setting(), past=Past(suspended=(Suspension("edge", "it looks odd", "kim", NOON),))),
    ),
    Scenario(
        "revision-rejected",
        change_control,
        "rejected",
        lambda: edge(past=Past(rejected={REVISION.id: "its wave failed"})),
        lambda: edge(past=Past(rejected={"1" * 40: "its wave failed"})),
    ),
    Scenario(
        "rolled-back",
        change_control,
        "rolled_back",
        lambda: edge(past=Past(rolled_back=(RolledBack(REVISION.id, "", "kim went back"),))),
        lambda: edge(past=Past(rolled_back=(RolledBack("1" * 40, "", "kim went back"),))),
    ),
    Scenario(
        "older-revision",
        provenance,
        "older_revision",
        lambda: edge(past=Past(applied=FAKE_REVISION, descent=Descent.OLDER)),
        lambda: edge(past=Past(applied=FAKE_REVISION, descent=Descent.NEWER)),
    ),
    Scenario(
        "signature-required",
        provenance,
        "signature_required",
        lambda: edge(conduct=Conduct(require_signed="ssh")),
        lambda: edge(setting(), conduct=Conduct(require_signed="ssh")),
    ),
    Scenario(
        "approval-needed",
        change_control,
        "unapproved",
        lambda: edge(WITHOUT, policy=replaced(FREE, approve=("high",)), digest="d1"),
        lambda: edge(
            WITHOUT,
            policy=replaced(FREE, approve=("high",)),
            digest="d1",
            past=Past(approved=frozenset({"d1"})),
        ),
    ),
    Scenario(
        "proof-missing",
        change_control,
        "unproven",
        lambda: doubtful(Past()),
        lambda: doubtful(Past(approved=frozenset({"d1"}))),
    ),
    Scenario(
        "lock-out",
        m2,
        "locking_out_this_host",
        lambda: edge(OTHERS, KEPT, policy=FREE),
        lambda: edge(setting(**{API: [ADMIN, {"role": "admin", "addr": "10.0.0.1"}]}), KEPT, policy=FREE),
        locked_out,
    ),
    Scenario(
        "lock-out",
        m2,
        "moving_out_of_sight",
        lambda: edge(setting(env__management__api__port=10041), policy=FREE, port=":10040"),
        lambda: edge(setting(env__management__api__port=10041), policy=FREE),
    ),
    Scenario(
        "lock-out-all",
        m2,
        "locking_out_everybody",
        lambda: unread(NOBODY),
        lambda: unread(setting()),
    ),
    Scenario(
        "feed-detached",
        m2,
        "detaching_from_feed",
        lambda: edge(fed("http://10.0.0.8:9000/"), fed("http://10.0.0.9:9000/")),
        lambda: edge(fed("http://10.0.0.9:9000/new"), fed("http://10.0.0.9:9000/")),
    ),
    Scenario(
        "uniformity",
        m2,
        "splitting_cluster",
        lambda: edge(ring(9901), ring(9900), concurrency=2),
        lambda: edge(ring(9900, "B"), ring(9900), concurrency=2),
    ),
    Scenario(
        "hosting-deleted",
        m2,
        "deleting_hostings",
        lambda: edge(WITHOUT, policy=replaced(FREE, max_cache_lost="2")),
        lambda: edge(WITHOUT, policy=replaced(FREE, max_cache_lost="3")),
    ),
    Scenario(
        "quorum",
        sora,
        "losing_quorum",
        lambda: live("a b c d", WEAK, HEALTHY),
        lambda: live("a b c d", HEALTHY),
        lost_by_half_a_registration,
    ),
    Scenario(
        "quorum-margin",
        sora,
        "sparing_nobody",
        lambda: live("a b c e", agreeing("a b c d e!", *"abcd", e=None)),
        lambda: live("a b c d", FIVE),
        lost_by_one_more_failure,
    ),
    Scenario(
        "capacity",
        sora,
        "lacking_capacity",
        lambda: live("a b c d", FIVE, limits=dict.fromkeys("abcde", 100), connections=301),
        lambda: live("a b c d", FIVE, limits=dict.fromkeys("abcde", 100), connections=300),
    ),
    Scenario(
        "capacity",
        sora,
        "losing_taken_over",
        lambda: live("a b c", DEAD, limits=dict.fromkeys("abcd", 100), connections=301),
        lambda: live("a b c", DEAD, limits=dict.fromkeys("abcd", 100), connections=300),
    ),
    Scenario(
        "membership",
        sora,
        "changing_membership",
        lambda: live("a b c d e", agreeing("a b c", *"abc", d="", e=""), change=hasty),
        lambda: live("a b c d e", agreeing("a b c", *"abc", d="", e="")),
    ),
    Scenario(
        "cluster-size",
        sora,
        "shrinking_cluster",
        lambda: live("a b", agreeing("a b c!", *"ab", c=None)),
        lambda: live("a b c", DEAD),
    ),
    Scenario(
        "purge-alive",
        sora,
        "purging_alive",
        lambda: live("a b c", agreeing("a b c d!", *"abc", d="?NO-MAJORITY"), DEAD),
        lambda: live("a b c", DEAD),
    ),
    Scenario(
        "double-init",
        sora,
        "initialising_again",
        lambda: live("a b c", BLANK | {"c": None}, BLANK, initialise=True),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "one-address-twice",
        contradictions,
        "contradicting",
        lambda: replace(
            edge(),
            contradictions=(
                Diagnostic(Severity.ERROR, "one-address-twice", "twice", "once", target="edge/n1"),
            ),
        ),
        edge,
    ),
    Scenario(
        "addresses-swapped",
        sora_contradictions,
        "swapped_addresses",
        lambda: swapped(live("a b c d", agreeing("a b c", "a", "b", "c", d=""))),
        lambda: live("a b c d", agreeing("a b c", "a", "b", "c", d="")),
    ),
    Scenario(
        "past-unread",
        sora,
        "founding_unread",
        lambda: live("a b c", BLANK, initialise=True, history=History(unread="the clone is shallow")),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "cluster-renamed",
        sora,
        "founding_renamed",
        lambda: live("a b c", BLANK, initialise=True, history=History(replaced=("studio",))),
        lambda: live("a b c", BLANK, initialise=True),
    ),
    Scenario(
        "unknown-command",
        sora,
        "unknown_command",
        lambda: live("a b c d", FIVE, commands=frozenset({"other"})),
        lambda: live("a b c d", FIVE, commands=frozenset({"other", "stop"})),
    ),
]


def guards_of(case: Case) -> list[Guard]:
    return [*EVERYWHERE, *PRODUCTS[case.plan.kind]]


def codes(case, guards):
    assert case.plan.steps, "a scenario in which nothing would be done shows nothing"
    return {one.code for one in verdicts(case, guards)}


def silent(_: Case):
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
    assert verdicts(case, guards_of(case)) == ()


def test_every_guard_has_a_scenario():
    """`holding` is the sum of the guards of time, which have scenarios of their own."""
    every = {*EVERYWHERE, *(guard for guards in PRODUCTS.values() for guard in guards)} - {
        change_control.holding
    }
    shown = {getattr(scenario.module, scenario.guard) for scenario in SCENARIOS}
    assert {one.rule.__name__ for one in every - shown} == set()


async def test_a_lost_cluster_is_refused_by_that_guard_alone(monkeypatch):
    memory = Memory(past={"gone": Past(nodes=3, source=FAKE_REVISION.source)}, at=NOON)

    async def told():
        drivers = {"fake": FakeDriver(World({"a": "old"}))}
        found = await surveying.survey(
            fleet(cluster("here", {"a": "new"})), drivers=drivers, transports=NOWHERE, recalled=memory
        )
        return [one.code for one in found.violations]

    assert await told() == ["cluster-vanished"]
    monkeypatch.setattr(surveying, "vanished", lambda *_: ())
    assert await told() == []
