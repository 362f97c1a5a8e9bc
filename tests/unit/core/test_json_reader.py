"""JSON from outside: exact whole numbers, and bounds that hold before a parser begins."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.diff import diff_values
from reconciler.core.json_reader import DEEPEST, JsonError, JsonLimits, read_json

LIMITS = JsonLimits(size=1_000_000, values=10_000)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_of_another_writer_is_read_without_loss(value):
    found = read_json(json.dumps(value).encode(), LIMITS)
    assert not diff_values(found, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", 2**53 + 1),
        ("9223372036854775808", 2**63),
        ("18446744073709551616", 2**64),
        ("100000000000000000000", 10**20),
        ("-100000000000000000001", -(10**20) - 1),
        ("1e+20", 10**20),
        ("1E23", 10**23),
        ("100000000000000000001.0", 10**20 + 1),
        ("9007199254740993.0", 2**53 + 1),
        ("900719925474.0993e4", 2**53 + 1),
    ],
)
def test_whole_numbers_are_exact_however_they_are_written(text, value):
    assert read_json(f'{{"a": [{text}]}}'.encode(), LIMITS)["a"][0] == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 5000, "nests deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nests deeper"),
        (b'{"a":' * 201 + b"12345678901234567890" + b"}" * 201, "nests deeper"),
        (b"[" + b"0," * 20_000 + b"0]", "more than 10,000 values"),
        (b'{"a":"' + b"x" * 1_000_000 + b'"}', "more than 1,000,000"),
        (b"1" * 4_001, "4,001 characters"),
        (b"NaN", "it has NaN, which is not JSON"),
        (b"[-Infinity]", "it has -Infinity, which is not JSON"),
        (b"1e400", "too large"),
        (b'"\\ud800"', "half of a character"),
        (b"\xff\xfe\xfd", "not text"),
        (b"", "it is not JSON"),
        (b"{'a': 1}", "it is not JSON"),
        (b"{} {}", "not JSON"),
    ],
)
def test_json_beyond_a_limit_and_other_text_are_refused_with_a_reason(body, why):
    with pytest.raises(JsonError, match=why):
        read_json(body, LIMITS)


def test_text_in_quotes_counts_neither_as_values_nor_as_levels_nor_as_numbers():
    text = "[{," * 50_000 + "12345678901234567890"
    assert read_json(json.dumps({"a": text}).encode(), LIMITS) == {"a": text}


def test_the_deepest_level_and_the_last_of_two_names_are_taken():
    assert read_json(b"[" * DEEPEST + b"]" * DEEPEST, LIMITS) is not None
    assert read_json(b'{"a": 1, "a": 2}', LIMITS) == {"a": 2}
    assert read_json(b'\xef\xbb\xbf{"a": 1}', LIMITS) == {"a": 1}


@pytest.mark.parametrize(
    "body",
    [b'"\\' * 400_000, b"[" * 900_000, b"1" * 900_000, b'{"' * 450_000, b"1e5," * 225_000, b"\\" * 900_000],
)
def test_no_text_within_the_limit_of_bytes_takes_long(body):
    began = time.process_time()
    with pytest.raises(JsonError):
        read_json(body, LIMITS)
    assert time.process_time() - began < 2
