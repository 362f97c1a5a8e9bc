"""When the same thing may be sent again: counts, distances, stalls and what ends them; pure."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.core import attempts
from reconciler.core.arguments import RawArguments
from reconciler.core.attempts import (
    DISTANCES,
    MOST_ATTEMPTS,
    PLACES,
    WAKES,
    Attempt,
    AttemptDecision,
    count_attempt,
    decide_attempt,
    load_attempt,
)
from reconciler.core.diff import Change, Op
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Effect, Inverse, Risk, Step
from reconciler.core.secret import Secret

NOON = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
STEP = Step("c/n/upload", "c", "n", "upload", RawArguments(), "", Effect.HOT, Risk.LOW, "", "", Inverse(""))
OLD = {"/hosting/0/name": "aaaa"}


def failed(attempt, *, reason="its effect does not show", **more):
    outcome = Outcome(STEP, State.FAILED, reason, sent=True, **more)
    return load_attempt(attempts.note_failure(attempt.plain(), outcome), attempt.purpose)


def exhausted(shown=OLD):
    """An attempt whose tries have all failed, and that one reading has found stalled."""
    attempt = Attempt("x")
    for _ in range(MOST_ATTEMPTS):
        attempt = failed(count_attempt(attempt, NOON, ""))
    decision, attempt = decide_attempt(attempt, shown, NOON)
    assert decision is AttemptDecision.STALLED
    return attempt


def test_the_distance_of_tries_grows_and_then_they_end():
    attempt, now = Attempt("x"), NOON
    assert decide_attempt(attempt, OLD, now)[0] is AttemptDecision.DUE
    for distance in DISTANCES:
        attempt = failed(count_attempt(attempt, now, ""))
        assert decide_attempt(attempt, OLD, now + timedelta(seconds=distance - 1))[0] is AttemptDecision.LATER
        now += timedelta(seconds=distance)
        assert decide_attempt(attempt, OLD, now)[0] is AttemptDecision.DUE
    attempt = failed(count_attempt(attempt, now, ""))
    assert attempt.count == MOST_ATTEMPTS
    assert decide_attempt(attempt, OLD, now + timedelta(days=1000))[0] is AttemptDecision.STALLED


def test_a_definite_refusal_is_not_tried_again():
    attempt = failed(count_attempt(Attempt("x"), NOON, ""), refused=True)
    assert decide_attempt(attempt, OLD, NOON + timedelta(days=1000))[0] is AttemptDecision.STALLED


def test_other_content_begins_anew():
    text = exhausted().plain()
    assert load_attempt(text, "x").count == MOST_ATTEMPTS
    assert load_attempt(text, "y") == Attempt("y")


def test_a_change_on_the_node_ends_a_stall_when_a_second_reading_confirms_it():
    attempt, changed = exhausted(), {"/hosting/0/name": "bbbb"}
    decision, attempt = decide_attempt(attempt, changed, NOON)
    assert decision is AttemptDecision.STALLED
    decision, attempt = decide_attempt(attempt, changed, NOON)
    assert decision is AttemptDecision.DUE
    again = failed(count_attempt(attempt, NOON, ""))
    assert decide_attempt(again, changed, NOON)[0] is AttemptDecision.STALLED, "one more try, not three"


def test_a_place_that_newly_differs_or_no_longer_does_counts_as_a_change():
    for changed in ({}, {**OLD, "/more": "cccc"}):
        _, attempt = decide_attempt(exhausted(), changed, NOON)
        assert decide_attempt(attempt, changed, NOON)[0] is AttemptDecision.DUE


def test_a_value_that_moves_at_every_reading_never_ends_a_stall():
    attempt = exhausted()
    for number in range(50):
        decision, attempt = decide_attempt(attempt, {"/hosting/0/name": f"{number:04}"}, NOON)
        assert decision is AttemptDecision.STALLED


def test_a_change_beside_a_value_that_moves_counts():
    attempt = exhausted({"/seen": "0000", **OLD})
    _, attempt = decide_attempt(attempt, {"/seen": "0001", "/hosting/0/name": "bbbb"}, NOON)
    assert (
        decide_attempt(attempt, {"/seen": "0002", "/hosting/0/name": "bbbb"}, NOON)[0] is AttemptDecision.DUE
    )


def test_a_value_that_moves_slowly_ends_a_stall_a_few_times_only():
    attempt, sent = exhausted(), 0
    for number in range(100):
        decision, attempt = decide_attempt(attempt, {"/hosting/0/name": f"{number // 4:04}"}, NOON)
        if decision is AttemptDecision.DUE:
            sent += 1
            attempt = failed(count_attempt(attempt, NOON, ""))
    assert sent == WAKES


def test_the_version_stamp_does_not_count():
    changes = [Change("/meta/version", Op.REPLACE, "a", "b"), Change("/x", Op.ADD, new=1)]
    assert set(attempts.fingerprint_places(changes, but="/meta/version")) == {"/x"}


def test_fingerprints_are_bounded_and_contain_no_secret():
    many = [Change(f"/{number:05}" + "y" * 5000, Op.ADD, new=number) for number in range(10_000)]
    found = attempts.fingerprint_places(many)
    assert len(found) == PLACES + 1
    assert max(map(len, found)) <= 200
    one, two = (
        attempts.fingerprint_places([Change("/key", Op.REPLACE, Secret(text), "n")])
        for text in ("abc", "xyz")
    )
    assert one == two


def test_a_try_that_sent_nothing_does_not_count():
    attempt = count_attempt(Attempt("x"), NOON, "")
    assert attempts.note_failure(attempt.plain(), Outcome(STEP, State.FAILED, "connection refused")) == ""
    twice = count_attempt(attempt, NOON, "")
    assert (
        load_attempt(attempts.note_failure(twice.plain(), Outcome(STEP, State.FAILED, "no")), "x").count == 1
    )


def test_a_killed_run_counts_as_an_attempt_without_a_pause():
    attempt = count_attempt(Attempt("x"), NOON, "")
    for count in range(1, MOST_ATTEMPTS):
        outcome = Outcome(STEP, State.FAILED, "it was not done", sent=True, killed=True)
        attempt = load_attempt(attempts.note_failure(attempt.plain(), outcome), "x")
        assert attempt.count == count
        assert decide_attempt(attempt, OLD, NOON)[0] is AttemptDecision.DUE
        attempt = count_attempt(attempt, NOON, "")
    assert decide_attempt(attempt, OLD, NOON)[0] is AttemptDecision.STALLED


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"aim": "x", "odd": 1}', '{"aim": "x"}', '"x"'])
def test_a_fact_of_another_version_is_ignored(text):
    assert load_attempt(text, "x") == Attempt("x")
