"""The plan of a Go cluster: one node at a time, in an order in which every view keeps its quorum."""

from dataclasses import replace

import pytest
from support.gocluster import changed, content, desired, entry, names, observe, row, seen, view, views

from reconciler.core.file_state import FileState
from reconciler.core.guard import GuardContext, run_guards
from reconciler.core.observation import Liveness, Present, Unreachable
from reconciler.core.plan import Risk
from reconciler.core.step_status import StepStatus
from reconciler.drivers.gocluster import machine, planner
from reconciler.drivers.gocluster.cluster_view import ClusterView
from reconciler.drivers.gocluster.guards import GUARDS
from reconciler.drivers.gocluster.judge import judge
from reconciler.drivers.gocluster.planner import Action, list_change_orders, walk_order
from reconciler.drivers.gocluster.product import DRIVER
from reconciler.drivers.gocluster.view import NodeView

COMMANDS = {"start": {"command": "start-app"}, "stop": {"command": "stop-app"}}
LARGEST = 12


def made(wanted, observed, **more):
    """A plan that all guards of the product accept."""
    plan = planner.plan(wanted, observed)
    context = GuardContext(plan, wanted.entry, wanted, observed, **more)
    assert run_guards(context, GUARDS) == ()
    return plan


def shape(plan):
    return [f"{step.action} {step.node}" for step in plan.steps]


def codes(plan):
    return {finding.code for finding in plan.findings}


def moved(count, other, **more):
    """From one number of members to another one: desired state and what is observed."""
    own = {**COMMANDS, **more}
    before, after = desired(entry(count, **own)), desired(entry(other, **own))
    shown = views(count)
    recalled = {**seen(before).recalled}
    return replace(after, recalled=recalled), changed(before, after, shown)


def test_nothing_to_do_is_no_step():
    wanted = seen(desired())
    plan = made(wanted, observe(wanted, views(3)))
    assert (plan.steps, plan.findings, plan.unchanged) == ((), (), 3)


def test_a_changed_file_restarts_one_node_after_the_other():
    before, after = desired(), seen(desired(entry(settings={"ping_interval": "6s"})))
    plan = made(after, changed(before, after, views(3)))
    assert shape(plan) == [
        f"{action} {node}" for node in names(3) for action in ("stage-file", "switch-file", "restart")
    ]
    by_id = {step.id: step for step in plan.steps}
    second = by_id["game/node2/switch-file/app"]
    assert "game/node1/restart" in second.after, "no file before the node before is back"
    assert "game/node2/switch-file/app" in by_id["game/node2/restart"].after
    assert by_id["game/node2/restart"].arguments.feedback.api == "/gocluster/restart"


@pytest.mark.parametrize("count", range(1, LARGEST))
def test_one_more_is_started_first_and_every_view_keeps_its_quorum(count):
    wanted, observed = moved(count, count + 1)
    plan = made(wanted, observed)
    assert "mesh-restart-waits" not in codes(plan)
    new = f"node{count + 1}"
    changes = [step for step in shape(plan) if "-file" not in step]
    assert changes[0] == f"start {new}"
    assert sorted(changes[1:]) == sorted(f"restart {node}" for node in names(count))


@pytest.mark.parametrize("count", range(2, LARGEST))
def test_one_less_is_stopped_as_early_as_every_view_allows(count):
    wanted, observed = moved(count, count - 1)
    plan = made(wanted, observed)
    changes = [step for step in shape(plan) if "-file" not in step]
    place = changes.index(f"stop node{count}")
    assert place < max(1, count - 1), "before the last restart, or no view shows whether it is gone"
    # By the words of the facts: files first where stopping first would cost a view its quorum.
    is_first_safe = count == 2 or count > 4
    assert (place == 0) is is_first_safe


def run(order, state):
    return [why for _, _, why in walk_order(state, order) if why]


def state_of(count, members):
    """Nodes that run with one list of members, and get another one."""
    old, new = frozenset(names(count)), frozenset(names(members))
    nodes = (
        machine.GoNodeState(
            name,
            up=name in old,
            peers=(old if name in old else new) - {name},
            file_peers=new - {name},
            is_counted=name in new,
        )
        for name in sorted(old | new)
    )
    return machine.make_state(nodes)


@pytest.mark.parametrize(("count", "is_safe"), [(1, True), (2, False), (3, False), (4, True), (5, True)])
def test_files_first_is_safe_or_not_by_the_numbers(count, is_safe):
    """3 to 4 loses the quorum, as was seen live; from 5 to 6 it holds."""
    state = state_of(count, count + 1)
    order = [Action("restart", name) for name in names(count)]
    assert (run(order, state) == []) is is_safe


# The time grows with the third power of the members; all sizes up to 39 were run once.
@pytest.mark.parametrize("count", range(1, 16))
def test_every_change_of_up_to_half_of_the_members_has_an_order(count):
    for others in range(max(1, count // 2 + 1), count + count // 2 + 1):
        state = state_of(count, others)
        starts = [f"node{number}" for number in range(count + 1, others + 1)]
        leaving = [f"node{number}" for number in range(others + 1, count + 1)]
        restarts = names(min(count, others))
        orders = list_change_orders(state, starts, restarts, leaving)
        assert any(not run(order, state) for order in orders), (count, others)


def test_a_new_node_that_nobody_starts_is_waited_for():
    wanted, observed = moved(3, 4, start=None)
    plan = made(wanted, observed)
    (start,) = [step for step in plan.steps if step.action == "start"]
    assert start.is_manual
    first = [step for step in plan.steps if step.node == "node1"]
    assert all(start.id in step.after for step in first if step.action != "stage-file")


def test_nothing_is_restarted_while_a_view_is_not_known():
    wanted = seen(desired(entry(5, settings={"ping_interval": "6s"})))
    observed = changed(desired(entry(5)), wanted, views(5))
    broken = {**observed.nodes, "node4": Unreachable("timed out", Liveness.ALIVE)}
    plan = made(wanted, replace(observed, nodes=broken))
    assert shape(plan) == []
    assert {"mesh-restart-waits", "node-unread"} <= codes(plan)


def test_a_node_that_is_down_counts_as_away():
    for count, is_planned in ((3, False), (4, False), (5, True)):
        wanted = seen(desired(entry(count, settings={"ping_interval": "6s"})))
        last = f"node{count}"
        observed = changed(desired(entry(count)), wanted, views(count, away=[last]))
        plan = made(wanted, observed)
        assert bool([step for step in plan.steps if step.action == "restart"]) is is_planned
        assert not [step for step in plan.steps if step.node == last and step.action in {"restart", "start"}]


def test_a_reserved_node_may_be_stopped_so_no_other_one_is_restarted():
    wanted = seen(desired(entry(5, settings={"ping_interval": "6s"})))
    observed = changed(desired(entry(5)), wanted, views(5), reserved=frozenset({"node5"}))
    assert shape(made(wanted, observed)) == []


def test_a_node_that_was_seen_before_is_not_started():
    wanted = seen(desired())
    plan = made(wanted, observe(wanted, views(3, away=["node3"])))
    assert shape(plan) == []
    unseen = seen(desired(), "node3")
    assert shape(made(unseen, observe(unseen, views(3, away=["node3"])))) == ["start node3"]


def test_a_silent_node_that_others_see_is_not_down():
    wanted = seen(desired(), "node3")
    shown = {name: own for name, own in views(3).items() if name != "node3"}
    assert shape(made(wanted, observe(wanted, shown))) == []


def test_a_process_that_is_older_than_its_file_is_restarted():
    wanted = seen(desired())
    facts = {**wanted.recalled["node2"], "outdated_start": "start of node2"}
    wanted = replace(wanted, recalled={**wanted.recalled, "node2": facts})
    assert shape(made(wanted, observe(wanted, views(3)))) == ["restart node2"]


def test_other_peers_than_in_the_file_are_restarted_once():
    wanted = seen(desired())
    shown = {**views(3), "node2": NodeView((row("node1"),))}
    observed = observe(wanted, shown)
    assert shape(made(wanted, observed)) == ["restart node2"]
    digest = planner.plan(wanted, observed).steps[0].arguments.intent_facts["node2"]["restarted_for"]
    facts = {**wanted.recalled["node2"], "restarted_for": digest}
    again = replace(wanted, recalled={**wanted.recalled, "node2": facts})
    plan = made(again, observed)
    assert shape(plan) == []
    assert "peer-missing" in codes(plan)


def test_without_observe_a_restart_is_refused_and_files_alone_are_compared():
    before, after = (
        desired(entry(observe=False)),
        desired(entry(observe=False, settings={"ping_interval": "6s"})),
    )
    observed = replace(
        changed(before, after, {}),
        nodes=dict.fromkeys(names(3), Present(None)),
        starts=dict.fromkeys(names(3), "s"),
    )
    plan = planner.plan(after, observed)
    found = run_guards(GuardContext(plan, after.entry, after, observed), GUARDS)
    assert {one.code for one in found} == {"unobserved-restart"}
    without = replace(after, entry=after.entry.model_copy(update={"restart": None}))
    plan = made(without, observed)
    assert {step.action for step in plan.steps} == {"stage-file", "switch-file"}
    assert codes(plan) == {"restart-by-hand"}


def test_another_secret_is_one_change_of_all_nodes():
    before, after = desired(entry(**COMMANDS)), seen(desired(entry(**COMMANDS), secret="another-secret"))
    observed = changed(before, after, views(3))
    plan = planner.plan(after, observed)
    assert [step.split()[0] for step in shape(plan)] == [
        *["stage-file"] * 3,
        *["stop"] * 3,
        *["switch-file"] * 3,
        *["start"] * 3,
    ]
    by_id = {step.id: step for step in plan.steps}
    stops = {step.id for step in plan.steps if step.action == "stop"}
    switches = {step.id for step in plan.steps if step.action == "switch-file"}
    assert all(stops <= set(by_id[one].after) for one in switches)
    starts = [step for step in plan.steps if step.action == "start"]
    assert switches <= set(starts[0].after)
    assert all(
        step.risk is Risk.HIGH and step.arguments.outage for step in plan.steps if step.action == "stop"
    )
    named = {step.action: step.arguments.feedback.api for step in (*starts, by_id["game/node1/stop"])}
    assert named == {"start": "/gocluster/start", "stop": "/gocluster/stop"}
    refused = run_guards(GuardContext(plan, after.entry, after, observed), GUARDS)
    assert {one.code for one in refused} == {"auth-change"}, "without a change window"


@pytest.mark.parametrize("missing", ["start", "stop", "observe"])
def test_another_secret_waits_for_what_is_missing(missing):
    own = entry(**{**COMMANDS, missing: False if missing == "observe" else None})
    before, after = desired(own), seen(desired(own, secret="another-secret"))
    observed = changed(before, after, views(3))
    plan = made(after, observed)
    assert shape(plan) == []
    assert "auth-change-waits" in codes(plan)


def test_a_change_of_the_secret_that_was_cut_off_is_continued():
    """All nodes were stopped, and one has its file already."""
    before, after = desired(entry(**COMMANDS)), desired(entry(**COMMANDS), secret="another-secret")
    facts = {name: {"seen": "yes", "stopped_for_change": "authentication"} for name in names(3)}
    after = replace(after, recalled=facts)
    files = {"node1": content(after, "node1"), **{n: content(before, n) for n in ("node2", "node3")}}
    observed = observe(after, {}, files=files)
    plan = made(after, observed)
    assert all(step.arguments.ends_outage for step in planner.list_process_steps(plan))
    assert [step for step in shape(plan) if "stage" not in step] == [
        "switch-file node2",
        "switch-file node3",
        "start node1",
        "start node2",
        "start node3",
    ]
    done = observe(after, {})
    assert shape(made(after, done)) == ["start node1", "start node2", "start node3"]


def test_a_change_of_the_secret_that_was_cut_off_between_two_stops_needs_no_further_approval():
    before, after = desired(entry(**COMMANDS)), desired(entry(**COMMANDS), secret="another-secret")
    facts = {name: {"seen": "yes"} for name in names(3)}
    facts["node1"]["stopped_for_change"] = "authentication"
    observed = changed(before, replace(after, recalled=facts), views(3, away=["node1"]))
    own = planner.list_process_steps(planner.plan(replace(after, recalled=facts), observed))
    assert [step.action for step in own] == ["stop"] * 2 + ["start"] * 3
    assert [step.arguments.outage for step in own if step.action == "stop"] == ["", ""]
    # Started again by somebody: then it is another outage.
    shown = changed(before, replace(after, recalled=facts), views(3))
    own = planner.list_process_steps(planner.plan(replace(after, recalled=facts), shown))
    assert all(step.arguments.outage for step in own if step.action == "stop")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"tlsCertificate": "a.pem"}, {"tlsCertificate": "b.pem"}),
        ({"tls": {"ca": "a", "key": [1]}}, {"tls": {"ca": "b", "key": [1]}}),
        ({"TLSName": True}, {"TLSName": False}),
    ],
)
def test_a_value_about_tls_is_changed_on_all_nodes_at_once(old, new):
    name = next(iter(old))
    template = f"{{{{peers}}}} {{{{values.{name}}}}} {{{{values.secret}}}}\n"
    before = desired(entry(**COMMANDS), values=old, template=template)
    after = seen(desired(entry(**COMMANDS), values=new, template=template))
    plan = planner.plan(after, changed(before, after, views(3)))
    assert {step.action for step in planner.list_process_steps(plan)} == {"stop", "start"}
    assert "TLS changes" in next(step.reason for step in plan.steps if step.action == "stop")


def restart_of(node, count=3):
    before = desired(entry(count))
    after = seen(desired(entry(count, settings={"ping_interval": "6s"})))
    plan = planner.plan(after, changed(before, after, views(count)))
    return next(step for step in plan.steps if step.id == f"game/{node}/restart"), after


def judged(step, wanted, shown, **starts):
    observed = observe(wanted, shown)
    return judge(step, replace(observed, starts={**observed.starts, **starts})).status


def joined_again(shown, node):
    """The views after a node was started again."""
    later = "2026-11-22T00:00:00Z"
    found = {}
    for name, own in shown.items():
        rows = (replace(one, joined=later) if node in {name, one.name} else one for one in own.peers)
        found[name] = NodeView(tuple(rows))
    return found


def test_a_restart_is_judged_by_all_views_and_a_new_start():
    step, wanted = restart_of("node1")
    assert judged(step, wanted, views(3)) is StepStatus.READY
    assert judged(step, wanted, views(3), node1="new") is StepStatus.UNKNOWN, "the old connections"
    again = joined_again(views(3), "node1")
    assert judged(step, wanted, again, node1="new") is StepStatus.DONE
    half = {**again, "node3": view("node3", offline=["node1"])}
    assert judged(step, wanted, half, node1="new") is StepStatus.UNKNOWN
    blind = {**again, "node1": view("node1", offline=["node2"])}
    assert judged(step, wanted, blind, node1="new") is StepStatus.UNKNOWN
    silent = {name: own for name, own in again.items() if name != "node2"}
    assert judged(step, wanted, silent, node1="new") is StepStatus.UNKNOWN
    assert judged(step, wanted, again, node1="") is StepStatus.UNKNOWN


def test_the_quorum_is_looked_at_again_right_before_the_call():
    step, wanted = restart_of("node1")
    assert judged(step, wanted, views(3, away=["node2"])) is StepStatus.CHANGED
    one_sided = {**views(3), "node3": view("node3", offline=["node2"])}
    assert judged(step, wanted, one_sided) is StepStatus.CHANGED
    gone = views(3, away=["node1"])
    assert judged(step, wanted, gone) is not StepStatus.READY


def test_a_stop_of_a_leaving_node_is_judged_by_those_that_list_it():
    wanted, observed = moved(5, 4)
    plan = made(wanted, observed)
    step = next(one for one in plan.steps if one.action == "stop")
    assert step.arguments.command == "stop-app"
    assert step.arguments.values == {"node": "node5", "host": "10.0.0.5"}
    four = {name: own for name, own in views(5).items() if name != "node5"}
    assert judged(step, wanted, four) is StepStatus.READY
    assert judged(step, wanted, {name: view(name, 5, offline=["node5"]) for name in four}) is StepStatus.DONE
    assert judged(step, wanted, views(4)) is StepStatus.CHANGED, "nobody lists it"


def test_a_name_that_only_a_view_knows_gets_no_command():
    wanted = seen(desired(entry(**COMMANDS)))
    shown = {
        **views(3),
        "node1": NodeView((row("evil", address="203.0.113.9:1"), row("node2"), row("node3"))),
    }
    plan = made(wanted, observe(wanted, shown))
    (stop,) = [step for step in plan.steps if step.action == "stop"]
    assert stop.is_manual
    assert stop.arguments.command == ""
    hostile = {**views(3), "node1": NodeView((row("-rf"), row("node2"), row("node3")))}
    assert not [s for s in made(wanted, observe(wanted, hostile)).steps if s.action == "stop"]


def test_a_hostile_view_cannot_make_a_restart_look_safe():
    """A node that claims to be connected to everybody is believed for its own view alone."""
    before = desired(entry(4))
    wanted = seen(desired(entry(4, settings={"ping_interval": "6s"})))
    shown = {name: view(name, 4, offline=["node4"]) for name in names(3)}
    shown["node4"] = view("node4", 4)
    plan = made(wanted, changed(before, wanted, shown))
    changes = [step for step in shape(plan) if "-file" not in step]
    assert changes[0] == "restart node4", "the one that nobody sees; the others wait until they see it"
    step = next(step for step in plan.steps if step.action == "restart" and step.node == "node1")
    assert judged(step, wanted, shown) is StepStatus.CHANGED


def test_an_unreadable_file_holds_everything_back():
    wanted = seen(desired(entry(settings={"ping_interval": "6s"})))
    observed = changed(desired(), wanted, views(3))
    files = {**observed.files, "node2": {"app": Unreachable("permission denied")}}
    plan = made(wanted, replace(observed, files=files))
    assert shape(plan) == []
    assert {"file-unreadable", "mesh-restart-waits"} <= codes(plan)


def test_the_secret_stands_in_no_part_of_a_plan():
    before, after = desired(entry(**COMMANDS)), seen(desired(entry(**COMMANDS), secret="another-secret"))
    plan = planner.plan(after, changed(before, after, views(3)))
    text = str(plan.plain())
    assert "another-secret" not in text
    assert "s3cr3t-of-all" not in text


def test_the_picture_of_a_mixed_cluster_is_that_of_its_views():
    wanted = seen(desired())
    state = ClusterView(wanted.members, observe(wanted, views(3, away=["node3"]))).make_state()
    assert [node.up for node in state.nodes] == [True, True, False]
    assert machine.keeps_quorum(state, "node1")
    assert FileState(None).digest == ""


def test_a_file_that_was_edited_after_the_start_is_put_back_without_a_restart():
    wanted = seen(desired())
    facts = DRIVER.derive_facts(wanted, observe(wanted, views(3)))
    known = replace(wanted, recalled={name: {**wanted.recalled[name], **facts[name]} for name in names(3)})
    edited = content(wanted, "node2").replace(b"s3cr3t-of-all", b"what-somebody-wrote")
    plan = made(known, observe(known, views(3), files={"node2": edited}))
    assert shape(plan) == ["stage-file node2", "switch-file node2"]
    assert "outdated_start" not in plan.steps[1].arguments.facts_of_intent.get("node2", {})
    # Started since: nobody knows with which file.
    again = observe(known, views(3), files={"node2": edited})
    plan = planner.plan(known, replace(again, starts={**again.starts, "node2": "another start"}))
    assert "auth-change-waits" in codes(plan)


def test_a_start_from_before_the_file_was_delivered_says_nothing_of_what_was_loaded():
    wanted = seen(desired())
    old = {"node1": {"seen": "yes", "outdated_start": "start of node1"}}
    facts = DRIVER.derive_facts(replace(wanted, recalled=old), observe(wanted, views(3)))
    assert "loaded" not in facts["node1"]
    assert "loaded" in facts["node2"]


def left_over(answer, shown=None):
    """Three members, and one that left of which no view shows anything."""
    wanted = seen(desired(entry(3, **COMMANDS)))
    facts = {"seen": "yes", "addr": "10.0.0.4:9654", "api": "http://10.0.0.4:8080"}
    wanted = replace(wanted, recalled={**wanted.recalled, "node4": facts})
    observed = observe(wanted, shown or views(3))
    return wanted, replace(observed, nodes={**observed.nodes, "node4": answer})


def test_a_node_that_left_and_that_nobody_lists_any_more_is_still_stopped():
    running = Present(view("node4", 4))
    wanted, observed = left_over(running)
    plan = made(wanted, observed)
    (stop,) = plan.steps
    assert (stop.action, stop.node, stop.is_manual) == ("stop", "node4", False)
    assert stop.arguments.apis["node4"] == "http://10.0.0.4:8080"
    assert judge(stop, observed).status is StepStatus.READY
    gone = left_over(Unreachable("connection refused"))[1]
    assert judge(stop, gone).status is StepStatus.DONE
    unclear = left_over(Unreachable("a login page", Liveness.ALIVE))[1]
    assert judge(stop, unclear).status is StepStatus.CHANGED


@pytest.mark.parametrize("secret", ["s3cr3t-of-all", "another-secret"])
def test_a_template_that_lost_its_peers_restarts_nothing(secret):
    before = desired(entry(**COMMANDS))
    bare = '{"name": {{node.name}}, "authKey": {{values.secret}}, "tls": {{tls}}}\n'
    after = seen(desired(entry(**COMMANDS), template=bare, secret=secret))
    plan = made(after, changed(before, after, views(3)))
    assert plan.steps == ()
    assert any("no longer names node2, which stays a member" in one.message for one in plan.findings)
    # One that never named them is its operator's affair.
    again = seen(desired(entry(**COMMANDS), template=bare.replace("{", "{ ", 1)))
    observed = changed(seen(desired(entry(**COMMANDS), template=bare)), again, views(3))
    assert "restart node1" in shape(made(again, observed))


def test_what_stands_in_the_file_of_a_new_node_that_is_down_needs_no_outage():
    wanted, observed = moved(3, 4)
    left = content(wanted, "node1").replace(b"s3cr3t-of-all", b"of-an-earlier-life")
    files = {**observed.files, "node4": {"app": Present(FileState(left))}}
    plan = made(wanted, replace(observed, files=files))
    assert [step.action for step in planner.list_process_steps(plan)] == ["start", *["restart"] * 3]


def test_a_node_that_a_run_removed_is_started_when_it_comes_back():
    wanted, observed = left_over(Present(view("node4", 4)))
    (stop,) = made(wanted, observed).steps
    facts = {**wanted.recalled["node4"], **stop.arguments.facts_of_intent["node4"]}
    before = seen(desired(entry(3, **COMMANDS)))
    back = seen(desired(entry(4, **COMMANDS)), "node4")
    back = replace(back, recalled={**back.recalled, "node4": facts})
    plan = made(back, changed(before, back, views(3)))
    own = planner.list_process_steps(plan)
    assert own[0].id == "game/node4/start"
    assert not own[0].arguments.ends_outage, "it waits for a window like any other change"


def test_a_node_that_left_and_is_gone_is_asked_no_more():
    wanted, gone = left_over(Unreachable("connection refused"))
    assert made(wanted, gone).steps == ()
    assert DRIVER.derive_facts(wanted, gone)["node4"] == {"seen": "", "api": "", "stopped_for_change": ""}
    wanted, unclear = left_over(Unreachable("a login page", Liveness.ALIVE))
    assert "node4" not in DRIVER.derive_facts(wanted, unclear)
