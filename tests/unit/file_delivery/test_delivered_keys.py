"""Which keys of a file came from a commit, so that they can leave with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.file_delivery.delivered_keys import DeliveredKeys


def test_what_a_run_has_added_is_released_and_what_was_there_is_kept():
    keys = DeliveredKeys().renew({"a", "b"}, {"b", "c"})
    assert keys.keys == {"a": True, "b": False}
    assert keys.list_released({"b"}) == ("a",)
    assert keys.list_released({"a", "b"}) == ()
    assert keys.list_kept({"a"}, {"a", "b"}) == ("b",)
    assert keys.list_kept({"a"}, {"a"}) == ()


def test_what_is_to_leave_is_remembered_until_it_has_left():
    """A run may die between the intent and the switch of the file."""
    keys = DeliveredKeys({"a": True, "b": False})
    during = keys.extend({"b", "c"}, {"a", "b"})
    assert during.keys == {"a": True, "b": False, "c": True}
    assert during.list_released({"b", "c"}) == ("a",)
    assert during.renew({"b", "c"}, {"b", "c"}).keys == {"b": False, "c": True}


def test_a_key_that_is_delivered_again_is_known_as_before():
    assert DeliveredKeys({"a": True}).renew({"a"}, {"a"}).keys == {"a": True}


def test_a_fact_of_an_earlier_version_is_read():
    assert DeliveredKeys.parse("+turn_port node_name").keys == {"turn_port": True, "node_name": False}


@pytest.mark.parametrize("key", ["+a", "a b", "%20", "/a/b c", "\u2003", "\ud800", "a\tb"])
def test_any_key_is_read_as_it_was_written(key):
    for added in (True, False):
        assert DeliveredKeys.parse(DeliveredKeys({key: added}).format_fact()).keys == {key: added}


@given(st.dictionaries(st.text(min_size=1), st.booleans()))
def test_a_fact_is_read_as_it_was_written(keys):
    assert DeliveredKeys.parse(DeliveredKeys(keys).format_fact()).keys == keys
