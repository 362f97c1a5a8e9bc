"""The endpoints over a real socket."""

import asyncio
import json

import httpx
import pytest
from support.web_server import SECRET, Site, signed

from reconciler.core.endpoint import SocketAddress
from reconciler.core.plan import Revision
from reconciler.errors import UsageError
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource
from reconciler.server.web import bind_socket
from reconciler.server.webhook.answer import CAP


async def test_a_push_is_accepted_and_triggers_one_read():
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    async with Site() as site:
        answer = await site.client.post("/webhook", content=body, headers=signed(body))
    assert answer.status_code == 202
    assert site.triggers == ["webhook"]


async def test_a_forged_push_is_rejected_counted_and_triggers_nothing():
    async with Site() as site:
        answer = await site.client.post("/webhook", content=b"{} ", headers=signed(b"{}"))
    assert answer.status_code == 401
    assert site.triggers == []
    assert site.rejects("bad-signature") == 1
    assert SECRET not in site.lines.getvalue()


async def test_without_a_secret_the_answer_names_the_variable():
    async with Site(secret="") as site:
        answer = await site.client.post("/webhook", content=b"{}", headers=signed(b"{}"))
    assert answer.status_code == 503
    assert "RECONCILE_WEBHOOK_SECRET" in answer.json()["message"]
    assert site.triggers == []


@pytest.mark.parametrize(
    ("trusted", "caller"),
    [((), "127.0.0.1"), (("192.0.2.0/24",), "127.0.0.1"), (("127.0.0.0/8",), "198.51.100.9")],
)
async def test_only_a_trusted_proxy_names_the_caller(trusted, caller):
    headers = {**signed(b"{}"), "X-Forwarded-For": "198.51.100.9"}
    async with Site(trusted_proxies=trusted) as site:
        await site.client.post("/webhook", content=b"{} ", headers=headers)
    assert [line["client"] for line in site.logged("webhook rejected")] == [caller]


async def chunks(count):
    for _ in range(count):
        yield b"x" * 65_536


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_over_the_cap_is_not_read(streamed):
    count = CAP // 65_536 + 1
    content = chunks(count) if streamed else b"x" * (CAP + 1)
    async with Site() as site:
        try:
            answer = await site.client.post("/webhook", content=content, headers=signed(b""))
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # the server closed the connection while the body was still being sent
        health = await site.client.get("/healthz")
    assert health.status_code == 200
    assert site.rejects("too-large") == 1


async def test_other_methods_and_paths_are_refused():
    async with Site() as site:
        assert (await site.client.get("/webhook")).status_code == 405
        assert (await site.client.post("/metrics")).status_code == 405
        assert (await site.client.get("/")).status_code == 404


async def test_a_late_loop_fails_the_health_check():
    async with Site() as site:
        site.watch_state.heartbeats["source"] = 100.0
        assert (await site.client.get("/healthz")).status_code == 200
        site.watch_state.heartbeats["source"] = 99.0
        answer = await site.client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the source loop is 1 s late"]


async def test_readiness_begins_unready():
    async with Site() as site:
        answer = await site.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False


STRANGERS = {
    "a page whose name points here": ((), {"host": "evil.example.com"}),
    "an unknown proxy": ((), {"x-forwarded-for": "192.0.2.7"}),
    "somebody behind the proxy": (("127.0.0.0/8",), {"x-forwarded-for": "192.0.2.7"}),
    "a wrong token": ((), {"authorization": "Bearer rcl_wrong"}),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("path", ["/readyz", "/healthz", "/metrics"])
async def test_strangers_get_a_status_and_no_name_of_the_fleet(path, stranger):
    trusted, headers = STRANGERS[stranger]
    revision = Revision("https://git.example.com/hidden", "a" * 40, "aaaaaaa", "hidden subject")
    async with Site(trusted_proxies=trusted) as site:
        site.watch_state.clusters["hidden"] = WatchedCluster("hidden", revision)
        site.watch_state.source = WatchedSource(SourceState.UNREACHABLE, revision, "hidden words")
        site.watch_state.heartbeats["cluster hidden"] = 99.0
        shown = await site.client.get(path)
        answer = await site.client.get(path, headers=headers)
    # Where a proxy runs on this machine, a request without its headers may have come through it all the same.
    assert ("hidden" in shown.text) is (not trusted)
    assert "hidden" not in answer.text
    assert answer.json()["message"]
    if path == "/metrics":
        assert answer.status_code in {401, 403}
    else:
        assert answer.status_code == shown.status_code == 503
        verdicts = {"/readyz": "ready", "/healthz": "live"}
        assert answer.json()[verdicts[path]] is shown.json()[verdicts[path]] is False


async def test_metrics_come_in_the_requested_format():
    async with Site() as site:
        plain = await site.client.get("/metrics")
        open_metrics = await site.client.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


async def test_closing_does_not_wait_for_an_idle_connection():
    async with Site() as site:
        host, port = site.client.base_url.host, site.client.base_url.port
        _reader, writer = await asyncio.open_connection(host, port)
    writer.close()


def test_an_address_in_use_is_named():
    with bind_socket(SocketAddress("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
            bind_socket(SocketAddress("127.0.0.1", port))
    assert "--listen" in caught.value.remedy


async def test_invalid_unicode_is_escaped():
    async with Site() as site:
        odd = WatchedSource(
            SourceState.INVALID, Revision("/srv/\udcff", "a", "a", "\ud800"), message="f\udcfe: wrong"
        )
        site.watch_state.source = odd
        ready = await site.client.get("/readyz")
        figures = await site.client.get("/metrics")
    assert ready.status_code == 200
    assert ready.json()["source"]["problem"] == "f\udcfe: wrong"
    assert ready.json()["source"]["revision"]["title"] == "\\ud800"
    assert 'source="/srv/\\\\udcff"' in figures.text
