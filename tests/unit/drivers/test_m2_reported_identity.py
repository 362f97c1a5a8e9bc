"""What a stored report says of its node."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.arguments import NO_FEEDBACK, StepFeedback
from reconciler.core.secret import MASK
from reconciler.drivers.m2.central_server import feeds
from reconciler.drivers.m2.central_server.reported_identity import read_identity
from reconciler.drivers.m2.product import DRIVER
from reconciler.ports.central_server import InboundRequest

BODY = b"""{"messageVer": "1", "node": {"productVer": "2.8.1", "settingVer": "2022-06-21-A",
"licenseId": "KR200099999", "hostname": "test", "iplist": ["10.10.10.1", "10.10.10.2"]}, "userdata": null,
"action": {"api": "/setting/upload", "event": "/env/management/server/apiPolling/central"}, "parameters":
[{"url": "https://central.example:8443/AbC-tok_en/package/o-1.tgz", "result": {"version": "22.02.0",
"method": "deploy", "status": "ok", "lastModified": "Tue, 15 Oct 2022 12:45:26 GMT", "version": 10}}],
"setting": null}"""


def stored(body):
    request = InboundRequest("POST", feeds.REPORT, {}, "https://c/t", datetime.now(UTC), body)
    return json.loads(DRIVER.central_server().read_report(request).body)


OWN = StepFeedback(
    addresses=("10.10.10.1", "10.10.10.2"),
    product_version="2.8.1",
    license_id="KR200099999",
    result_version="22.02.0",
)


def test_a_report_about_the_step():
    expected = StepFeedback(
        url=f"https://central.example:8443/{MASK}/package/o-1.tgz",
        last_modified="Tue, 15 Oct 2022 12:45:26 GMT",
    )
    assert read_identity(stored(BODY), is_about_step=True) == OWN.merge(expected)


def test_another_report_shows_only_who_the_node_is():
    assert read_identity(stored(BODY), is_about_step=False) == OWN


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"node": None},
        {"node": {"iplist": 5, "productVer": 5}},
        {"parameters": [{"url": 5, "result": []}]},
    ],
)
def test_what_a_report_does_not_say_is_empty(report):
    assert read_identity(report, is_about_step=True) == NO_FEEDBACK


@given(
    st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True),
    st.sampled_from(["", "/behind/a/proxy", "/" + "x" * 250, "/" + "x" * 290]),
    st.sampled_from(["package/o-1.tgz", "setting.tgz", "setting"]),
)
def test_no_url_shows_a_token(token, prefix, route):
    report = {"parameters": [{"url": f"https://central.example:8443{prefix}/{token}/{route}"}]}
    url = read_identity(report, is_about_step=True).url
    assert token[:8] not in url
    assert url.startswith(f"https://central.example:8443{prefix[:200]}")
