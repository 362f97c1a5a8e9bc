"""Offers that are published to message buses, and the channels of nodes: functions over a transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from reconciler.core.bus_channels import BusChannel, read_channel
from reconciler.core.fleet_matching import HOST
from reconciler.core.operations import OperationResult, OperationState
from reconciler.core.timestamps import format_timestamp
from reconciler.store.sql.facts import SUSPENDED
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.node_offers import NOT_HELD
from reconciler.store.sql.node_tokens import advance_position
from reconciler.store.sql.operations import write_reported_result
from reconciler.store.sql.transaction import Transaction

KEPT_CHANNELS: Final = timedelta(days=90)
"""How long a channel is listened to that no setting names any more: a node may be away for as long."""


def begin_publishing(tx: Transaction, offers: Sequence[str]) -> frozenset[str]:
    """Write that these offers are about to be published; gives the ids of those that must not be.

    What was begun before is published again: nobody knows whether the bus has it.
    """
    refused, changed = set(), []
    for offer in offers:
        row = tx.execute(
            "SELECT node, sent FROM node_offer WHERE id = ? AND taken IS NULL AND channel != ''", (offer,)
        ).fetchone()
        if row is None:
            refused.add(offer)
        elif row["sent"] is None:
            if tx.execute(
                f"UPDATE node_offer SET sent = ?1 WHERE id = ?2 AND node = ?3 AND {NOT_HELD}",  # noqa: S608
                (tx.timestamp, offer, row["node"], HOST, SUSPENDED, tx.timestamp),
            ).rowcount:
                changed.append(row["node"])
            else:
                refused.add(offer)
    if changed:
        advance_position(tx, changed)
    return frozenset(refused)


def end_publishing(tx: Transaction, key: HostKey, offers: Sequence[str]) -> None:
    """Write that a bus has these offers: they count as taken, whatever was decided meanwhile."""
    changed = []
    for offer in offers:
        row = tx.execute(
            "UPDATE node_offer SET taken = ? WHERE id = ? AND taken IS NULL AND sent IS NOT NULL"
            " RETURNING node",
            (tx.timestamp, offer),
        ).fetchone()
        if row is not None:
            changed.append(row["node"])
            write_reported_result(tx, key, offer, OperationResult("", OperationState.SENT, at=tx.now))
    if changed:
        advance_position(tx, changed)


def note_report_channels(
    tx: Transaction, named: Mapping[tuple[str, str], frozenset[BusChannel]]
) -> dict[tuple[str, str], frozenset[BusChannel]]:
    """Write on which channels nodes report by their desired settings; gives these and earlier ones.

    A node reports on the channel of the setting that it has, which may be an earlier one.
    """
    tx.execute_many(
        "INSERT INTO bus_report (cluster, node, channel, named) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (cluster, node, channel) DO UPDATE SET named = excluded.named",
        [
            (cluster, node, channel.encode(), tx.timestamp)
            for (cluster, node), channels in sorted(named.items())
            for channel in sorted(channels)
        ],
    )
    tx.execute("DELETE FROM bus_report WHERE named < ?", (format_timestamp(tx.now - KEPT_CHANNELS),))
    found: defaultdict[tuple[str, str], set[BusChannel]] = defaultdict(set)
    for row in tx.execute("SELECT cluster, node, channel FROM bus_report"):
        if (channel := read_channel(row["channel"])) is not None:
            found[row["cluster"], row["node"]].add(channel)
    return {place: frozenset(channels) for place, channels in found.items()}
