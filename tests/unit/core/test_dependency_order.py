"""Order respects what waits for what, keeps the given order otherwise, and names a circle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.waves import DependencyCycle, sort_by_dependency


@given(st.permutations(range(6)), st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_every_name_comes_after_its_dependencies(names, pairs):
    after = {str(name): {str(low) for low, high in pairs if high == name and low < high} for name in names}
    result = sort_by_dependency(after)
    assert sorted(result) == sorted(after)
    assert [
        (name, before)
        for name in after
        for before in after[name]
        if result.index(before) >= result.index(name)
    ] == []


def test_ties_keep_the_given_order():
    assert sort_by_dependency({"c": (), "a": (), "b": ()}) == ("c", "a", "b")


def test_a_cycle_is_named():
    with pytest.raises(DependencyCycle) as caught:
        sort_by_dependency({"a": ("b",), "b": ("a",)})
    assert set(caught.value.members) == {"a", "b"}
