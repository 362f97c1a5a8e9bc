"""From any reachable state, with any one fault, our acts lose no majority, init once, purge no live node."""

from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sora_bench import (
    NAMES,
    REGULAR,
    Bench,
    choices,
    collapsed,
    entry_of,
    members_of,
    troubles,
    walks,
    with_word,
    world_after,
)

from reconciler.core.plan import Plan, Revision, load
from reconciler.drivers.sora.choices import DEFAULTS

wanted = st.lists(st.sampled_from(NAMES), min_size=1, unique=True).filter(
    lambda names: any(NAMES.index(name) < REGULAR for name in names)
)
words = st.sampled_from([{}, {}, {"initialise": True}, {"collapsed": collapsed()}])
extras = st.fixed_dictionaries({"word": words, "likely": st.booleans()})
OURS = {"quorum", "membership", "purge-alive", "double-init"}
"""Guards that nothing the planner says may ever run into; the others weigh what the fleet file asks for."""

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)


def bench_of(walk, taken, names, *, word=None, likely=True, trouble=None):
    world = world_after(walk, taken, likely=likely)
    entry = with_word(entry_of(names, likely=likely), **(word or {}))
    return Bench(world, entry, *([trouble] if trouble else []), likely=likely)


@quick
@given(walk=walks, taken=choices, names=wanted, more=extras, trouble=troubles)
def test_one_fault_anywhere_never_makes_our_own_act_fatal(walk, taken, names, more, trouble):
    bench = bench_of(walk, taken, names, **more, trouble=trouble)

    async def passes():
        for _ in range(2):
            plan, violations = await bench.survey()
            note([step.id for step in plan.steps])
            assert not {one.code for one in violations} & OURS, violations
            await bench.carry_out(plan)  # the other guards may be overridden: it must be safe all the same

    asyncio.run(passes())


@quick
@given(walk=walks, taken=choices, names=wanted, more=extras)
def test_without_faults_it_converges_and_then_plans_nothing(walk, taken, names, more):
    bench = bench_of(walk, taken, names, **more)

    async def passes():
        for _ in range(4):
            plan, violations = await bench.survey()
            note([step.id for step in plan.steps])
            note([(finding.code, finding.message) for finding in plan.findings])
            assert not {one.code for one in violations} & OURS, violations
            if not plan.steps:
                return plan
            done = await bench.carry_out(plan)
            if len(done) < len(plan.steps):
                cut = len({node.side for node in bench.world.state}) > 1
                assert bench.refused or cut, f"{[s.id for s in plan.steps if s.id not in done]} had no effect"
                return None
        raise AssertionError("still steps after four passes")

    plan = asyncio.run(passes())
    if plan is not None and not plan.findings:
        listed, connected = members_of(bench.world, names[0])
        assert listed == connected == set(names)


@quick
@given(walk=walks, names=wanted)
def test_a_plan_survives_its_own_journal(walk, names):
    """What is read back from the journal is what was planned, to the byte."""
    bench = bench_of(walk, DEFAULTS, names)
    cluster, _ = asyncio.run(bench.survey())
    plan = Plan(Revision("here", "1", "1"), "0", (cluster,))
    again = load(json.loads(plan.encoded()))
    assert again.encoded() == plan.encoded()


@quick
@given(walk=walks, taken=choices, names=wanted)
def test_what_is_left_alone_is_said(walk, taken, names):
    """A plan without steps for a cluster that is not as desired has a finding that says why."""
    bench = bench_of(walk, taken, names)
    plan, violations = asyncio.run(bench.survey())
    if not (plan.steps or violations or plan.findings):
        listed, connected = members_of(bench.world, names[0])
        assert listed == connected == set(names)
        assert plan.unchanged == plan.nodes
