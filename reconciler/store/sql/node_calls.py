"""Calls of nodes, and what is known of nodes from them: functions over a transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from reconciler.core.offers import FUTURE, OfferFeed
from reconciler.core.operations import OperationState
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.node_store import POLL, CallRecord, NodeContact
from reconciler.ports.transport import MailItem, NodeLabel, NodeMail, OfferedContent
from reconciler.store.sql.content_parts import ContentParts
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.node_offers import StoredOffer, read_newest_offers, take_offer
from reconciler.store.sql.node_polls import is_plain_poll, write_polls
from reconciler.store.sql.node_tokens import use_token
from reconciler.store.sql.operations import write_called_result, write_reported_result
from reconciler.store.sql.transaction import Row, Transaction

_REPORT: Final = "report of a node"
_CONTENT: Final = "setting of a node"

_COLUMNS: Final = (
    "heard",
    "polled",
    "label",
    "labelled",
    "other_label",
    "asked_setting",
    "asked_purge",
    "address",
    "clash",
    "claimed",
)
_UPDATE: Final = f"UPDATE polled_node SET {', '.join(f'{one} = ?' for one in _COLUMNS)} WHERE number = ?"  # noqa: S608


@dataclass(slots=True)
class _Caller:
    """A node in a batch of calls, with its row as the calls change it."""

    number: int
    row: dict[str, Any]
    reports: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    content: tuple[str, bytes] | None = None


def write_calls(tx: Transaction, key: HostKey, calls: Sequence[CallRecord]) -> frozenset[str]:
    """Write calls; gives the ids of offers that cannot be taken any more."""
    refused: set[str] = set()
    for is_plain, some in groupby(_drop_repeated(tx, calls), is_plain_poll):
        group = list(some)
        if is_plain:
            group = write_polls(tx, group)
        refused |= _write_each(tx, key, group)
    return frozenset(refused)


def _write_each(tx: Transaction, key: HostKey, calls: Sequence[CallRecord]) -> set[str]:
    """Write calls of any kind; gives the ids of offers that cannot be taken any more."""
    # By what a call says of itself, and by node: both tokens of a node may be in one batch.
    places: dict[tuple[str, int, str, str], _Caller | None] = {}
    callers: dict[int, _Caller] = {}
    refused = set()
    for call in calls:
        at = format_timestamp(call.at)
        place = (_clean(call.token), call.fleet, _clean(call.cluster), _clean(call.node))
        if place not in places:
            places[place] = _find_caller(tx, callers, place, at)
        caller = places[place]
        if caller is not None and call.is_claim:
            caller.row["claimed"] = max(caller.row["claimed"] or "", at)
            continue
        if caller is None:  # forgotten long after it left, or never enrolled
            if call.took:
                refused.add(call.took)
            continue
        _note_call(caller, call, at)
        if call.took and not take_offer(tx, key, caller.number, _clean(call.took), at):
            refused.add(call.took)
        if call.kind:
            _note_report(tx, key, caller, call, at)
    _write_callers(tx, key, list(callers.values()))
    return refused


def _write_callers(tx: Transaction, key: HostKey, known: Sequence[_Caller]) -> None:
    tx.execute_many(_UPDATE, [(*(one.row[name] for name in _COLUMNS), one.number) for one in known])
    tx.execute_many(
        "INSERT INTO node_report (node, kind, at, sealed) VALUES (?, ?, ?, ?) ON CONFLICT (node, kind)"
        " DO UPDATE SET at = excluded.at, sealed = excluded.sealed",
        [
            (one.number, kind, at, key.seal(body, _REPORT))
            for one in known
            for kind, (at, body) in one.reports.items()
        ],
    )
    tx.execute_many(
        "INSERT INTO node_content (node, at, sealed) VALUES (?, ?, ?) ON CONFLICT (node)"
        " DO UPDATE SET at = excluded.at, sealed = excluded.sealed",
        [(one.number, one.content[0], key.seal(one.content[1], _CONTENT)) for one in known if one.content],
    )


def read_mail(
    tx: Transaction, key: HostKey, contents: ContentParts, cluster: str, nodes: Sequence[str]
) -> dict[str, NodeMail]:
    """What is known of nodes; a node that is not known has an empty mail."""
    rows = {
        row["node"]: row
        for row in tx.execute(
            f"SELECT * FROM polled_node WHERE fleet = ? AND cluster = ? AND node IN {tx.texts('?')}",  # noqa: S608
            (tx.fleet, cluster, json.dumps(list(nodes))),
        )
    }
    numbers = [row["number"] for row in rows.values()]
    offers = read_newest_offers(tx, numbers)
    items: dict[int, dict[str, MailItem]] = defaultdict(dict)
    settings: dict[int, MailItem | None] = {}
    reports = f"SELECT * FROM node_report WHERE node IN {tx.numbers('?')}"  # noqa: S608
    for one in tx.execute(reports, (json.dumps(numbers),)):
        if (item := _read_item(tx, key, (one["at"], one["sealed"]), _REPORT)) is not None:
            items[one["node"]][one["kind"]] = item
    own = f"SELECT * FROM node_content WHERE node IN {tx.numbers('?')}"  # noqa: S608
    for one in tx.execute(own, (json.dumps(numbers),)):
        settings[one["node"]] = _read_item(tx, key, (one["at"], one["sealed"]), _CONTENT)
    found = {node: NodeMail() for node in nodes}
    for node, row in rows.items():
        number = row["number"]
        found[node] = NodeMail(
            items=items[number],
            offers=tuple(
                _read_offered(tx, key, contents, one)
                for one in offers[number]
                if one.offer.feed is OfferFeed.SETTING
            ),
            heard=_count_seconds(tx, row["heard"]) if row["heard"] else None,
            label=_read_label(tx, row),
            content=settings.get(number),
        )
    return found


def read_contacts(tx: Transaction) -> tuple[NodeContact, ...]:
    """The contacts of all nodes that have not left, sorted by cluster and node."""
    heard: dict[int, dict[str, datetime]] = defaultdict(dict)
    for row in tx.execute("SELECT node, kind, at FROM node_report"):
        heard[row["node"]][row["kind"]] = parse_timestamp(row["at"])
    rows = tx.execute(
        'SELECT * FROM polled_node WHERE ? IN (0, fleet) AND "left" IS NULL ORDER BY cluster, node, fleet',
        (tx.fleet,),
    ).fetchall()
    offers = read_newest_offers(tx, [row["number"] for row in rows])
    return tuple(
        NodeContact(
            cluster=row["cluster"],
            node=row["node"],
            heard=heard[row["number"]] | ({POLL: parse_timestamp(row["polled"])} if row["polled"] else {}),
            label=row["label"],
            address=row["address"],
            clash=row["clash"],
            claimed=parse_timestamp(row["claimed"]) if row["claimed"] else None,
            offer=next(
                (one.offer for one in offers[row["number"]] if one.offer.feed is OfferFeed.SETTING), None
            ),
        )
        for row in rows
    )


def _find_caller(
    tx: Transaction, callers: dict[int, _Caller], place: tuple[str, int, str, str], at: str
) -> _Caller | None:
    token, *names = place
    # By the token first: the names may be those from before a rename.
    own = (
        "SELECT node.*, token.used IS NULL AND token.ended IS NULL AS is_new FROM node_token AS token"
        " JOIN polled_node AS node ON node.number = token.node WHERE token.digest = ?"
    )
    row = tx.execute(own, (token,)).fetchone() if token else None
    if row is None:
        row = tx.execute(
            "SELECT *, FALSE AS is_new FROM polled_node WHERE fleet = ? AND cluster = ? AND node = ?",
            (*names,),
        ).fetchone()
    if row is None:
        return None
    if row["is_new"]:
        use_token(tx, token, row["number"], at)
    return callers.setdefault(row["number"], _Caller(row["number"], dict(row)))


def _drop_repeated(tx: Transaction, calls: Sequence[CallRecord]) -> list[CallRecord]:
    """The calls without those that a message bus gave before and that are recorded; notes the others.

    A message is repeated if neither its offset nor its time is new: the offsets of a channel that was deleted
    and made again begin anew, with later times.
    """
    known: dict[tuple[str, int], tuple[int, str] | None] = {}
    kept = []
    for call in calls:
        if not call.channel or call.offset is None:
            kept.append(call)
            continue
        part, at = (call.channel, call.partition), format_timestamp(call.at)
        if part not in known:
            row = tx.execute("SELECT * FROM bus_position WHERE channel = ? AND part = ?", part).fetchone()
            known[part] = (row["position"], row["at"]) if row else None
        last = known[part]
        if last is not None and call.offset <= last[0] and at <= last[1]:
            continue
        known[part] = (call.offset, max(at, last[1] if last else at))
        kept.append(call)
    tx.execute_many(
        "INSERT INTO bus_position (channel, part, position, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (channel, part) DO UPDATE SET position = excluded.position, at = excluded.at",
        [(*part, *last) for part, last in known.items() if last is not None],
    )
    return kept


def _is_late(call: CallRecord, at: str, known: str | None) -> bool:
    """Whether a call was made before one that is recorded: messages of a bus may overtake each other."""
    return bool(call.channel and known and at < known)


def _clean(text: str) -> str:
    """A text of a node as it can be stored: one bad text must not fail the calls of other nodes."""
    if text.isascii() and "\0" not in text:
        return text
    # PostgreSQL stores no character 0, and neither database half of a character.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _note_call(caller: _Caller, call: CallRecord, at: str) -> None:
    # The newest call counts, not the latest time: a clock that was wrong for a while and was set back must
    # not keep a node fresh.
    row = caller.row
    if _is_late(call, at, row["heard"]):
        return
    row["heard"] = at
    row["address"] = _clean(call.address) or row["address"]
    # What a node that polls has loaded is proven by its polls: its heartbeats may say "always 1". Of a node
    # that only reports, nothing else shows it.
    if call.feed is not None or call.shows_label or not row["polled"]:
        _note_label(row, _clean(call.label), at)
    if call.feed is None:
        return
    row["polled"] = at
    # An absurd time must not decide which `Last-Modified` comes next.
    if call.asked is not None and call.asked <= call.at + FUTURE:
        name = f"asked_{call.feed}"
        row[name] = max(row[name] or "", format_timestamp(call.asked))


def _note_label(row: dict[str, Any], label: str, at: str) -> None:
    if not label:
        return
    if row["labelled"] and row["label"] != label:
        row["other_label"] = row["labelled"]
    row["label"], row["labelled"] = label, at


def _note_report(tx: Transaction, key: HostKey, caller: _Caller, call: CallRecord, at: str) -> None:
    caller.row["clash"] = _clean(call.clash)
    if not _note_result(tx, key, caller, call, at):
        return
    stored = "SELECT at FROM node_report WHERE node = ? AND kind = ?"
    before = tx.execute(stored, (caller.number, _clean(call.kind))).fetchone() if call.channel else None
    if before is not None and _is_late(call, at, before["at"]):
        return
    caller.reports[_clean(call.kind)] = (at, call.body)
    if call.content is not None:
        caller.content = (at, call.content)


def _note_result(tx: Transaction, key: HostKey, caller: _Caller, call: CallRecord, at: str) -> bool:
    """Note what a report proves about an offer; gives whether it is news about the node.

    A report about an earlier offer than one that was reported is late, or sent again by somebody, as is the
    very report that is kept of an offer: what the node has loaded since is not what it says.
    """
    if call.about is None:
        if call.targets and call.result is not None:
            result = replace(call.result, reason=_clean(call.result.reason))
            write_called_result(tx, key, caller.row, call.targets, result)
        return True
    own = tx.execute(
        "SELECT number, succeeded, report FROM node_offer WHERE id = ? AND node = ? AND feed = ?",
        (_clean(call.offer), caller.number, call.about),
    ).fetchone()
    newest = tx.execute(
        "SELECT number, last_modified FROM node_offer WHERE node = ? AND feed = ? AND reported IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (caller.number, call.about),
    ).fetchone()
    if own is None:
        # Of an offer that is not kept any more, the date shows that it is an earlier one.
        if newest is None or call.modified is None:
            return True
        return parse_timestamp(newest["last_modified"]) <= call.modified
    if own["report"] and key.unseal(own["report"], _REPORT) == call.body:
        return False
    has_succeeded = call.result is not None and call.result.state is OperationState.DONE
    if has_succeeded or not own["succeeded"]:
        tx.execute(
            "UPDATE node_offer SET reported = ?, report = ?, succeeded = ? WHERE number = ?",
            (at, key.seal(call.body, _REPORT), has_succeeded, own["number"]),
        )
    if call.result is not None:
        result = replace(call.result, reason=_clean(call.result.reason))
        write_reported_result(tx, key, call.offer, result)
    return newest is None or newest["number"] <= own["number"]


def _read_label(tx: Transaction, row: Row) -> NodeLabel | None:
    if not row["labelled"]:
        return None
    other = _count_seconds(tx, row["other_label"]) if row["other_label"] else None
    return NodeLabel(row["label"], _count_seconds(tx, row["labelled"]), other)


def _read_offered(
    tx: Transaction, key: HostKey, contents: ContentParts, stored: StoredOffer
) -> OfferedContent:
    offer = stored.offer
    return OfferedContent(
        offer,
        contents.read(tx, offer.parts) or (),
        is_label_unique=stored.is_label_unique,
        former=contents.read(tx, stored.former) or (),
        taken_age=(tx.now - offer.taken).total_seconds() if offer.taken else None,
        report=_read_item(tx, key, stored.report, _REPORT) if stored.report else None,
    )


def _read_item(tx: Transaction, key: HostKey, item: tuple[str, bytes], purpose: str) -> MailItem | None:
    """What a node sent, from its time and sealed text; None if this host cannot decrypt it any more."""
    at, sealed = item
    body = key.unseal(sealed, purpose)
    return None if body is None else MailItem(body, _count_seconds(tx, at))


def _count_seconds(tx: Transaction, since: str) -> float:
    return (tx.now - parse_timestamp(since)).total_seconds()
