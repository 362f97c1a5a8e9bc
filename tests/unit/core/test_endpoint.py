"""Addresses of APIs: one normal form for all spellings of one place, and refusal of what is none."""

from __future__ import annotations

import pytest

from reconciler.core.endpoint import Endpoint, InvalidAddress, check_single_machine, parse_api, parse_endpoint


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("edge-01", "http://edge-01:10040"),
        ("Edge-01.Example.com.", "http://edge-01.example.com:10040"),
        ("127.0.0.1:20001", "http://127.0.0.1:20001"),
        ("[::1]:20001", "http://[::1]:20001"),
        ("::1", "http://[::1]:10040"),
        ("https://edge-01/", "https://edge-01:10040"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]:80"),
        ("[::ffff:127.0.0.1]:20001", "http://127.0.0.1:20001"),
        ("::FFFF:7f00:1", "http://127.0.0.1:10040"),
        ("[0:0:0:0:0:0:0:1]:080", "http://[::1]:80"),
        ("XN--BCHER-KVA.example", "http://xn--bcher-kva.example:10040"),
    ],
)
def test_each_spelling_has_one_base_url(text, base):
    assert parse_endpoint(text).base(10040) == base


def test_an_address_without_a_port_leaves_it_open():
    assert parse_endpoint("edge-01") == Endpoint("http", "edge-01", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://user:word@edge-01", "user name"),
        ("ftp://edge-01", "scheme"),
        ("edge-01:0", "port"),
        ("edge-01:", "port"),
        ("edge-01:70000", "port"),
        ("edge-01/path", "more than"),
        ("edge-01\\@other", "user name"),
        ("edge-01\\other", "more than"),
        ("edge-01?q", "more than"),
        ("edge-01#f", "more than"),
        ("edge 01", "more than"),
        ("1.2.3", "IPv4"),
        ("127.0.0.01", "IPv4"),
        ("0x7f.1", "IPv4"),
        ("0x7f000001:80", "IPv4"),
        ("2130706433", "IPv4"),
        ("0177.0.0.1", "IPv4"),
        ("edge.0x1", "IPv4"),
        ("[edge]:1", "port"),
        ("[::1]80", "port"),
        ("\u212aelvin", "ASCII"),
        ("127\u30020.0.1", "ASCII"),
        ("::x", "IPv6"),
        ("", "host name"),
        ("-edge", "host name"),
        ("%31.example", "host name"),
    ],
)
def test_an_invalid_address_is_refused_without_quoting_it(text, words):
    with pytest.raises(InvalidAddress) as caught:
        parse_endpoint(text)
    assert words in caught.value.message
    assert "word" not in caught.value.message + caught.value.remedy


def test_the_remedy_for_a_name_beyond_ascii_is_its_ascii_form():
    with pytest.raises(InvalidAddress) as caught:
        parse_endpoint("b\u00fccher.example:10040")
    assert caught.value.remedy == "write the ASCII form of the name, xn--bcher-kva.example"


@pytest.mark.parametrize("text", ["0.0.0.0:10040", "[::]:10040", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"])
def test_an_address_of_no_single_machine_is_refused(text):
    with pytest.raises(InvalidAddress, match="one machine"):
        check_single_machine(parse_endpoint(text))


@pytest.mark.parametrize("text", ["10.0.0.1", "127.0.0.1", "::1", "edge-01", "fe80::1"])
def test_an_address_of_one_machine_passes(text):
    check_single_machine(parse_endpoint(text))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("http://192.0.2.5:3000/", "http://192.0.2.5:3000"),
        ("http://192.0.2.5/", "http://192.0.2.5:80"),
        ("https://Node1.example.com./api/", "https://node1.example.com:443/api"),
        ("https://node1.example.com:443/api", "https://node1.example.com:443/api"),
        ("http://[::FFFF:192.0.2.5]:3000", "http://192.0.2.5:3000"),
    ],
)
def test_a_url_of_an_api_has_one_normal_form(text, normal):
    assert str(parse_api(text)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.5:3000",
        "http://user@192.0.2.5/",
        "http://h/?q=1",
        "http://h/#f",
        "http://h/a/../b",
        "http://h/%2E%2e/b",
        "ftp://h/",
        "http://h\\@other/",
        "http:///path",
    ],
)
def test_anything_but_the_url_of_an_api_is_refused(text):
    with pytest.raises(InvalidAddress):
        parse_api(text)
