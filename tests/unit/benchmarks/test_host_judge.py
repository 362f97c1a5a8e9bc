"""The judge of trials of several hosts finds each kind of breach, and nothing in a trial that went well."""

from dataclasses import replace

import pytest
from host_judge import (
    Commit,
    Intent,
    Message,
    Received,
    Records,
    Upload,
    count_superseded,
    judge,
    measure_gap,
)

GOOD = Records(
    clusters={"east": ("e1", "e2"), "west": ("w1",)},
    commits=(
        Commit(0, "east", "1", "d1"),
        Commit(0, "west", "1", "d1"),
        Commit(10, "east", "2", "d2"),
        Commit(15, "east", "3", "d3"),
    ),
    uploads=(Upload(11, "e1", "2", "d2"), Upload(16, "e1", "3", "d3"), Upload(17, "e2", "3", "d3")),
    received=(Received(12, "m1", "r1"), Received(17, "m2", "r2"), Received(18, "m3", "r2")),
    intents=(
        Intent("r1", "e1", 10.9, 11.9, "done"),
        Intent("r2", "e1", 15.9, 16.9, "done"),
        Intent("r2", "e2", 16.9, 17.9, "found"),
    ),
    messages=(Message("m1", "r1", True), Message("m2", "r2", True), Message("m3", "r2", True)),
    touched={"east": (1, 8, 16), "west": (2, 9, 17)},
    ends={"east": (3, 9, 17), "west": (4, 10, 18)},
    excuses=0,
    watched=(0, 20),
    longest_idle=10,
)


def test_a_trial_that_went_well_has_no_breach():
    assert judge(GOOD) == []
    assert count_superseded(GOOD) == 1  # e2 went from the first version to the third


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uploads": (*GOOD.uploads, Upload(16.5, "e1", "3", "d3"))}, "done twice: e1 got version 3 2 times"),
        ({"uploads": (*GOOD.uploads[:2], Upload(17, "e2", "3", "other"))}, "never committed: e2"),
        ({"uploads": (*GOOD.uploads[:2], Upload(17, "e2", "4", "d4"))}, "never committed: e2"),
        ({"commits": (*GOOD.commits[:3], Commit(16.5, "east", "3", "d3"))}, "or too early"),
        ({"uploads": (GOOD.uploads[1], GOOD.uploads[0], GOOD.uploads[2])}, "went back: e1 got version 2"),
        ({"uploads": GOOD.uploads[:2]}, "lost: e2 never got version 3, the last one"),
        (
            {"commits": (*GOOD.commits[:3], Commit(31, "east", "3", "d3"))},
            "lost: e2 never got version 2, which was the newest for long",
        ),
        ({"intents": GOOD.intents[1:]}, "sent without an intent: e1 got version 2"),
        (
            {"intents": (Intent("r1", "e1", 10.9, 10.95, "done"), *GOOD.intents[1:])},
            "sent without an intent: e1 got version 2",
        ),
        (
            {"intents": (Intent("r1", "e1", 11.5, 11.9, "done"), *GOOD.intents[1:])},
            "sent without an intent: e1 got version 2",
        ),
        (
            {"intents": (*GOOD.intents[:2], Intent("r2", "e2", 16.9, None, ""))},
            "without an outcome: the step for e2 in the run r2 (open)",
        ),
        (
            {"intents": (*GOOD.intents[:2], Intent("r2", "e2", 16.9, 17.9, "unknown"))},
            "without an outcome: the step for e2 in the run r2 (unknown)",
        ),
        ({"received": GOOD.received[:2]}, "message lost: m3 of the run r2"),
        ({"messages": (*GOOD.messages[:2], Message("m3", "r2", False))}, "message not delivered in time: m3"),
        ({"messages": GOOD.messages[:2]}, "message of nobody: m3"),
        (
            {"received": (*GOOD.received, GOOD.received[0])},
            "delivered again: 1 messages, of which 0 have a reason",
        ),
        ({"received": (GOOD.received[0], GOOD.received[2], GOOD.received[1])}, "out of order: m3 before m2"),
        ({"touched": {"east": (1, 8, 16), "west": (2, 17)}}, "idle: no node was called in west for 15.0 s"),
        ({"ends": {"east": (3, 9, 17)}}, "idle: no pass ended in west for 20.0 s, the bound is 10 s"),
    ],
)
def test_each_kind_of_breach_is_found(changes, words):
    assert any(words in one for one in judge(replace(GOOD, **changes))), judge(replace(GOOD, **changes))


def test_a_kill_excuses_one_message_that_comes_again():
    again = replace(GOOD, received=(*GOOD.received, GOOD.received[0]), excuses=1)
    assert judge(again) == []


def test_many_breaches_of_a_kind_are_counted_and_not_listed():
    many = replace(GOOD, uploads=tuple(Upload(16, "e1", str(number), "d") for number in range(4, 50)))
    assert "… and 41 more like the last one" in judge(many)


@pytest.mark.parametrize(
    ("times", "gap"), [((), 10), ((5, 7), 5), ((-4, 5), 9), ((-4, -2, 9.5), 11.5), ((2, 11), 8)]
)
def test_a_gap_counts_from_the_last_moment_before_the_watched_time(times, gap):
    assert measure_gap(times, (0, 10)) == gap
