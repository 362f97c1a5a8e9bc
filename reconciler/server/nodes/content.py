"""Conditions and ranges of a download (RFC 9110), answered from the complete content; pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.ports.central_server import InboundAnswer

_RANGE: Final = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)
_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

_KEPT_IN_304: Final = frozenset({"etag", "last-modified", "cache-control", "vary", "expires"})


def compute_entity_tag(body: Sequence[bytes]) -> str:
    """A strong entity tag of a content."""
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return f'"{digest.hexdigest()[:32]}"'


def select_content(headers: Mapping[str, str], answer: InboundAnswer) -> InboundAnswer:
    """The answer to one request for a content: complete, a range of it, or a status without it.

    Args:
        headers: of the request, names in lower case.
        answer: status 200 with the complete content, names of headers in lower case, and an `etag`.
    """
    # `If-Modified-Since` is ignored: a node remembers the date of the feed's answer, which is the date of the
    # content too, before it has the content. With a 304 here it would never get it.
    tag = answer.headers["etag"]
    if headers.get("if-match") and not _matches(headers["if-match"], tag, weak=False):
        return InboundAnswer(412)
    if headers.get("if-none-match") and _matches(headers["if-none-match"], tag, weak=True):
        kept = {name: text for name, text in answer.headers.items() if name in _KEPT_IN_304}
        return InboundAnswer(304, kept)
    whole = InboundAnswer(200, {**answer.headers, "accept-ranges": "bytes"}, answer.body)
    # Several ranges, or a form that nobody knows: the complete content is a valid answer to each.
    found = _RANGE.fullmatch(headers.get("range", ""))
    is_range = found is not None and (found[1] or found[2])
    if found is None or not is_range or not _is_same(headers.get("if-range"), answer.headers):
        return whole
    if found[1] and found[2] and int(found[2]) < int(found[1]):
        return whole  # invalid, and so ignored
    size = sum(map(len, answer.body))
    first, last = _resolve_range(found[1], found[2], size)
    if first >= size or last < first:
        return InboundAnswer(416, {"content-range": f"bytes */{size}"})
    part = {**whole.headers, "content-range": f"bytes {first}-{last}/{size}"}
    return InboundAnswer(206, part, _cut(answer.body, first, last + 1))


def _resolve_range(first: str, last: str, size: int) -> tuple[int, int]:
    """First and last byte of a range; without a first one, the last so many bytes."""
    if not first:
        return max(0, size - int(last)), size - 1 if int(last) else -1
    return int(first), min(int(last), size - 1) if last else size - 1


def _matches(header: str, tag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(found[2] == tag and (weak or not found[1]) for found in _TAG.finditer(header))


def _is_same(condition: str | None, headers: Mapping[str, str]) -> bool:
    """Whether `If-Range` allows a range: it is missing, or names exactly this content."""
    return condition is None or condition in {headers["etag"], headers.get("last-modified")}


def _cut(body: Sequence[bytes], first: int, end: int) -> list[bytes]:
    """Bytes of a content from `first` up to `end`, without copying whole pieces."""
    cut: list[bytes] = []
    at = 0
    for piece in body:
        low, high = max(first - at, 0), min(end - at, len(piece))
        if low < high:
            cut.append(piece if high - low == len(piece) else piece[low:high])
        at += len(piece)
    return cut
