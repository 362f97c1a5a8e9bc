"""From any reachable state, with any one fault, our acts lose no majority, init once, purge no live node."""

from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from support.sora_executions import (
    NAMES,
    Bench,
    Trouble,
    Walk,
    choices,
    collapsed,
    entry_of,
    members_of,
    scenes,
    troubles,
    with_word,
    world_after,
)

from reconciler.core.plan import Plan, Revision, load_plan
from reconciler.drivers.sora.choices import DEFAULTS

words = st.sampled_from([{}, {}, {"initialise": True}, {"collapsed": collapsed()}])
extras = st.fixed_dictionaries({"word": words, "likely": st.booleans()})
OURS = {"quorum", "membership", "purge-alive", "double-init"}
"""Guards that nothing the planner says may ever run into; the others weigh what the fleet file asks for."""

ONE_OF_THREE_DOWN = (Walk(converged=True, outside=2, moves=(("stop", 2, 0),)), list(NAMES[:4]))
FIVE_TO_FOUR = (Walk(converged=True, outside=0, moves=()), list(NAMES[:4]))

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)


def bench_of(scene, taken, *, word=None, likely=True, trouble=None):
    walk, names = scene
    world = world_after(walk, taken, likely=likely)
    entry = with_word(entry_of(names, likely=likely), **(word or {}))
    return Bench(world, entry, *([trouble] if trouble else []), likely=likely)


@quick
@given(scene=scenes(), taken=choices, more=extras, trouble=troubles)
@example(scene=ONE_OF_THREE_DOWN, taken=DEFAULTS, more={}, trouble=Trouble("half"))
@example(scene=FIVE_TO_FOUR, taken=DEFAULTS, more={}, trouble=Trouble("lost"))
def test_one_fault_anywhere_never_makes_our_own_act_fatal(scene, taken, more, trouble):
    bench = bench_of(scene, taken, **more, trouble=trouble)

    async def passes():
        for _ in range(2):
            plan, violations = await bench.plan_result()
            note([step.id for step in plan.steps])
            assert not {one.code for one in violations} & OURS, violations
            await bench.carry_out(plan)  # the other guards may be overridden: it must be safe all the same

    asyncio.run(passes())


@quick
@given(scene=scenes(), taken=choices, more=extras)
def test_without_faults_it_converges_and_then_plans_nothing(scene, taken, more):
    bench, names = bench_of(scene, taken, **more), scene[1]

    async def passes():
        for _ in range(4):
            plan, violations = await bench.plan_result()
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
@given(scene=scenes())
def test_a_plan_survives_its_own_journal(scene):
    """What is read back from the journal is what was planned, to the byte."""
    bench = bench_of(scene, DEFAULTS)
    cluster, _ = asyncio.run(bench.plan_result())
    plan = Plan(Revision("here", "1", "1"), "0", (cluster,))
    again = load_plan(json.loads(plan.encode()))
    assert again.encode() == plan.encode()


@quick
@given(scene=scenes(), taken=choices)
def test_nodes_without_steps_have_a_finding(scene, taken):
    """A plan without steps for a cluster that is not as desired has a finding that says why."""
    bench, names = bench_of(scene, taken), scene[1]
    plan, violations = asyncio.run(bench.plan_result())
    if not (plan.steps or violations or plan.findings):
        listed, connected = members_of(bench.world, names[0])
        assert listed == connected == set(names)
        assert plan.unchanged == plan.nodes
