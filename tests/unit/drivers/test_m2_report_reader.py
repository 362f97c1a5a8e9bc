"""Reports of M2's nodes: the samples of the manual, their defects, and bodies of hostile senders."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.core.offers import OfferFeed
from reconciler.drivers.m2.central_server import feeds, report_reader
from reconciler.drivers.m2.central_server.openapi import make_report_schema
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.setting import check
from reconciler.ports.central_server import InboundRequest, InvalidReport

CASES = Path(__file__).parents[2] / "cases/schemas"
SERVER = DRIVER.central_server()
NODE = {
    "productVer": "2.8.1",
    "settingVer": "2022-06-21-A",
    "licenseId": "KR200099999",
    "hostname": "test",
    "iplist": ["10.10.10.1", "10.10.10.2"],
}
FEEDBACK = b"""{
"messageVer": "1",
"node": {
"productVer": "2.8.1",
"settingVer": "2022-06-21-A",
"licenseId": "KR200099999",
"hostname": "test",
"iplist": ["10.10.10.1", "10.10.10.2"]
},
"userdata": null,
"action": {
"api": "/setting/upload",
"event": "/env/management/server/kafkaSub/myKafka"
},
"parameters": [
{
"url": "http://www.example.com/m2pkg_v10.tgz",
"result": {
"version": "22.02.0",
"method": "deploy",
"status": "ok",
"lastModified": "Tue, 15 Oct 2022 12:45:26 GMT",
"version": 10
}
}
],
"setting": null
}"""
"""As the manual has it, with two keys `version` and a weekday that does not fit its date."""


def read(body):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return SERVER.read_report(
        InboundRequest("POST", feeds.REPORT, {}, "https://c/t", datetime.now(UTC), text)
    )


def documented(kind):
    return json.loads((CASES / f"{kind}.documented.json").read_text(encoding="utf-8"))


def feedback(status="ok", *, setting=None, userdata=None, **result):
    message = json.loads(FEEDBACK)
    message["parameters"][0]["result"] = {"method": "deploy", "status": status, **result}
    return {**message, "setting": setting, "userdata": userdata}


def test_the_feedback_of_the_manual():
    found = read(FEEDBACK)
    assert (found.kind, found.hostname, found.addresses) == (
        "setting.feedback",
        "test",
        ("10.10.10.1", "10.10.10.2"),
    )
    assert (found.succeeded, found.reason, found.offer, found.content) == (True, "", "", None)
    assert found.last_modified == datetime(2022, 10, 15, 12, 45, 26, tzinfo=UTC)
    assert found.label == "10"
    stored = json.loads(found.body)
    assert stored["parameters"][0]["result"] == {
        "version": 10,
        "productVersion": "22.02.0",
        "method": "deploy",
        "status": "ok",
        "lastModified": "Tue, 15 Oct 2022 12:45:26 GMT",
    }


@pytest.mark.parametrize(
    ("kind", "totals"),
    [
        ("heartbeat.feedback", {}),
        ("nodelist.feedback", {}),
        ("purge.feedback", {"count": 4, "size": 77_657_923, "time": 13, "failed": 1}),
    ],
)
def test_the_other_reports_of_the_manual(kind, totals):
    found = read(documented(kind))
    assert (found.kind, found.hostname, found.totals) == (kind, "test", totals)
    assert found.label == "2022-06-21-A"
    assert json.loads(found.body) == documented(kind)


def test_the_lists_semicolon_of_the_manual_is_refused_like_any_other_text():
    text = (CASES / "nodelist.feedback.documented.json").read_bytes()
    with pytest.raises(InvalidReport, match="not JSON"):
        read(text.replace(b"]", b"];", 1))


def test_a_failed_target_is_named_with_the_nodes_reason():
    found = read(documented("purge.feedback"))
    assert not found.succeeded
    assert found.reason == "www.site1.com/image/*.bmp: Bad Gateway"
    message = documented("purge.feedback")
    message["parameters"][0]["result"]["status"] = "Gone"
    assert read(message).reason == "http://www.site1.com/image.jpg: Gone; and 1 more"
    for one in message["parameters"]:
        one["result"]["status"] = "Bad\x1bGateway"
    assert read(message).reason == "http://www.site1.com/image.jpg: Bad Gateway; and 2 more"


def test_a_purge_that_found_nothing_is_a_success():
    message = documented("purge.feedback")
    message["parameters"] = message["parameters"][2:]
    found = read(message)
    assert found.succeeded is True
    assert found.totals == {"count": 0, "size": 0, "time": 0}


@pytest.mark.parametrize("status", ["ok", "OK", "Ok"])
def test_success_in_any_spelling(status):
    assert read(feedback(status)).succeeded is True


@pytest.mark.parametrize(
    ("status", "reason"),
    [("E0003 not loadable", "E0003 not loadable"), ("", "no reason given"), ("x" * 9000, "x" * 1999 + "…")],
)
def test_a_failure_has_a_short_reason(status, reason):
    found = read(feedback(status))
    assert (found.succeeded, found.reason) == (False, reason)


def test_the_setting_is_apart_from_the_rest():
    setting = {"meta": {"version": 7}, "env": {"key": "hush"}, "big": 2**70}
    found = read(feedback(setting=setting, version=6))
    assert json.loads(found.content) == setting
    assert b"hush" not in found.body
    assert "setting" not in json.loads(found.body)
    assert found.label == "7"


def test_one_version_alone_is_that_of_the_setting():
    parameter = b'{"url": "a", "result": {"version": "7", "method": "deploy", "status": "ok"}},'
    found = read(FEEDBACK.replace(b'"parameters": [', b'"parameters": [' + parameter))
    first, second = json.loads(found.body)["parameters"]
    assert "productVersion" not in first["result"]
    assert second["result"]["productVersion"] == "22.02.0"


def test_what_ties_a_report_to_an_offer():
    assert read(feedback(userdata={"offer": "o-1", "run": "r"})).offer == "o-1"
    for odd in ("o-1", ["offer"], {"offer": 1}, {"offer": "x" * 9000}, {"offer": None}, 5):
        assert read(feedback(userdata=odd)).offer == ""
    assert read(feedback()).about is OfferFeed.SETTING
    called = feedback(userdata={"offer": "o-1"}) | {"action": {"api": "/setting/upload", "event": "/_api_/x"}}
    assert read(called).last_modified is None
    booted = feedback(userdata={"offer": "o-1"}, setting={"meta": {}}) | {"parameters": []}
    assert (read(booted).about, read(booted).offer) == (None, "")
    assert read(feedback(lastModified="yesterday")).last_modified is None
    assert read(feedback(lastModified=None)).last_modified is None


@pytest.mark.parametrize(
    ("version", "label"),
    [
        ("22.02.0", "22.02.0"),
        (10, "10"),
        (10.0, "10"),
        (1.5, "1.5"),
        (2**70, str(2**70)),
        (None, "2022-06-21-A"),
    ],
)
def test_the_version_that_is_loaded(version, label):
    assert read(feedback(version=version)).label == label


def test_a_failed_version_is_not_loaded():
    assert read(feedback("E0003", version=11)).label == "2022-06-21-A"


def test_a_start_has_no_result():
    message = feedback()
    message["action"]["event"] = "/_sys_/bootup"
    del message["parameters"]
    found = read(message)
    assert (found.kind, found.succeeded, found.label) == ("setting.feedback", None, "2022-06-21-A")


@pytest.mark.parametrize(
    ("api", "kind"),
    [
        ("/setting/upload", "setting.feedback"),
        ("/setting/deploy/checkout", "setting.feedback"),
        ("/command/restart", "other.feedback"),
        ("", "other.feedback"),
        ("purge", "other.feedback"),
    ],
)
def test_reports_are_told_apart_by_their_call(api, kind):
    message = feedback()
    message["action"]["api"] = api
    assert read(message).kind == kind


@pytest.mark.parametrize(
    "api",
    [
        "/command/purge",
        "/command/async/purge",
        "/command/hardpurge",
        "/command/expire",
        "/command/expireafter",
    ],
)
def test_every_call_that_removes_content_is_a_purge(api):
    message = documented("purge.feedback")
    message["action"]["api"] = api
    assert read(message).kind == "purge.feedback"


@pytest.mark.parametrize(
    "setting",
    [
        b'"setting": {"env": {"features": {"setting": {"version": 1}}, "version": 2}}',
        b'"later": "setting", "setting": {"version": 1}',
        b'"setting": {"version": 1}, "later": [{"version": 3, "version": 4}]',
        b'"setting": {"version": 1}, "setting": {"version": 2, "meta": {"version": 2}}',
    ],
)
def test_both_versions_are_kept_wherever_the_setting_is(setting):
    body = FEEDBACK.replace(b'"setting": null', setting)
    found = read(body)
    expected = json.loads(body)
    assert json.loads(found.content) == expected.pop("setting")
    expected["parameters"][0]["result"]["productVersion"] = "22.02.0"
    assert json.loads(found.body) == expected


def test_a_large_setting_is_read_in_a_short_time():
    setting = {"hosting": [{"name": f"h{number}", "version": number} for number in range(20_000)]}
    body = FEEDBACK.replace(b"null\n}", json.dumps(setting).encode() + b"}")
    assert json.loads(body)["setting"] == setting
    times = []
    for _ in range(3):
        began = time.process_time()
        assert json.loads(read(body).body)["parameters"][0]["result"]["productVersion"] == "22.02.0"
        times.append(time.process_time() - began)
    assert min(times) < 0.2


def test_of_many_results_the_failed_ones_are_stored_and_all_are_counted():
    message = documented("purge.feedback")
    good, bad = message["parameters"][:2]
    message["parameters"] = [good] * 5000 + [bad] * 3 + [good] * 5000
    found = read(message)
    assert found.totals == {"count": 30_003, "size": 776_568_993_072, "time": 120_003, "failed": 3}
    assert found.reason.endswith("Bad Gateway; and 2 more")
    stored = json.loads(found.body)
    assert stored["parameters"] == [bad] * 3 + [good] * 97
    assert stored["leftOut"] == 9_903


def test_a_setting_keeps_its_own_repeated_keys_out_of_the_report():
    body = FEEDBACK.replace(b'"setting": null', b'"setting": {"a": {"version": "1", "version": "2"}}')
    found = read(body)
    assert json.loads(found.content) == {"a": {"version": "2"}}
    assert json.loads(found.body)["parameters"][0]["result"]["productVersion"] == "22.02.0"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe\xfd", "not text in UTF-8|not JSON"),
        (b'"text"', "^it is not an object$"),
        (b"[]", "not an object"),
        (b"{}", "messageVer"),
        (b'{"messageVer":"2","node":{"hostname":"h","iplist":[]}}', "messageVer"),
        (b'{"messageVer":"1"}', "node"),
        (b'{"messageVer":"1","node":{"hostname":"h"}}', "iplist"),
        (b'{"messageVer":"1","node":{"hostname":5,"iplist":[]}}', r"node\.hostname"),
        (b'{"messageVer":"1","node":{"hostname":"h","iplist":[]},"action":[]}', r"action\.api"),
        (b'{"messageVer":"1","node":{"hostname":"h","iplist":[]},"action":{"api":null}}', r"action\.api"),
        (b'{"messageVer":"1","node":{"hostname":"h","iplist":[]},"nodelist":null}', "nodelist"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":1e999999}', "number"),
        (b'{"a":' + b"9" * 5000 + b"}", "number"),
        (b'{"a":"\\ud800"}', "not Unicode"),
        (b"[" * 100_000, "deeper|not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "deeper"),
        (b"{" + b'"a":1,' * 250_000 + b'"b":1}', "values"),
        (b'"' + b"x" * (17 * 1024 * 1024) + b'"', "bytes"),
        (FEEDBACK[:-1], "not JSON"),
        (FEEDBACK.replace(b'"status": "ok",', b""), "status"),
        (FEEDBACK.replace(b'"ok"', b"5"), "status"),
        (FEEDBACK.replace(b'"setting": null', b'"setting": []'), "setting"),
    ],
)
def test_what_is_no_report_is_refused_with_a_short_reason(body, why):
    began = time.process_time()
    with pytest.raises(InvalidReport, match=why) as caught:
        read(body)
    assert len(str(caught.value)) < 400
    assert time.process_time() - began < 2


def test_a_refusal_quotes_nothing_of_the_report():
    for place in ("status", "method", "version", "lastModified", "notupdated"):
        message = feedback()
        message["parameters"][0]["result"][place] = ["s3cret-value"]
        with pytest.raises(InvalidReport) as caught:
            read(message)
        assert "s3cret" not in str(caught.value)


def test_the_limits_of_a_report():
    assert (report_reader.LIMITS.size, report_reader.LIMITS.values) == (9_437_184, 250_000)
    # What the files may have can be reported.
    assert report_reader.LIMITS.size > check.LIMITS.size
    assert report_reader.LIMITS.values > check.LIMITS.values
    assert report_reader.LARGEST_BODY == 1_048_576
    assert report_reader.MOST == 9_223_372_036_854_775_807, "a database has whole numbers of 64 bits"
    smallest = read(feedback(later=""))
    assert len(read(feedback(later="x" * (1_048_576 - len(smallest.body)))).body) == 1_048_576
    with pytest.raises(
        InvalidReport, match="it has 1,048,577 bytes without the setting, more than 1,048,576"
    ):
        read(feedback(later="x" * (1_048_577 - len(smallest.body))))


def test_a_large_report_without_its_setting_is_refused():
    with pytest.raises(InvalidReport, match="bytes without the setting"):
        read(feedback(later="x" * 2_000_000))
    assert len(read(feedback(setting={"x": "x" * 2_000_000})).content) > 2_000_000


def test_absurd_totals_stay_numbers_that_a_database_keeps():
    message = documented("purge.feedback")
    for one in message["parameters"]:
        one["result"]["result"] = {"count": 10**300, "size": 2**63, "time": 1.7e308}
    assert read(message).totals == {
        **dict.fromkeys(["count", "size", "time"], report_reader.MOST),
        "failed": 1,
    }


def test_names_of_a_node_are_bounded():
    message = {"messageVer": "1", "node": {"hostname": "h\x1b\n" * 1000, "iplist": ["1\x00" * 1000] * 100}}
    found = read(message)
    assert len(found.hostname) <= 200
    assert "\x1b" not in found.hostname
    assert len(found.addresses) == 64
    assert all(len(one) <= 200 for one in found.addresses)


REPORT = Draft202012Validator(make_report_schema())
"""The schema that the OpenAPI document has: what it says is what is read."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["messageVer", "node", "action", "parameters", "setting", "userdata", "nodelist", "hosting", "timestamp"]
)
INNER = st.sampled_from(
    ["api", "event", "hostname", "iplist", "settingVer", "url", "result", "status", "count"]
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(body):
    with pytest.raises(InvalidReport):
        read(body)


@given(
    st.sampled_from(["setting.feedback", "purge.feedback", "heartbeat.feedback", "nodelist.feedback"]),
    st.dictionaries(KEYS, JSON | st.dictionaries(INNER, JSON, max_size=4), max_size=3),
    st.dictionaries(INNER, JSON, max_size=3),
)
@example("setting.feedback", {"action": {"api": "/setting/upload", "event": ""}, "parameters": []}, {})
def test_a_report_with_anything_in_it_is_read_or_refused(kind, changes, node):
    message = {**documented(kind), **changes}
    if "node" not in changes:
        message["node"] = {**message["node"], **node}
    try:
        found = read(message)
    except InvalidReport:
        assert not REPORT.is_valid(message)
        return
    assert REPORT.is_valid(message)
    assert found.succeeded is not False or found.reason
    assert json.loads(found.body).keys() >= message.keys() - {"setting"}
    assert all(isinstance(total, int | float) for total in found.totals.values())


def called_purge(*urls, event="/_api_/command/async/purge", **changes):
    message = documented("purge.feedback")
    result = message["parameters"][0]["result"] | {"status": "OK"}
    parameters = [{"url": url, "result": result} for url in urls]
    action = {"api": "/command/purge", "event": event}
    return read(message | {"parameters": parameters, "action": action, **changes})


@pytest.mark.parametrize("urls", [("http://A.com/x", "b.com/*"), ("http://A.com/x|b.com/*",)])
def test_a_report_of_a_called_purge_names_its_targets_as_the_operation_has_them(urls):
    found = called_purge(*urls)
    assert set(found.targets) == {"http://a.com/x", "b.com/*"}
    assert found.about is None
    assert found.succeeded is True


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "/env/management/server/apiPolling/purge"},
        {"userdata": {"offer": "o1"}},
    ],
)
def test_a_purge_that_a_node_polled_is_about_its_offer(changes):
    found = called_purge("a.com/x", **changes)
    assert found.targets == ()
    assert found.about is OfferFeed.PURGE


def test_a_purge_that_this_program_cannot_have_asked_for_is_about_nothing():
    assert called_purge("a.com/x y").targets == ()
