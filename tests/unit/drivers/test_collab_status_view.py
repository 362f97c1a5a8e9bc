"""`/status` of a Collaboration Server: the documented answer, the readings of health, and hostile answers."""

# ruff: noqa: DTZ001  (the times of the product have no zone)

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.drivers.collab import status_view
from reconciler.drivers.collab.status_view import (
    UnreadableStatus,
    parse_status,
    parse_up_since,
    read_status_answer,
)
from reconciler.errors import NodeError, NodeUnauthorized, NodeUnidentified
from reconciler.ports.transport import HttpAnswer

URL = "http://192.0.2.1:3000/status"
DOCUMENTED = b"""{
"version":"11.0.0.720",
"enableTls":false,
"scaling":"horizontal",
"logging":true,
"state":"paused",
"reason":"The following dependent services are unavailable: DB Service, Redis Server",
"main":
{
"cpu":{"current":0,"max":17},
"memory":{"current":62758912,"max":85626880},
"connections":{"total":12,"current":4,"max":11},
"messages":{"processed":5},
"restCalls":{"received":3},
"up_since":"2018-4-18 02:12:42","pid":900
}
}
"""
"""The only answer that the documents show."""


def changed(*without, main=(), **values):
    """The documented answer as JSON, with other values."""
    value = json.loads(DOCUMENTED)
    value["main"] |= dict(main)
    value |= values
    for key in without:
        del value[key]
    return json.dumps(value).encode()


def test_the_documented_answer_is_that_of_a_paused_server_with_its_services():
    view = parse_status(DOCUMENTED)
    assert not view.is_healthy
    assert view.missing_services == ("DB Service", "Redis Server")
    assert view.lacks_database
    assert view.lacks_redis
    assert (view.version, view.scaling, view.enable_tls, view.logging) == (
        "11.0.0.720",
        "horizontal",
        False,
        True,
    )
    assert (view.pid, view.up_since, view.connections) == (900, "2018-4-18 02:12:42", 4)
    assert view.up_since_time == datetime(2018, 4, 18, 2, 12, 42)
    assert view.unknown_keys == ()


@pytest.mark.parametrize("word", ["running", "active", "", "RUNNING", "unknown", "ok"])
def test_any_word_but_paused_is_health_without_a_reason_and_never_with_one(word):
    assert parse_status(changed("reason", state=word)).is_healthy
    assert parse_status(changed(state=word, reason=None)).is_healthy
    assert parse_status(changed(state=word, reason=" \n")).is_healthy
    assert not parse_status(changed(state=word, reason="x")).is_healthy
    assert not parse_status(changed(state=word, reason="\u200b")).is_healthy, "unseen text is text"


@pytest.mark.parametrize("word", ["paused", "Paused", " PAUSED ", "pausing", "paused (by hand)"])
def test_paused_is_never_health(word):
    assert not parse_status(changed("reason", state=word)).is_healthy


def test_one_missing_service_is_told_apart_from_the_other():
    view = parse_status(changed(reason="The following dependent services are unavailable: redis server"))
    assert view.lacks_redis
    assert not view.lacks_database
    assert parse_status(changed(reason="something else")).missing_services == ()


def test_unknown_keys_pass_at_every_level():
    view = parse_status(changed("reason", state="x", workers=[{"pid": 1}], main={"gc": {"runs": 3}}))
    assert view.is_healthy
    assert view.unknown_keys == ("workers",)


def test_keys_that_the_documents_do_not_promise_may_be_away():
    main = {"pid": 1, "up_since": "x"}
    view = parse_status(json.dumps({"version": "1", "state": "on", "main": main}).encode())
    assert view.is_healthy
    assert (view.enable_tls, view.scaling, view.logging, view.connections) == (None, None, None, None)
    assert view.up_since_time is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2018-4-18 02:12:42", datetime(2018, 4, 18, 2, 12, 42)),
        ("2018-12-1 2:1:4", datetime(2018, 12, 1, 2, 1, 4)),
        ("2018-04-18 02:12:42", datetime(2018, 4, 18, 2, 12, 42)),
        ("2018-4-18T02:12:42Z", None),
        ("2018-2-30 02:12:42", None),
        ("2018-4-18 24:12:42", None),
        ("0000-4-18 02:12:42", None),
        ("\u0662018-4-18 02:12:42", None),
        ("2018-4-18 02:12:42\n", None),
        ("", None),
    ],
)
def test_the_time_of_a_start_has_one_form(text, time):
    assert parse_up_since(text) == time


def test_another_start_is_another_text_if_either_part_changes():
    first = parse_status(DOCUMENTED)
    assert parse_status(changed(main={"pid": 901})).start != first.start
    assert parse_status(changed(main={"up_since": "2018-4-18 2:12:43"})).start != first.start


def test_counters_do_not_make_another_status():
    busy = parse_status(changed(main={"connections": {"current": 9}, "messages": {"processed": 8}}, more=1))
    assert busy == parse_status(DOCUMENTED)
    assert busy.fingerprint == parse_status(DOCUMENTED).fingerprint
    assert parse_status(changed(version="12")).fingerprint != parse_status(DOCUMENTED).fingerprint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"paused"',
        b"<!DOCTYPE html><title>Login</title>",
        b'{"status":"UP"}',
        b'{"state":"running"}',
        b'{"version":"1","state":"running","main":{}}',
        changed("version"),
        changed("state"),
        changed("main"),
        changed(version=11),
        changed(version=""),
        changed(version="1 \x1b[31m"),
        changed(state=None),
        changed(state=True),
        changed(state="x" * 65),
        changed(state="ru\u202enning"),
        changed(reason=["DB Service"]),
        changed(enableTls="false"),
        changed(logging=1),
        changed(scaling=3),
        changed(main={"pid": "900"}),
        changed(main={"pid": True}),
        changed(main={"pid": 0}),
        changed(main={"pid": -1}),
        changed(main={"pid": 2**40}),
        changed(main={"pid": 900.5}),
        changed(main={"up_since": 1524017562}),
        changed(main={"up_since": ""}),
        changed(main={"up_since": "x" * 65}),
        changed(main={"connections": 4}),
        changed(main={"connections": {"current": -1}}),
        changed(main={"connections": {"current": 10**400}}),
        changed(main={"cpu": {"current": "high"}}),
        DOCUMENTED.replace(b'"current":0', b'"current":NaN'),
        DOCUMENTED + b"x",
        b"[" * 100_000,
        changed(more="x" * 300_000),
        changed(more=[0] * 6_000),
        b'{"version":"\\ud800","state":"x","main":{"pid":1,"up_since":"x"}}',
    ],
)
def test_anything_else_is_no_status(body):
    with pytest.raises(UnreadableStatus):
        parse_status(body)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["version", "state", "reason", "main", "pid", "up_since"]), inner)
)))  # fmt: skip
def test_no_value_breaks_the_reader_and_what_it_gives_is_bounded(value):
    try:
        view = parse_status(json.dumps(value).encode())
    except UnreadableStatus:
        return
    assert len(view.reason) <= status_view.LONGEST_REASON


@given(
    st.text(max_size=2_000),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=64),
    st.integers(1, 2**32 - 1),
)
def test_every_reason_makes_it_unhealthy_and_stays_on_one_line(reason, state, pid):
    view = parse_status(changed(state=state, reason=reason, main={"pid": pid}))
    if reason.strip(" \t\r\n"):
        assert not view.is_healthy
    assert "\n" not in view.reason
    assert len(view.missing_services) <= 11
    assert str(pid) in view.start


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(body):
    with pytest.raises(UnreadableStatus):
        parse_status(body)


@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 1, 1)), st.booleans())
def test_a_time_is_read_with_and_without_zero_padding(time, padded):
    time = time.replace(microsecond=0)
    form = "{:04}-{:02}-{:02} {:02}:{:02}:{:02}" if padded else "{}-{}-{} {}:{}:{}"
    assert parse_up_since(form.format(*time.timetuple()[:6])) == time


def answer(body, status=200, **headers):
    return HttpAnswer(status, headers, body)


def test_an_answer_of_a_paused_server_may_have_status_503_and_is_never_health():
    view = read_status_answer("c1", URL, answer(DOCUMENTED, 503))
    assert view.lacks_redis
    assert not read_status_answer("c1", URL, answer(changed("reason", state="running"), 503)).is_healthy
    assert read_status_answer("c1", URL, answer(changed("reason", state="running"))).is_healthy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html><form action=/login>"),
        (200, b'{"version":"1","status":"UP"}'),
        (302, b""),
        (404, DOCUMENTED),
        (500, DOCUMENTED),
        (502, b"<html>Bad Gateway"),
        (503, b"<html>Service Unavailable"),
        (204, b""),
    ],
)
def test_other_answers_do_not_identify_the_server(status, body):
    with pytest.raises(NodeUnidentified) as raised:
        read_status_answer("c1", URL, answer(body, status))
    assert URL in str(raised.value)
    assert str(status) in str(raised.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_no_permission(status):
    with pytest.raises(NodeUnauthorized):
        read_status_answer("c1", URL, answer(b"", status))


def test_the_message_quotes_no_values_of_another_services_object():
    with pytest.raises(NodeError) as raised:
        read_status_answer("c1", URL, answer(b'{"password":"hunter2","state":"x"}'))
    assert "hunter2" not in str(raised.value)


def test_what_the_transport_masks_stays_masked_in_the_reason():
    class Mask:
        def redact_text(self, text):
            return text.replace("hunter2", "***")

    body = changed(reason="cannot reach redis://:hunter2@r:6379")
    view = read_status_answer("c1", URL, answer(body).masked_by(Mask()))
    assert "hunter2" not in view.reason
    assert not view.is_healthy
