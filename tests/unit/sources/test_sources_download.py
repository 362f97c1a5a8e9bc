"""What a redirect may and may not do, without a server that speaks https."""

from __future__ import annotations

import httpx
import pytest

from reconciler.errors import SourceError
from reconciler.sources.download import _follow
from reconciler.sources.source_address import parse_source_address


def client(**answers: tuple[int, str]):
    """An HTTP client on a wire that is made up: path -> status and Location."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        status, location = answers[request.url.path.strip("/")]
        return httpx.Response(status, headers={"Location": location} if location else {})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer)), seen


async def test_never_from_https_to_http():
    wire, seen = client(a=(302, "http://example.org/b"), b=(200, ""))
    async with wire:
        with pytest.raises(SourceError, match="from https to plain http"):
            await _follow(wire, parse_source_address("https://example.org/a"), "token", {})
    assert len(seen) == 1


async def test_from_http_to_https_without_and_back_home_with_the_token():
    wire, seen = client(a=(301, "https://other.example/b"), b=(302, "https://example.org/c"), c=(200, ""))
    async with wire:
        await _follow(wire, parse_source_address("https://example.org/a"), "token", {})
    assert [request.headers.get("Authorization") for request in seen] == [
        "Bearer token",
        None,
        "Bearer token",
    ]


async def test_token_is_not_sent_in_clear():
    wire, seen = client(a=(200, ""))
    async with wire:
        await _follow(wire, parse_source_address("http://example.org/a"), "token", {})
    assert "Authorization" not in seen[0].headers


async def test_identity_in_a_redirect_is_not_sent():
    wire, seen = client(a=(302, "https://eve:pw@other.example/b"), b=(200, ""))
    async with wire:
        await _follow(wire, parse_source_address("https://example.org/a"), "", {})
    assert "Authorization" not in seen[1].headers
    assert str(seen[1].url) == "https://other.example/b"
