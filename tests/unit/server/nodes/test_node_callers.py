"""Who may call, over which connections, and who a caller is."""

import asyncio
import ssl
from ipaddress import ip_network

import httpx
import pytest
from support.certificates import write_certificate
from support.node_servers import RECENT, MemoryNodes, NodeSite, http_date
from support.waiting import wait_until

from reconciler.errors import UsageError
from reconciler.server.nodes import listener, node_server
from reconciler.server.nodes.callers import CallerRules

LOCAL = (ip_network("127.0.0.0/8"),)
ASKED = {"If-Modified-Since": http_date(RECENT)}


def new_store():
    store = MemoryNodes()
    store.add("t1", "n1")
    store.offer("n1", b"x" * 3_000_000, taken=RECENT)
    return store


async def test_polls_reports_and_downloads_over_tls(tmp_path):
    files = write_certificate(tmp_path)
    async with NodeSite(new_store(), **files) as site:
        context = ssl.create_default_context(cafile=files["certificate"])
        async with httpx.AsyncClient(base_url=site.url, verify=context, trust_env=False) as client:
            assert (await client.get("/t1/setting", headers=ASKED)).status_code == 304
            assert (await client.post("/t1/report", json={})).status_code == 204
            assert len((await client.get("/t1/package/o1.tgz")).content) == 3_000_000
            poll = await client.get("/t1/setting")
            assert poll.json()["url"].startswith("https://")


async def test_a_renewed_certificate_is_used_for_new_connections(tmp_path, monkeypatch):
    monkeypatch.setattr(node_server, "CERTIFICATE_SECONDS", 0.05)
    files = write_certificate(tmp_path)
    async with NodeSite(new_store(), **files) as site:
        first = await asyncio.to_thread(ssl.get_server_certificate, tuple(site.address))
        write_certificate(tmp_path)

        async def renewed():
            return first != await asyncio.to_thread(ssl.get_server_certificate, tuple(site.address))

        await wait_until(renewed)
        files["certificate"].write_text("broken")
        await wait_until(lambda: site.logged("the certificate for nodes cannot be read again"))
        assert (await site.client.get("/t1/setting", headers=ASKED)).status_code == 304


async def test_callers_that_begin_no_tls_harm_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(listener, "HANDSHAKE_SECONDS", 0.2)
    async with NodeSite(new_store(), **write_certificate(tmp_path)) as site:
        silent = [await asyncio.open_connection(*site.address) for _ in range(50)]
        _, plain = await asyncio.open_connection(*site.address)
        plain.write(b"GET /t1/setting HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await site.client.get("/t1/setting", headers=ASKED)).status_code == 304
        await wait_until(lambda: site.counters.dropped["handshake"] == 51)
        for _, writer in [*silent, (None, plain)]:
            writer.close()


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_certificate_that_cannot_be_used_ends_the_start(tmp_path, content):
    files = write_certificate(tmp_path)
    files["certificate"].write_text(content)
    with pytest.raises(UsageError, match=r"nodes\.pem"):
        NodeSite(new_store(), **files)


async def test_addresses_that_are_not_allowed_are_closed_at_once():
    async with NodeSite(new_store(), allow=(ip_network("192.0.2.0/24"),)) as site:
        with pytest.raises(httpx.TransportError):
            await site.client.get("/t1/setting")
        assert site.logged("connection from an address that is not allowed")
    async with NodeSite(new_store(), allow=LOCAL) as site:
        assert (await site.client.get("/t1/setting", headers=ASKED)).status_code == 304


async def test_behind_a_trusted_proxy_the_caller_is_whom_the_proxy_names():
    options = {"proxies": LOCAL, "allow": (ip_network("192.0.2.0/24"),)}
    async with NodeSite(new_store(), **options) as site:
        named = {**ASKED, "X-Forwarded-For": "10.1.1.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
        assert (await site.client.get("/t1/setting", headers=named)).status_code == 304
        other = {**ASKED, "X-Forwarded-For": "192.0.2.7, 10.1.1.1"}
        assert (await site.client.get("/t1/setting", headers=other)).status_code == 403
        assert (await site.client.get("/t1/setting", headers=ASKED)).status_code == 403
        first = await site.client.get(
            "/t1/setting", headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        )
        assert first.json()["url"].startswith("https://")
        calls = await wait_until(site.store.polls)
        assert {call.address for call in calls} == {"192.0.2.7"}


async def test_without_a_trusted_proxy_the_headers_of_one_count_for_nothing():
    async with NodeSite(new_store()) as site:
        forged = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        assert (await site.client.get("/t1/setting", headers=forged)).json()["url"].startswith("http://")
        assert {call.address for call in await wait_until(site.store.polls)} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("198.51.100.1, 192.0.2.7, 10.0.0.1", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("10.0.0.2", "10.0.0.9"),
        ("nonsense", ""),
        ("192.0.2.7,", ""),
        ("", ""),
    ],
)
def test_the_caller_is_the_last_address_that_is_no_trusted_proxy(header, caller):
    rules = CallerRules(proxies=(ip_network("10.0.0.0/8"),))
    assert rules.find_caller({"x-forwarded-for": header}, "10.0.0.9") == caller


def report(hostname, *addresses):
    return {"hostname": hostname, "addresses": list(addresses)}


async def send(site, token, *reports):
    for one in reports:
        assert (await site.client.post(f"/{token}/report", json=one)).status_code == 204


async def test_one_machine_with_the_tokens_of_two_nodes_is_told():
    store = new_store()
    store.add("t2", "n2")
    async with NodeSite(store) as site:
        await send(site, "t1", report("edge-1", "10.0.0.1"))
        await send(site, "t2", report("edge-1", "10.0.0.1"))
        assert "reports also as n1" in store.reports()[-1].clash
        (line,) = site.logged("two nodes under one name")
        assert line["node"] == "n2"


async def test_two_machines_that_take_turns_with_one_token_are_told():
    async with NodeSite(new_store()) as site:
        await send(site, "t1", report("edge-1", "10.0.0.1"), report("edge-2", "10.0.0.2"))
        assert not site.store.reports()[-1].clash  # it may have been renamed
        await send(site, "t1", report("edge-1", "10.0.0.1"))
        assert "edge-1" in site.store.reports()[-1].clash


async def test_images_with_one_name_and_networks_with_one_address_are_no_clash():
    store = new_store()
    store.add("t2", "n2")
    async with NodeSite(store) as site:
        await send(site, "t1", report("localhost", "127.0.0.1", "10.0.0.1", "169.254.1.1"))
        await send(site, "t2", report("localhost", "127.0.0.1", "10.0.0.2", "169.254.1.1", "no address"))
        await send(site, "t2", report("edge-2", "10.0.0.1"))
        assert {call.clash for call in store.reports()} == {""}


async def test_an_absurd_date_is_told_and_not_followed():
    store = new_store()
    store.add("t2", "n2")
    store.offer("n2", b"content", id="o2")
    async with NodeSite(store) as site:
        absurd = {"If-Modified-Since": "Fri, 31 Dec 9999 23:59:59 GMT"}
        answer = await site.client.get("/t2/setting", headers=absurd)
        assert answer.status_code == 200
        assert (await site.client.get("/t2/setting", headers=absurd)).status_code == 304
        assert site.logged("absurd If-Modified-Since")[0]["node"] == "n2"


async def test_a_replayed_report_counts_again_and_changes_nothing_else():
    async with NodeSite(new_store()) as site:
        for _ in range(2):
            await send(site, "t1", {"kind": "k", "offer": "o1", "succeeded": True})
        await send(site, "t1", {"kind": "beat", "offer": "o1"})
        *reports, beat = site.store.reports()
        assert (beat.kind, beat.about, beat.offer, beat.result) == ("beat", None, "", None)
        assert [(call.offer, call.result.state) for call in reports] == [("o1", "done")] * 2
