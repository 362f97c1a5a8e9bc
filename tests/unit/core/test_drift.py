"""Drift is told from a commit by what a node had and showed when it was last as desired."""

from datetime import timedelta

import pytest
from support.driver import NOON

from reconciler.core.drift import BASELINE, SINCE, Drift, encode_baseline, judge_drift
from reconciler.core.timestamps import format_timestamp


@pytest.mark.parametrize(
    ("baseline", "content", "shown", "found"),
    [
        ("", "A", "x", None),
        ("not JSON", "A", "x", None),
        ("[]", "A", "x", None),
        (encode_baseline("A", "a"), "A", "x", (False, True)),
        (encode_baseline("A"), "A", "x", None),
        (encode_baseline("A", "a"), "B", "a", None),
        (encode_baseline("A", "a"), "B", "x", (True, False)),
        (encode_baseline("A"), "B", "x", None),
        (encode_baseline("A", "a"), "B", "", None),
        (encode_baseline("A", "a/f"), "B", "a", None),
        (encode_baseline("A", "a"), "B", "a/g", None),
        (encode_baseline("A", "a/f"), "A", "a/g", (False, True)),
        (encode_baseline("A", "a/f"), "B", "x", (True, False)),
    ],
    ids=[
        "never as desired",
        "damaged",
        "of another version",
        "the same content",
        "the same content, not read since: perhaps another version",
        "a commit alone",
        "both",
        "a commit after a delivery",
        "a commit where nodes show each other",
        "a commit, and a part is not read",
        "a commit, and a part is read for the first time",
        "another file",
        "another setting, and a part is not read",
    ],
)
def test_a_node_that_differs_has_drifted_or_not(baseline, content, shown, found):
    drift = judge_drift("n", {BASELINE: baseline}, content=content, shown=shown, keeps=True)
    assert (drift and (drift.has_commit, drift.is_kept)) == found


def test_a_commit_is_applied_where_drift_is_only_reported_and_since_when_is_remembered():
    earlier = NOON - timedelta(hours=1)
    facts = {BASELINE: encode_baseline("A", "a"), SINCE: format_timestamp(earlier)}
    both = judge_drift("n", facts, content="B", shown="x", keeps=True)
    assert both == Drift("n", earlier, has_commit=True, is_kept=False)
    assert "a commit changes it, too" in both.description
    only = judge_drift("n", facts, content="A", shown="x", keeps=True)
    assert "it is only reported" in only.description
    assert f"seen since {earlier:%Y-%m-%d %H:%M} UTC" in only.description
    assert only.plain() == {
        "since": format_timestamp(earlier),
        "with_commit": False,
        "only_reported": True,
    }
    damaged = {**facts, SINCE: "yesterday"}
    assert judge_drift("n", damaged, content="A", shown="x", keeps=False).since is None


def test_a_node_that_shows_what_it_showed_as_desired_has_not_drifted_whatever_the_commit_changes():
    facts = {BASELINE: encode_baseline("content", "shown")}
    for content in ("content", "another"):  # a commit may change only the version, which content leaves out
        assert judge_drift("n", facts, content=content, shown="shown", keeps=False) is None
    assert judge_drift("n", facts, content="content", shown="else", keeps=False) is not None
