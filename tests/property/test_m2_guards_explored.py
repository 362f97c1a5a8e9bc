"""Whatever M2's guards let pass breaks no invariant in any course, whoever may call which node."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.m2_wire import cluster_input, content, setting

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Absent, Observed, Present
from reconciler.drivers.m2.guards import GUARDS
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable

ADDRESSES = ["10.0.0.1", "10.0.0.9", "10.0.0.0/24", "10.0.0.5-20", "10.0.0.0/255.255.255.0", "::1"]
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"addr": st.sampled_from(ADDRESSES)},
        optional={"role": st.sampled_from(["admin", "user"])},
    ),
    max_size=3,
)
ROLES = st.sampled_from(
    [
        None,
        [{"name": "admin", "permissions": {"enableSetting": True}}, {"name": "user"}],
        [{"name": "admin"}, {"name": "user", "permissions": {"enableSetting": True, "enableGet": False}}],
    ]
)
SETTINGS = st.builds(
    lambda entries, roles, default, port, ring: setting(
        env__management__api__allowList=entries,
        env__management__roles=roles,
        env__management__api__defaultRole=default,
        env__management__api__port=port,
        env__management__cluster={"meta": {"enable": True}, "discover": {"members": ring}},
    ),
    st.none() | ENTRIES,
    ROLES,
    st.sampled_from(["admin", "user"]),
    st.sampled_from([10040, 10041]),
    st.sampled_from([["a"], ["a", "b"], ["b"]]),
)


def planned(before, wanted, caller, nodes, at_once):
    names = tuple(f"n{number}" for number in range(nodes))
    desired = DRIVER.desire(cluster_input(wanted, nodes=names, concurrency=at_once))
    has = content(before) if before else None
    answers = {
        name: Present(LoadedSetting(has, f"http://{name}.example.com:10040", (), caller=caller))
        if has
        else Absent("404")
        for name in names
    }
    observed = Observed(answers)
    return desired, observed, DRIVER.plan(desired, observed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.none() | SETTINGS,
    SETTINGS,
    st.sampled_from(["10.0.0.9", "10.0.0.1", "192.0.2.1", ""]),
    st.sampled_from([(1, 1), (2, 1), (2, 2)]),
)
def test_what_the_guards_let_pass_breaks_nothing(before, wanted, caller, size):
    desired, observed, plan = planned(before, wanted, caller, *size)
    if not plan.steps or run_guards(GuardContext(plan, desired.entry, desired, observed), GUARDS):
        return
    (stage,) = DRIVER.list_model_setups(desired, observed, plan)

    def weigh(plan, seen):
        return not run_guards(GuardContext(plan, desired.entry, desired, seen), GUARDS)

    rehearsal = ExecutorModel(StateTable(stage.model, weigh, single_node=True))
    starts = [rehearsal.under(plan, rehearsal.begin(world, faults=size[0] == 1)) for world in stage.worlds]
    seen = explore_states(starts, rehearsal.moves, most=20_000)
    assert not seen.broken, (seen.broken, seen.story)
