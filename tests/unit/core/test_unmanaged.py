"""Fields that are not ours: what is left out of a comparison, and what is kept in a document."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.pointer_pattern import parse_pattern
from reconciler.core.unmanaged import (
    UnfillableSetting,
    UnmanagedRules,
    VitalField,
    fill_unmanaged,
    find_values,
    strip_unmanaged,
)

NAMES = ((("hosts",), "name"), (("hosts", "paths"), "id"))
HOSTS = {"hosts": [{"name": "a", "s": 1}, {"name": "b", "s": {"x": 2}}], "env": {"up": 5}}


def strip(value, *texts):
    return strip_unmanaged(value, [parse_pattern(text) for text in texts], NAMES)


def fill(wanted, shown, *texts):
    return fill_unmanaged(wanted, shown, [parse_pattern(text) for text in texts], NAMES)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/env/up", {"hosts": HOSTS["hosts"]}),
        ("/env/*", {"hosts": HOSTS["hosts"]}),
        ("/hosts/*/s", {"hosts": [{"name": "a"}, {"name": "b"}], "env": {"up": 5}}),
        ("/hosts/b/s", {"hosts": [{"name": "a", "s": 1}, {"name": "b"}], "env": {"up": 5}}),
        ("/hosts/*/s/x", {"hosts": [{"name": "a", "s": 1}, {"name": "b"}], "env": {"up": 5}}),
        ("/hosts/0/s", HOSTS),
        ("/hosts/*", HOSTS),
        ("/nothing/*/s", HOSTS),
        ("/env/up/deeper", HOSTS),
    ],
)
def test_what_is_left_out(pattern, expected):
    before = copy.deepcopy(HOSTS)
    assert strip(HOSTS, pattern) == expected
    assert before == HOSTS


def test_an_object_that_is_there_for_such_a_field_alone_is_left_out_on_both_sides():
    assert (
        strip({"a": {"b": {"c": 1}}}, "/a/b/c")
        == strip({}, "/a/b/c")
        == strip({"a": {"b": {}}}, "/a/b/c")
        == {}
    )


def test_a_part_without_any_is_the_same_object():
    assert strip(HOSTS, "/x/y") is HOSTS
    assert strip(HOSTS, "/env/up")["hosts"] is HOSTS["hosts"]


def test_values_are_kept_by_the_names_of_items():
    wanted = {"hosts": [{"name": "b", "new": 1}, {"name": "c"}]}
    assert fill(wanted, HOSTS, "/hosts/*/s", "/env/up") == {
        "hosts": [{"name": "b", "new": 1, "s": {"x": 2}}, {"name": "c"}],
        "env": {"up": 5},
    }
    assert wanted == {"hosts": [{"name": "b", "new": 1}, {"name": "c"}]}
    assert fill(wanted, HOSTS, "/hosts/a/s") == wanted
    assert fill({"hosts": None}, HOSTS, "/hosts/*/s") == {"hosts": None}
    assert fill({}, HOSTS, "/hosts/*/s") == {}


def test_values_of_items_without_names_are_kept_by_place_where_there_are_as_many():
    shown = {"l": [{"s": 1}, {"s": 2}]}
    assert fill({"l": [{"a": 1}, {"b": 1}]}, shown, "/l/*/s") == {"l": [{"a": 1, "s": 1}, {"b": 1, "s": 2}]}
    with pytest.raises(UnfillableSetting, match="2 items without names and is to have 1"):
        fill({"l": [{}]}, shown, "/l/*/s")
    assert fill({"l": [{}]}, {"l": [{}, {}]}, "/l/*/s") == {"l": [{}]}


@pytest.mark.parametrize("items", [[{"name": "a", "s": 1}, {"name": "a"}], [{"s": 1}], [{"name": 7, "s": 1}]])
def test_items_that_cannot_be_told_apart_are_not_guessed(items):
    with pytest.raises(UnfillableSetting):
        fill({"hosts": [{"name": "a"}]}, {"hosts": items}, "/hosts/*/s")


def test_names_within_items_of_a_list():
    shown = {"hosts": [{"name": "a", "paths": [{"id": "p", "n": 1}, {"id": "q", "n": 2}]}]}
    wanted = {"hosts": [{"name": "a", "paths": [{"id": "q"}]}]}
    assert fill(wanted, shown, "/hosts/*/paths/q/n") == {
        "hosts": [{"name": "a", "paths": [{"id": "q", "n": 2}]}]
    }


def test_what_must_not_be_taken_out():
    vital = (
        VitalField(("m", "roles"), "r"),
        VitalField(("h", "*"), "h", is_deep=False),
        VitalField(("h", "*", "n"), "n"),
    )
    rules = UnmanagedRules(vital=vital)
    for text in (
        "/m",
        "/m/roles",
        "/m/roles/0/x",
        "/m/*",
        "/*",
        "/*/roles",
        "/h",
        "/h/*",
        "/h/0",
        "/h/*/n",
        "/h/x/*",
        "/h/a/n/b",
    ):
        assert rules.find_vital(parse_pattern(text)) is not None, text
    for text in ("/h/*/s", "/m/x", "/x", "/m/rolesx/a"):
        assert rules.find_vital(parse_pattern(text)) is None, text


KEYS = st.sampled_from(["a", "b", "hosts", "name", "0"])
VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
PATTERNS = st.lists(st.sampled_from(["a", "b", "hosts", "*", "0", "name"]), min_size=1, max_size=4).map(tuple)


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES), st.lists(PATTERNS, max_size=3))
def test_kept_values_are_no_difference_and_nothing_else_changes(wanted, shown, patterns):
    wanted = strip_unmanaged(wanted, patterns, NAMES)
    try:
        filled = fill_unmanaged(wanted, shown, patterns, NAMES)
    except UnfillableSetting:
        return
    again = strip_unmanaged(filled, patterns, NAMES)
    assert strip_unmanaged(wanted, patterns, NAMES) == again
    if strip_unmanaged(shown, patterns, NAMES) == again and len(patterns) == 1:
        for path in find_values(shown, patterns[0], NAMES):
            value = filled
            for part in path:
                value = value[part]
