"""Proxies that the environment names: which counts for a URL, and the errors for one that cannot be used."""

from __future__ import annotations

import pytest

from reconciler.errors import SourceError
from reconciler.sources.proxy import Proxy, find_proxy, is_direct

URL = "https://forge.example.org/x.tgz"


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://p:1", "HTTPS_PROXY": "socks5://q:1"}, "https_proxy"),
        ({"https_proxy": "", "HTTPS_PROXY": "p:1"}, "HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p:1"}, ""),
        ({"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        ({"ALL_PROXY": "socks5://p:1", "https_proxy": "http://p:1"}, "https_proxy"),
        ({"ALL_PROXY": "socks5://p:1", "NO_PROXY": "example.org"}, ""),
        ({"HTTPS_PROXY": "nonsense::", "no_proxy": "*"}, ""),
    ],
)
def test_the_variable_that_counts(environment, variable):
    found = find_proxy(URL, environment)
    assert (found.variable if found else "") == variable


def test_a_request_header_of_a_web_server_is_no_proxy():
    environment = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert find_proxy("http://forge.example.org/x", environment) is None


@pytest.mark.parametrize(
    ("entries", "direct"),
    [
        ("forge.example.org", True),
        ("example.org", True),
        (".example.org", True),
        ("*.example.org", True),
        ("EXAMPLE.org.", True),
        ("other, example.org", True),
        ("other example.org", True),
        ("ample.org", False),
        ("forge.example.org:443", True),
        ("forge.example.org:80", False),
        ("https://forge.example.org", True),
        ("*", True),
        ("fd00::/8,10.0.0.0/8", False),
        ("[::1,::::,10.0.0.0/99,.,:80,%", False),
        ("", False),
    ],
)
def test_names_that_need_no_proxy(entries, direct):
    assert is_direct("forge.example.org", 443, entries) is direct


@pytest.mark.parametrize(
    ("host", "entries", "direct"),
    [
        ("fd00::1", "localhost,fd00::/8", True),
        ("fd00::1", "[fd00::1]:443", True),
        ("fd00::1", "[fd00::1]:80", False),
        ("fe80::1", "fd00::/8", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "1.2.3", False),
        ("10.1.2.3", "fd00::/8", False),
        ("10.1.2.3", "*", True),
    ],
)
def test_addresses_and_networks_that_need_no_proxy(host, entries, direct):
    assert is_direct(host, 443, entries) is direct


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "socks5://user:secret@p:1",
            r"sets the proxy socks5://p:1: downloads do not support proxies of the type socks5",
        ),
        ("ftp://p:1", "type ftp"),
        ("http://user:secret@[::1", "does not contain the URL"),
        ("http://p:99999", "does not contain the URL"),
        ("http://", "does not contain the URL"),
        ("http://a b:1", "does not contain the URL"),
        ("http://a\x1b[31m:1", "does not contain the URL"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(value, words):
    with pytest.raises(SourceError, match=f"the variable ALL_PROXY .*{words}") as caught:
        find_proxy(URL, {"ALL_PROXY": value})
    assert "secret" not in str(caught.value) + caught.value.remedy
    assert "NO_PROXY" in caught.value.remedy


def test_user_and_password_are_not_shown():
    assert "secret" not in repr(Proxy("http://user:secret@p:1", "HTTPS_PROXY"))
