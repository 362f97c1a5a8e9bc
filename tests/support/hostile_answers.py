"""Answers of HTTP servers that are no node, or mean harm, each at an address of its own on loopback."""

from __future__ import annotations

import asyncio
import gzip
import threading
from contextlib import contextmanager, suppress

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"


def make_answer(body: bytes, status: str = "200 OK", kind: str = JSON, more: str = "") -> list[bytes]:
    """A whole answer; `more` are lines of its head."""
    lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return [lines.encode("latin-1") + body]


def begin(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {JSON}", *lines, "", ""]).encode()


AGAIN = ...
"""What follows in a script is sent again and again."""

LARGE = b"[" + b"1," * 1_000_000 + b"1]"

CORRECT, DAMAGED, LOGIN = "correct its address", "the answer is damaged", "a login page answers"
PORT, ZIPPED = "another service has this port", "turn off compression"

ANSWERS = {
    "error": (make_answer(b"oops", "500 Error", TEXT), "answered 500", "look at the log of the node"),
    "unavailable": (make_answer(b"later", "503 Later", TEXT), "answered 503", "try again later"),
    "maintenance": (make_answer(b"<h1>503</h1>", "503 Later", HTML), "answered 503", "try again later"),
    "gateway": (make_answer(b"no", "502 Bad", HTML), "answered 502", "does not reach the node behind it"),
    "slow-gateway": (make_answer(b"no", "504 Bad", HTML), "answered 504", "does not reach the node behind"),
    "often": (make_answer(b"slow", "429 Many", TEXT), "answered 429", "raise the limit of calls"),
    "denied": (make_answer(b"", "403 Forbidden", TEXT), "answered 403", "allow this host"),
    "password": (make_answer(b"", "401 Unauthorized", TEXT), "answered 401", "allow this host"),
    "cached": (make_answer(b"", "304 Not Modified", TEXT), "answered 304", "turn off caching"),
    "teapot": (make_answer(b"tea", "418 Teapot", TEXT), "answered 418", CORRECT),
    "moved": (
        make_answer(b"", "301 Moved", HTML, "Location: https://other.example.com:8443/x?token=s3cret\r\n"),
        "redirected to https://other.example.com:8443/x",
        "write the address to which it redirects",
    ),
    "to-login": (
        make_answer(b"", "302 Found", HTML, "Location: /login?next=/\r\n"),
        "redirected to /login",
        LOGIN,
    ),
    "login": (make_answer(b"<form><input type=password></form>", kind=HTML), "answered 200", LOGIN),
    "page": (make_answer(b"<html>hi", kind=HTML), "answered 200", CORRECT),
    "nan": (make_answer(b'{"meta": NaN}'), "it has NaN, which is not JSON", DAMAGED),
    "nan-in-list": (make_answer(b'[{"a": NaN}]'), "it has NaN, which is not JSON", DAMAGED),
    "infinite": (make_answer(b'{"a": 1e999}'), "a number that cannot be used", DAMAGED),
    "half": (make_answer(b'{"meta": {"ver'), "it is not JSON", DAMAGED),
    "empty": (make_answer(b""), "without a body", DAMAGED),
    "latin": (make_answer('{"a": "é"}'.encode("latin-1")), "it is not text in UTF-8", DAMAGED),
    "no-utf": (make_answer(b'{"a": "\xff\xfe"}'), "it is not text in UTF-8", DAMAGED),
    "surrogate": (make_answer(b'{"a": "\\ud800"}'), "half of a character", DAMAGED),
    "null": (make_answer(b"null"), "answered 200", CORRECT),
    "text": (make_answer(b'"hi"'), "answered 200", CORRECT),
    "numbers": (make_answer(b"[1, 2]"), "answered 200", CORRECT),
    "other": (make_answer(b'{"ok": true}'), "an object with ok", CORRECT),
    "twice": (make_answer(b'{"ok": true, "ok": false}'), "an object with ok", CORRECT),
    "deep": (make_answer(b"[" * 100_000 + b"]" * 100_000), "answered 200", "damaged or too large"),
    "many": (make_answer(LARGE), "answered 200", "damaged or too large"),
    "long": ([begin("Content-Length: 9999999999999"), b"["], "larger than 64 MB", "look at what answers"),
    "endless": ([begin(), AGAIN, LARGE], "", "look at"),  # too large, or too slow on a busy machine
    "endless-head": (
        [b"HTTP/1.1 200 OK\r\n", AGAIN, b"X-A: " + b"b" * 1000 + b"\r\n"],
        "larger than 64 KB",
        PORT,
    ),
    "endless-interim": (
        [b"HTTP/1.1 100 Continue\r\n\r\n", AGAIN, b"HTTP/1.1 100 Continue\r\n\r\n"],
        "",
        PORT,
    ),
    "trickle": ([begin("Content-Length: 1000"), AGAIN, 0.1, b"["], "no answer within", "`timeouts.read`"),
    "silent": ([AGAIN, 0.1], "no answer within", "`timeouts.read`"),
    "cut": ([begin("Content-Length: 1000"), b"[1"], "in the middle of its answer", "look at the log"),
    "closed": ([], "closed the connection without an answer", "look at"),
    "gzip": (make_answer(gzip.compress(b"[]"), more="Content-Encoding: gzip\r\n"), "compressed", ZIPPED),
    "bad-gzip": (make_answer(b"\x1f\x8bx", more="Content-Encoding: gzip\r\n"), "compressed", ZIPPED),
    "bad-brotli": (make_answer(b"\0\1\2", more="Content-Encoding: br\r\n"), "compressed", ZIPPED),
    "ssh": ([b"SSH-2.0-OpenSSH\r\n"], "not valid HTTP", PORT),
    "bytes": ([b"\x00\x01\xff\r\n\r\n"], "binary data", PORT),
    "tls": ([b"\x15\x03\x01\x00\x02\x02\x46"], "the port speaks TLS", "write https://"),
    "control": (make_answer(b"\x1b[2J\x1b]0;x\x07\xe2\x80\xae", kind=TEXT), "answered 200", CORRECT),
    "control-target": (
        make_answer(b"", "301 Moved", HTML, "Location: http://a\x1b[2J\xff/\r\n"),
        "not valid HTTP",
        PORT,
    ),
}
"""Name -> script, words of the message, words of the remedy.

A script is sent part by part; a number is a pause in seconds. The connection is closed where it ends.
"""

_ADDRESSES = {name: f"127.0.1.{number}" for number, name in enumerate(ANSWERS, 1)}


@contextmanager
def hostile_servers():
    """Serves all answers; gives name -> HOST:PORT."""
    loop, ports, started = asyncio.new_event_loop(), [], threading.Event()
    ending, writers = asyncio.Event(), set()
    names = {host: name for name, host in _ADDRESSES.items()}

    async def serve(reader, writer):
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            script, _, _ = ANSWERS[names[writer.get_extra_info("sockname")[0]]]
            again: list[bytes | float] = []
            for number, part in enumerate(script):
                if part is AGAIN:
                    again = script[number + 1 :]
                    break
                writer.write(part)
                await writer.drain()
            while again and not writer.is_closing():
                for part in again:
                    if isinstance(part, float):
                        await asyncio.sleep(part)
                    else:
                        writer.write(part)
                        await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "0.0.0.0")
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await ending.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield {name: f"{host}:{ports[0]}" for name, host in _ADDRESSES.items()}
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)
        loop.close()
