"""Heads of answers to nodes, and refusals; most are the same as another one, and made once."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from reconciler.ports.central_server import InboundAnswer

BODILESS: Final = frozenset({204, 304})
"""Statuses of answers without a body."""

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def make_refusal(status: int, message: str) -> InboundAnswer:
    """An answer without success, with a fixed text."""
    body = b'{"message":"%s"}\n' % message.encode()
    return InboundAnswer(status, {"content-type": "application/json"}, (body,))


_dates: list[Any] = [0.0, b""]


def format_date_header(now: float) -> bytes:
    """The header with the time of an answer, made once a second."""
    if int(now) != _dates[0]:
        _dates[:] = [int(now), b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"]
    return bytes(_dates[1])


def make_head(answer: InboundAnswer, size: int, *, keep_alive: bool, is_old: bool) -> bytes:
    """The head of an answer.

    Args:
        answer: its status and headers.
        size: bytes of the body, also where the answer has none because of the method.
        keep_alive: whether the connection stays.
        is_old: whether the request was HTTP/1.0.
    """
    lines = [_encode_lines(answer.status, tuple(answer.headers.items())), format_date_header(time.time())]
    if answer.status not in BODILESS:
        lines.append(b"content-length: %d\r\n" % size)
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    elif is_old:
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


@lru_cache(maxsize=1_024)
def _encode_lines(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The first line and the headers of an answer; most answers have those of another one."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, "").encode())]
    for name, text in headers:
        if not text.isprintable():
            continue  # a line break in a value would begin another header
        lines.append(f"{name}: {text}\r\n".encode("latin-1", "replace"))
    return b"".join(lines)
