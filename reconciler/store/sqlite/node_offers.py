"""Offers to nodes that poll, and their contents: functions over a transaction."""

from __future__ import annotations

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from reconciler.core.fleet_matching import HOST
from reconciler.core.offers import Offer, OfferFeed, choose_last_modified, spread
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.node_store import NodeChanges, NodePlace
from reconciler.ports.transport import OfferDraft
from reconciler.store.sqlite.content_parts import ContentParts
from reconciler.store.sqlite.database import Transaction
from reconciler.store.sqlite.facts import SUSPENDED
from reconciler.store.sqlite.host_key import HostKey
from reconciler.store.sqlite.node_tokens import advance_position, insert_node, read_known_tokens
from reconciler.store.sqlite.operations import write_reported_result

KEPT_OFFERS: Final = 5
"""Offers of a feed that a node keeps, the newest ones, besides the one that it took last.

A node that took an offer may download it after a newer one was recorded.
"""

KEPT_LABELS: Final = 100
"""Labels of a node whose contents are remembered, the newest ones."""

_ASKED: Final = {OfferFeed.SETTING: "asked_setting", OfferFeed.PURGE: "asked_purge"}

_OFFERS: Final = """
    SELECT node_offer.*, polled_node.fleet, polled_node.cluster, polled_node.node AS name FROM node_offer
    JOIN polled_node ON polled_node.number = node_offer.node"""

_ENDS: Final = """
    SELECT max(number) FROM node_offer WHERE node = ?1 AND feed = ?2 AND NOT restored
    UNION SELECT max(number) FROM node_offer WHERE node = ?1 AND feed = ?2 AND NOT restored
    AND taken IS NOT NULL"""


def write_offer(
    tx: Transaction, key: HostKey, contents: ContentParts, draft: OfferDraft, *, run: str, revision: str
) -> Offer:
    """Write an offer; the same one of the same step again is the offer that is there."""
    number = _find_node(tx, draft.cluster, draft.node) or insert_node(tx, draft.cluster, draft.node)
    parts = [contents.add(tx, part) for part in draft.parts]
    newest = _read_newest(tx, number, draft.feed)
    # A run that was killed after this write offers it again.
    if newest is not None and not newest.withdrawn:
        same = (newest.run, newest.step, newest.revision, newest.label) == (
            run,
            draft.step,
            revision,
            draft.label,
        )
        if same and newest.parts == tuple(digest for _, digest in parts):
            return newest
    tx.execute(
        "UPDATE node_offer SET withdrawn = 1 WHERE node = ? AND feed = ? AND taken IS NULL",
        (number, draft.feed),
    )
    asked = tx.execute(
        f"SELECT {_ASKED[draft.feed]} FROM polled_node WHERE number = ?",  # noqa: S608
        (number,),
    ).fetchone()[0]
    (earlier,) = tx.execute(
        "SELECT max(last_modified) FROM node_offer WHERE node = ? AND feed = ?", (number, draft.feed)
    ).fetchone()
    name = secrets.token_hex(8)
    last_modified = choose_last_modified(
        tx.now,
        parse_timestamp(earlier) if earlier else None,
        parse_timestamp(asked) if asked else None,
    )
    # No offer may close before it opens.
    opens = spread(name, draft.node, tx.now, min(draft.period, max(0.0, draft.seconds) / 2))
    row = tx.execute(
        "INSERT INTO node_offer (id, node, feed, run, step, revision, label, last_modified, opens, closes)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            number,
            draft.feed,
            run,
            draft.step,
            revision,
            draft.label,
            format_timestamp(last_modified),
            format_timestamp(opens),
            format_timestamp(tx.now + timedelta(seconds=draft.seconds)),
        ),
    )
    tx.connection.executemany(
        "INSERT INTO offer_part (offer, former, position, part) VALUES (?, ?, ?, ?)",
        [
            (row.lastrowid, former, position, part)
            for former, own in enumerate((parts, [contents.add(tx, part) for part in draft.former]))
            for position, (part, _) in enumerate(own)
        ],
    )
    _write_label(tx, key, number, draft)
    _prune(tx, contents, number, draft.feed)
    advance_position(tx, [number])
    offer = _read_newest(tx, number, draft.feed)
    assert offer is not None
    return offer


def withdraw_offers(tx: Transaction, cluster: str, nodes: Sequence[str], feed: OfferFeed) -> None:
    """Withdraw the offers that these nodes have not taken."""
    changed = []
    for node in nodes:
        number = _find_node(tx, cluster, node)
        if (
            number
            and tx.execute(
                "UPDATE node_offer SET withdrawn = 1 WHERE node = ? AND feed = ? AND taken IS NULL"
                " AND NOT withdrawn",
                (number, feed),
            ).rowcount
        ):
            changed.append(number)
    if changed:
        advance_position(tx, changed)


def take_offer(tx: Transaction, number: int, offer: str, at: str) -> bool:
    """Write that a node takes an offer; False if it was withdrawn before the node took it."""
    if not tx.execute(
        "UPDATE node_offer SET taken = ? WHERE id = ? AND node = ? AND taken IS NULL AND NOT withdrawn",
        (at, offer, number),
    ).rowcount:
        known = tx.execute(
            "SELECT 1 FROM node_offer WHERE id = ? AND node = ? AND taken IS NOT NULL", (offer, number)
        )
        return known.fetchone() is not None
    advance_position(tx, [number])
    write_reported_result(tx, offer, OperationResult("", OperationState.SENT, at=parse_timestamp(at)))
    return True


def read_changes(tx: Transaction, since: int) -> NodeChanges:
    """What has changed since a position."""
    positions = dict(tx.execute("SELECT what, position FROM node_position").fetchall())
    position = positions["any"]
    suspended = _read_suspensions(tx)
    if since == position:
        return NodeChanges(position=position, suspended=suspended)
    if since > position:  # of a state that was replaced by a backup
        since = 0
    offers: dict[NodePlace, dict[OfferFeed, tuple[Offer | None, Offer | None]]] = defaultdict(dict)
    where = "changed > ?" if since else "changed >= ?"
    changed = tx.execute(
        f"SELECT number, fleet, cluster, node FROM polled_node WHERE {where}",  # noqa: S608
        (since,),
    )
    for row in changed.fetchall():
        place = (row["fleet"], row["cluster"], row["node"])
        for feed in OfferFeed:
            ends = _read_offers(tx, f"node_offer.number IN ({_ENDS})", (row["number"], feed))
            if ends:
                taken = next((one for one in ends if one.taken is not None), None)
                offers[place][feed] = (ends[0], taken)
    return NodeChanges(
        position=position,
        tokens=read_known_tokens(tx) if positions["tokens"] > since or not since else None,
        offers=dict(offers),
        suspended=suspended,
    )


def read_newest_offers(tx: Transaction, number: int, feed: OfferFeed) -> list[Offer]:
    """The newest offer of a feed for a node, and the newest one that it took, newest first."""
    ends = _ENDS.replace("AND NOT restored", "")  # evidence of what the node has
    return _read_offers(tx, f"node_offer.number IN ({ends})", (number, feed))


def read_cluster_offers(tx: Transaction, cluster: str, feed: OfferFeed) -> dict[str, Offer]:
    """Node -> its newest offer of a feed."""
    where = (
        "polled_node.fleet = ? AND polled_node.cluster = ? AND node_offer.number ="
        " (SELECT max(number) FROM node_offer WHERE node = polled_node.number AND feed = ?)"
    )
    return {one.node: one for one in _read_offers(tx, where, (tx.fleet, cluster, feed))}


def is_label_unique(tx: Transaction, number: int, label: str) -> bool:
    """Whether this program gave a label to one content only, at a node."""
    row = tx.execute("SELECT shared FROM node_label WHERE node = ? AND label = ?", (number, label)).fetchone()
    return row is not None and not row["shared"]


def _find_node(tx: Transaction, cluster: str, node: str) -> int | None:
    row = tx.execute(
        "SELECT number FROM polled_node WHERE fleet = ? AND cluster = ? AND node = ?",
        (tx.fleet, cluster, node),
    ).fetchone()
    return row["number"] if row else None


def _read_newest(tx: Transaction, number: int, feed: OfferFeed) -> Offer | None:
    found = _read_offers(
        tx,
        "node_offer.number = (SELECT max(number) FROM node_offer WHERE node = ? AND feed = ?)",
        (number, feed),
    )
    return found[0] if found else None


def _read_offers(tx: Transaction, where: str, values: tuple[object, ...]) -> list[Offer]:
    rows = tx.execute(f"{_OFFERS} WHERE {where} ORDER BY node_offer.number DESC", values)
    return [_read_offer(tx, row) for row in rows.fetchall()]


def _read_offer(tx: Transaction, row: sqlite3.Row) -> Offer:
    parts = tx.execute(
        "SELECT content_part.digest FROM offer_part JOIN content_part"
        " ON content_part.number = offer_part.part WHERE offer = ? AND NOT former ORDER BY position",
        (row["number"],),
    )
    return Offer(
        id=row["id"],
        cluster=row["cluster"],
        node=row["name"],
        feed=OfferFeed(row["feed"]),
        run=row["run"],
        step=row["step"],
        revision=row["revision"],
        label=row["label"],
        last_modified=parse_timestamp(row["last_modified"]),
        opens=parse_timestamp(row["opens"]),
        closes=parse_timestamp(row["closes"]),
        taken=parse_timestamp(row["taken"]) if row["taken"] else None,
        withdrawn=bool(row["withdrawn"]),
        parts=tuple(part["digest"] for part in parts),
    )


def _write_label(tx: Transaction, key: HostKey, number: int, draft: OfferDraft) -> None:
    """Remember to which content a label was given."""
    if not draft.label or draft.feed is not OfferFeed.SETTING:
        return
    content = key.make_digest(draft.content.encode(), "content of a label")
    tx.execute(
        "INSERT INTO node_label (node, label, content, since) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (node, label) DO UPDATE SET since = excluded.since,"
        " shared = shared OR content IS NOT excluded.content",
        (number, draft.label, content, tx.timestamp),
    )
    tx.execute(
        "DELETE FROM node_label WHERE node = ?1 AND label NOT IN"
        " (SELECT label FROM node_label WHERE node = ?1 ORDER BY since DESC, label LIMIT ?2)",
        (number, KEPT_LABELS),
    )


def _prune(tx: Transaction, contents: ContentParts, number: int, feed: OfferFeed) -> None:
    """Delete old offers of a node, and the contents that no offer has any more."""
    old = tx.execute(
        "SELECT number FROM node_offer WHERE node = ?1 AND feed = ?2 AND number NOT IN"
        " (SELECT number FROM node_offer WHERE node = ?1 AND feed = ?2 ORDER BY number DESC LIMIT ?3)"
        " AND number IS NOT (SELECT max(number) FROM node_offer WHERE node = ?1 AND feed = ?2"
        " AND taken IS NOT NULL)",
        (number, feed, KEPT_OFFERS),
    ).fetchall()
    for row in old:
        parts = tx.execute("SELECT part FROM offer_part WHERE offer = ?", (row["number"],)).fetchall()
        tx.execute("DELETE FROM node_offer WHERE number = ?", (row["number"],))
        contents.delete_unused(tx, [part["part"] for part in parts])


def _read_suspensions(tx: Transaction) -> frozenset[tuple[int, str]]:
    """Fleet and cluster of each suspension by command: it holds for every fleet of the host."""
    rows = tx.execute(
        "SELECT cluster FROM fact WHERE fleet = ? AND node = '' AND key = ?", (HOST, SUSPENDED)
    ).fetchall()
    if not rows:
        return frozenset()
    fleets = [HOST, *(row["number"] for row in tx.execute("SELECT number FROM fleet").fetchall())]
    return frozenset((fleet, row["cluster"]) for fleet in fleets for row in rows)
