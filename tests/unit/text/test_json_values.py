from collections import OrderedDict
from types import MappingProxyType

import pytest

from reconciler.text.json_values import is_array, is_object


class OwnText(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [{}, OrderedDict(a=1), MappingProxyType({"a": 1})])
def test_an_object_is_any_mapping(value):
    assert is_object(value)
    assert not is_array(value)


@pytest.mark.parametrize("value", [[], (), range(2)])
def test_an_array_is_any_sequence(value):
    assert is_array(value)
    assert not is_object(value)


@pytest.mark.parametrize("value", ["text", OwnText("text"), b"bytes", 1, 1.5, True, None])
def test_a_leaf_is_neither(value):
    assert not is_array(value)
    assert not is_object(value)
