"""What is planned from which views, by hand: the order of steps, and what is left alone and why."""

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
from reconciler.diagnostic import Severity
from reconciler.drivers.sora.schema import Collapsed

STOP = {"stop": {"command": "stop-sora"}}
NEW = {"initialise": True}


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
def test_a_node_whose_removal_was_taken_back_gets_the_mode_back_that_our_drain_took(facts, observed, steps):
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
def test_what_differs_and_no_step_mends_is_an_error(wanted, answers):
    """Otherwise a run would end with 0 though a node is away, or a node waits to be added or removed."""
    result = planned(entry(wanted), seen(answers))
    assert verbs(result) == []
    assert any(one.severity is Severity.ERROR for one in result.findings), result.findings


class TestFounding:
    def test_where_every_node_answers_that_it_was_never_initialised(self):
        result = planned(entry("a b c", **NEW), seen({"a": "", "b": "", "c": ""}))
        assert verbs(result) == ["init a"]
        assert result.steps[0].risk is Risk.MEDIUM
        arguments = result.steps[0].arguments
        assert arguments.names == (full("a"), full("b"), full("c"))
        assert arguments.api == api("a")

    def test_an_error_that_says_so_is_as_good_as_an_empty_list(self):
        answers = seen({"a": "", "b": "?CLUSTER-NOT-INITIALIZED"})
        assert verbs(planned(entry("a b", **NEW), answers)) == ["init a"]

    def test_temporary_nodes_are_registered_after_it(self):
        result = planned(entry("a b t~", **NEW), seen({"a": "", "b": "", "t": ""}))
        assert verbs(result) == ["init a", "register t"]
        assert result.steps[0].arguments.names == (full("a"), full("b"))
        assert result.steps[1].after == (result.steps[0].id,)

    @pytest.mark.parametrize("answer", [None, FORBIDDEN])
    def test_not_where_a_node_has_not_answered(self, answer):
        result = planned(entry("a b c"), seen({"a": "", "b": "", "c": answer}))
        assert verbs(result) == []
        assert codes(result) == ["node-unreachable c"]

    def test_not_where_a_node_lists_nobody_but_itself(self):
        result = planned(entry("a b"), seen({"a": "a", "b": ""}))
        assert verbs(result) == []
        assert codes(result) == ["initialise-needed"]
        assert "initialise: true" in result.findings[0].remedy

    def test_unless_the_fleet_file_says_the_word(self):
        result = planned(entry("a b", initialise=True), seen({"a": "a", "b": "b"}))
        assert verbs(result) == ["init a"]
        assert result.steps[0].risk is Risk.HIGH

    def test_but_not_once_a_node_was_known_in_the_cluster(self):
        answers = seen({"a": "a", "b": "b"})
        result = planned(entry("a b", initialise=True), answers, history=cluster_memory("a", "b"))
        assert verbs(result) == []
        assert codes(result) == ["collapsed-needed"]

    @pytest.mark.parametrize("other", ["?CLUSTER-NOT-AVAILABLE", "a! b c!", None])
    def test_and_never_against_an_answer_that_leaves_room_for_a_cluster(self, other):
        result = planned(entry("a b", initialise=True), seen({"a": "a", "b": other}))
        assert verbs(result) == []
        assert result.findings

    def test_a_lost_majority_is_no_reason(self):
        result = planned(entry("a b c"), seen({"a": "a b! c!", "b": None, "c": None}))
        assert verbs(result) == []
        assert "majority-lost" in codes(result)

    def test_nor_is_a_desired_state_of_other_nodes(self):
        result = planned(entry("a d e"), seen({"a": "a b! c!", "d": "", "e": ""}))
        assert verbs(result) == []
        assert codes(result) == ["majority-lost"]


class TestCollapse:
    WORD = Collapsed(reason="two hosts burnt down", until="2026-11-30")

    def collapsed(self, **more):
        return planned(
            entry("a d e", collapsed=self.WORD),
            seen({"a": "a b! c!", "d": "", "e": ""}, **more.pop("seen", {})),
            **more,
        )

    def test_an_explicit_word_lets_it_be_initialised_anew(self):
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

    def test_never_on_a_cluster_that_holds_its_majority(self):
        result = planned(entry("a b c", collapsed=self.WORD), seen(agreeing("a b c!", "a", "b", c=None)))
        assert verbs(result) == []
        assert codes(result) == ["collapsed-unneeded", "node-away c"]

    def test_never_while_a_node_is_silent(self):
        cluster = entry("a d e", collapsed=self.WORD)
        assert verbs(planned(cluster, seen({"a": "a b! c!", "d": "", "e": None}))) == []

    def test_not_where_every_node_already_lists_the_new_cluster(self):
        result = planned(entry("a d", collapsed=self.WORD), seen({"a": "a d!", "d": "a! d"}))
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

    def test_a_temporary_node_whatever_the_margin(self):
        result = planned(entry("a b c t~"), seen(agreeing("a b c!", "a", "b", c=None, t="")))
        assert verbs(result) == ["register t"]

    def test_not_while_a_failure_halfway_would_lose_the_majority(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c!", "a", "b", c=None, d="")))
        assert verbs(result) == []
        assert codes(result) == ["node-away c", "register-waits d"]
        assert "2 of 4 regular nodes connected, majority 3" in result.findings[1].message

    def test_one_cannot_become_two_safely(self):
        result = planned(entry("a d"), seen({"a": "a", "d": ""}))
        assert verbs(result) == []

    def test_again_where_it_was_left_registered_by_half(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c d!", "a", "b", "c", d="")))
        assert verbs(result) == ["register d"]
        assert result.steps[0].arguments.again
        assert result.steps[0].arguments.before == result.steps[0].arguments.after

    def test_a_purged_node_that_came_back_as_a_new_member(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c", "a", "b", "c", d="a! b! c! d")))
        assert verbs(result) == ["register d"]

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (None, "node-unreachable"),
            (FORBIDDEN, "node-refuses"),
            ("x y d", "in-another-cluster"),
            ("x y", "wrong-address"),
            ("d~", "kind-differs"),
        ],
    )
    def test_not_a_node_that_is_not_known_to_be_free(self, answer, code):
        others = dict.fromkeys("abc", "a b c")
        result = planned(entry("a b c d"), seen(others | {"d": answer}))
        if answer == "x y d":
            assert codes(result) == ["views-disagree"]
        else:
            assert codes(result) == [f"{code} d"]
        assert verbs(result) == []

    def test_not_a_node_that_others_of_another_cluster_see(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c", "a", "b", "c", d="d x y! z!")))
        assert codes(result) == ["in-another-cluster d"]


class TestReplace:
    def test_with_three_the_dead_is_purged_first(self):
        """R = 3, A = 2: a registration that failed halfway would leave 2 of 4."""
        result = planned(entry("a b d"), seen(agreeing("a b c!", "a", "b", d="", c=None)))
        assert verbs(result) == ["purge c", "register d"]

    def test_with_four_the_new_one_is_registered_first(self):
        result = planned(entry("a b c e"), seen(agreeing("a b c d!", "a", "b", "c", e="", d=None)))
        assert verbs(result) == ["register e", "purge d"]

    def test_a_live_one_leaves_after_its_successor_has_joined(self):
        result = planned(entry("a b d", **STOP), seen(agreeing("a b c", "a", "b", "c", d="")))
        assert verbs(result) == ["register d", "drain c", "stop c", "purge c"]
        assert [step.after for step in result.steps[1:]] == [(step.id,) for step in result.steps[:-1]]

    @pytest.mark.parametrize("leaves", "abc")
    def test_nobody_is_asked_through_a_node_that_leaves_next(self, leaves):
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

    def test_a_live_one_stays_while_its_successor_is_unreachable(self):
        result = planned(entry("a b d", **STOP), seen(agreeing("a b c", "a", "b", "c", d=None)))
        assert verbs(result) == []
        assert codes(result) == ["removal-waits c", "node-unreachable d"]


class TestPurge:
    def test_a_stopped_node_that_the_fleet_file_no_longer_names(self):
        result = planned(entry("a b c"), seen(agreeing("a b c d!", "a", "b", "c", d=None)))
        assert verbs(result) == ["purge d"]
        step = result.steps[0]
        assert (step.arguments.contact, step.arguments.api) == (full("a"), api("a"))
        assert step.inverse.words.startswith("point of no return")
        assert step.risk is Risk.MEDIUM

    def test_never_a_desired_node(self):
        result = planned(entry("a b c"), seen(agreeing("a b c!", "a", "b", c=None)))
        assert verbs(result) == []
        assert codes(result) == ["node-away c"]

    def test_never_while_a_member_still_sees_it(self):
        answers = {"a": "a b c d!", "b": "a b c d", "c": "a b c d!", "d": None}
        result = planned(entry("a b c"), seen(answers))
        assert verbs(result) == []
        assert codes(result) == ["views-disagree d"]

    def test_a_node_that_answers_is_stopped_first(self):
        result = planned(entry("a b c", **STOP), seen(agreeing("a b c d!", "a", "b", "c", d="a! b! c! d")))
        assert verbs(result) == ["stop d", "purge d"]

    def test_not_on_the_word_of_few(self):
        result = planned(
            entry("a b c d"), seen({"a": "a b c d e!", "b": None, "c": None, "d": None, "e": None})
        )
        assert verbs(result) == []
        assert codes(result) == ["api-silent b", "api-silent c", "api-silent d", "purge-waits e"]

    def test_never_where_the_majority_would_not_hold(self):
        result = planned(entry("a"), seen({"a": "a b!", "b": None}))
        assert verbs(result) == []

    def test_a_temporary_node_is_never_purged(self):
        result = planned(entry("a b c"), seen(agreeing("a b c t!~", "a", "b", "c", t=None)))
        assert verbs(result) == []
        assert codes(result) == ["temporary-away t"]


class TestRemoval:
    def test_a_live_node_is_drained_stopped_and_purged(self):
        result = planned(entry("a b c d", **STOP, drain=60), seen(agreeing("a b c d e", *"abcde")))
        assert verbs(result) == ["drain e", "stop e", "purge e"]
        drain, stop, _ = result.steps
        assert drain.arguments.mode == "block_new_session"
        assert stop.arguments.command == "stop-sora"
        assert stop.arguments.values == {"node": full("e"), "host": "e.example.com"}
        assert stop.arguments.drain == 60
        assert not stop.waits_for_operator

    def test_without_a_command_the_plan_waits_for_a_person(self):
        result = planned(entry("a b c d"), seen(agreeing("a b c d e", *"abcde")))
        stop = result.steps[1]
        assert stop.waits_for_operator
        assert "stop it on its host" in stop.reason

    def test_a_name_that_is_not_one_is_never_put_into_a_command(self):
        from reconciler.drivers.sora.steps import find_stop_command  # noqa: PLC0415

        cluster = entry("a", **STOP)
        assert find_stop_command(cluster, "x@h.example").command == "stop-sora"
        for name in ("x@$(reboot)", "x", "x@-oProxyCommand=sh.x", "-x@h.example", "x@h.", "x@h;f", "x@h.e;f"):
            assert find_stop_command(cluster, name) is None

    def test_without_draining_where_the_fleet_file_says_so(self):
        result = planned(entry("a b c d", **STOP, drain=0), seen(agreeing("a b c d e", *"abcde")))
        assert verbs(result) == ["stop e", "purge e"]

    def test_a_node_that_takes_no_sessions_already_is_not_blocked_again(self):
        modes = {"e": "block_new_connection"}
        result = planned(entry("a b c d", **STOP), seen(agreeing("a b c d e", *"abcde"), modes=modes))
        assert verbs(result) == ["stop e", "purge e"]

    def test_several_go_one_by_one(self):
        result = planned(entry("a b c", **STOP, drain=0), seen(agreeing("a b c d e", *"abcde")))
        assert verbs(result) == ["stop d", "purge d", "stop e", "purge e"]

    def test_not_while_a_member_does_not_answer_this_host(self):
        result = planned(entry("a b c d", **STOP), seen(agreeing("a b c d e", "a", "b", "c", "e", d=None)))
        assert verbs(result) == []
        assert codes(result) == ["api-silent d", "removal-waits e"]

    def test_not_where_it_would_lose_the_majority(self):
        result = planned(entry("a b c", **STOP), seen(agreeing("a b c! d", "a", "b", "d", c=None)))
        assert verbs(result) == []
        assert codes(result) == ["node-away c", "removal-waits d"]

    def test_a_temporary_node_is_stopped_and_needs_no_purge(self):
        result = planned(entry("a b c", **STOP), seen(agreeing("a b c t~", "a", "b", "c", "t")))
        assert verbs(result) == ["drain t", "stop t"]


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

    def test_what_the_fleet_file_does_not_say_is_left_alone(self):
        result = planned(entry("a b c"), seen(agreeing("a b c", *"abc"), modes=self.MODES))
        assert verbs(result) == []
        assert codes(result) == ["mode-left-alone b"]

    def test_what_it_says_is_set(self):
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


def test_a_registered_node_of_the_other_kind_is_a_persons_business():
    result = planned(entry("a b c t~"), seen(agreeing("a b c t", *"abct")))
    assert verbs(result) == []
    assert codes(result) == ["kind-differs t"]


def test_the_order_of_the_fleet_file_and_of_the_answers_changes_nothing():
    answers = agreeing("a b c", "a", "b", "c", d="", e="")
    one = planned(entry("a b c d e"), seen(answers))
    two = planned(entry("e d c b a"), seen(dict(reversed(answers.items()))))
    assert one == two
