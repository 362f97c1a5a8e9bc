"""`key = value` text is read with positions, refused with messages, and changed without losing a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.document import parse_document
from reconciler.documents.key_values import (
    change_key_values,
    format_scalar,
    is_writable,
    parse_key_values,
    parse_scalar,
)
from reconciler.errors import InputError

TEXT = """# the first node
cluster = true
node_name = node01@node01.example.com

cluster_affinity_threshold = 20
websocket_ping_interval = 30 s
"""


def test_values_have_their_types_and_positions():
    document = parse_document("sora.conf", TEXT.encode())
    assert document.value == {
        "cluster": True,
        "node_name": "node01@node01.example.com",
        "cluster_affinity_threshold": 20,
        "websocket_ping_interval": "30 s",
    }
    where = document.position("/cluster_affinity_threshold")
    assert (where.line, where.column) == (5, 30)
    assert document.position("/cluster_affinity_threshold", key=True).column == 1


def test_a_change_keeps_comments_order_and_other_keys():
    changed = change_key_values(TEXT, {"cluster_affinity_threshold": 5, "cluster_temporary_node": True})
    assert changed == TEXT.replace("= 20", "= 5") + "cluster_temporary_node = true\n"


def test_a_removed_key_takes_its_line_with_it():
    assert change_key_values(TEXT, {"cluster": None, "unknown": None}) == TEXT.replace("cluster = true\n", "")


@pytest.mark.parametrize(
    ("text", "values", "changed"),
    [
        ("a = 1", {"b": 2}, "a = 1\nb = 2\n"),
        ("a = 1\r\nb = 2", {"a": 3}, "a = 3\r\nb = 2"),
        ("a = 1\r\n", {"b": 2}, "a = 1\r\nb = 2\r\n"),
        ("a =\n", {"a": "x"}, "a = x\n"),
        ("a = \n", {"a": "x"}, "a = x\n"),
        ("a=1\n", {"a": 2}, "a=2\n"),
        ("  a  =  1  \n", {"a": 2}, "  a  =  2  \n"),
        ("\ufeffa = 1\n", {"a": 2, "b": 3}, "\ufeffa = 2\nb = 3\n"),
        ("a = 1\n", {"a": True}, "a = true\n"),
        ("a = 01\n", {"a": 1}, "a = 1\n"),
        ("a = x\x0by\n", {"b": 1}, "a = x\x0by\nb = 1\n"),
        ("", {"a": 1}, "a = 1\n"),
        ("# a = 1\n", {"a": 1}, "# a = 1\na = 1\n"),
    ],
)
def test_only_what_differs_is_written(text, values, changed):
    assert change_key_values(text, values) == changed


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        (TEXT.replace("# the first node", "the first node"), 1, 1, "not `key = value`"),
        (TEXT + "cluster = true\n", 7, 1, "duplicate key cluster, first in line 2"),
        ("a b = 1\n", 1, 1, "not `key = value`"),
        ("= 1\n", 1, 1, "not `key = value`"),
    ],
)
def test_an_error_has_its_position(text, line, column, words):
    with pytest.raises(InputError) as caught:
        parse_key_values("sora.conf", text)
    (problem,) = caught.value.problems
    assert (problem.position.line, problem.position.column) == (line, column)
    assert words in problem.message


@pytest.mark.parametrize(
    "value", ["a\nb", "a\rlicense_file = /x", " a", "a ", "\x00", "a\u2028b", 1.5, None, ["a"], {"a": 1}]
)
def test_a_value_that_would_write_more_than_itself_is_not_writable(value):
    assert not is_writable(value)


SCALARS = (
    st.booleans() | st.integers(-(10**17), 10**17) | st.from_regex(r"[!-~]+( [!-~]+){0,2}", fullmatch=True)
)


@given(SCALARS)
def test_printing_is_the_inverse_of_reading(value):
    read = parse_scalar(format_scalar(value))
    assert format_scalar(read) == format_scalar(value)
    if not isinstance(value, str):
        assert read == value


LINES = st.lists(
    st.sampled_from(["# note", "", "a = 1", "b=x y", " c = true", "d =", "\t", "e = 30 s"]), max_size=8
)


@given(
    LINES,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.dictionaries(st.sampled_from("abcdefg"), SCALARS | st.none(), max_size=5),
)
def test_a_change_gives_exactly_the_wanted_values_and_nothing_else(lines, end, last, values):
    text = end.join(dict.fromkeys(lines)) + (end if last else "")
    before, _ = parse_key_values("x.conf", text)
    changed = change_key_values(text, values)
    after, _ = parse_key_values("x.conf", changed)
    wanted = {**before, **values}
    assert {key: format_scalar(value) for key, value in after.items()} == {
        key: format_scalar(value) for key, value in wanted.items() if value is not None
    }
    assert change_key_values(changed, values) == changed
    kept = [line for line in text.split(end) if line.startswith("#")]
    assert [line for line in changed.split(end) if line.startswith("#")] == kept


@given(st.text(max_size=200) | st.lists(st.sampled_from("a=\n\r #\ufeff\t1"), max_size=30).map("".join))
def test_any_text_is_read_or_refused_with_a_message(text):
    try:
        values, _ = parse_key_values("sora.conf", text)
    except InputError as error:
        assert error.problems  # noqa: PT017
    else:
        assert change_key_values(text, values) == text
