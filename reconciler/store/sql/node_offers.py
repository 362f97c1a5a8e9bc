"""Offers to nodes that poll, and their contents: functions over a transaction."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.bus_channels import read_channel
from reconciler.core.fleet_matching import HOST
from reconciler.core.offers import Offer, OfferFeed, choose_last_modified, spread
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.ports.node_store import NodeChanges, NodePlace
from reconciler.ports.transport import OfferDraft
from reconciler.store.sql.content_parts import ContentParts
from reconciler.store.sql.facts import SUSPENDED
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.node_tokens import advance_position, insert_node, read_known_tokens
from reconciler.store.sql.operations import write_reported_result
from reconciler.store.sql.transaction import Row, Transaction

KEPT_OFFERS: Final = 5
"""Offers of a feed that a node keeps, the newest ones, besides the one that it took last.

A node that took an offer may download it after a newer one was recorded.
"""

KEPT_LABELS: Final = 100
"""Labels of a node whose contents are remembered, the newest ones."""

_ASKED: Final = {OfferFeed.SETTING: "asked_setting", OfferFeed.PURGE: "asked_purge"}

_ENDS: Final = """
    SELECT max(number) AS number FROM node_offer WHERE node IN {nodes}
    AND restored <= ?2 GROUP BY node, feed
    UNION SELECT max(number) FROM node_offer WHERE node IN {nodes}
    AND restored <= ?2 AND taken IS NOT NULL GROUP BY node, feed"""
"""Numbers of the newest offer of each node and feed, and of the newest one that it took."""


NOT_HELD: Final = """NOT withdrawn
    AND (' ' || despite || ' ' LIKE '% suspended %' OR NOT EXISTS
    (SELECT 1 FROM fact JOIN polled_node ON fact.cluster IN ('', polled_node.cluster)
    WHERE polled_node.number = ?3 AND fact.fleet = ?4 AND fact.node = '' AND fact.key = ?5))
    AND NOT EXISTS (SELECT 1 FROM reservation JOIN polled_node USING (cluster, node)
    WHERE polled_node.number = ?3 AND reservation.fleet IN (?4, polled_node.fleet)
    AND is_hold AND ended IS NULL AND until > ?6)"""
"""That nothing keeps an offer from a node: its number is ?3, then `HOST`, `SUSPENDED` and the time."""


@dataclass(frozen=True, slots=True)
class StoredOffer:
    """An offer with what the store alone knows of it.

    Args:
        former: digests of what the node had before.
        is_label_unique: whether this program gave its label to this content only, at this node.
        report: time and sealed text of the newest report about it; None if there is none.
    """

    offer: Offer
    former: tuple[str, ...]
    is_label_unique: bool
    report: tuple[str, bytes] | None


def write_offer(
    tx: Transaction, key: HostKey, contents: ContentParts, draft: OfferDraft, *, run: str, revision: str
) -> Offer:
    """Write an offer; the same one of the same step again is the offer that is there."""
    number = _find_node(tx, draft.cluster, draft.node) or insert_node(tx, draft.cluster, draft.node)
    parts = [contents.add(tx, part) for part in draft.parts]
    newest = _read_newest(tx, number, draft.feed)
    # A run that was killed after this write offers it again.
    if newest is not None and not newest.withdrawn:
        same = (newest.run, newest.step, newest.revision, newest.label, newest.channel) == (
            run,
            draft.step,
            revision,
            draft.label,
            draft.channel,
        )
        if same and newest.parts == tuple(digest for _, digest in parts):
            return newest
    tx.execute(
        "UPDATE node_offer SET withdrawn = TRUE WHERE node = ? AND feed = ? AND taken IS NULL",
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
    (offered,) = tx.execute(
        "INSERT INTO node_offer (id, node, feed, run, step, revision, label, last_modified, opens, closes,"
        " despite, channel) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
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
            " ".join(sorted(draft.despite)),
            draft.channel.encode() if draft.channel else "",
        ),
    ).fetchone()
    tx.execute_many(
        "INSERT INTO offer_part (offer, former, position, part) VALUES (?, ?, ?, ?)",
        [
            (offered, former, position, part)
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
                "UPDATE node_offer SET withdrawn = TRUE WHERE node = ? AND feed = ? AND taken IS NULL"
                " AND sent IS NULL AND NOT withdrawn",
                (number, feed),
            ).rowcount
        ):
            changed.append(number)
    if changed:
        advance_position(tx, changed)


def end_exemptions(tx: Transaction, cluster: str) -> None:
    """Let a suspension that begins now hide also the offers that were made in spite of an earlier one.

    Args:
        tx: the transaction.
        cluster: its name, in all fleets of the host; empty for all.
    """
    rows = tx.execute(
        "SELECT node_offer.number, node_offer.node AS node FROM node_offer"
        " JOIN polled_node ON polled_node.number = node_offer.node"
        " WHERE despite != '' AND taken IS NULL AND ? IN ('', polled_node.cluster)",
        (cluster,),
    ).fetchall()
    without = "trim(replace(' ' || despite || ' ', ' suspended ', ' '))"
    tx.execute_many(
        f"UPDATE node_offer SET despite = {without} WHERE number = ?",  # noqa: S608
        [(row["number"],) for row in rows],
    )
    if rows:
        advance_position(tx, sorted({row["node"] for row in rows}))


def take_offer(tx: Transaction, key: HostKey, number: int, offer: str, at: str) -> bool:
    """Write that a node takes an offer; False if it was withdrawn, suspended or held before that."""
    # The node server reads orders a few times a second: `reconcile suspend` and `hold` count at once.
    if not tx.execute(
        f"UPDATE node_offer SET taken = ?1 WHERE id = ?2 AND node = ?3 AND taken IS NULL AND {NOT_HELD}",  # noqa: S608
        (at, offer, number, HOST, SUSPENDED, tx.timestamp),
    ).rowcount:
        known = tx.execute(
            "SELECT 1 FROM node_offer WHERE id = ? AND node = ? AND taken IS NOT NULL", (offer, number)
        )
        return known.fetchone() is not None
    advance_position(tx, [number])
    write_reported_result(tx, key, offer, OperationResult("", OperationState.SENT, at=parse_timestamp(at)))
    return True


def read_changes(tx: Transaction, since: int) -> NodeChanges:
    """What has changed since a position."""
    positions = dict(tx.execute("SELECT what, position FROM node_position").fetchall())
    position = positions["any"]
    suspended, held = _read_suspensions(tx), _read_held_nodes(tx)
    if since == position:
        return NodeChanges(position=position, suspended=suspended, held=held)
    if since > position:  # of a state that was replaced by a backup
        since = 0
    where = "changed > ?" if since else "changed >= ?"
    rows = tx.execute(
        f"SELECT number, fleet, cluster, node FROM polled_node WHERE {where}",  # noqa: S608
        (since,),
    ).fetchall()
    places: dict[int, NodePlace] = {
        row["number"]: (row["fleet"], row["cluster"], row["node"]) for row in rows
    }
    offers: dict[NodePlace, dict[OfferFeed, tuple[Offer | None, Offer | None]]] = defaultdict(dict)
    for number, stored in read_newest_offers(tx, list(places), restored=False).items():
        for feed in {one.offer.feed for one in stored}:
            own = [one.offer for one in stored if one.offer.feed is feed]
            taken = next((one for one in own if one.taken is not None), None)
            offers[places[number]][feed] = (own[0], taken)
    return NodeChanges(
        position=position,
        tokens=read_known_tokens(tx) if positions["tokens"] > since or not since else None,
        offers=dict(offers),
        suspended=suspended,
        held=held,
    )


def read_newest_offers(
    tx: Transaction, nodes: Sequence[int], *, restored: bool = True
) -> dict[int, list[StoredOffer]]:
    """Number of a node -> its newest offer of each feed, and the newest one that it took, newest first.

    Args:
        tx: the transaction.
        nodes: their numbers.
        restored: whether offers of a restored backup count: as evidence, but not to deliver them.
    """
    found: dict[int, list[StoredOffer]] = defaultdict(list)
    for row, stored in _read_offers(tx, _ENDS.format(nodes=tx.numbers("?1")), (json.dumps(nodes), restored)):
        found[row["node"]].append(stored)
    return found


def read_cluster_offers(tx: Transaction, cluster: str, feed: OfferFeed) -> dict[str, Offer]:
    """Node -> its newest offer of a feed."""
    newest = """SELECT max(node_offer.number) AS number FROM polled_node
        JOIN node_offer ON node_offer.node = polled_node.number
        WHERE fleet = ? AND cluster = ? AND feed = ? GROUP BY polled_node.number"""
    return {one.offer.node: one.offer for _, one in _read_offers(tx, newest, (tx.fleet, cluster, feed))}


def _find_node(tx: Transaction, cluster: str, node: str) -> int | None:
    row = tx.execute(
        "SELECT number FROM polled_node WHERE fleet = ? AND cluster = ? AND node = ?",
        (tx.fleet, cluster, node),
    ).fetchone()
    return row["number"] if row else None


def _read_newest(tx: Transaction, number: int, feed: OfferFeed) -> Offer | None:
    newest = "SELECT max(number) AS number FROM node_offer WHERE node = ?1 AND feed = ?2"
    return next((stored.offer for _, stored in _read_offers(tx, newest, (number, feed))), None)


def _read_offers(
    tx: Transaction, which: str, values: tuple[object, ...]
) -> Iterator[tuple[Row, StoredOffer]]:
    """The offers whose numbers a query gives, newest first, each with its row."""
    parts: dict[int, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for part in tx.execute(
        f"WITH which AS ({which}) SELECT offer, former, digest FROM which"  # noqa: S608
        " JOIN offer_part ON offer_part.offer = which.number"
        " JOIN content_part ON content_part.number = offer_part.part ORDER BY offer, former, position",
        values,
    ):
        parts[part["offer"]][part["former"]].append(part["digest"])
    rows = tx.execute(
        f"WITH which AS ({which})"  # noqa: S608
        " SELECT node_offer.*, polled_node.cluster, polled_node.node AS name, shared"
        " FROM which JOIN node_offer ON node_offer.number = which.number"
        " JOIN polled_node ON polled_node.number = node_offer.node"
        " LEFT JOIN node_label ON node_label.node = node_offer.node AND node_label.label = node_offer.label"
        " ORDER BY node_offer.number DESC",
        values,
    )
    for row in rows.fetchall():
        own, former = parts[row["number"]]
        report = (row["reported"], row["report"]) if row["reported"] else None
        yield row, StoredOffer(_make_offer(row, own), tuple(former), row["shared"] == 0, report)


def _make_offer(row: Row, parts: Sequence[str]) -> Offer:
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
        despite=frozenset(row["despite"].split()),
        parts=tuple(parts),
        channel=read_channel(row["channel"]),
        sent=parse_timestamp(row["sent"]) if row["sent"] else None,
    )


def _write_label(tx: Transaction, key: HostKey, number: int, draft: OfferDraft) -> None:
    """Remember to which content a label was given."""
    if not draft.label or draft.feed is not OfferFeed.SETTING:
        return
    content = key.make_digest(draft.content.encode(), "content of a label")
    tx.execute(
        "INSERT INTO node_label (node, label, content, since) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (node, label) DO UPDATE SET since = excluded.since,"
        " shared = node_label.shared OR node_label.content != excluded.content",
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
        " AND number != coalesce((SELECT max(number) FROM node_offer WHERE node = ?1 AND feed = ?2"
        " AND taken IS NOT NULL), 0)",
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


def _read_held_nodes(tx: Transaction) -> dict[NodePlace, datetime]:
    """The end of the hold of each held node; one of the host holds for every fleet."""
    rows = tx.execute(
        "SELECT fleet, cluster, node, max(until) AS until FROM reservation"
        " WHERE ended IS NULL AND is_hold AND until > ? GROUP BY fleet, cluster, node",
        (tx.timestamp,),
    )
    return {(row["fleet"], row["cluster"], row["node"]): parse_timestamp(row["until"]) for row in rows}
