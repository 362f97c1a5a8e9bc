"""Names to suggest: those that a slip explains, and no others."""

import pytest

from reconciler.text.suggestions import find_nearest, find_similar, join_choices


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("concurency", "concurrency"), ("lvie", "live"), ("sead", "seed"), ("nme", "name"), ("kinds", "kind")],
)
def test_a_typical_slip_finds_the_name(slip, meant):
    assert find_nearest(slip, [meant, "rollout", "overrides"]) == meant


def test_a_name_that_only_shares_letters_is_not_suggested():
    assert find_nearest("colour", ["rollout", "policy"]) == ""
    assert find_similar("nonsense", ["no-nodes", "not-undone", "no-setting"]) == []


def test_choices_are_joined_as_in_a_sentence():
    assert [join_choices(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a or b",
        "a, b or c",
    ]
