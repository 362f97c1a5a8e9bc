"""What the central server of every product must do, whatever nodes send."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.offers import OfferFeed
from reconciler.drivers.registry import load_installed
from reconciler.ports.central_server import InboundRequest, InvalidReport, PollHeaders, RouteKind

SERVERS = {
    kind: server
    for kind, driver in load_installed().items()
    if (server := driver.central_server()) is not None
}
ROUTES = [(kind, route) for kind, server in SERVERS.items() for route in server.routes]
NAMES = ["if-modified-since", "if-none-match", "user-agent", "x-m2-setting-meta-version", "content-type"]


def request(route, headers=None, body=b""):
    return InboundRequest(
        route.methods[0], route, headers or {}, "https://c.example/t", datetime.now(UTC), body
    )


@pytest.mark.parametrize("kind", SERVERS)
def test_its_routes_are_distinct_segments(kind):
    paths = [route.path for route in SERVERS[kind].routes]
    assert len(set(paths)) == len(paths)
    assert all(path == quote(path, safe="") and path for path in paths)


@pytest.mark.parametrize(("kind", "route"), ROUTES, ids=[f"{kind} {route.path}" for kind, route in ROUTES])
def test_each_route_has_what_its_kind_needs(kind, route):
    assert (route.feed is None) == (route.kind is RouteKind.REPORT)
    assert route.feed is None or route.feed in OfferFeed
    assert route.methods == (("POST",) if route.kind is RouteKind.REPORT else ("GET",))
    assert bool(route.suffix) <= (route.kind is RouteKind.DOWNLOAD)


@pytest.mark.parametrize(("kind", "route"), ROUTES, ids=[f"{kind} {route.path}" for kind, route in ROUTES])
def test_each_route_is_described(kind, route):
    described = SERVERS[kind].describe(route)
    assert sorted(described) == sorted(method.lower() for method in route.methods)
    assert "$ref" not in json.dumps(described), "definitions are at another place in the whole document"
    assert all(operation["summary"] and operation["responses"] for operation in described.values())


@pytest.mark.parametrize(
    ("kind", "route"), [(kind, route) for kind, route in ROUTES if route.kind is RouteKind.POLL]
)
@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=100)))
def test_no_header_makes_a_poll_fail(kind, route, headers):
    found = SERVERS[kind].read_poll(request(route, headers).headers)
    assert isinstance(found, PollHeaders)
    assert found.asked is None or found.asked.tzinfo is not None


@pytest.mark.parametrize(
    ("kind", "route"), [(kind, route) for kind, route in ROUTES if route.kind is RouteKind.REPORT]
)
@given(
    st.binary(max_size=100)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode())
)
def test_what_is_no_report_is_refused_as_that(kind, route, body):
    with pytest.raises(InvalidReport):
        SERVERS[kind].read_report(request(route, body=body))
