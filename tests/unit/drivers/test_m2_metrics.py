"""Metrics of a node: what is odd is left out, the rest counts."""

from __future__ import annotations

import time

import pytest

from reconciler.drivers.m2 import metrics
from reconciler.drivers.m2.metrics import parse_metrics

ODD = r"""# HELP m2_x words
# TYPE m2_x counter
m2_x_total{host="a\"b",le="+Inf"} 12 1395066363000
# TYPE h histogram
h_bucket{le="0.1"} 5
h_<<: *abucket{le="+Inf"} 6
h_sum 5.5
h_count 6
up NaN
# TYPE g gauge
# UNIT g_seconds seconds
g_seconds 1e3 # {trace_id="x"} 0.5 1.1
# EOF
"""


def test_an_odd_line_is_left_out_and_the_others_count():
    assert parse_metrics(ODD.encode()) == {
        "m2_x_total": 12.0,
        "h_sum": 5.5,
        "h_count": 6.0,
        "g_seconds": 1000.0,
    }


def test_samples_of_one_name_are_summed_over_their_labels():
    assert parse_metrics(b'a{x="1"} 2\r\na{x="}{"} 3\na 1\n') == {"a": 6.0}


@pytest.mark.parametrize(
    "body", [b"", b"<html>404</html>", b"a\nb\n", b"a +Inf\n", b"\xff\xfe 1", b"1a 2", b"a 1_0"]
)
def test_what_has_no_sample_is_no_metrics(body):
    with pytest.raises(ValueError, match="no samples"):
        parse_metrics(body)


def test_sums_beyond_any_number_are_left_out():
    assert parse_metrics(b"a 1e308\na 1e308\nb 1\n") == {"b": 1.0}


def test_names_and_bytes_are_bounded(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_NAMES", 2)
    assert parse_metrics(b"a 1\nb 1\nc 1\na 1\n" + b"d" * 300 + b" 1\n") == {"a": 2.0, "b": 1.0}
    with pytest.raises(ValueError, match="bytes"):
        parse_metrics(b"a 1\n" * 2_000_000)


@pytest.mark.parametrize("line", [b"a{" * 400_000, b'a{x="' + b"\\a" * 400_000, b"a" + b" " * 900_000 + b"x"])
def test_every_line_is_parsed_fast(line):
    began = time.process_time()
    with pytest.raises(ValueError, match="no samples"):
        parse_metrics(line)
    assert time.process_time() - began < 2
