"""All M2 nodes of a trial of several hosts and the sink of their feedback: one process that logs every call.

`benchmarks/hosts.py` starts it with the first settings and the log as arguments; it prints its port. Each
address of 127.9.0.0/16 is a node. An upload takes effect after a short time and is answered after another
one, also if the caller is gone by then, so that a host may be killed before, between and after both.

Each line of the log has, separated by tabs: seconds since 1970, what happened, the address, details.

    read                    a node was read
    upload  VERSION DIGEST  a complete upload arrived
    effect  VERSION DIGEST  it took effect: the node shows it from now on
    feedback ID RUN         a message was accepted; the address is that of the sink
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import IO

from push import Connection

EFFECT_SECONDS = 0.3
ANSWER_SECONDS = 0.2
"""Longest times from an upload to its effect, and from there to the answer."""

FLUSH_SECONDS = 1.0
SINK = "/feedback"
_SHOWN = frozenset({"/setting/setting.json", "/get/setting/running", "/get/setting/artifact"})
_ACCEPTED = b'{"version":"1","method":"reloadall","status":"OK","result":"accepted"}'
_UNKNOWN = b'{"version":"1","method":"get","status":"Fail","result":"Not Found"}'


class LoggedNodes:
    """What each node has loaded, by address, and the log.

    Args:
        first: the setting that all nodes have at the start.
        log: receives the lines.
        seed: of the times of uploads.
    """

    def __init__(self, first: dict[str, bytes], log: IO[str], seed: int) -> None:
        self.loaded = first
        self.random = random.Random(seed)
        self.connections = 0
        self._log = log

    def note(self, what: str, address: str, *details: str, flush: bool = True) -> None:
        """Write a line."""
        self._log.write("\t".join((f"{time.time():.6f}", what, address, *details)) + "\n")
        if flush:
            self._log.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        self._log.flush()


class LoggedConnection(Connection):
    """A connection to a node, or to the sink."""

    def __init__(self, nodes: LoggedNodes) -> None:
        super().__init__(nodes)  # it only counts the connections there
        self.known = nodes
        self.id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the id of a message."""
        if name.lower() == b"idempotency-key":
            self.id = value.decode()

    def on_message_complete(self) -> None:
        """Answer now, or once an upload has taken effect."""
        method, path, body = self.parser.get_method().decode(), self.url.decode(), b"".join(self.body)
        self.body = []
        if path == SINK:
            run = str(json.loads(body)["userdata"]["run"])
            self.known.note("feedback", self.address, self.id, run)
            self.answer(200, b"{}")
        elif method == "POST":
            self.take_upload(body)
        elif path in _SHOWN and self.address in self.known.loaded:
            self.known.note("read", self.address, flush=False)
            self.answer(200, self.known.loaded[self.address])
        else:
            self.answer(404, _UNKNOWN)

    def take_upload(self, body: bytes) -> None:
        """Let it take effect later, and answer after that."""
        known, details = self.known, read_identity(body)
        known.note("upload", self.address, *details)

        def take_effect() -> None:
            known.loaded[self.address] = body
            known.note("effect", self.address, *details)
            loop.call_later(known.random.random() * ANSWER_SECONDS, self.answer, 200, _ACCEPTED)

        loop = asyncio.get_running_loop()
        loop.call_later(known.random.random() * EFFECT_SECONDS, take_effect)

    def answer(self, status: int, body: bytes) -> None:
        """Answer, if the caller is still there."""
        if self.transport.is_closing():
            return
        kind = b"Content-Type: application/json\r\n"
        self.transport.write(
            b"HTTP/1.1 %d OK\r\n%sContent-Length: %d\r\n\r\n%s" % (status, kind, len(body), body)
        )
        if not self.parser.should_keep_alive():
            self.transport.close()


def read_identity(body: bytes | str) -> tuple[str, str]:
    """The version of a setting, and a digest of what it means, whatever its spelling."""
    setting = json.loads(body)
    digest = hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()
    return str(setting["meta"]["version"]), digest[:16]


async def serve(first: dict[str, bytes], log: IO[str], seed: int) -> None:
    """Answer at every address of 127.0.0.0/8, on one free port, which is printed, until SIGTERM."""
    nodes, loop, stop = LoggedNodes(first, log, seed), asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: LoggedConnection(nodes), "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while not stop.is_set():
        nodes.flush()
        try:
            await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
        except TimeoutError:
            continue
    nodes.flush()


def main() -> None:
    """Serve: file with address -> setting as JSON, file of the log, seed."""
    first, log, seed = sys.argv[1:]
    settings = {place: text.encode() for place, text in json.loads(Path(first).read_text()).items()}
    with Path(log).open("a", encoding="utf-8") as lines:
        asyncio.run(serve(settings, lines, int(seed)))


if __name__ == "__main__":
    main()
