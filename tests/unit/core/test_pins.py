"""What begins a pin, what leaves it in force, and what ends it: pure decisions."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.driver import NOON, REVISION

from reconciler.core.pins import LeftRevision, Pin, is_held, list_left_revisions, merge_pins

C1, C2, C3, C4 = (LeftRevision(digit * 40, digit, f"content {digit}") for digit in "1234")


def pinned(*left, at=C1):
    return Pin("edge", replace(REVISION, id=at.revision, short=at.short), left, "kim", "it broke", NOON)


@pytest.mark.parametrize(
    ("left", "revision", "found", "held"),
    [
        ((C2,), C2.revision, {}, True),
        ((C2,), C3.revision, {"content": C2.content}, True),
        ((C2,), C3.revision, {"content": C3.content}, False),
        ((C2,), C3.revision, {"content": ""}, False),
        ((LeftRevision(C2.revision),), C3.revision, {"content": ""}, False),
        ((C2,), C3.revision, {"content": C3.content, "unchanged": {C2.revision}}, True),
        ((C2,), C3.revision, {"content": C3.content, "unchanged": {C4.revision}}, False),
        ((C2,), C1.revision, {"content": C1.content, "is_older": True}, True),
        ((C2, C3), C4.revision, {"content": C2.content}, True),
    ],
)
def test_a_pin_holds_until_a_newer_revision_changes_what_the_cluster_gets(left, revision, found, held):
    known = {"content": "", "is_older": False, **found}
    assert is_held(pinned(*left), revision, **known) is held


def test_a_rollback_leaves_the_applied_revision_and_what_was_left_before():
    assert list_left_revisions(None, C2, C1) == (C2,)
    assert list_left_revisions(None, None, C1) == ()
    assert list_left_revisions(pinned(C3, at=C2), C2, C1) == (C3, C2), "further back"
    assert list_left_revisions(pinned(C2), None, C1) == (C2,), "the same again"
    assert list_left_revisions(pinned(C2), C1, C2) == (), "forward to what was left"
    assert list_left_revisions(pinned(C3, C2), C1, C2) == (C3,), "forward to the middle"
    rebased = replace(C2, revision="9" * 40)
    assert list_left_revisions(pinned(C2), C1, rebased) == (), "forward to the same content"
    assert list_left_revisions(None, rebased, C2) == (), "nothing else"


def test_of_two_names_the_newer_pin_counts():
    former, own = pinned(C2), replace(pinned(C3), since=NOON + timedelta(hours=1))
    assert merge_pins(former, None, "new") == replace(former, cluster="new")
    assert merge_pins(former, own, "new").left == (C3,)
    assert merge_pins(None, None, "new") is None


def test_a_pin_tells_where_since_when_by_whom_from_what_and_why():
    assert pinned(C2).describe() == (
        f"at 1 since {NOON:%Y-%m-%d %H:%M} UTC by kim, rolled back from 2: it broke"
    )
    older = replace(pinned(C2), revision=None, by="", reason="")
    assert older.describe().startswith("at an earlier revision since")
    assert "by somebody" in older.describe()
    assert older.plain()["revision"] is None
