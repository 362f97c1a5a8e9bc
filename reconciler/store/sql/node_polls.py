"""Polls that deliver nothing, which are nearly all calls of nodes: written together, over a transaction.

One statement writes a thousand of them. With a statement for each, this thread and the one that answers nodes
would take turns for every row, and answers would wait for the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from reconciler.core.offers import FUTURE, OfferFeed
from reconciler.core.timestamps import format_timestamp
from reconciler.ports.node_store import CallRecord
from reconciler.store.sql.node_tokens import use_token
from reconciler.store.sql.transaction import Transaction

FIELDS: Final = ("number", "at", "label", "address", "setting", "purge")
"""Of a poll as SQL gets it; the last two are its `If-Modified-Since`, by feed."""

_UPDATE: Final = """WITH found AS MATERIALIZED ({polls})
    UPDATE polled_node SET
        heard = found.at,
        polled = found.at,
        address = CASE found.address WHEN '' THEN polled_node.address ELSE found.address END,
        other_label = CASE WHEN found.label NOT IN ('', polled_node.label)
            THEN coalesce(labelled, other_label) ELSE other_label END,
        labelled = CASE found.label WHEN '' THEN labelled ELSE found.at END,
        label = CASE found.label WHEN '' THEN polled_node.label ELSE found.label END,
        asked_setting = CASE WHEN coalesce(asked_setting, '') > coalesce(found.setting, '')
            THEN asked_setting ELSE found.setting END,
        asked_purge = CASE WHEN coalesce(asked_purge, '') > coalesce(found.purge, '')
            THEN asked_purge ELSE found.purge END
    FROM found WHERE polled_node.number = found.number"""


def is_plain_poll(call: CallRecord) -> bool:
    """Whether `write_polls` can write a call."""
    if call.feed is None or call.took:
        return False
    # JSON has neither a half of a character nor, in SQLite, the character 0.
    texts = call.token + call.label + call.address
    return texts.isascii() and "\0" not in texts


def write_polls(tx: Transaction, calls: Sequence[CallRecord]) -> list[CallRecord]:
    """Write polls; gives those whose token is unknown, which are not written."""
    tokens = orjson.dumps(list({call.token for call in calls})).decode()
    (known,) = tx.execute(tx.dialect.known_tokens.format("?"), (tokens,)).fetchone()
    numbers, unused = {}, set()
    for digest, number, is_unused in orjson.loads(known):
        numbers[digest] = number
        if is_unused:
            unused.add(digest)
    # A statement changes a node once: the second poll of a node is written by the next one.
    statements: list[dict[int, tuple[Any, ...]]] = []
    counts: defaultdict[int, int] = defaultdict(int)
    left = []
    for call in calls:
        number = numbers.get(call.token)
        if number is None:
            left.append(call)
            continue
        at = format_timestamp(call.at)
        if call.token in unused:
            unused.discard(call.token)
            use_token(tx, call.token, number, at)
        if counts[number] == len(statements):
            statements.append({})
        statements[counts[number]][number] = (number, at, call.label, call.address, *_encode_asked(call))
        counts[number] += 1
    update = _UPDATE.format(polls=tx.dialect.polls.format("?"))
    for polls in statements:
        tx.execute(update, (orjson.dumps(list(polls.values())).decode(),))
    return left


def _encode_asked(call: CallRecord) -> tuple[str | None, str | None]:
    """The `If-Modified-Since` of a poll, by feed."""
    # An absurd time must not decide which `Last-Modified` comes next.
    if call.asked is None or call.asked > call.at + FUTURE:
        return None, None
    asked = format_timestamp(call.asked)
    return (asked, None) if call.feed is OfferFeed.SETTING else (None, asked)
