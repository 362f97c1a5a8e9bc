"""The status of each step by a new reading: before it, after it, after a lost answer, after a crash."""

from __future__ import annotations

from datetime import date

import pytest
from support.sora_clusters import TODAY, agreeing, entry, full, planned, seen

from reconciler.core.step_status import StepStatus
from reconciler.drivers.sora.judge import judge
from reconciler.drivers.sora.schema import Collapsed

READY, DONE, CHANGED, UNKNOWN = StepStatus.READY, StepStatus.DONE, StepStatus.CHANGED, StepStatus.UNKNOWN
STOP = {"stop": {"command": "stop"}}


def step_of(cluster, answers, verb, **more):
    steps = planned(cluster, seen(answers, **more)).steps
    return next(step for step in steps if step.action == verb)


def status(step, answers, **more):
    return judge(step, seen(answers, **more)).status


class TestRegister:
    BEFORE = agreeing("a b c", "a", "b", "c", d="")

    @pytest.fixture
    def step(self):
        return step_of(entry("a b c d"), self.BEFORE, "register")

    def test_ready_while_the_members_are_as_before(self, step):
        assert status(step, self.BEFORE) is READY
        assert status(step, self.BEFORE | {"b": None}) is READY

    def test_done_when_the_members_and_the_node_itself_agree(self, step):
        assert status(step, agreeing("a b c d", *"abcd")) is DONE
        assert status(step, agreeing("a b c! d", *"abd", c=None)) is DONE

    def test_not_done_if_only_the_members_list_it(self, step):
        assert status(step, agreeing("a b c d", *"abc", d=None)) is UNKNOWN
        assert status(step, agreeing("a b c d", *"abc", d="")) is UNKNOWN

    def test_unknown_while_it_spreads(self, step):
        assert status(step, {"a": "a b c d", "b": "a b c", "c": "a b c", "d": "a b c d"}) is UNKNOWN

    def test_a_half_registration_is_reported(self, step):
        verdict = judge(step, seen(agreeing("a b c d!", *"abc", d="")))
        assert verdict.status is CHANGED
        assert "half registered" in verdict.reason

    def test_a_second_registration_starts_from_a_half_one(self):
        half = agreeing("a b c d!", *"abc", d="")
        again = step_of(entry("a b c d"), half, "register")
        assert status(again, half) is READY
        assert status(again, agreeing("a b c d", *"abcd")) is DONE

    def test_changed_when_the_members_are_others(self, step):
        assert status(step, agreeing("a b", *"ab", c=None, d="")) is CHANGED

    def test_changed_when_a_failure_halfway_would_now_lose_the_majority(self, step):
        verdict = judge(step, seen(agreeing("a b c!", *"ab", c=None, d="")))
        assert verdict.status is CHANGED
        assert "2 of 4" in verdict.reason

    def test_changed_when_its_contact_is_gone(self):
        before = agreeing("a b c e", *"abce", d="")
        step = step_of(entry("a b c d e"), before, "register")
        assert status(step, before | {"a": None}) is CHANGED

    def test_unknown_when_the_node_or_all_nodes_are_silent(self, step):
        assert status(step, self.BEFORE | {"d": None}) is UNKNOWN
        assert status(step, dict.fromkeys("abcd")) is UNKNOWN

    def test_a_minority_is_not_believed(self, step):
        assert status(step, agreeing("a b! c!", "a", b=None, c=None, d="")) is UNKNOWN


class TestPurge:
    BEFORE = agreeing("a b c d!", *"abc", d=None)

    @pytest.fixture
    def step(self):
        return step_of(entry("a b c"), self.BEFORE, "purge")

    def test_ready_while_the_target_is_stopped(self, step):
        assert status(step, self.BEFORE) is READY

    def test_done_when_no_node_lists_it(self, step):
        assert status(step, agreeing("a b c", *"abc", d=None)) is DONE
        assert status(step, agreeing("a b c", *"abc", d="a! b! c! d")) is DONE

    def test_never_ready_once_it_runs_again(self, step):
        assert status(step, agreeing("a b c d", *"abcd")) is CHANGED
        assert status(step, agreeing("a b c d!", *"abc", d="a! b! c! d")) is CHANGED
        assert status(step, agreeing("a b c d!", *"abc", d="?NO")) is CHANGED

    def test_unknown_while_the_views_differ(self, step):
        assert status(step, {"a": "a b c", "b": "a b c d!", "c": "a b c", "d": None}) is UNKNOWN
        assert status(step, {"a": "a b c d!", "b": "a b c d", "c": "a b c d!", "d": None}) is UNKNOWN

    def test_unknown_by_the_views_of_a_minority(self, step):
        assert status(step, agreeing("a b c d!", "a", b=None, c=None, d=None)) is UNKNOWN

    def test_changed_when_the_majority_would_not_hold(self):
        before = agreeing("a b c d! e", *"abce", d=None)
        step = step_of(entry("a b c e"), before, "purge")
        assert status(step, agreeing("a b c! d! e!", *"ab", c=None, d=None, e=None)) is not READY

    def test_changed_when_the_members_are_others(self, step):
        assert status(step, agreeing("a b c d! e", *"abc", d=None)) is CHANGED


class TestInit:
    @pytest.fixture
    def step(self):
        return step_of(entry("a b c", initialise=True), {"a": "", "b": "", "c": ""}, "init")

    def test_ready_while_no_node_was_ever_in_a_cluster(self, step):
        assert status(step, {"a": "", "b": "", "c": ""}) is READY

    def test_done_when_every_node_lists_exactly_the_new_cluster(self, step):
        assert status(step, agreeing("a b c", *"abc")) is DONE

    def test_unknown_while_some_are_not_in_it_yet(self, step):
        assert status(step, agreeing("a b c", "a", "b", c="")) is UNKNOWN
        assert status(step, agreeing("a b c!", "a", "b", c="")) is UNKNOWN

    @pytest.mark.parametrize("answer", ["a b! c!", "a", "a x y"])
    def test_never_ready_once_a_node_remembers_a_cluster(self, step, answer):
        assert status(step, {"a": answer, "b": "", "c": ""}) is CHANGED

    def test_unknown_while_a_node_is_silent(self, step):
        assert status(step, {"a": "", "b": "", "c": None}) is UNKNOWN

    def test_an_entry_that_expired_since_does_not_count(self):
        collapse = {"a": "a b! c!", "d": "", "e": ""}
        cluster = entry("a d e", collapsed=Collapsed(reason="two hosts burnt down", until=TODAY))
        step = step_of(cluster, collapse, "init")
        assert status(step, collapse) is READY
        assert status(step, collapse, day=date(2026, 11, 22)) is CHANGED
        assert status(step, agreeing("a b c", "a", d="", e="")) is CHANGED

    def test_initialise_does_not_cover_a_node_that_was_in_a_cluster(self):
        step = step_of(entry("a b", initialise=True), {"a": "a", "b": ""}, "init")
        assert status(step, {"a": "a", "b": "b"}) is READY
        assert status(step, {"a": "a b!", "b": ""}) is CHANGED
        assert status(step, {"a": "?CLUSTER-NOT-AVAILABLE", "b": ""}) is CHANGED


class TestRemoval:
    BEFORE = agreeing("a b c d e", *"abcde")

    @pytest.fixture
    def drain(self):
        return step_of(entry("a b c d", **STOP), self.BEFORE, "drain")

    @pytest.fixture
    def stop(self):
        return step_of(entry("a b c d", **STOP), self.BEFORE, "stop")

    def test_drained_when_it_shows_the_mode_or_a_stricter_one(self, drain):
        assert status(drain, self.BEFORE) is READY
        for mode in ("block_new_session", "block_new_connection"):
            assert status(drain, self.BEFORE, modes={"e": mode}) is DONE

    def test_a_drain_is_unknown_if_no_node_shows_the_mode(self, drain):
        """Failed would be wrong: the call may have had its effect before the node was cut off."""
        for own in ("?CLUSTER-NOT-AVAILABLE", None):
            verdict = judge(drain, seen(agreeing("a b c d e!", *"abcd", e=own)))
            assert verdict.status is UNKNOWN
            assert "the mode of " in verdict.reason

    def test_stopped_when_no_node_sees_it_and_its_api_is_silent(self, stop):
        assert status(stop, self.BEFORE) is READY
        assert status(stop, agreeing("a b c d e!", *"abcd", e=None)) is DONE

    def test_an_operator_gets_the_instruction(self):
        step = step_of(entry("a b c d"), self.BEFORE, "stop")
        assert judge(step, seen(self.BEFORE)).reason == f"stop {full('e')} on its host, then run this again"

    def test_not_stopped_while_any_answer_shows_it_running(self, stop):
        assert status(stop, agreeing("a b c d e", *"abcd", e=None)) is READY
        assert status(stop, agreeing("a b c d e!", *"abcd", e="a! b! c! d! e")) is READY
        assert status(stop, {"a": "a b c d e!", "b": "a b c d e", "c": "a b c d e!", "e": None}) is UNKNOWN

    def test_not_ready_when_the_majority_would_be_lost(self, drain, stop):
        weak = agreeing("a b c d! e!", *"abc", d=None, e="a! b! c! d! e")
        assert status(stop, weak) is READY  # e does not count any more, so that its stop costs nothing
        weak = agreeing("a b c! d! e", *"abe", c=None, d=None)
        for step in (drain, stop):
            verdict = judge(step, seen(weak))
            assert verdict.status is CHANGED
            assert "majority" in verdict.reason

    def test_not_ready_while_a_member_is_unknown(self, stop):
        assert status(stop, self.BEFORE | {"d": None}) is UNKNOWN

    def test_a_temporary_node_is_stopped_when_it_is_erased(self):
        before = agreeing("a b c t~", *"abct")
        step = step_of(entry("a b c", **STOP), before, "stop")
        assert status(step, before) is READY
        assert status(step, agreeing("a b c", *"abc", t=None)) is DONE


class TestMode:
    @pytest.fixture
    def step(self):
        modes = {"b": "block_new_session"}
        return step_of(entry("a b c", modes={"b": "normal"}), agreeing("a b c", *"abc"), "mode", modes=modes)

    @pytest.mark.parametrize(
        ("mode", "expected"),
        [("block_new_session", READY), ("normal", DONE), ("block_new_connection", CHANGED)],
    )
    def test_its_status_follows_the_mode_that_the_node_shows(self, step, mode, expected):
        assert set(step.arguments.witnesses) == {full("b")}
        assert status(step, {"b": "a b c"}, modes={"b": mode}) is expected

    @pytest.mark.parametrize("answer", [None, "", "?NO"])
    def test_unknown_where_the_node_does_not_show_it(self, step, answer):
        assert status(step, {"b": answer}) is UNKNOWN
