"""`poll.server` and `reports.server`: one normal form, or a sentence that says what is wrong."""

import pytest
from pydantic import ValidationError

from reconciler.core.entries import Reporting


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("https://c.example.com:9443", "https://c.example.com:9443"),
        ("https://C.Example.COM.:443", "https://c.example.com"),
        ("http://c.example.com:80", "http://c.example.com"),
        ("http://c.example.com:443", "http://c.example.com:443"),
        ("https://[0:0::1]:9443", "https://[::1]:9443"),
        ("http://192.0.2.7", "http://192.0.2.7"),
    ],
)
def test_spellings_of_one_server_are_one_text(given, normal):
    assert Reporting(server=given).server == normal


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("c.example.com:9443", "of the form"),
        ("https://c.example.com:9443/", "without a slash"),
        ("https://c.example.com/path", "more than a host and a port"),
        ("https://c.example.com#x", "more than a host and a port"),
        ("https://user:pw@c.example.com", "user name"),
        ("https://[1:2]:9443", "write https://HOST:PORT"),
        ("https://[fe80::1%eth0]:9443", "write https://HOST:PORT|of the form"),
        ("https://c.example.com:99999", "write https://HOST:PORT"),
        ("https://c.example.com:0", "no usable port"),
        ("https://127.1", "IPv4"),
        ("https://-x-", "host name"),
        ("https://{{host}}:1", "host name"),
        ("ftp://c.example.com", "scheme ftp"),
        ("", "host name|of the form"),
        ("https://" + "a" * 300, "at most 300"),
    ],
)
def test_what_is_no_server_is_refused_in_words(given, words):
    with pytest.raises(ValidationError, match=words) as caught:
        Reporting(server=given)
    assert "pw" not in caught.value.errors()[0]["msg"]
