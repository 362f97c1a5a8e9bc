"""A Sora plan in waves: the chain stays the chain, one change of the membership at a time."""

import pytest
from support.sora_clusters import agreeing, entry, planned, seen, verbs

from reconciler.core.plan import Effect
from reconciler.core.rollout import Rollout
from reconciler.core.waves import assign_waves, group_by_wave

STOP = {"stop": {"command": "stop"}}
ROLLOUTS = (Rollout(waves="100%"), Rollout(canary=1, waves=2), Rollout(waves="50%", by="domain"))


@pytest.mark.parametrize("rollout", ROLLOUTS)
@pytest.mark.parametrize(
    ("cluster", "view"),
    [
        (entry("a b c d e", **STOP), agreeing("a b c", "a", "b", "c", d="", e="")),
        (entry("a b d", drain=60, **STOP), agreeing("a b c", "a", "b", "c", d="")),
        (entry("a b c t~", modes={"b": "block_new_connection"}), agreeing("a b c", "a", "b", "c", t="")),
    ],
)
def test_the_order_of_the_chain_is_kept_and_each_change_of_members_is_a_wave(rollout, cluster, view):
    plan = planned(cluster, seen(view))
    assert plan.steps
    found = assign_waves(plan, cluster, rollout)
    chained = [
        step.id for step in plan.steps if step.after or any(step.id in other.after for other in plan.steps)
    ]
    assert [step.id for step in found.steps if step.id in chained] == chained
    for wave in group_by_wave(found.steps):
        members = [step for step in wave if step.effect is Effect.MEMBERSHIP]
        assert not members or len(wave) == 1
    assert sorted(verbs(found)) == sorted(verbs(plan))
