"""The value of `--tolerate-unread`: strictly a number or a percentage."""

import pytest

from reconciler.errors import UsageError
from reconciler.planning.unread_limit import UnreadLimit


@pytest.mark.parametrize(
    ("text", "nodes", "allowed"),
    [("", 40, 0), ("0", 40, 0), ("3", 40, 3), ("3", 2, 3), ("0%", 40, 0), ("5%", 40, 2), ("5%", 39, 1)],
)
def test_a_percentage_of_the_nodes_is_rounded_down(text, nodes, allowed):
    assert UnreadLimit.read(text).resolve(nodes) == allowed


@pytest.mark.parametrize(
    "text",
    ["-1", "+1", "1.5", "1,5", "01", " 1", "1 ", "1 %", "%", "101%", "1e3", "٣", "one", "1%%", "5.0%", "\n"],
)
def test_everything_else_is_refused_with_the_option_and_an_example(text):
    with pytest.raises(UsageError, match="--tolerate-unread") as raised:
        UnreadLimit.read(text)
    assert "5%" in raised.value.remedy
