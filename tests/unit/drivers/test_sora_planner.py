"""What is planned from which views: the steps in their order, and the findings."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from support.sora_clusters import (
    FORBIDDEN,
    agreeing,
    api,
    cluster_memory,
    codes,
    entry,
    full,
    planned,
    seen,
    short,
    verbs,
)

from reconciler.core.plan import Effect, Risk
from reconciler.core.rollout_rules import Rollout
from reconciler.core.waves import assign_waves, group_by_wave
from reconciler.diagnostic import Severity
from reconciler.drivers.sora.schema import Collapsed

STOP = {"stop": {"command": "stop-sora"}}
NEW = {"initialise": True}
AT_ONCE = STOP | {"drain": 0}
GONE = {"collapsed": Collapsed(reason="two hosts burnt down", until="2026-11-30")}


@pytest.mark.parametrize(
    ("facts", "observed", "steps"),
    [
        ({"mode": "block_new_session", "drained": "normal"}, "block_new_session", ["mode b"]),
        ({"mode": "block_new_session"}, "block_new_session", []),
        ({"mode": "normal", "drained": "normal"}, "block_new_session", []),
        ({"mode": "block_new_session", "drained": "normal"}, "block_new_connection", []),
        ({"mode": "block_new_session", "drained": "normal"}, "normal", []),
        ({}, "block_new_session", []),
    ],
)
def test_a_node_that_stays_after_all_gets_the_mode_back_that_it_had_before_a_drain(facts, observed, steps):
    answers = seen(agreeing("a b c", *"abc"), modes={"b": observed})
    result = planned(entry("a b c"), answers, recalled={full("b"): facts})
    assert verbs(result) == steps
    if steps:
        assert (result.steps[0].arguments.mode, result.steps[0].arguments.previous) == ("normal", observed)
        assert "drained" in result.steps[0].reason


def test_a_cluster_as_desired_has_no_steps():
    result = planned(entry("a b c"), seen(agreeing("a b c", "a", "b", "c")))
    assert verbs(result) == codes(result) == []
    assert (result.nodes, result.unchanged) == (3, 3)


@pytest.mark.parametrize(
    ("wanted", "answers"),
    [
        ("a b c", agreeing("a b c!", "a", "b", c=None)),
        ("a b c d", agreeing("a b c!", "a", "b", c=None, d="")),
        ("a b c d", agreeing("a b c", "a", "b", "c", d=None)),
        ("a b c", agreeing("a b c d%", "a", "b", "c", d=None)),
        ("a b c", agreeing("a b c d!", "a", "b", "c", d="")),
        ("a b c", agreeing("a b c t!~", "a", "b", "c", t="t~")),
    ],
)
def test_a_difference_that_no_step_corrects_is_an_error(wanted, answers):
    """Otherwise a run would end with 0 though a node is away, or a node waits to be added or removed."""
    result = planned(entry(wanted), seen(answers))
    assert verbs(result) == []
    assert any(one.severity is Severity.ERROR for one in result.findings), result.findings


@pytest.mark.parametrize(
    ("wanted", "more", "answers", "steps", "findings"),
    [
        # An error that says so is as good as an empty list.
        ("a b", NEW, {"a": "", "b": "?CLUSTER-NOT-INITIALIZED"}, "init a", ""),
        # No init while a node has not answered.
        ("a b c", {}, {"a": "", "b": "", "c": None}, "", "node-unreachable c"),
        ("a b c", {}, {"a": "", "b": "", "c": FORBIDDEN}, "", "node-unreachable c"),
        # No init against an answer that leaves room for a cluster.
        ("a b", NEW, {"a": "a", "b": "?CLUSTER-NOT-AVAILABLE"}, "", "majority-lost"),
        ("a b", NEW, {"a": "a", "b": "a! b c!"}, "", "majority-lost"),
        ("a b", NEW, {"a": "a", "b": None}, "", "node-unreachable b"),
        # A lost majority is no reason for an init, nor is a desired state of other nodes.
        (
            "a b c",
            {},
            {"a": "a b! c!", "b": None, "c": None},
            "",
            "majority-lost, node-unreachable b, node-unreachable c",
        ),
        ("a d e", {}, {"a": "a b! c!", "d": "", "e": ""}, "", "majority-lost"),
        # `collapsed` never counts for a cluster with its majority, nor while a node is silent.
        ("a b c", GONE, agreeing("a b c!", "a", "b", c=None), "", "collapsed-unneeded, node-away c"),
        ("a d e", GONE, {"a": "a b! c!", "d": "", "e": None}, "", "majority-lost, node-unreachable e"),
        # A temporary node registers whatever the margin.
        ("a b c t~", {}, agreeing("a b c!", "a", "b", c=None, t=""), "register t", "node-away c"),
        # One node cannot safely become two.
        ("a d", {}, {"a": "a", "d": ""}, "", "initialise-needed"),
        # A purged node that was started again registers as a new member.
        ("a b c d", {}, agreeing("a b c", *"abc", d="a! b! c! d"), "register d", "node-rejoins d"),
        # No registration of a node that is not known to be free.
        ("a b c d", {}, agreeing("a b c", *"abc", d=None), "", "node-unreachable d"),
        ("a b c d", {}, agreeing("a b c", *"abc", d=FORBIDDEN), "", "node-refuses d"),
        ("a b c d", {}, agreeing("a b c", *"abc", d="x y d"), "", "views-disagree"),
        ("a b c d", {}, agreeing("a b c", *"abc", d="x y"), "", "wrong-address d"),
        ("a b c d", {}, agreeing("a b c", *"abc", d="d~"), "", "kind-differs d"),
        ("a b c d", {}, agreeing("a b c", *"abc", d="d x y! z!"), "", "in-another-cluster d"),
        # R = 3, A = 2: the dead node is purged first; a half registration would leave 2 of 4.
        ("a b d", {}, agreeing("a b c!", "a", "b", d="", c=None), "purge c, register d", "quorum-margin c"),
        # With four, the new node registers first.
        ("a b c e", {}, agreeing("a b c d!", *"abc", e="", d=None), "register e, purge d", "quorum-margin d"),
        # A live node stays while its successor is unreachable.
        ("a b d", STOP, agreeing("a b c", *"abc", d=None), "", "removal-waits c, node-unreachable d"),
        # Never a purge of a desired node, of one that a member sees, or on the views of a minority.
        ("a b c", {}, agreeing("a b c!", "a", "b", c=None), "", "node-away c"),
        ("a b c", {}, agreeing("a b c d!", "a", "c", b="a b c d", d=None), "", "views-disagree d"),
        (
            "a b c d",
            {},
            {"a": "a b c d e!", "b": None, "c": None, "d": None, "e": None},
            "",
            "api-silent b, api-silent c, api-silent d, purge-waits e",
        ),
        # Never a purge that would lose the majority, nor of a temporary node.
        ("a", {}, {"a": "a b!", "b": None}, "", "majority-lost"),
        ("a b c", {}, agreeing("a b c t!~", *"abc", t=None), "", "temporary-away t"),
        # A node that answers is stopped first.
        ("a b c", STOP, agreeing("a b c d!", *"abc", d="a! b! c! d"), "stop d, purge d", ""),
        # No drain if the fleet file says so.
        ("a b c d", AT_ONCE, agreeing("a b c d e", *"abcde"), "stop e, purge e", ""),
        # Several leave one by one.
        ("a b c", AT_ONCE, agreeing("a b c d e", *"abcde"), "stop d, purge d, stop e, purge e", ""),
        # No removal while a member does not answer this host, or where it would lose the majority.
        ("a b c d", STOP, agreeing("a b c d e", *"abce", d=None), "", "api-silent d, removal-waits e"),
        ("a b c", STOP, agreeing("a b c! d", *"abd", c=None), "", "node-away c, removal-waits d"),
        # A temporary node is stopped and needs no purge.
        ("a b c", STOP, agreeing("a b c t~", *"abct"), "drain t, stop t", ""),
        # A registered node of the other kind is left to an operator.
        ("a b c t~", {}, agreeing("a b c t", *"abct"), "", "kind-differs t"),
    ],
)
def test_what_is_planned_and_what_is_reported(wanted, more, answers, steps, findings):
    result = planned(entry(wanted, **more), seen(answers))
    assert (", ".join(verbs(result)), ", ".join(codes(result))) == (steps, findings)


class TestInit:
    def test_where_every_node_answers_that_it_was_never_initialised(self):
        result = planned(entry("a b c", **NEW), seen({"a": "", "b": "", "c": ""}))
        assert verbs(result) == ["init a"]
        assert result.steps[0].risk is Risk.MEDIUM
        arguments = result.steps[0].arguments
        assert arguments.names == (full("a"), full("b"), full("c"))
        assert arguments.api == api("a")

    def test_temporary_nodes_are_registered_after_it(self):
        result = planned(entry("a b t~", **NEW), seen({"a": "", "b": "", "t": ""}))
        assert verbs(result) == ["init a", "register t"]
        assert result.steps[0].arguments.names == (full("a"), full("b"))
        assert result.steps[1].after == (result.steps[0].id,)

    def test_not_where_a_node_lists_only_itself(self):
        result = planned(entry("a b"), seen({"a": "a", "b": ""}))
        assert verbs(result) == []
        assert codes(result) == ["initialise-needed"]
        assert "initialise: true" in result.findings[0].remedy

    def test_unless_the_fleet_file_has_initialise(self):
        result = planned(entry("a b", initialise=True), seen({"a": "a", "b": "b"}))
        assert verbs(result) == ["init a"]
        assert result.steps[0].risk is Risk.HIGH

    def test_but_not_once_a_node_was_known_in_the_cluster(self):
        answers = seen({"a": "a", "b": "b"})
        result = planned(entry("a b", initialise=True), answers, history=cluster_memory("a", "b"))
        assert verbs(result) == []
        assert codes(result) == ["collapsed-needed"]


class TestCollapse:
    def collapsed(self, **more):
        return planned(
            entry("a d e", **GONE),
            seen({"a": "a b! c!", "d": "", "e": ""}, **more.pop("seen", {})),
            **more,
        )

    def test_an_entry_lets_it_be_initialised_again(self):
        result = self.collapsed()
        assert verbs(result) == ["init a"]
        assert result.steps[0].risk is Risk.HIGH
        assert "two hosts burnt down" in result.steps[0].reason

    def test_until_its_last_day(self):
        from datetime import date  # noqa: PLC0415

        assert verbs(self.collapsed(seen={"day": date(2026, 11, 30)})) == ["init a"]
        late = self.collapsed(seen={"day": date(2026, 12, 1)})
        assert verbs(late) == []
        assert "collapsed-expired" in codes(late)

    def test_once(self):
        spent = {full("a"): {"collapsed": "2026-11-30: two hosts burnt down"}}
        result = self.collapsed(recalled=spent)
        assert verbs(result) == []
        assert "collapsed-used" in codes(result)

    def test_not_where_every_node_already_lists_the_new_cluster(self):
        result = planned(entry("a d", **GONE), seen({"a": "a d!", "d": "a! d"}))
        assert verbs(result) == []
        assert "collapsed-apart" in codes(result)


class TestRegister:
    def test_new_nodes_one_after_the_other(self):
        result = planned(entry("a b c d e"), seen(agreeing("a b c", "a", "b", "c", d="", e="")))
        assert verbs(result) == ["register d", "register e"]
        first, second = result.steps
        assert second.after == (first.id,)
        assert first.effect is Effect.MEMBERSHIP
        assert first.arguments.contact == full("a")
        assert first.arguments.api == api("d")
        assert first.arguments.after == second.arguments.before
        assert set(second.arguments.witnesses) == {full(one) for one in "abcde"}

    def test_not_while_a_failure_halfway_would_lose_the_majority(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c!", "a", "b", c=None, d="")))
        assert verbs(result) == []
        assert codes(result) == ["node-away c", "register-waits d"]
        assert "2 of 4 regular nodes connected, majority 3" in result.findings[1].message

    def test_again_where_it_is_half_registered(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c d!", "a", "b", "c", d="")))
        assert verbs(result) == ["register d"]
        assert result.steps[0].arguments.again
        assert result.steps[0].arguments.before == result.steps[0].arguments.after


class TestReplace:
    def test_a_live_one_leaves_after_its_successor_has_joined(self):
        result = planned(entry("a b d", **STOP), seen(agreeing("a b c", "a", "b", "c", d="")))
        assert verbs(result) == ["register d", "drain c", "stop c", "purge c"]
        assert [step.after for step in result.steps[1:]] == [(step.id,) for step in result.steps[:-1]]

    @pytest.mark.parametrize("leaves", "abc")
    def test_no_contact_is_a_node_that_leaves_next(self, leaves):
        """A contact that goes away between two steps takes the call with it, and the answer too."""
        stays = [one for one in "abc" if one != leaves]
        wanted = entry(" ".join([*stays, "d"]), **STOP)
        result = planned(wanted, seen(agreeing("a b c", "a", "b", "c", d="")))
        assert verbs(result) == ["register d", f"drain {leaves}", f"stop {leaves}", f"purge {leaves}"]
        register, *_, purge = result.steps
        assert short(register.arguments.contact) == stays[0]
        assert short(purge.arguments.contact) == stays[0]

    def test_where_every_member_leaves_one_of_them_is_asked_all_the_same(self):
        result = planned(entry("d e f", **STOP), seen(agreeing("a b c", "a", "b", "c", d="", e="", f="")))
        assert result.steps[0].action == "register"
        assert short(result.steps[0].arguments.contact) == "a"
        later = [step for step in result.steps if step.action in {"purge", "register"}][1:]
        assert {short(step.arguments.contact) for step in later} <= set("def")


def test_messages_name_the_addresses_of_the_steps_own_node_and_the_called_url():
    result = planned(entry("a b d", **STOP), seen(agreeing("a b c", "a", "b", "c", d="")))
    told = {step.action: step.arguments.feedback for step in result.steps}
    assert {action: one.addresses for action, one in told.items()} == {
        "register": ("d.example.com",),
        "drain": ("c.example.com",),
        "stop": ("c.example.com",),
        "purge": ("c.example.com",),
    }
    # A purge is sent to another node than its own; a stop is not sent to Sora's API.
    urls = {action: one.url for action, one in told.items()}
    assert urls == {"register": api("d"), "drain": api("c"), "stop": "", "purge": api("a")}


class TestPurge:
    def test_a_stopped_node_that_the_fleet_file_no_longer_names(self):
        result = planned(entry("a b c"), seen(agreeing("a b c d!", "a", "b", "c", d=None)))
        assert verbs(result) == ["purge d"]
        step = result.steps[0]
        assert (step.arguments.contact, step.arguments.api) == (full("a"), api("a"))
        assert step.inverse.words.startswith("point of no return")
        assert step.risk is Risk.MEDIUM


class TestRemoval:
    def test_a_live_node_is_drained_stopped_and_purged(self):
        result = planned(entry("a b c d", **STOP, drain=60), seen(agreeing("a b c d e", *"abcde")))
        assert verbs(result) == ["drain e", "stop e", "purge e"]
        drain, stop, _ = result.steps
        assert drain.arguments.mode == "block_new_session"
        assert stop.arguments.command == "stop-sora"
        assert stop.arguments.values == {"node": full("e"), "host": "e.example.com"}
        assert stop.arguments.drain == 60
        assert not stop.is_manual

    def test_without_a_command_the_plan_waits_for_an_operator(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c d e", *"abcde")))
        stop = result.steps[1]
        assert stop.is_manual
        assert "stop it on its host" in stop.reason

    def test_an_invalid_name_is_never_put_into_a_command(self):
        from reconciler.drivers.sora.steps import find_stop_command  # noqa: PLC0415

        cluster = entry("a", **STOP)
        assert find_stop_command(cluster, "x@h.example").command == "stop-sora"
        for name in ("x@$(reboot)", "x", "x@-oProxyCommand=sh.x", "-x@h.example", "x@h.", "x@h;f", "x@h.e;f"):
            assert find_stop_command(cluster, name) is None

    def test_a_node_that_takes_no_sessions_already_is_not_blocked_again(self):
        modes = {"e": "block_new_connection"}
        result = planned(entry("a b c d", **STOP), seen(agreeing("a b c d e", *"abcde"), modes=modes))
        assert verbs(result) == ["stop e", "purge e"]


class TestDisagreement:
    def test_about_members(self):
        answers = {"a": "a b c d!", "b": "a b c", "c": "a b c", "d": ""}
        result = planned(entry("a b c d"), seen(answers))
        assert verbs(result) == []
        assert codes(result) == ["views-disagree"]
        assert "b@b.example.com, c@c.example.com say" in result.findings[0].message

    def test_a_view_from_outside_the_majority_is_no_disagreement(self):
        result = planned(
            entry("a b c"), seen(agreeing("a b c! d", "a", "b", c="a! b! c", d="a b c! d"), day=None)
        )
        assert "views-disagree" not in " ".join(codes(result))


class TestModes:
    MODES = MappingProxyType({"b": "block_new_session"})

    def test_a_mode_that_the_fleet_file_does_not_set_is_not_changed(self):
        result = planned(entry("a b c"), seen(agreeing("a b c", *"abc"), modes=self.MODES))
        assert verbs(result) == []
        assert codes(result) == ["mode-left-alone b"]

    def test_a_mode_of_the_fleet_file_is_set(self):
        cluster = entry("a b c", modes={"b": "normal", "c": "block_new_session"})
        result = planned(cluster, seen(agreeing("a b c", *"abc"), modes=self.MODES))
        assert verbs(result) == ["mode b", "mode c"]
        assert result.unchanged == 1
        assert result.steps[0].arguments.previous == "block_new_session"
        assert result.steps[0].inverse.arguments["mode"] == "block_new_session"
        assert not result.steps[1].after

    def test_a_node_that_blocked_itself_is_not_set_back_blindly(self):
        cluster = entry("a b c", modes={"b": "normal"})
        answers = seen(agreeing("a b c", *"abc"), modes={"b": "block_new_connection"})
        assert codes(planned(cluster, answers)) == ["node-blocked-itself b"]
        assert verbs(planned(cluster, answers)) == []
        ours = {full("b"): {"mode": "block_new_connection"}}
        assert verbs(planned(cluster, answers, ours)) == ["mode b"]


def test_the_order_of_the_fleet_file_and_of_the_answers_changes_nothing():
    answers = agreeing("a b c", "a", "b", "c", d="", e="")
    one = planned(entry("a b c d e"), seen(answers))
    two = planned(entry("e d c b a"), seen(dict(reversed(answers.items()))))
    assert one == two


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
