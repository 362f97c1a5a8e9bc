"""Sections of settings are compared once, and never taken for each other."""

from reconciler.core.diff import Op
from reconciler.drivers.m2.changes import SectionChanges


def get_shapes(changes):
    return [(change.pointer, change.op) for change in changes]


def test_one_object_under_two_keys_has_the_changes_of_each():
    sections, same = SectionChanges(), {"a": 1}
    before, after = {"env": same, "functions": same}, {"env": {}, "functions": {}}
    assert get_shapes(sections.find("env", before, after)) == [("/env/a", Op.REMOVE)]
    assert get_shapes(sections.find("functions", before, after)) == [("/functions/a", Op.REMOVE)]


def test_a_section_that_is_null_is_not_one_that_is_missing():
    sections, new = SectionChanges(), {"a": 1}
    assert get_shapes(sections.find("env", {"env": None}, {"env": new})) == [("/env", Op.REPLACE)]
    assert get_shapes(sections.find("env", {}, {"env": new})) == [("/env", Op.ADD)]


def test_a_pair_is_compared_once():
    sections, before, after = SectionChanges(), {"env": {"a": 1}}, {"env": {"a": 2}}
    first = sections.find("env", before, after)
    assert sections.find("env", {**before, "meta": {}}, {**after, "meta": {"version": 1}}) is first
