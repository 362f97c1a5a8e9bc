"""The client of `--server`: which URLs and tokens it takes, and what it makes of answers."""

import asyncio

import httpx
import pytest

from reconciler.api.acts import SuspendAct
from reconciler.cli import server_client
from reconciler.cli.server_client import ServerClient, find_server
from reconciler.errors import ReconcilerError, UsageError


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("fleet.example.com", "not the URL of a server"),
        ("ftp://fleet.example.com", "not the URL of a server"),
        ("https://kim:secret@fleet.example.com", "not the URL of a server"),
        ("https://fleet.example.com/?a=b", "not the URL of a server"),
        ("http://fleet.example.com", "could read and use the token"),
        ("http://[::1", "not the URL of a server"),
    ],
)
def test_a_server_is_named_by_a_safe_url(url, words):
    with pytest.raises(UsageError, match=words) as caught:
        find_server(url, None, {})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("t", 0o644, "can be read by every user"),
        ("", 0o600, "is empty"),
        ("a b", 0o600, "more than a token"),
        ("a\nb", 0o600, "more than a token"),
        ("\u00e9", 0o600, "more than a token"),
    ],
)
def test_a_token_file_is_private_and_has_a_token_alone(tmp_path, content, mode, words):
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(UsageError, match=words):
        find_server("https://fleet.example.com", file, {})


class Elsewhere:
    """A server that is no watch."""

    def __init__(self, answer):
        self.answer, self.seen = answer, []

    async def __call__(self, scope, receive, send):
        self.seen.append(dict(scope["headers"]))
        status, headers, body = self.answer
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((302, [(b"location", b"http://127.0.0.1:1/steal")], b""), "not as the API of a watch does"),
        ((200, [], b"<html>"), "not of the form"),
        ((200, [], b'{"cluster": 3}'), "not of the form"),
        ((502, [], b"bad gateway"), "status 502"),
        ((409, [], b'{"detail": "no\\u001b[2J", "remedy": "x"}'), "refuses: no"),
        ((409, [], b"[" * 9_999), "status 409"),
    ],
    ids=range(6),
)
async def test_an_answer_that_is_none_of_a_watch_is_an_error_and_no_redirect_gets_the_token(
    monkeypatch, answer, words
):
    elsewhere = Elsewhere(answer)
    monkeypatch.setattr(server_client, "make_http_transport", lambda _: httpx.ASGITransport(elsewhere))
    client = ServerClient("http://127.0.0.1:1", "t0ken")
    with pytest.raises(ReconcilerError, match=words) as caught:
        await client.send(SuspendAct(reason="r"))
    assert "\x1b" not in caught.value.message
    assert len(elsewhere.seen) == 1
    assert elsewhere.seen[0][b"authorization"] == b"Bearer t0ken"
    assert "t0ken" not in repr(client)


async def test_a_token_without_tls_goes_to_this_machine_and_to_no_proxy_of_the_environment():
    seen = []

    async def take(reader, writer):
        seen.append(await reader.read(1_000))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as proxy:
        place = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        environment = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"), place)
        with pytest.raises(ReconcilerError, match="does not answer"):
            await ServerClient("http://127.0.0.1:1", "t0ken", environment).send(SuspendAct(reason="r"))
        assert seen == []
        with pytest.raises(ReconcilerError):
            await ServerClient("https://127.0.0.1:1", "t0ken", {"https_proxy": place}).send(
                SuspendAct(reason="r")
            )
    assert seen[0].startswith(b"CONNECT ")
    assert b"t0ken" not in seen[0]
