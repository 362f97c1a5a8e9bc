"""The words of a message to people: a subject of one sentence and a short body; pure.

Texts of nodes, files and callers are quoted as plain words: what a chat or a mail program would take for a
call of people, for markup or for a link is replaced by characters that look alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from reconciler.core.alerts import Notice
from reconciler.core.timestamps import format_minute
from reconciler.text.one_line import make_one_line

MOST_LISTED: Final = 20
"""Notices that one message shows; of further ones it says how many there are."""

LONGEST_SUBJECT: Final = 200
LONGEST_BODY: Final = 12_000
"""Characters; the largest mail gateways and chats take more."""

_NEUTRAL: Final = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "@": "\N{FULLWIDTH COMMERCIAL AT}",
        "&": "\N{FULLWIDTH AMPERSAND}",
        "[": "(",
        "]": ")",
        "`": "'",
        "*": "\N{ASTERISK OPERATOR}",
    }
)


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """What is sent to one address."""

    subject: str
    body: str


def neutralise(text: str) -> str:
    """A text in which no chat or mail program finds a mention, markup or a link."""
    return text.translate(_NEUTRAL).replace("://", ": //")


def compose_message(
    notices: Sequence[Notice], *, url: str = "", dropped: int = 0, limit_end: datetime | None = None
) -> NoticeMessage:
    """The message about some notices, the most urgent ones first.

    Args:
        notices: at least one.
        url: of the pages of the watch; empty for none.
        dropped: number of older notices that had no room.
        limit_end: until when no further message is sent; None if the next one may be.
    """
    ordered = sorted(notices, key=lambda one: (one.is_over, -one.severity.rank, one.at))
    first, more = ordered[0], len(ordered) - 1 + dropped
    rest = f" (and {more:,} more)" if more else ""
    title = make_one_line(f"{_format_mark(first)} {neutralise(first.title)}", LONGEST_SUBJECT - len(rest))
    lines = [line for notice in ordered[:MOST_LISTED] for line in (*_list_lines(notice, url), "")]
    lines += _list_remarks(ordered[MOST_LISTED:], dropped, limit_end)
    body = "\n".join(lines).strip()
    if len(body) > LONGEST_BODY:
        body = f"{body[:LONGEST_BODY]} …\nThe message is cut; `reconcile status` shows the rest."
    return NoticeMessage(f"{title}{rest}", body)


def _format_mark(notice: Notice) -> str:
    return "(recovered)" if notice.is_over else f"({notice.severity})"


def _list_lines(notice: Notice, url: str) -> Iterator[str]:
    yield f"{_format_mark(notice)} {neutralise(notice.title)}"
    for detail in notice.details:
        yield f"  {neutralise(detail)}"
    if notice.remedy:
        yield f"  What to do: {neutralise(notice.remedy)}"
    place = f"/clusters/{quote(notice.cluster, safe='')}" if notice.cluster else "/"
    yield f"  {format_minute(notice.at)} UTC" + (f", {url}{place}" if url else "")


def _list_remarks(unlisted: Sequence[Notice], dropped: int, limit_end: datetime | None) -> Iterator[str]:
    if unlisted:
        counts = Counter(f"{notice.event}{' (recovered)' if notice.is_over else ''}" for notice in unlisted)
        kinds = ", ".join(f"{count:,} {event}" for event, count in counts.most_common())
        yield f"And {len(unlisted):,} more: {kinds}. The commands status and history show them."
    if dropped:
        yield f"{dropped:,} older notices had no room and are not in this message."
    if limit_end is not None:
        yield (
            "The limit of messages is reached: what follows comes in one message after "
            f"{format_minute(limit_end)} UTC."
        )
