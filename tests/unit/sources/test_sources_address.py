"""What of a URL is shown and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.sources.source_address import parse_source_address
from reconciler.text.urls import strip_secrets


@pytest.mark.parametrize(
    ("text", "url", "seen"),
    [
        (
            "https://u:pw@h.org:8443/a/b.git?q=1#f",
            "https://h.org:8443/a/b.git?q=1",
            "https://h.org:8443/a/b.git",
        ),
        ("git+https://h.org/a", "https://h.org/a", "https://h.org/a"),
        ("ssh://git:pw@h.org:22/a", "ssh://git@h.org:22/a", "ssh://h.org:22/a"),
        ("git+ssh://git@h.org/a", "ssh://git@h.org/a", "ssh://h.org/a"),
        ("git@h.org:team/fleet.git", "git@h.org:team/fleet.git", "h.org:team/fleet.git"),
        ("https://u:pw@[::1]:80/a", "https://[::1]:80/a", "https://[::1]:80/a"),
        ("file:///srv/r.git", "file:///srv/r.git", "file:///srv/r.git"),
    ],
)
def test_address(text, url, seen):
    found = parse_source_address(text)
    assert (found.url, found.shown) == (url, seen)
    assert "pw" not in f"{found.url}{found.shown}{found!r}"


def test_identity_is_kept_apart():
    found = parse_source_address("https://ad%40a:p%2Fw@h.org/a")
    assert (found.user, found.password, found.host) == ("ad@a", "p/w", "h.org")


@pytest.mark.parametrize(
    "text",
    [
        "https:///a",
        "https://h:port/a",
        "https://h:99999/a",
        "https://[::1/a",
        "nothing",
        "https://h/%0a",
        "a@b:\n",
    ],
)
def test_what_is_no_address(text):
    with pytest.raises(UsageError):
        parse_source_address(text)


@pytest.mark.parametrize(
    ("text", "confidential"),
    [
        ("https://h.org/a", True),
        ("http://h.org/a", False),
        ("http://127.0.0.1:8080/a", True),
        ("http://[::1]:8080/a", True),
        ("http://localhost/a", True),
        ("http://127.0.0.1.evil.org/a", False),
        ("ssh://127.0.0.1/a", False),
    ],
)
def test_where_a_token_may_go(text, confidential):
    assert parse_source_address(text).confidential is confidential


def test_quoted_texts_lose_their_secrets():
    words = (
        "fatal: unable to access 'https://ada:s3cret@h.org/r.git/?t=s3cret': x, ssh://u:s3cret@b/c#s3cret y"
    )
    assert strip_secrets(words) == "fatal: unable to access 'https://h.org/r.git/': x, ssh://b/c y"


SECRET = st.text("abcdefXYZ0123456789", min_size=3, max_size=9)


@pytest.mark.parametrize(
    "password", ["pa/s3cret", "pa?s3cret", "pa#s3cret", "s3cret/x", "pa@s3cret", "pa:s3cret"]
)
def test_unquoted_password_is_not_shown(password):
    assert "s3cret" not in strip_secrets(f"cannot read https://ada:{password}@h.org/r.git")


@given(
    SECRET.map("pass-{}".format),
    SECRET.map("query-{}".format),
    st.sampled_from(["https", "http", "ssh", "git+https"]),
)
def test_no_secret_part_is_ever_shown(password, query, scheme):
    text = f"{scheme}://user:{password}@h.org:1/path?x={query}"
    assert password not in strip_secrets(text)
    assert query not in strip_secrets(text)
    found = parse_source_address(text)
    assert password not in f"{found.url}{found.shown}"
    assert query not in found.shown
