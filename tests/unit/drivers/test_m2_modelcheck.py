"""M2 on the model checker's stage: what holds in every course, and what a missing guard would let happen."""

from dataclasses import replace

import pytest
from support.m2_wire import BASE, cluster_input, content, setting

from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Absent, Observed, Present, Unreachable
from reconciler.core.secret import Secret
from reconciler.drivers.m2.guards import (
    GUARDS,
    refuse_cluster_split,
    refuse_lockout_of_everybody,
    refuse_lockout_of_this_host,
)
from reconciler.drivers.m2.guards import refuse_unreachable_port as moving
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import Content, LoadedSetting
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable

LIST = "env__management__api__allowList"
PORT = "env__management__api__port"
RING = "env__management__cluster"
RESTART_ONLY = "env__network__http"


def ringed(*members):
    return {RING: {"meta": {"enable": True}, "discover": {"members": list(members)}}}


def shown(node, document):
    has = document if isinstance(document, Content) else content(document)
    return Present(LoadedSetting(has, f"http://{node}.example.com:10040", (), caller="127.0.0.1"))


def planned(wanted, before=BASE, nodes=1, answers=None, **entry):
    """(desired, observed, plan) of nodes that all show one setting, or what `answers` says."""
    names, has = tuple(f"edge-{number:04}" for number in range(1, nodes + 1)), content(before)
    desired = DRIVER.desire(cluster_input(wanted, nodes=names, **entry))
    observed = Observed({name: shown(name, has) for name in names} | (answers or {}))
    return desired, observed, DRIVER.plan(desired, observed)


def explored(desired, observed, plan, *, faults=1, but=()):
    """What the checker sees of each stage; guards `but` do not judge further passes."""
    guards = [guard for guard in GUARDS if guard not in but]
    found = []
    for stage in DRIVER.list_model_setups(desired, observed, plan):

        def weigh(plan, observed, part=stage.desired):
            return not run_guards(GuardContext(plan, part.entry, part, observed), guards)

        rehearsal = ExecutorModel(StateTable(stage.model, weigh, single_node=True))
        starts = [rehearsal.under(stage.plan, rehearsal.begin(one, faults=faults)) for one in stage.worlds]
        found.append(explore_states(starts, rehearsal.moves))
    return found


def refused(desired, observed, plan):
    return [one.code for one in run_guards(GuardContext(plan, desired.entry, desired, observed), GUARDS)]


@pytest.mark.parametrize(
    ("wanted", "entry"),
    [
        (setting(meta__version="B"), {}),
        (setting(meta__version="B"), {"deliver": "local"}),
        (setting(meta__version="B"), {"deliver": "checkout"}),
        (setting(meta__version="B"), {"resources": {"a.pem": b"A"}}),
        (setting(**{RESTART_ONLY: {"recvBufferSize": 8192}}), {}),
        (setting(**{PORT: 10041}), {}),
        (setting(**{LIST: [{"addr": "127.0.0.1"}]}), {}),
        (setting(**ringed("a", "b")), {}),
    ],
)
def test_what_the_guards_let_pass_holds_in_every_course(wanted, entry):
    case = planned(wanted, nodes=2, concurrency=2, **entry)
    assert refused(*case) == []
    (seen,) = explored(*case)
    assert seen.complete
    assert not seen.broken
    assert seen.states > 100


def test_every_order_and_kill_of_three_nodes_is_explored():
    (seen,) = explored(*planned(setting(meta__version="B"), nodes=3, concurrency=3), faults=0)
    (alone,) = explored(*planned(setting(meta__version="B"), nodes=3, concurrency=1), faults=0)
    assert seen.states > alone.states > 100
    assert not seen.broken


def test_a_new_node_gets_its_first_setting():
    case = planned(setting(), nodes=1, answers={"edge-0001": Absent("404")})
    assert not explored(*case)[0].broken
    nobody = setting(**{LIST: [{"role": "user", "addr": "127.0.0.1"}]})
    case = planned(nobody, nodes=1, answers={"edge-0001": Absent("404")})
    assert refused(*case) == ["lock-out-all"]
    assert "nobody may change edge-0001 again" in explored(*case, but=[refuse_lockout_of_everybody])[0].broken


def test_without_its_guard_a_lock_out_is_found():
    case = planned(setting(**{LIST: [{"role": "admin", "addr": "10.0.0.1"}]}))
    assert refused(*case) == ["lock-out"]
    (seen,) = explored(*case, but=[refuse_lockout_of_this_host])
    assert "locks 127.0.0.1 out of edge-0001" in seen.broken
    assert len(seen.story) == 2


def test_an_address_that_names_the_old_port_is_a_lock_out():
    desired, observed, _ = planned(setting(**{PORT: 10041}))
    fixed = replace(
        desired,
        targets=tuple(
            replace(one, bases=(f"http://{one.node}.example.com:10040",)) for one in desired.targets
        ),
    )
    case = fixed, observed, DRIVER.plan(fixed, observed)
    assert refused(*case) == ["lock-out"]
    (seen,) = explored(*case, but=[moving])
    assert "answers at http://edge-0001.example.com:10041, where no later pass looks for it" in seen.broken


def test_a_change_of_the_ring_splits_a_cluster_unless_all_steps_start_together():
    before, wanted = setting(**ringed("a", "b")), setting(**ringed("a", "c"))
    rolling = planned(wanted, before, nodes=5, concurrency=2)
    assert refused(*rolling) == ["uniformity"]
    (seen,) = explored(*rolling, but=[refuse_cluster_split])
    assert "splits the cluster" in seen.broken
    at_once = planned(wanted, before, nodes=2, concurrency=2)
    assert refused(*at_once) == []
    assert not explored(*at_once)[0].broken


def test_three_nodes_represent_a_thousand_alike():
    desired, observed, plan = planned(setting(meta__version="B"), nodes=1000, concurrency=5)
    (stage,) = DRIVER.list_model_setups(desired, observed, plan)
    assert stage.words == "3 nodes represent 1000 of one kind"
    assert len(stage.plan.steps) == 3
    assert stage.plan.concurrency == 2


def test_kinds_of_nodes_are_explored_in_pairs():
    odd = {f"edge-{number:04}": shown(f"edge-{number:04}", setting(**{PORT: 1})) for number in range(1, 4)}
    new = {"edge-0007": Absent("404"), "edge-0008": Unreachable("no answer")}
    desired, observed, plan = planned(setting(meta__version="B"), nodes=9, answers=odd | new, concurrency=9)
    found = DRIVER.list_model_setups(desired, observed, plan)
    assert {stage.words for stage in found} == {"all pairs of 3 kinds of nodes represent 8 nodes"}
    together = [tuple(step.node[-1] for step in stage.plan.steps) for stage in found]
    assert together == [("1", "2"), ("4", "5"), ("7",), ("1", "4"), ("1", "7"), ("4", "7")]


def test_unchanged_nodes_outside_a_cluster_are_left_out():
    same = {
        f"edge-{number:04}": shown(f"edge-{number:04}", setting(meta__version="B")) for number in (1, 2, 3)
    }
    (stage,) = DRIVER.list_model_setups(*planned(setting(meta__version="B"), nodes=5, answers=same))
    assert [step.node for step in stage.plan.steps] == ["edge-0004", "edge-0005"]
    assert stage.words == "nodes that do not change, or were not read, are left out"


def test_waiting_fields_are_explored_in_both_ways_of_showing_them():
    (stage,) = DRIVER.list_model_setups(*planned(setting(**{RESTART_ONLY: {"recvBufferSize": 1}})))
    assert {rule.shown.value for rule in stage.model.rules} == {"asked", "service"}


def test_an_unavailable_secret_is_the_reason_for_no_setup():
    unknown = Secret("?", "${env:KEY}", "KEY is not set")
    desired, observed, plan = planned(setting(meta__version="B"))
    digest = desired.targets[0].payload
    payload = replace(desired.payloads[digest], missing={"KEY": str(unknown)})
    reason = DRIVER.list_model_setups(replace(desired, payloads={digest: payload}), observed, plan)
    assert "a secret is not available here" in reason
