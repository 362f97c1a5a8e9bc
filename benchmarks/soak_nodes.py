"""The load of many nodes that poll: an open schedule of calls, each with the time in which it was answered.

    python benchmarks/soak_nodes.py PLAN RESULT

PLAN is a file of JSON (see `benchmarks/soak.py`, which starts this). A node has one connection, as M2 has.
Its calls are due at fixed times, whatever became of earlier ones, and latency counts from there: a server
that answers late cannot make the load lighter or hide the wait. Nothing of the product runs here.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import random
import re
import resource
import signal
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL, HEARTBEAT, FEED, PACKAGE, FEEDBACK = "poll", "heartbeat", "feed", "package", "feedback"
JITTER = 0.1
"""Share of a period by which a call may be earlier or later."""

LOAD_SECONDS = 1.0
"""Seconds from a download to the report that the setting is loaded."""

NODES_OF_SOURCE = 1_000
"""Nodes that call from one address: one has too few ports for ten thousand."""

LONG_AGO = "Tue, 06 Jan 2026 10:00:00 GMT"
_BLOCK = 512
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_MODIFIED = re.compile(rb"\r\nlast-modified: *([^\r]+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Call:
    """One call: when it is due, what it is, and what follows its answer."""

    __slots__ = ("due", "is_again", "kind", "mark", "offer", "then", "write")

    def __init__(
        self,
        due: float,
        kind: str,
        write: Callable[[], bytes],
        then: Callable[[int, bytes, bytes], None] | None = None,
        *,
        mark: int = 0,
        offer: str = "",
    ) -> None:
        self.due, self.kind, self.write, self.then = due, kind, write, then
        self.mark, self.offer = mark, offer
        self.is_again = False


class Node(asyncio.Protocol):
    """One node with its connection."""

    __slots__ = (
        "buffer",
        "calls",
        "connecting",
        "label",
        "load",
        "mark",
        "modified",
        "name",
        "sent",
        "setting",
        "source",
        "token",
        "transport",
    )

    def __init__(self, load: Load, name: str, token: str, source: str, setting: bytes) -> None:
        self.load, self.name, self.token, self.source, self.setting = load, name, token, source, setting
        self.transport: asyncio.Transport | None = None
        self.calls: deque[Call] = deque()
        self.buffer = b""
        self.connecting = self.sent = False
        self.modified, self.label, self.mark = LONG_AGO, "0", 0

    # What the node does.

    def poll(self, due: float) -> None:
        self.call(Call(due, POLL, self._write_poll, self._take_feed))

    def beat(self, due: float) -> None:
        mark = self._next_mark()
        self.call(Call(due, HEARTBEAT, lambda: self._write_report(self._identify(mark)), mark=mark))

    def report(self, due: float, userdata: Any, url: str, date: str, event: str) -> None:
        """Report the setting that it has loaded."""
        mark = self._next_mark()
        result = {"version": "22.02.0", "method": "deploy", "status": "ok", "lastModified": date}
        message = self._identify(mark) | {
            "userdata": userdata,
            "action": {"api": "/setting/upload", "event": event},
            "parameters": [{"url": url, "result": result}] if url else [],
            "setting": None,
        }
        offer = userdata["offer"] if userdata else ""
        text = self._write_report(message, self.setting)
        self.call(Call(due, FEEDBACK, lambda: text, mark=mark, offer=offer))

    def _take_feed(self, status: int, head: bytes, body: bytes) -> None:
        if status != 200:
            return
        found = _MODIFIED.search(head)
        assert found is not None
        self.modified = found[1].decode()
        feed, date = json.loads(body), self.modified
        url = feed["parameters"][0]["url"]
        path = "/" + url.split("/", 3)[3]

        def take(status: int, _head: bytes, package: bytes) -> None:
            if status == 200:
                self.setting = read_setting(package)
                self.label = json.loads(self.setting)["meta"]["version"]
                self.load.later(LOAD_SECONDS, self.report, feed["userdata"], url, date, "/env/management")

        self.call(Call(time.monotonic(), PACKAGE, lambda: self._write_get(path), take))

    def _next_mark(self) -> int:
        self.mark += 1
        return self.mark

    def _identify(self, mark: int) -> dict[str, Any]:
        node = {"productVer": "2.8.1", "settingVer": mark, "hostname": self.name, "iplist": []}
        return {"messageVer": "1", "node": node}

    def _write_poll(self) -> bytes:
        more = f"If-Modified-Since: {self.modified}\r\nX-M2-Setting-Meta-Version: {self.label}\r\n"
        return self._write_get(f"/{self.token}/setting", more)

    def _write_get(self, path: str, more: str = "") -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self.load.host}\r\n{more}\r\n".encode()

    def _write_report(self, message: dict[str, Any], setting: bytes = b"") -> bytes:
        body = json.dumps(message).encode()
        if setting:
            body = body.removesuffix(b"null}") + setting + b"}"
        head = (
            f"POST /{self.token}/report HTTP/1.1\r\nHost: {self.load.host}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    # Its connection.

    def call(self, call: Call) -> None:
        self.calls.append(call)
        self._send()

    def _send(self) -> None:
        if self.sent or not self.calls:
            return
        if self.transport is None:
            if not self.connecting:
                self.connecting = True
                self.load.spawn(self._connect())
            return
        self.sent, self.buffer = True, b""
        self.transport.write(self.calls[0].write())

    async def _connect(self) -> None:
        host, port = self.load.address
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, host, port, local_addr=(self.source, 0))
        except OSError:
            self.connecting = False
            self._fail()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.connecting = transport, False
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.sent:
            self.sent = False
            # A server may close a connection while the next call is on its way: that one is sent again, once.
            if not self.buffer and exc is None and not self.calls[0].is_again:
                self.calls[0].is_again = True
                self._send()
                return
            self._fail()

    def _fail(self) -> None:
        """The call got no answer: as on a node, the next one comes when it is due."""
        if self.calls:
            self.load.note(self, self.calls.popleft(), 0)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or not self.sent:
            return
        head, status = self.buffer[:end], int(self.buffer[9:12])
        length = _LENGTH.search(head)
        if len(self.buffer) < end + 4 + (size := int(length[1]) if length else 0):
            return
        body, call = self.buffer[end + 4 : end + 4 + size], self.calls.popleft()
        self.buffer, self.sent = b"", False
        kind = FEED if call.kind == POLL and status == 200 else call.kind
        self.load.note(self, call, status, kind)
        if _CLOSE.search(head) and self.transport is not None:
            self.transport.close()
            self.transport = None
        if call.then is not None:
            call.then(status, head, body)
        self._send()


class Load:
    """All nodes with their schedule, and what became of their calls."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.address = (str(plan["host"]), int(plan["port"]))
        self.host = f"{plan['host']}:{plan['port']}"
        self.every, self.beats, self.seconds = plan["every"], plan["heartbeats"], plan["seconds"]
        self._random = random.Random(plan["seed"])
        first = json.dumps(plan["setting"]).encode()
        self.nodes = [
            Node(self, name, token, f"127.1.0.{1 + number // NODES_OF_SOURCE}", first)
            for number, (name, token) in enumerate(sorted(plan["tokens"].items()))
        ]
        self.answers: list[tuple[float, float, str, int]] = []
        """When each call was due, its seconds to the answer, its kind, its status (0: no answer)."""
        self.reports: list[tuple[float, str, str, int, str]] = []
        """Of each acknowledged report: when it was answered, node, kind, mark, the offer that it names."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._new = asyncio.Event()

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def at(self, due: float, work: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._heap, (due, self._number, work, arguments))
        if self._heap[0][0] == due:
            self._new.set()

    def later(self, seconds: float, work: Callable[..., None], *arguments: Any) -> None:
        due = time.monotonic() + seconds
        self.at(due, work, due, *arguments)

    def note(self, node: Node, call: Call, status: int, kind: str = "") -> None:
        now = time.monotonic()
        self.answers.append((call.due, now - call.due, kind or call.kind, status))
        if call.mark and 200 <= status < 300:
            self.reports.append((now, node.name, call.kind, call.mark, call.offer))

    def _repeat(self, work: Callable[[float], None], base: float, every: float) -> None:
        """Do something now, and again in every period, each time a little earlier or later."""
        due = max(time.monotonic(), base + self._random.uniform(-JITTER, JITTER) * every)
        self.at(due, self._do, due, work, base, every)

    def _do(self, due: float, work: Callable[[float], None], base: float, every: float) -> None:
        work(due)
        self._repeat(work, base + every, every)

    async def run(self) -> None:
        begun = time.monotonic() + 1
        for node in self.nodes:
            # Each begins with the setting that somebody installed by hand, and reports it as after a start.
            first = begun + self._random.random() * self.every
            self.at(first, node.report, first, None, "", "", "/_sys_/bootup")
            self._repeat(node.poll, first + self.every * JITTER + LOAD_SECONDS, self.every)
            self._repeat(node.beat, begun + self._random.random() * self.beats, self.beats)
        end = begun + self.seconds
        while (now := time.monotonic()) < end:
            while self._heap and self._heap[0][0] <= now:
                _, _, work, arguments = heapq.heappop(self._heap)
                work(*arguments)
            wait = min(self._heap[0][0], end) - time.monotonic() if self._heap else 1.0
            self._new.clear()
            if wait <= 0:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(wait):
                    await self._new.wait()
            except TimeoutError:
                pass
        for node in self.nodes:  # what still waits for an answer has waited so long at least
            for call in node.calls:
                self.answers.append((call.due, time.monotonic() - call.due, call.kind, -1))


def read_setting(package: bytes) -> bytes:
    """The `setting.json` of a package: its first file."""
    unpacked = zlib.decompressobj(31).decompress(package)
    at = 0
    while unpacked[at : at + 100].rstrip(b"\0") not in {b"setting.json", b"./setting.json"}:
        at += _BLOCK + -(-int(unpacked[at + 124 : at + 135].rstrip(b"\0 ") or b"0", 8) // _BLOCK) * _BLOCK
    size = int(unpacked[at + 124 : at + 135].rstrip(b"\0 "), 8)
    return unpacked[at + _BLOCK : at + _BLOCK + size]


def main() -> None:
    """Load the server, then write what became of every call."""
    plan, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    gc.disable()  # its pauses would count as those of the server

    async def run() -> Load:
        load = Load(plan)
        await load.run()
        return load

    load = asyncio.run(run())
    result.write_text(
        json.dumps(
            {
                "answers": load.answers,
                "reports": load.reports,
                "labels": [node.label for node in load.nodes],
            }
        )
    )


if __name__ == "__main__":
    main()
