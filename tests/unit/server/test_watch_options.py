"""Durations and addresses: valid ones, and the message for each invalid one."""

import pytest

from reconciler.core.endpoint import SocketAddress
from reconciler.errors import UsageError
from reconciler.server.watch_options import parse_duration_option, parse_listen_address


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1d", 86_400),
        (" 2M ", 120),
        ("1.5h", 5400),
    ],
)
def test_durations(text, seconds):
    assert parse_duration_option(text, name="--interval") == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "5 m", "5min", "1e3", "nan", "inf", "5m30", "1.2.3s", "٣s"])
def test_an_invalid_duration_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="--interval") as caught:
        parse_duration_option(text, name="--interval")
    assert "5m" in caught.value.remedy


@pytest.mark.parametrize("text", ["0", "0.01s", "31d"])
def test_durations_out_of_bounds(text):
    with pytest.raises(UsageError, match="must be between"):
        parse_duration_option(text, name="--poll")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8642", SocketAddress("127.0.0.1", 8642)),
        (":0", SocketAddress("127.0.0.1", 0)),
        ("[::1]:8642", SocketAddress("::1", 8642)),
        ("watch.example.com:80", SocketAddress("watch.example.com", 80)),
        ("off", None),
    ],
)
def test_addresses(text, expected):
    assert parse_listen_address(text) == expected


def test_an_address_is_written_as_it_is_read():
    for text in ("127.0.0.1:8642", "[::1]:8642"):
        assert str(parse_listen_address(text)) == text


@pytest.mark.parametrize("text", ["", "8642", "localhost", "::1:8642", "h:", "h:65536", "h:http", "h:²"])
def test_an_invalid_address_is_refused(text):
    with pytest.raises(UsageError, match="--listen"):
        parse_listen_address(text)
