"""What M2's nodes poll and download: messages and packages, and the parts of offers that they are made of."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.m2_wire import BASE
from support.schema_documents import validate_message

from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.plan import Payload
from reconciler.core.secret import Secret
from reconciler.drivers.m2.central_server import feeds, offered_parts
from reconciler.drivers.m2.feed_rendering import render_feeds
from reconciler.drivers.m2.package import PackageCache, encode_setting, pack_tgz
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.purge_targets import pack_targets
from reconciler.drivers.m2.schema import M2Polling
from reconciler.drivers.registry import load_installed
from reconciler.errors import SecretError
from reconciler.ports.central_server import InboundRequest, PollHeaders, RouteKind
from reconciler.text.http_dates import format_http_date, parse_http_date

SERVER = DRIVER.central_server()
NOW = datetime(2026, 11, 30, 12, 0, 1, 500_000, tzinfo=UTC)
OFFER = Offer(
    id="o-1",
    cluster="edge",
    node="edge-01",
    feed=OfferFeed.SETTING,
    run="run-1",
    step="edge/upload/edge-01",
    revision="3f2a",
    label="3f2a",
    last_modified=datetime(2026, 11, 30, 11, 59, tzinfo=UTC),
    opens=NOW,
    closes=NOW + timedelta(hours=1),
)
FILES = {"certs/a.pem": b"A" * 3000, "geoip/a.mmdb": bytes(range(256)) * 2000}
PAYLOAD = Payload({**BASE, "key": Secret("hush", "${env:KEY}")}, FILES)
PARTS = offered_parts.write_package(PAYLOAD, PackageCache())


def request(route, **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return InboundRequest("GET", route, named, "https://central.example:8443/t0ken", NOW)


def message_of(answer):
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["last-modified"] == "Mon, 30 Nov 2026 11:59:00 GMT"
    return json.loads(b"".join(answer.body))


def test_the_routes_are_distinct_and_of_every_kind():
    assert len({route.path for route in SERVER.routes}) == len(SERVER.routes)
    assert {route.kind for route in SERVER.routes} == set(RouteKind)


def test_the_routes_of_a_node():
    found = [
        (route.path, route.kind.value, route.methods, route.feed, route.suffix) for route in SERVER.routes
    ]
    assert found == [
        ("setting", "poll", ("GET",), "setting", ""),
        ("setting.tgz", "poll", ("GET",), "setting", ""),
        ("package", "download", ("GET",), "setting", ".tgz"),
        ("purge", "poll", ("GET",), "purge", ""),
        ("report", "report", ("POST",), None, ""),
    ]


def test_the_urls_in_a_rendered_setting_are_routes():
    polling = M2Polling(server="https://central.example")
    feed = {"env": {"management": {"server": {"features": {"setting": {"feed": {"type": "tgzPolling"}}}}}}}
    for document in ({}, feed):
        rendered = json.dumps(render_feeds(document, polling), default=str)
        routes = {url.rpartition("/")[2] for url in re.findall(r'"(https://[^"]*)"', rendered)}
        assert len(routes) == 3
        assert routes < {route.path for route in SERVER.routes}


@pytest.mark.parametrize("kind", sorted(load_installed()))
def test_products_without_a_central_server_say_so(kind):
    assert (load_installed()[kind].central_server() is not None) == (kind == "m2")


def test_a_setting_is_offered_with_the_url_of_its_package():
    message = message_of(SERVER.answer_poll(request(feeds.SETTING), OFFER, PARTS))
    assert message == {
        "messageVer": "1",
        "timestamp": "2026-11-30T12:00:01.500Z",
        "userdata": {"offer": "o-1", "run": "run-1", "revision": "3f2a"},
        "action": {"api": "/setting/upload"},
        "parameters": [{"url": "https://central.example:8443/t0ken/package/o-1.tgz"}],
    }
    validate_message("setting.feed", message)


def test_a_checkout_is_offered_without_parameters():
    parts = offered_parts.write_checkout("d1gest")
    message = message_of(SERVER.answer_poll(request(feeds.SETTING), OFFER, parts))
    assert message["action"] == {"api": "/setting/deploy/checkout"}
    assert "parameters" not in message
    validate_message("setting.feed", message)
    assert offered_parts.read_checkout(parts) == "d1gest"
    assert offered_parts.read_checkout(PARTS) is None
    assert offered_parts.read_checkout(()) is None


def test_a_checkout_has_no_package():
    parts = offered_parts.write_checkout("d1gest")
    assert SERVER.answer_poll(request(feeds.TGZ_SETTING), OFFER, parts).status == 404
    assert SERVER.answer_download(request(feeds.PACKAGE), OFFER, parts).status == 404


@pytest.mark.parametrize("route", [feeds.TGZ_SETTING, feeds.PACKAGE])
def test_a_package_has_secrets_in_clear_and_is_the_one_that_would_be_pushed(route):
    answer = (SERVER.answer_download if route == feeds.PACKAGE else SERVER.answer_poll)(
        request(route), OFFER, PARTS
    )
    assert answer.status == 200
    assert answer.headers == {
        "content-type": "application/x-compressed",
        "last-modified": "Mon, 30 Nov 2026 11:59:00 GMT",
        "etag": '"o-1"',
    }
    whole = b"".join(answer.body)
    assert whole == pack_tgz(PAYLOAD)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert json.load(archive.extractfile("setting.json"))["key"] == "hush"


def test_a_purge_is_offered_with_its_targets():
    targets = ["http://www.site1.com/image.jpg", "www.site1.com/image/*.bmp"]
    parts = (pack_targets(targets),)
    purge = replace(OFFER, feed=OfferFeed.PURGE, revision="")
    message = message_of(SERVER.answer_poll(request(feeds.PURGE), purge, parts))
    assert message["action"] == {"api": "/command/purge"}
    assert message["parameters"] == [{"url": url} for url in targets]
    assert message["userdata"]["offer"] == "o-1"
    validate_message("purge.feed", message)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Tue, 11 Oct 2022 12:45:26 GMT", datetime(2022, 10, 11, 12, 45, 26, tzinfo=UTC)),
        ("Tue, 15 Oct 2022 12:45:26 GMT", datetime(2022, 10, 15, 12, 45, 26, tzinfo=UTC)),
        ("Tuesday, 11-Oct-22 12:45:26 GMT", datetime(2022, 10, 11, 12, 45, 26, tzinfo=UTC)),
        ("Tue Oct 11 12:45:26 2022", datetime(2022, 10, 11, 12, 45, 26, tzinfo=UTC)),
        ("Tue, 11 Oct 2022 12:45:26 +0200", datetime(2022, 10, 11, 10, 45, 26, tzinfo=UTC)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        *(
            (text, None)
            for text in (
                "",
                "0",
                "now",
                "Tue, 31 Feb 2022 12:45:26 GMT",
                "Tue, 11 Oct 2022 25:45:26 GMT",
                "Fri, 31 Dec 9999 23:59:59 -2300",
                "Tue, 11 Oct 2022 12:45:26 +9999999",
                "Tue, 11 Oct \uff12\uff10\uff12\uff12 12:45:26 GMT",
                "Tue, 11 Oct 2022 12:45:26 GMT" + " " * 100,
                "(" * 60,
                "\x00",
            )
        ),
    ],
)
def test_dates_are_read_whatever_is_sent(text, moment):
    assert parse_http_date(text) == moment
    asked = SERVER.read_poll(request(feeds.SETTING, if_modified_since=text).headers).asked
    assert asked == (moment or parse_http_date(text.strip()))


@given(st.text(max_size=80), st.text(max_size=400))
def test_no_header_makes_a_poll_fail(date, label):
    found = SERVER.read_poll(
        request(feeds.SETTING, if_modified_since=date, x_m2_setting_meta_version=label).headers
    )
    assert found.asked is None or found.asked.utcoffset() == timedelta(0)
    assert len(found.label) <= feeds.LONGEST_LABEL


@given(st.integers(0, 200_000_000_000))
def test_a_node_can_return_every_date_that_it_was_given(seconds):
    given_ = datetime.fromtimestamp(seconds, UTC)
    assert parse_http_date(format_http_date(given_)) == given_


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        ("2022-06-21-A", "2022-06-21-A"),
        (" 10 ", "10"),
        ("", ""),
        ("v\u00fc".encode().decode("latin-1"), "vü"),
    ],
)
def test_a_poll_shows_the_version_that_is_loaded(sent, label):
    found = SERVER.read_poll(request(feeds.SETTING, x_m2_setting_meta_version=sent).headers)
    assert found == PollHeaders(None, label)


def test_a_poll_without_headers_is_a_first_poll():
    assert SERVER.read_poll(request(feeds.PURGE).headers) == PollHeaders()


def test_the_parts_of_a_package_give_back_what_was_offered():
    found = offered_parts.read_package(PARTS)
    assert found.setting() == encode_setting(PAYLOAD.document)
    assert found.resources() == FILES


def test_nodes_share_all_parts_but_the_first():
    cache = PackageCache()
    one, other = (
        offered_parts.write_package(Payload({**BASE, "node": node}, dict(FILES)), cache) for node in "ab"
    )
    assert one[0] != other[0]
    assert one[1:] == other[1:]
    assert len(one) == 3


def test_downloads_at_a_time_hold_the_shared_parts_once():
    one, other = (SERVER.answer_download(request(feeds.PACKAGE), OFFER, PARTS).body for _ in range(2))
    assert [piece is same for piece, same in zip(one[2:-2], other[2:-2], strict=True)] == [True] * 2


def test_an_offer_with_an_unknown_secret_is_not_written():
    with pytest.raises(SecretError, match="KEY"):
        offered_parts.write_package(replace(PAYLOAD, missing={"${env:KEY}": "not set"}), PackageCache())


@pytest.mark.parametrize(
    "parts",
    [(), (b"",), (b"deflated",), (b"x" * 100,), (PARTS[0], b""), offered_parts.write_checkout("d1gest")],
)
def test_other_bytes_are_no_package(parts):
    with pytest.raises(offered_parts.UnreadableParts):
        offered_parts.read_package(parts)


def test_a_damaged_part_is_found_when_it_is_read():
    damaged = PARTS[0][:-9] + bytes(9)
    with pytest.raises(offered_parts.UnreadableParts, match="damaged"):
        offered_parts.read_package((damaged, *PARTS[1:])).setting()
    with pytest.raises(offered_parts.UnreadableParts, match=r"no setting\.json"):
        offered_parts.read_package((PARTS[1],)).setting()


@pytest.mark.parametrize("parts", [(), (b"1",), (b"[",), (b"[]", b"[]")])
def test_other_bytes_are_no_purge(parts):
    with pytest.raises(offered_parts.UnreadableParts):
        offered_parts.read_purge(parts)


def test_the_same_offer_gives_the_same_bytes_however_often():
    answers = {b"".join(SERVER.answer_download(request(feeds.PACKAGE), OFFER, PARTS).body) for _ in range(3)}
    (whole,) = answers
    assert gzip.decompress(whole).endswith(bytes(1024))
