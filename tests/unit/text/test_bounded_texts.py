"""Words and values from nodes: what is kept of them is bounded, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.arguments import RawArguments
from reconciler.core.canonical import encode_canonical
from reconciler.core.diff import MOST_CHANGES, Change, Op, limit_changes
from reconciler.core.outcome import Outcome, State
from reconciler.core.secret import Secret
from reconciler.ports.driver import StepAnswer
from reconciler.ports.store import StepEnd
from reconciler.text.one_line import MOST_NAMES, bound_sentence, list_first_names, make_one_line

MILLION = "x" * 1_000_000


@given(st.text(), st.integers(2, 50))
def test_one_line_is_short_and_cannot_steer_a_terminal(text, longest):
    line = make_one_line(text, longest)
    assert len(line) <= longest
    assert not set(line) & set("\x00\x1b\n\r\u2028\u202e\u2066\ud800")


def test_the_first_names_are_kept_with_a_count_of_the_others():
    names = [f"env.network.f{index}" for index in range(60_000)]
    kept = list_first_names(names)
    assert kept == (*names[:MOST_NAMES], "and 59,990 more")
    assert list_first_names(kept) == kept
    assert list_first_names(["a", "b"]) == ("a", "b")


def test_what_a_node_answers_is_bounded_wherever_it_goes(step_of):
    done = StepAnswer(MILLION, tuple(MILLION for _ in range(1_000)))
    outcome = Outcome(
        step_of(reason=MILLION), State.FAILED, MILLION, waiting_for_restart=done.waiting_for_restart
    )
    ending = StepEnd(outcome, answer=MILLION)
    assert len(done.text) <= 2_000
    assert sum(map(len, outcome.waiting_for_restart)) < 3_000
    assert max(len(outcome.reason), len(ending.answer), len(outcome.step.reason)) <= 2_000


def test_short_sentences_change_only_at_half_characters():
    assert bound_sentence("a\x1b[2J") == "a\x1b[2J"
    assert bound_sentence("half \ud800") == "half \N{REPLACEMENT CHARACTER}"


@pytest.fixture
def step_of():
    from reconciler.core.plan import Effect, Inverse, Risk, Step  # noqa: PLC0415

    def make(**fields):
        whole = {"reason": "why", "risk_reason": "", "needs": "", "changes": ()} | fields
        return Step(
            id="edge/a/upload", cluster="edge", node="a", action="upload", arguments=RawArguments(),
            effect=Effect.HOT, risk=Risk.LOW, inverse=Inverse("back"), **whole,
        )  # fmt: skip

    return make


def test_very_many_changes_become_one_for_each_place():
    deep = [Change(f"/env/k{index}/x", Op.ADD, new=index) for index in range(5_000)]
    kept = limit_changes([*deep, Change("/meta/version", Op.REPLACE, old=1, new=2)])
    assert [change.pointer for change in kept] == ["/env", "/meta/version"]
    assert kept[0].old == "(5,000 values)"
    wide = limit_changes([Change(f"/k{index}", Op.ADD, new=index) for index in range(5_000)])
    assert [change.pointer for change in wide] == [""]
    assert limit_changes(wide) == wide


def test_large_values_are_replaced_by_a_sentence_and_small_ones_stay():
    changes = (
        Change("/a", Op.REPLACE, old=[1] * 300_000, new=[2]),
        Change("/b", Op.REPLACE, old=MILLION, new=Secret(MILLION)),
        Change("/c", Op.REPLACE, old=10**3_000, new={"k": 1}),
    )
    kept = limit_changes(changes)
    assert kept[0] == Change("/a", Op.REPLACE, old="(too large to show: 300,000 items)", new=[2])
    assert kept[1].new == "(too large to show)"
    assert kept[2] == changes[2]
    assert limit_changes(kept) == kept
    assert limit_changes(changes[2:]) == changes[2:]


def test_all_that_a_step_keeps_of_its_changes_stays_small(step_of):
    changes = tuple(Change(f"/k{index}", Op.ADD, new="x" * 2_000) for index in range(MOST_CHANGES))
    assert len(encode_canonical(step_of(changes=changes).plain())) < 400_000
