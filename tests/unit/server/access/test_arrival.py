"""Which requests count as local, private, or forwarded; and which are refused for it."""

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from reconciler.server.access.arrival import PEER, find_forwarding_header, judge_arrival
from reconciler.server.access.refusal import AccessRefused

PROXIES = [ip_network("127.0.0.1/32"), ip_network("192.0.2.0/24")]


def request(
    peer="127.0.0.1", *, host="127.0.0.1:8642", scheme="http", client=None, hosts=None, raw=(), **headers
):
    lines = [(b"host", one.encode("latin-1")) for one in ([host] if hosts is None else hosts)]
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    lines += [(name.encode(), value.encode()) for name, value in raw]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": lines,
            "scheme": scheme,
            "client": (client or peer, 5000),
            PEER: peer,
        }
    )


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost", "LOCALHOST:80", "[::1]:8642", "localhost."])
def test_a_program_on_this_machine_is_local(peer, host):
    found = judge_arrival(request(peer, host=host))
    assert found.is_local
    assert found.is_private


@pytest.mark.parametrize(
    "host", ["evil.example:8642", "127.0.0.1.evil.example", "localhost.evil.example", "192.0.2.7", "0.0.0.0"]
)
def test_a_rebound_name_is_refused(host):
    with pytest.raises(AccessRefused) as caught:
        judge_arrival(request(host=host))
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["localhost", "localhost"],
        [""],
        ["a b"],
        ["localhost@evil"],
        ["localhost:x"],
        ["localhost:0"],
        ["localhost/x"],
    ],
)
def test_a_request_has_one_valid_host(hosts):
    with pytest.raises(AccessRefused) as caught:
        judge_arrival(request(hosts=hosts))
    assert caught.value.status == 400


FORWARDING = (
    *("forwarded", "forwarded-for", "via", "cdn-loop", "x-forwarded", "x-forwarded-for", "x-forwarded-host"),
    *("x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto", "x-forwarded-server", "x-forwarded-ssl"),
    *("x-forwarded-scheme", "x-forwarded-user", "x-forwarded-by", "x-forwarded-client-cert"),
    *("x-original-host", "x-original-url", "x-original-forwarded-for", "x-rewrite-url", "x-real-ip"),
    *("x-real-port", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "client-ip", "x-user-ip"),
    *("x-remote-ip", "x-remote-addr", "x-proxyuser-ip", "x-proxy-user", "x-envoy-external-address"),
    *("x-envoy-original-path", "x-azure-clientip", "x-arr-ssl", "x-appengine-user-ip", "cf-connecting-ip"),
    *("cf-connecting-ipv6", "cf-ray", "fly-client-ip", "fly-region", "fastly-client-ip", "fastly-ssl"),
    *("x-amzn-trace-id", "x-amz-cf-id", "x-cloud-trace-context", "x-vercel-id", "x_forwarded_for"),
)
OF_BROWSERS = (
    *("host", "user-agent", "accept", "accept-language", "accept-encoding", "connection", "cookie", "origin"),
    *("referer", "sec-fetch-site", "sec-fetch-mode", "sec-ch-ua", "upgrade-insecure-requests", "priority"),
    *("cache-control", "pragma", "if-none-match", "content-type", "content-length", "authorization", "dnt"),
    *("x-csrf-token", "x-requested-with", "sec-purpose", "te", "traceparent", "last-event-id", "sec-gpc"),
)


def test_what_browsers_and_programs_send_by_themselves_is_no_forwarding():
    assert find_forwarding_header(OF_BROWSERS) == ""


@pytest.mark.parametrize("name", FORWARDING)
def test_a_forwarded_request_is_not_local(name):
    with pytest.raises(AccessRefused) as caught:
        judge_arrival(request(raw=[(name, "127.0.0.1")]))
    assert name in caught.value.message


@pytest.mark.parametrize("name", FORWARDING)
def test_a_trusted_proxy_on_this_machine_makes_no_request_local(name):
    found = judge_arrival(request(raw=[(name, "127.0.0.1")], client="127.0.0.1"), PROXIES)
    assert not found.is_local


def test_a_trusted_proxy_makes_no_request_local_if_it_names_no_caller():
    # Otherwise who reaches a proxy that adds no header could look without a login.
    found = judge_arrival(request(), PROXIES)
    assert (found.is_local, found.is_private) == (False, True)


@pytest.mark.parametrize("headers", [{"x_forwarded_for": "192.0.2.1"}, {"host": "ops.example"}])
def test_plain_http_to_a_proxy_on_this_machine_is_not_private(headers):
    assert not judge_arrival(request(**headers), PROXIES).is_private


@pytest.mark.parametrize(("scheme", "private"), [("http", False), ("https", True)])
def test_what_comes_from_elsewhere_is_private_with_tls_only(scheme, private):
    found = judge_arrival(request("198.51.100.4", host="ops.example", scheme=scheme))
    assert (found.is_local, found.is_private) == (False, private)
    assert found.origin == f"{scheme}://ops.example"


def test_a_caller_that_a_proxy_names_as_loopback_is_not_local():
    found = judge_arrival(request("192.0.2.9", client="127.0.0.1", host="localhost"), PROXIES)
    assert not found.is_local
    assert found.peer == "192.0.2.9"
