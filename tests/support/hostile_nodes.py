"""Nodes that quote secrets wherever they may say something, and a search for these in what was written."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Self
from urllib.parse import quote

BLANKS = re.compile(r"[\s\u200b]+")
PART = 8
"""Characters from which on a part of a secret counts as shown."""


def forms(secret: str) -> list[str]:
    """How a node may quote a secret."""
    told = json.dumps(secret)
    return [
        secret,
        told[1:-1],
        json.dumps(told)[1:-1],
        repr(secret),
        escape(secret),
        quote(secret),
        quote(secret, safe="").lower(),
        secret.upper(),
        " ".join(secret.split()),
        "\n".join(secret[at : at + 10] for at in range(0, len(secret), 10)),
        "\u200b".join(secret),
        f"…{secret[6:]}",
        f"{secret[:-6]}…",
        f"{told[4:-4]}",
        b64encode(secret.encode()).decode(),
        b64encode(f"user:{secret}".encode()).decode(),
        urlsafe_b64encode(f"x{secret}".encode()).decode(),
        secret.encode().hex(),
    ]


class Search:
    """Finds parts of secrets in texts, in every form that a node may quote them in."""

    def __init__(self, named: dict[str, str]) -> None:
        self._parts: dict[str, str] = {}
        for name, whole in named.items():
            secret = "\n".join(line for line in whole.splitlines() if not line.startswith("-----"))
            # at its ends, what base64 makes of a value depends on what stands beside it
            for form in (secret, *(one[4:-4] for one in forms(secret)[-4:])):
                plain = BLANKS.sub("", form).casefold()
                for at in range(len(plain) - PART + 1):
                    self._parts.setdefault(plain[at : at + PART], name)

    def shown_in(self, text: str) -> set[str]:
        """The secrets of which a part stands in a text, each with some of what stands around it."""
        plain = BLANKS.sub("", text).casefold()
        found = {}
        for at in range(len(plain) - PART + 1):
            if name := self._parts.get(plain[at : at + PART]):
                found.setdefault(name, plain[max(0, at - 60) : at + 30])
        return {f"{name}: {around}" for name, around in found.items()}


class HostileNodes:
    """A server on every address of 127.0.0.0/8 that says no in ever other words, and quotes secrets in them.

    The third number of an address is a node's kind: 1 is an M2 node that cannot be read, 2 one that shows a
    setting and refuses every other, 3 a Sora node that cannot be read, 4 one that refuses to begin a cluster.
    The fourth number is its way to say so.

    Args:
        setting: what the M2 nodes show.
        known: the texts that are quoted by nodes that cannot be read.
        had: those that nodes quote besides that were read.
    """

    def __init__(self, setting: bytes, known: list[str], had: list[str]) -> None:
        self.setting = setting
        self.quote(known, had)
        self._lock = threading.Lock()
        answer = self._answer

        class Node(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer(self)

            def log_message(self, *words: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("", 0), Node)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def quote(self, known: list[str], had: Sequence[str] = ()) -> None:
        """Say these texts from now on."""
        self._known, self._all = cycle(known), cycle([*known, *had])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        _, _, kind, way = request.connection.getsockname()[0].split(".")
        with self._lock:
            word = next(self._all if request.command == "POST" and kind == "2" else self._known)
        if kind == "2" and request.path == "/setting/setting.json":
            send(request, 200, self.setting, "application/json")
        elif kind in "12":
            refuse(request, word, int(way))
        elif kind == "3":
            tell(request, word, int(way))
        else:
            code = "NOT-INITIALIZED" if "ListClusterNodes" in request.headers["x-sora-target"] else "INVALID"
            say(request, 400, {"error_type": code, "error_reason": word})


def refuse(request: BaseHTTPRequestHandler, word: str, way: int) -> None:
    """What an M2 node says that takes nothing."""
    ways = (
        lambda: say(request, 400, {"status": "Fail", "result": word}),
        lambda: send(request, 400, word.encode()),
        lambda: send(request, 403, word.encode()),
        lambda: send(request, 500, f"{word} E0004".encode()),
        lambda: send(request, 307, b"", location=quote(word, safe="/:%")),
        lambda: no_http(request, f"{word} of {word}"),
        lambda: send(request, 200, f'{{"{json.dumps(word)[1:-1]}": 1, "x": '.encode(), "application/json"),
        lambda: say(request, 200, {word: word}),
        lambda: send(request, 401, b"", f"text/{BLANKS.sub('', word)}".encode("ascii", "replace").decode()),
        lambda: say(request, 200, {"status": "OK", "notupdated": [{"field": word}, word], "result": word}),
    )
    ways[way % len(ways)]()


def tell(request: BaseHTTPRequestHandler, word: str, way: int) -> None:
    """What a Sora node says that lists nothing which can be used."""
    row = {"node_name": f"n{way}@h.example", "connected": False, "error": word, "version": "2026.1.0"}
    ways = (
        lambda: say(request, 400, {"error_type": "NOT-NOW", "error_reason": word}),
        lambda: say(request, 400, {"error_type": word, "error_reason": {"x": [word]}}),
        lambda: say(request, 200, [row, {**row, "mode": word}]),
        lambda: say(request, 200, [row]),
        lambda: send(request, 307, b"", location=quote(word, safe="/:%")),
    )
    ways[way % len(ways)]()


def no_http(request: BaseHTTPRequestHandler, text: str) -> None:
    """An answer that is not HTTP."""
    request.wfile.write(f"{text}\r\n\r\n".encode())
    request.close_connection = True


def say(request: BaseHTTPRequestHandler, status: int, value: object) -> None:
    """An answer in JSON."""
    send(request, status, json.dumps(value).encode(), "application/json")


def send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "text/plain", location: str = ""
) -> None:
    """One whole answer."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Access-Control-Allow-Headers", "x-sora-target")
    if location:
        request.send_header("Location", location)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
