"""The difference is empty exactly for equal values, and applying it gives the desired value."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.diff import Change, Op, diff_values
from reconciler.core.secret import Secret
from reconciler.text.json_pointer import split_pointer

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def applied(value: Any, changes: tuple[Change, ...]) -> Any:
    """An independent patcher: walks to each pointer's parent and sets or deletes."""
    holder = {"": copy.deepcopy(value)}
    for change in changes:
        at: Any = holder
        keys = ("", *split_pointer(change.pointer))
        for key in keys[:-1]:
            at = at[int(key)] if isinstance(at, list) else at[key]
        last = int(keys[-1]) if isinstance(at, list) else keys[-1]
        if change.op is Op.REMOVE:
            del at[last]
        else:
            at[last] = copy.deepcopy(change.new)
    return holder[""]


def same(left: Any, right: Any) -> bool:
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@given(PLAIN, PLAIN)
def test_applying_the_difference_gives_the_desired_value(old, new):
    assert same(applied(old, diff_values(old, new)), new)


@given(PLAIN, PLAIN)
def test_it_is_empty_exactly_for_equal_values(old, new):
    assert (diff_values(old, new) == ()) == same(old, new)


def test_true_is_not_one():
    assert diff_values({"a": True}, {"a": 1}) == (Change("/a", Op.REPLACE, True, 1),)


def test_secrets_are_compared_by_value_and_shown_as_masks():
    assert diff_values({"k": "s3cret"}, {"k": Secret("s3cret", "${env:K}")}) == ()
    (change,) = diff_values({"k": Secret("other")}, {"k": Secret("s3cret")})
    assert "s3cret" not in repr(change)
    assert "other" not in repr(change)
