"""The status of a cluster that hosts share comes back as it was, and stays within its bounds."""

from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.drift import Drift
from reconciler.core.expiry import Expiry, ExpiryKind
from reconciler.core.pins import LeftRevision, Pin, PinEffect, PinState
from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.pass_status import LARGEST, MOST, decode_status, encode_status
from reconciler.server.watch_state import WatchedCluster

# Names and messages have no lone surrogates, which neither files nor nodes can bring in.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(timezones=st.just(UTC))
COUNTS = st.integers(0, 10**6)
REVISIONS = st.builds(Revision, TEXTS, TEXTS, TEXTS, TEXTS)
DIAGNOSTICS = st.builds(
    Diagnostic,
    st.sampled_from(Severity),
    TEXTS,
    TEXTS,
    TEXTS,
    position=st.builds(Position, TEXTS, COUNTS, COUNTS),
    pointer=TEXTS,
    target=TEXTS,
    hold=st.booleans(),
    ends=st.none() | TIMES,
    related=st.lists(st.builds(Position, TEXTS), max_size=2).map(tuple),
)
PINS = st.builds(
    PinState,
    st.builds(
        Pin,
        TEXTS,
        st.none() | REVISIONS,
        st.lists(st.builds(LeftRevision, TEXTS), max_size=2).map(tuple),
        TEXTS,
        TEXTS,
        TIMES,
    ),
    st.sampled_from(PinEffect),
    st.none() | REVISIONS,
)


def several(strategy):
    return st.lists(strategy, max_size=3).map(tuple)


SUMMARIES = st.builds(
    PassSummary,
    st.sampled_from(PassResult),
    message=TEXTS,
    run=TEXTS,
    steps=COUNTS,
    pending=COUNTS,
    unread_nodes=several(TEXTS),
    waiting_for_restart=several(TEXTS),
    violations=several(DIAGNOSTICS),
    findings=several(DIAGNOSTICS),
    hold_end=st.none() | TIMES,
    recheck=st.floats(0, 1e6),
    held_nodes=several(TEXTS),
    pin=st.none() | PINS,
    unmanaged=st.dictionaries(TEXTS, COUNTS, max_size=3),
    drift=several(st.builds(Drift, TEXTS, st.none() | TIMES, st.booleans(), st.booleans(), TEXTS)),
    expiries=several(st.builds(Expiry, st.sampled_from(ExpiryKind), TEXTS, TEXTS, TIMES)),
    left_nodes=several(TEXTS),
    reading=st.none(),
)
STATUSES = st.builds(
    WatchedCluster,
    TEXTS,
    REVISIONS,
    st.none() | REVISIONS,
    doing=TEXTS,
    pass_summary=st.none() | SUMMARIES,
    ended=st.floats(0, 1e10),
    success=st.floats(0, 1e10),
    tries=COUNTS,
    due=st.floats(0, 1e10),
    answers=st.dictionaries(TEXTS, COUNTS, max_size=3),
    since=st.floats(0, 1e10),
    reading=st.none(),
    progress=st.none(),
    host=TEXTS,
    read_at=st.floats(0, 1e10),
    conditions=st.dictionaries(TEXTS, COUNTS, max_size=3),
    is_unread=st.booleans(),
)


@settings(max_examples=25)
@given(STATUSES)
def test_a_status_comes_back_as_it_was(status):
    text = encode_status(status)
    assert text.isascii()
    assert "\0" not in text, "a database stores no NUL"
    assert decode_status(text) == status


@pytest.mark.parametrize("count", [MOST + 1, 20 * MOST])
@pytest.mark.parametrize("length", [1, 400, 4000])
def test_a_long_status_keeps_its_result_and_stays_within_its_bounds(count, length):
    summary = PassSummary(PassResult.PARTIAL, message="x" * length)
    finding = Diagnostic(Severity.ERROR, "code", "x" * length, target="edge/n1")
    long = replace(summary, findings=(finding,) * count, left_nodes=("y" * length,) * count)
    text = encode_status(WatchedCluster("edge", Revision("", "", ""), pass_summary=long))
    assert len(text) <= LARGEST
    found = decode_status(text)
    assert found is not None
    assert found.pass_summary.result is summary.result
    assert 0 < len(found.pass_summary.findings) <= MOST


@given(st.text(max_size=50))
def test_a_text_that_is_not_understood_is_no_status(text):
    assert decode_status(text) is None


def test_fields_of_another_version_do_no_harm():
    status = WatchedCluster("edge", Revision("s", "i", "h"))
    text = encode_status(status)
    assert decode_status(text[:-1] + ', "later": {"deep": [1]}}') == status
