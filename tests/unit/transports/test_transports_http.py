"""HTTP against odd servers on loopback: complete answers, plain reasons, no call repeated."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import ssl
from urllib.parse import urlsplit

import pytest
from support.call_errors import words as words_of
from support.http_servers import OK, Server, listening, serving
from support.waiting import wait_until

from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnreachable, RunFenced
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.ports.call_permit import require_permit
from reconciler.transports import http as wire_module
from reconciler.transports import http_errors, name_cache
from reconciler.transports.http import MIB, HttpTransport


async def failure(wire, url, *, timeout=5.0, method="GET", **more):
    with pytest.raises(NodeUnreachable) as caught:
        await wire.send(method, url, node="edge-01", timeout=timeout, **more)
    assert caught.value.node == "edge-01"
    return words_of(caught.value)


async def test_an_answer_is_complete_for_every_status():
    told = b"HTTP/1.1 404 Nothing\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 5\r\n\r\nthere"
    async with serving(told) as (server, url), HttpTransport() as wire:
        answer = await wire.send("GET", f"{url}/a?b=c", node="n", timeout=5)
    assert (answer.status, answer.body, answer.headers["x-one"]) == (404, b"there", "1")
    assert server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert b"User-Agent: reconciler/" in server.requests[0]


async def test_a_request_carries_its_body_with_its_length():
    async with serving(OK) as (server, url), HttpTransport() as wire:
        headers = {"content-type": "application/json"}
        await wire.send("POST", url, node="n", timeout=5, headers=headers, content=b'{"a":1}')
    assert server.requests[0].endswith(b'\r\n\r\n{"a":1}')
    assert b"content-length: 7\r\n" in server.requests[0].lower()


async def test_a_redirect_is_an_answer():
    told = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(told, OK) as (server, url), HttpTransport() as wire:
        answer = await wire.send("GET", url, node="n", timeout=5)
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere")
    assert len(server.requests) == 1


async def test_cookies_are_forgotten():
    told = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with serving(told) as (server, url), HttpTransport() as wire:
        await wire.send("GET", url, node="n", timeout=5)
        await wire.send("GET", url, node="n", timeout=5)
    assert b"cookie" not in server.requests[1].lower()


async def test_proxies_of_the_environment_do_not_count(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(OK) as (_, url), HttpTransport() as wire:
        assert (await wire.send("GET", url, node="n", timeout=5)).status == 200


def allowing(*networks):
    return HttpTransport(Host(HostConfig(networks=networks)))


@pytest.mark.parametrize("networks", [("127.0.0.0/8",), ("192.0.2.0/24", "127.0.0.1"), ("127.0.0.1", "::1")])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_node_in_the_networks_of_the_host_is_asked(networks, method):
    async with serving(OK) as (_, url), allowing(*networks) as wire:
        assert (await wire.send(method, url, node="n", timeout=5)).status == 200


SPELLINGS = (
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::ffff:127.0.0.1]",
    "0.0.0.0", "127.0.0.2",
)  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("host", SPELLINGS)
async def test_an_address_outside_the_networks_is_refused_in_every_spelling(host, method):
    async with serving(OK) as (server, url), allowing("192.0.2.0/24", "2001:db8::/32", "127.0.0.3") as wire:
        with pytest.raises(NodeUnreachable) as caught:
            await wire.send(method, f"http://{host}:{urlsplit(url).port}/", node="n", timeout=5)
    assert server.connections == 0
    assert any(part in caught.value.reason for part in ("`networks` in the host", "not a valid URL"))


def resolving(monkeypatch, *answers):
    """Names resolve to these addresses, a list for each question; the last one repeats."""
    left = list(answers)

    async def find_addresses(host):
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, (address, 0)) for address in found]

    monkeypatch.setattr(name_cache, "find_addresses", find_addresses)


async def test_a_name_is_judged_by_the_address_that_is_connected_to(monkeypatch):
    resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.1"], ["127.0.0.1"])
    async with serving(OK) as (server, url), allowing("192.0.2.0/24") as wire:
        for method in ("GET", "POST"):
            with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.1 is in none of the networks"):
                await wire.send(method, f"http://node.example.com:{urlsplit(url).port}/", node="n", timeout=5)
    assert server.connections == 0


async def test_a_name_that_leads_elsewhere_later_is_refused_later(monkeypatch):
    resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    async with serving(OK) as (_, url), allowing("127.0.0.1") as wire:
        place = f"node.example.com:{urlsplit(url).port}"
        assert (await wire.send("POST", f"http://{place}/", node="n", timeout=5)).status == 200
    async with allowing("127.0.0.1") as wire:  # the resolver's short memory is that of one wire
        with pytest.raises(NodeUnreachable, match=r"127\.0\.0\.2 is in none of the networks"):
            await wire.send("POST", f"http://{place}/", node="n", timeout=5)


async def test_of_several_addresses_only_those_in_the_networks_are_tried(monkeypatch):
    resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    async with serving(OK) as (server, url), allowing("127.0.0.1") as wire:
        answer = await wire.send("GET", f"http://node.example.com:{urlsplit(url).port}/", node="n", timeout=5)
    assert answer.status == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_half_a_body_is_an_error(answer):
    async with serving(answer, keep=False) as (_, url), HttpTransport() as wire:
        assert await failure(wire, url) == http_errors.CUT


async def test_no_answer_and_half_an_answer_have_different_messages():
    async with serving(None) as (_, url), HttpTransport() as wire:
        assert await failure(wire, url) == http_errors.DROPPED


async def test_silence_ends_with_its_time():
    async with serving(30.0) as (_, url), HttpTransport() as wire:
        assert await failure(wire, url, timeout=0.1) == "no answer within 0.1 s"


async def test_a_slow_body_counts_against_the_same_time():
    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b".")
            await asyncio.sleep(0.02)

    async with listening(drip) as url, HttpTransport() as wire:
        assert await failure(wire, url, timeout=0.3) == "no answer within 0.3 s"


async def test_a_closed_port_refuses():
    async with serving(OK) as (_, url):
        pass
    async with HttpTransport() as wire:
        assert await failure(wire, url) == "connection refused"


async def test_a_server_that_does_not_speak_http_is_named():
    async with serving(b"220 mail.example.com ESMTP\r\n\r\n") as (_, url), HttpTransport() as wire:
        assert "not valid HTTP" in await failure(wire, url)


async def test_an_answer_above_the_limit_is_not_taken():
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"." * 5000
    async with serving(big) as (_, url), HttpTransport(body_limit=4999) as wire:
        assert await failure(wire, url) == "its answer is larger than 4.88 KB"
    async with serving(big) as (_, url), HttpTransport(body_limit=5000) as wire:
        assert len((await wire.send("GET", url, node="n", timeout=5)).body) == 5000


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://", "http://[::1"])
async def test_an_invalid_url_is_a_node_error(url):
    async with HttpTransport() as wire:
        assert "URL" in await failure(wire, url)


async def test_a_name_that_does_not_resolve_is_named(monkeypatch):
    async def nowhere(host):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(name_cache, "find_addresses", nowhere)
    async with HttpTransport() as wire:
        assert await failure(wire, "http://edge-01.invalid/") == "name does not resolve"


async def make_server_side(folder):
    """A certificate of 127.0.0.1 that signs itself, and what serves with it."""
    certificate, key = folder / "c.pem", folder / "k.pem"
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=edge", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    return certificate, server_side


async def test_an_untrusted_certificate_is_refused_and_a_trusted_one_accepted(tmp_path):
    certificate, server_side = await make_server_side(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with (
        serving(OK, tls=server_side) as (_, url),
        HttpTransport() as wire,
        HttpTransport(tls=trusting) as friend,
    ):
        said = await failure(wire, url)
        assert said.startswith("TLS certificate not trusted: ")
        assert (await friend.send("GET", url, node="n", timeout=5)).body == b"hi"


async def test_a_server_without_tls_is_named():
    async def plain(reader, writer):
        await reader.read(1)
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with listening(plain) as url, HttpTransport() as wire:
        said = await failure(wire, url.replace("http:", "https:"))
    assert said.startswith("TLS failed: ")


async def test_reads_share_a_connection_and_writes_have_their_own():
    async with serving(OK) as (server, url), HttpTransport() as wire:
        for _ in range(3):
            await wire.send("GET", url, node="n", timeout=5)
        assert server.connections == 1
        await wire.send("POST", url, node="n", timeout=5, content=b"x")
        await wire.send("POST", url, node="n", timeout=5, content=b"x")
        await wire.send("GET", url, node="n", timeout=5, headers={"Connection": "close"})
    assert server.connections == 4


@pytest.mark.parametrize(("method", "headers"), [("POST", {}), ("PUT", {}), ("GET", {"connection": "close"})])
async def test_a_write_is_never_repeated(method, headers):
    async with serving(None) as (server, url), HttpTransport() as wire:
        assert await failure(wire, url, method=method, headers=headers) == http_errors.DROPPED
    assert len(server.requests) == 1


async def test_a_connection_that_died_idle_does_not_fail_a_read():
    async with serving(OK, None, OK) as (server, url), HttpTransport() as wire:
        await wire.send("GET", url, node="n", timeout=5)
        assert (await wire.send("GET", url, node="n", timeout=5)).status == 200
    assert server.connections == 2


async def test_no_more_calls_than_allowed_are_in_flight_and_waiting_costs_no_time():
    under_way, most = 0, 0

    async def hold(reader, writer):
        nonlocal under_way, most
        await reader.readuntil(b"\r\n\r\n")
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.15)
        under_way -= 1
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with listening(hold) as url, HttpTransport(concurrency=2) as wire:
        calls = (wire.send("POST", url, node="n", timeout=0.4) for _ in range(8))
        answers = await asyncio.gather(*calls)
    assert {answer.status for answer in answers} == {200}
    assert most == 2


async def test_a_call_asks_whether_it_may_begin_when_its_turn_has_come():
    """A lease that lasts long enough when a call begins to wait may be over when it is sent."""
    asked, served = [], []

    async def ask(seconds):
        asked.append((seconds, len(served)))
        if len(asked) == 2:
            raise RunFenced("cluster edge: a later run took over")

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        served.append(1)
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with listening(answer) as url, HttpTransport(concurrency=1) as wire:
        with require_permit(ask):
            calls = (wire.send("POST", url, node="n", timeout=3) for _ in range(2))
            first, second = await asyncio.gather(*calls, return_exceptions=True)
        await wire.send("GET", url, node="n", timeout=3)  # outside of a step, nothing is asked
    assert first.status == 200
    assert isinstance(second, RunFenced)
    assert asked == [(3, 0), (3, 1)]
    assert len(served) == 2


@pytest.mark.parametrize("at_once", [1, 16])
async def test_idle_connections_stay_few_with_many_nodes(at_once):
    server = Server(OK)
    hosts = [f"127.0.{number // 200}.{number % 200 + 1}" for number in range(150)]
    wire = HttpTransport(concurrency=at_once, keep=100)
    async with listening(server.serve, hosts=hosts) as urls, wire:
        await asyncio.gather(*(wire.send("GET", url, node="n", timeout=5) for url in urls))
        assert server.connections == len(hosts)
        assert server.most <= 100 + 2 * at_once


async def test_a_later_reading_of_every_node_uses_its_open_connection():
    server = Server(OK)
    hosts = [f"127.0.{number // 200}.{number % 200 + 1}" for number in range(300)]
    async with listening(server.serve, hosts=hosts) as urls, HttpTransport(keep=400) as wire:
        for _ in range(3):
            await asyncio.gather(*(wire.send("GET", url, node="n", timeout=5) for url in urls))
        assert (server.connections, len(server.requests)) == (300, 900)


async def test_a_closed_wire_leaves_no_connection_open():
    async with serving(OK) as (server, url):
        async with HttpTransport() as wire:
            await wire.send("GET", url, node="n", timeout=5)
            await wire.send("POST", url, node="n", timeout=5)
        await wait_until(lambda: server.open == 0)


@pytest.mark.parametrize(
    ("error", "words", "sign"),
    [
        (OSError(errno.ECONNREFUSED, "x"), "connection refused", Liveness.SILENT),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route to the host", Liveness.SILENT),
        (OSError(errno.ENETUNREACH, "x"), "no route to the network", Liveness.UNASKED),
        (OSError(errno.ETIMEDOUT, "x"), "no answer to the connection attempt", Liveness.SILENT),
        (ConnectionResetError(), "the connection was closed", Liveness.UNASKED),
        (OSError(errno.EMFILE, "x"), "this host has no file descriptors left", Liveness.UNASKED),
        (OSError(errno.EIO, "Input/output\nerror"), "Input/output error", Liveness.UNASKED),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)"),
         "TLS failed: the port does not speak TLS: is http:// meant?", Liveness.ALIVE),
    ],
)  # fmt: skip
def test_an_error_of_the_connection_has_its_text(error, words, sign):
    failed = http_errors.describe_connection_error(error)
    assert (failed.reason, failed.sign, failed.sent) == (words, sign, False)


@pytest.mark.parametrize(
    ("error", "begun", "words"),
    [
        (None, False, http_errors.DROPPED),
        (ConnectionResetError(errno.ECONNRESET, "x"), False, http_errors.DROPPED),
        (BrokenPipeError(errno.EPIPE, "x"), False, http_errors.DROPPED),
        (OSError(errno.EHOSTUNREACH, "x"), False, "no route to the host"),
        (None, True, http_errors.CUT),
        (ConnectionResetError(errno.ECONNRESET, "x"), True, http_errors.CUT),
    ],
)
def test_the_end_of_a_connection_has_its_text(error, begun, words):
    failed = http_errors.describe_end(error, begun=begun)
    assert (failed.reason, failed.sent, failed.closed) == (words, True, words == http_errors.DROPPED)


async def test_large_answers_wait_for_room_within_their_own_time(monkeypatch):
    monkeypatch.setattr(wire_module, "SMALL", 1_000)
    monkeypatch.setattr(wire_module, "LARGE", 1)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"/small" in asked:
            writer.write(OK)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + bytes(4_000))
            begun.set()
            await finish.wait()
            writer.write(bytes(1_000))
        await writer.drain()

    async with listening(serve) as url, HttpTransport() as wire:
        holder = asyncio.ensure_future(wire.send("GET", f"{url}/large", node="a", timeout=30))
        await begun.wait()
        while not wire._large.locked():
            await asyncio.sleep(0)
        assert await failure(wire, f"{url}/large", timeout=0.3) == "no answer within 0.3 s"
        assert (await wire.send("GET", f"{url}/small", node="c", timeout=5)).body == b"hi"
        finish.set()
        assert len((await holder).body) == 5_000


async def test_a_packed_answer_is_not_unpacked():
    bomb = gzip.compress(bytes(20_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with serving(head + bomb) as (_, url), HttpTransport(body_limit=MIB) as wire:
        assert await failure(wire, url) == "its answer is compressed, which was not asked for"


@pytest.mark.parametrize("line", [b"a: b\r\n", b"a: " + b"x" * 500 + b"\r\n"])
async def test_headers_without_end_are_refused(line):
    async with serving(b"HTTP/1.1 200 OK\r\n" + line * 20_000) as (_, url), HttpTransport() as wire:
        assert "not valid HTTP" in await failure(wire, url)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:9/", "127.0.0.1"),
        ("http://edge-01.example.com:9/", ""),
        ("http://256.0.0.1:9/", ""),
        ("nonsense", ""),
    ],
)
async def test_the_address_of_this_host_that_faces_an_address_is_known_without_sending(url, address):
    async with HttpTransport() as wire:
        assert wire.local_address(url) == address


async def test_the_address_of_this_host_is_that_of_the_connection_where_there_was_one(monkeypatch):
    monkeypatch.setattr(wire_module, "_find_local_address", lambda _host: "no second socket is needed")
    async with serving(OK) as (_, url), HttpTransport() as wire:
        await wire.send("GET", url, node="n", timeout=5)
        assert wire.local_address(url) == "127.0.0.1"


async def test_a_connection_closed_without_an_answer_is_reported_as_closed():
    async with serving(None) as (_, url), HttpTransport() as wire:
        with pytest.raises(NodeUnreachable) as caught:
            await wire.send("GET", url, node="n", timeout=5)
    assert caught.value.closed
    async with HttpTransport() as wire:
        with pytest.raises(NodeUnreachable) as caught:
            await wire.send("GET", url, node="n", timeout=5)
    assert not caught.value.closed


async def test_a_certificate_of_the_hosts_own_authority_is_accepted_of_the_nodes_that_name_it(tmp_path):
    certificate, server_side = await make_server_side(tmp_path)
    (tmp_path / "empty.pem").write_text("nothing\n")
    files = {"office": certificate, "empty": tmp_path / "empty.pem", "gone": tmp_path / "gone.pem"}
    host = Host(HostConfig.model_validate({"authorities": {name: str(file) for name, file in files.items()}}))
    async with serving(OK, tls=server_side) as (_, url), HttpTransport(host) as http:
        assert (
            await http.through("", authority="office").send("GET", url, node="a", timeout=5)
        ).status == 200
        # A kept connection of a trusted call is not used for one that trusts others.
        assert (await failure(http, url)).startswith("TLS certificate not trusted: ")
        for name, why in (
            ("empty", "empty.pem cannot be used: it has no certificate in PEM"),
            ("gone", "gone.pem cannot be used: No such file"),
            ("other", "this host has no authority `authorities.other`"),
        ):
            told = await failure(http.through("", authority=name), url)
            assert why in told, told
