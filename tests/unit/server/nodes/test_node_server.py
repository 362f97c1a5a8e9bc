"""Nodes poll, download and report by their own URL."""

import asyncio
import json
import threading
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from support.node_servers import RECENT, MemoryNodes, NodeSite, TinyServer, freeze, http_date
from support.waiting import wait_until

from reconciler.core.secret import MASK
from reconciler.ports.transport import MailItem, NodeMail
from reconciler.server.nodes import node_table, report_receiver, service
from reconciler.server.nodes.node_table import NodeTable


@pytest.fixture
async def site():
    store = MemoryNodes()
    store.add("t1", "n1")
    async with NodeSite(store) as site:
        yield site


async def test_a_first_poll_without_an_offer_is_answered_with_503_and_a_later_one_with_304(site):
    assert (await site.client.get("/t1/setting")).status_code == 503
    headers = {"If-Modified-Since": http_date(RECENT), "X-Label": "v7"}
    answer = await site.client.get("/t1/setting", headers=headers)
    assert answer.status_code == 304
    assert answer.headers["last-modified"] == http_date(RECENT)  # or a node would forget the date
    poll = (await wait_until(lambda: [call for call in site.store.polls() if call.asked]))[0]
    assert (poll.node, poll.asked, poll.label, poll.address) == ("n1", RECENT, "v7", "127.0.0.1")


async def test_an_offer_is_stored_as_taken_before_it_is_delivered(site):
    offer = site.store.offer("n1", b"content")
    await site.refreshed()
    site.store.gate.clear()
    reading = asyncio.ensure_future(site.client.get("/t1/setting"))
    await wait_until(lambda: site.server.counters.polls)
    assert not reading.done()
    site.store.gate.set()
    answer = await reading
    assert answer.status_code == 200
    assert answer.headers["last-modified"] == http_date(offer.last_modified)
    assert [call.took for call in site.store.calls] == [offer.id]
    package = await site.client.get(answer.json()["url"])
    assert package.content == b"content"
    again = await site.client.get("/t1/setting", headers={"If-Modified-Since": http_date(RECENT)})
    assert again.status_code == 304


async def test_an_offer_that_a_pass_withdrew_meanwhile_is_not_delivered(site):
    offer = site.store.offer("n1", b"content")
    site.store.refused = {offer.id}
    await site.refreshed()
    earlier = http_date(RECENT - timedelta(days=1))
    answer = await site.client.get("/t1/setting", headers={"If-Modified-Since": earlier})
    assert (answer.status_code, answer.headers["last-modified"]) == (304, earlier)
    assert (await site.client.get("/t1/setting")).status_code == 503


async def test_an_offer_that_a_feed_cannot_deliver_is_not_taken_there(site):
    site.store.offer("n1")
    await site.refreshed()
    earlier = http_date(RECENT - timedelta(days=1))
    assert (await site.client.get("/t1/setting.tgz")).status_code == 503
    answer = await site.client.get("/t1/setting.tgz", headers={"If-Modified-Since": earlier})
    assert (answer.status_code, answer.headers["last-modified"]) == (304, earlier)
    assert not any(call.took for call in site.store.calls)
    assert (await site.client.get("/t1/setting")).status_code == 200


async def test_a_report_is_answered_after_it_is_stored(site):
    site.store.gate.clear()
    writing = asyncio.ensure_future(site.client.post("/t1/report", json={"kind": "k", "label": "v3"}))
    await wait_until(lambda: site.connected)
    assert not writing.done()
    site.store.gate.set()
    assert (await writing).status_code == 204
    (call,) = site.store.reports()
    assert (call.node, call.kind, call.label, json.loads(call.body)["kind"]) == ("n1", "k", "v3", "k")


async def test_a_report_that_cannot_be_stored_is_not_acknowledged(site):
    site.store.broken = "the disk is full"
    assert (await site.client.post("/t1/report", json={})).status_code == 503
    assert (
        await site.client.get("/t1/setting", headers={"If-Modified-Since": http_date(RECENT)})
    ).status_code == 304
    site.store.broken = None
    await wait_until(lambda: not site.server.problem)
    assert (await site.client.post("/t1/report", json={})).status_code == 204
    assert site.logged("calls of nodes are stored again")


async def test_few_long_reports_are_read_at_the_same_time(monkeypatch):
    reading, most, lock = 0, 0, threading.Lock()

    class SlowServer(TinyServer):
        def read_report(self, request):
            nonlocal reading, most
            with lock:
                reading += 1
                most = max(most, reading)
            time.sleep(0.05)
            with lock:
                reading -= 1
            return TinyServer.read_report(self, request)

    store = MemoryNodes()
    names = [f"t{index}" for index in range(8)]
    for name in names:
        store.add(name, name)
    async with NodeSite(store, products={"tiny": SlowServer()}) as site:
        body = json.dumps({"reason": "x" * report_receiver.SHORT})
        answers = await asyncio.gather(*(site.client.post(f"/{name}/report", content=body) for name in names))
    assert {answer.status_code for answer in answers} == {204}
    assert most == report_receiver.READERS


async def test_a_report_that_matches_no_schema_is_refused_and_logged(site):
    answer = await site.client.post("/t1/report", content=b"{")
    assert (answer.status_code, answer.json()) == (400, {"message": "not a report"})
    assert site.logged("report refused")[0]["node"] == "n1"


async def test_an_ended_token_is_answered_with_410_and_told(site):
    site.store.add("t0", "n1", is_current=False, ended=datetime.now(UTC))
    await site.refreshed()
    assert (await site.client.get("/t0/setting")).status_code == 410
    assert site.logged("ended URL called")[0]["node"] == "n1"


async def test_the_former_token_ends_with_the_first_call_of_the_current_one(site):
    site.store.add("t2", "n2", is_current=False)
    site.store.add("t3", "n2")
    await site.refreshed()
    assert (await site.client.post("/t2/report", json={})).status_code == 204
    assert (await site.client.post("/t3/report", json={})).status_code == 204
    assert (await site.client.post("/t2/report", json={})).status_code == 410


NEW = "n" * 43
"""A token as the store makes them."""


async def test_a_call_with_a_token_that_was_written_just_now_waits_until_it_is_known(site):
    # As a pass does: the token first, then the upload, after which the node reports at once, and only once.
    site.store.add(NEW, "n9")
    answer = await site.client.post(f"/{NEW}/report", json={"kind": "k"})
    assert answer.status_code == 204
    assert [call.node for call in site.store.reports()] == ["n9"]
    assert not site.logged("unknown URL called")


async def test_a_call_with_an_unknown_token_is_refused_after_the_store_was_read(site):
    refreshes = site.server.table.refreshes
    answer = await site.client.get(f"/{NEW}/setting")
    assert (answer.status_code, answer.headers["connection"]) == (404, "close")
    assert site.server.table.refreshes >= refreshes + 2
    assert len(site.logged("unknown URL called")) == 1


async def test_the_token_of_a_call_is_masked_in_what_its_node_says(site):
    site.store.add(NEW, "n9")
    await site.refreshed()
    said = {
        "hostname": NEW,
        "label": f"v {NEW}",
        "reason": f"no answer from http://s/{NEW}/purge: {NEW[:20]}…",
    }
    assert (
        await site.client.post(f"/{NEW}/report", json={"kind": "k", **said, "succeeded": False})
    ).is_success
    assert (await site.client.get(f"/{NEW}/setting", headers={"X-Label": NEW})).status_code == 503
    await wait_until(site.store.polls)
    [report], [poll] = site.store.reports(), site.store.polls()
    assert report.label == f"v {MASK}"
    assert report.result.reason == f"no answer from http://s/{MASK}/purge: {MASK}…"
    assert poll.label == MASK
    assert NEW.encode() in report.body


async def test_secrets_of_what_a_node_has_are_masked_in_why_it_failed(site):
    site.store.add(NEW, "n9")
    site.store.mails["n9"] = NodeMail(content=MailItem(b"hunter2 correct-horse", 5.0))
    await site.refreshed()
    reason = "login hunter2 refused; correct-horse-battery; and gives lives-in-the-report"
    report = {"kind": "k", "succeeded": False, "reason": reason}
    assert (await site.client.post(f"/{NEW}/report", json=report)).is_success
    [stored] = site.store.reports()
    assert stored.result.reason == f"login {MASK} refused; {MASK}-battery; and gives lives-in-the-report"


async def test_many_calls_with_unknown_tokens_do_not_wait(site):
    site.store.gate.clear()
    paths = [f"/{index:043}/setting" for index in range(service.MOST_UNKNOWN + 20)]
    async with httpx.AsyncClient(base_url=site.url, trust_env=False, limits=httpx.Limits()) as client:
        answers = await asyncio.gather(*(client.get(path) for path in paths))
    site.store.gate.set()
    assert {answer.status_code for answer in answers} <= {404, 503}
    assert site.counters.refused.total() == len(paths)


async def test_strangers_who_send_slowly_do_not_keep_the_room_of_a_new_node(site, monkeypatch):
    monkeypatch.setattr(service, "MOST_UNKNOWN", 4)
    slow = "POST /{:043}/report HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"
    async with AsyncExitStack() as stack:
        for number in range(4):
            reader, writer = await stack.enter_async_context(site.raw())
            writer.write(slow.format(number).encode())
        assert b" 404 " in await asyncio.wait_for(reader.readline(), 5)  # long before its body is there
        await wait_until(lambda: site.counters.refused[404] == 4)
        site.store.add(NEW, "n9")
        assert (await site.client.post(f"/{NEW}/report", json={"kind": "k"})).status_code == 204


async def test_a_new_node_without_room_is_told_to_come_again(site, monkeypatch):
    monkeypatch.setattr(service, "MOST_UNKNOWN", 0)
    answer = await site.client.post(f"/{NEW}/report", json={"kind": "k"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    site.store.add(NEW, "n9")
    await site.refreshed()
    assert (await site.client.post(f"/{NEW}/report", json={"kind": "k"})).status_code == 204


async def test_a_new_node_is_not_a_stranger_because_the_store_cannot_be_read(site, monkeypatch):
    monkeypatch.setattr(service, "UNKNOWN_SECONDS", 0.2)
    site.store.broken = "gone"
    assert (await site.client.post(f"/{NEW}/report", json={"kind": "k"})).status_code == 503
    site.store.broken = None


async def test_tokens_that_end_while_all_are_taken_over_stay_ended(monkeypatch):
    monkeypatch.setattr(node_table, "SLICE", 1)
    store = MemoryNodes()
    store.add("old", "n1", is_current=False)
    store.add("new", "n1")
    table = NodeTable({"tiny": TinyServer()}.get)
    await table.apply(await store.read_changes(0))
    store.add("other", "n2")
    taking = asyncio.create_task(table.apply(await store.read_changes(1)))
    await asyncio.sleep(0)
    assert not taking.done()
    table.end_former(table.find(b"new"), datetime.now(UTC))
    await taking
    assert table.find(b"old").ended is not None
    assert table.find(b"new").ended is table.find(b"other").ended is None


@pytest.mark.parametrize(
    "headers", [{"Content-Length": str(service.LARGEST_UNKNOWN + 1)}, {"Transfer-Encoding": "chunked"}]
)
async def test_a_large_body_of_an_unknown_caller_is_refused_at_once(site, headers):
    async with site.raw() as (reader, writer):
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        refreshes = site.server.table.refreshes
        writer.write(f"POST /{NEW}/report HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        assert b" 503 " in await reader.readline()  # it may be a node
        assert site.server.table.refreshes <= refreshes + 1


@pytest.mark.parametrize(
    "path", ["/", "/t1", "/t1/", "/t1/other", "/t1/setting/x", "/nobody/setting", "/t1/package/x.zip"]
)
async def test_other_paths_are_not_found(site, path):
    assert (await site.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("POST", "/t1/setting", "GET, HEAD"), ("GET", "/t1/report", "POST")]
)
async def test_other_methods_are_not_allowed(site, method, path, allow):
    answer = await site.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_suspended_and_frozen_clusters_take_no_new_offer():
    store, frozen = MemoryNodes(), set()
    store.add("t1", "n1")
    store.offer("n1", b"content")
    asked = {"If-Modified-Since": http_date(RECENT - timedelta(days=1))}
    async with NodeSite(store, find_holds=freeze(frozen)) as site:
        for held in ({(1, "c")}, {(1, "")}):
            store.suspended = frozenset(held)
            store.position += 1
            await site.refreshed()
            assert (await site.client.get("/t1/setting", headers=asked)).status_code == 304
        store.suspended = frozenset()
        store.position += 1
        frozen.add("c")
        await site.refreshed()
        assert (await site.client.get("/t1/setting", headers=asked)).status_code == 304
        frozen.clear()
        assert (await site.client.get("/t1/setting", headers=asked)).status_code == 200
