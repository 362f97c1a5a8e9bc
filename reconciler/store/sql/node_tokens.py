"""Nodes that poll, and the tokens in their URLs: functions over a transaction.

A token is derived from the key of the host when it is needed; the store has only its digest.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import NEW
from reconciler.core.secret import Secret
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.errors import UsageError
from reconciler.ports.node_store import KnownToken, NodeTokens
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sql.order_records import write_order_record
from reconciler.store.sql.transaction import Row, SqlConnection, Transaction

FORESEEN = 3
"""Rotations since a backup that are recognised when it is restored."""

LEFT_FOR = timedelta(days=90)
"""How long a node that left is known, so that its calls are told from those of strangers."""


@dataclass(frozen=True, slots=True)
class _Derivation:
    """From what the current token of a node is derived, and the token."""

    origin: str
    generation: int
    token: str

    @property
    def digest(self) -> str:
        return digest_token(self.token)


def digest_token(token: str) -> str:
    """The digest of a token, as `KnownToken` has it."""
    return sha256(token.encode()).hexdigest()


def read_tokens(tx: Transaction, key: HostKey, cluster: str, nodes: Sequence[str]) -> dict[str, NodeTokens]:
    """The tokens of nodes: those that count, or will count once they are enrolled."""
    rows, digests = _read_rows(tx, cluster), _read_counting_digests(tx, cluster)
    found = {}
    for node in nodes:
        row = rows.get(node)
        now = _derive_current(key, row or _choose_origin(tx, cluster, node), digests)
        former = None
        for generation in range(now.generation - 1, 0, -1) if row else ():
            token = _make_token(key, now.origin, generation)
            if digest_token(token) in digests:
                former = Secret(token)
                break
        found[node] = NodeTokens(Secret(now.token), former)
    return found


def enrol_nodes(tx: Transaction, key: HostKey, cluster: str, kind: str, nodes: Iterable[str]) -> None:
    """Make the tokens of these nodes count, and end those of all other nodes of the cluster."""
    rows, digests = _read_rows(tx, cluster), _read_counting_digests(tx, cluster)
    members, changed = set(nodes), False
    for node in sorted(members):
        row = rows.get(node)
        if row is not None and row["left"] is not None:
            # A commit that removed it by mistake was reverted: without its former token, a node behind a
            # firewall would have to be visited.
            tx.execute(
                "UPDATE node_token SET ended = NULL WHERE node = ? AND ended = ?",
                (row["number"], row["left"]),
            )
            digests |= {one["digest"]: row["number"] for one in _list_counting(tx, row["number"])}
            changed = True
        now = _derive_current(key, row or _choose_origin(tx, cluster, node), digests)
        if row is not None and row["restored"]:
            _foresee_tokens(tx, key, row)
            changed = True
        if row is not None and now.digest in digests and (row["kind"], row["left"]) == (kind, None):
            continue
        number = row["number"] if row else insert_node(tx, cluster, node, now.origin)
        tx.execute('UPDATE polled_node SET kind = ?, "left" = NULL WHERE number = ?', (kind, number))
        _write_token(tx, number, now)
        changed = True
    gone = [row for node, row in rows.items() if node not in members and row["left"] is None]
    end_nodes(tx, [row["number"] for row in gone])
    if changed:
        advance_position(tx, tokens=True)
    if tx.execute(
        'DELETE FROM polled_node WHERE "left" < ?', (format_timestamp(tx.now - LEFT_FOR),)
    ).rowcount:
        tx.execute("DELETE FROM content_part WHERE number NOT IN (SELECT part FROM offer_part)")
        advance_position(tx, tokens=True)


def end_nodes(tx: Transaction, numbers: Sequence[int]) -> None:
    """End the tokens of nodes that left, and withdraw what they have not taken."""
    if not numbers:
        return
    for number in numbers:
        tx.execute('UPDATE polled_node SET "left" = ? WHERE number = ?', (tx.timestamp, number))
        tx.execute("UPDATE node_token SET ended = ? WHERE node = ? AND ended IS NULL", (tx.timestamp, number))
        tx.execute("UPDATE node_offer SET withdrawn = TRUE WHERE node = ? AND taken IS NULL", (number,))
    advance_position(tx, numbers, tokens=True)


def end_cluster(tx: Transaction, cluster: str) -> None:
    """End the tokens of all nodes of a cluster."""
    end_nodes(tx, [row["number"] for row in _read_rows(tx, cluster).values() if row["left"] is None])


def rotate_token(tx: Transaction, key: HostKey, cluster: str, node: str, by: Actor) -> None:
    """Give a node a new token.

    Raises:
        UsageError: the node has no token yet.
    """
    row = _read_rows(tx, cluster).get(node)
    if row is None or row["left"] is not None or not row["generation"]:
        raise UsageError(
            f"node {node} of cluster {cluster} has no token to replace",
            remedy="a node gets its first token when its cluster is applied with `deliver: poll`",
        )
    now = _derive_current(key, row, _read_counting_digests(tx, cluster))
    if now.generation == row["generation"]:  # else the key was lost, and the next token is new in any case
        token = _make_token(key, now.origin, now.generation + 1)
        now = replace(now, generation=now.generation + 1, token=token)
    _write_token(tx, row["number"], now)
    advance_position(tx, tokens=True)
    write_order_record(tx, "rotate", replace(by, why=by.why or f"token of node {node}"), cluster=cluster)


def read_known_tokens(tx: Transaction) -> tuple[KnownToken, ...]:
    """All tokens of all fleets."""
    rows = tx.execute(
        "SELECT token.digest, node.fleet, node.cluster, node.kind, node.node,"
        " token.digest = node.token AS is_current, token.ended"
        " FROM node_token AS token JOIN polled_node AS node ON node.number = token.node"
        " ORDER BY node.number, token.generation, token.digest"
    )
    return tuple(
        KnownToken(
            row["digest"],
            row["fleet"],
            row["cluster"],
            row["kind"],
            row["node"],
            bool(row["is_current"]),
            parse_timestamp(row["ended"]) if row["ended"] else None,
        )
        for row in rows
    )


def use_token(tx: Transaction, digest: str, number: int, at: str) -> None:
    """Write the first use of a token; that of the current one ends all others."""
    row = tx.execute(
        "SELECT token.digest = node.token AS is_current, token.generation > node.generation AS is_newer,"
        " token.generation FROM node_token AS token"
        " JOIN polled_node AS node ON node.number = token.node"
        " WHERE token.digest = ? AND token.node = ? AND token.used IS NULL AND token.ended IS NULL",
        (digest, number),
    ).fetchone()
    if row is None:
        return
    tx.execute("UPDATE node_token SET used = ? WHERE digest = ?", (at, digest))
    if not (row["is_current"] or row["is_newer"]):
        return
    tx.execute(
        "UPDATE node_token SET ended = ? WHERE node = ? AND digest != ? AND ended IS NULL",
        (at, number, digest),
    )
    # The node server knows what its own calls end: if thousands of nodes use new tokens, it must not read all
    # tokens again for each of them. It does not know of a newer token than that of a restored backup.
    if row["is_newer"]:
        tx.execute(
            "UPDATE polled_node SET token = ?, generation = ? WHERE number = ?",
            (digest, row["generation"], number),
        )
        advance_position(tx, tokens=True)


def mark_restored(connection: SqlConnection) -> None:
    """Mark nodes and offers as those of a backup: what was done since is not known."""
    # What a node has since taken is not known, so that nothing of the backup may be delivered to it; it stays
    # evidence of what a version contains.
    connection.execute("UPDATE node_offer SET restored = TRUE, withdrawn = TRUE")
    connection.execute("UPDATE polled_node SET restored = TRUE")


def _foresee_tokens(tx: Transaction, key: HostKey, row: Row) -> None:
    """Make tokens count that a node may have got after the backup; the first use of one makes it current."""
    tokens = [
        (digest_token(_make_token(key, row["origin"], generation)), row["number"], generation)
        for generation in range(row["generation"] + 1, row["generation"] + 1 + FORESEEN)
    ]
    tx.execute_many(
        "INSERT INTO node_token (digest, node, generation) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        tokens,
    )
    tx.execute("UPDATE polled_node SET restored = FALSE WHERE number = ?", (row["number"],))


def insert_node(tx: Transaction, cluster: str, node: str, origin: str = "") -> int:
    """Write a node that polls, and give its number."""
    (number,) = tx.execute(
        "INSERT INTO polled_node (fleet, cluster, node, origin) VALUES (?, ?, ?, ?) RETURNING number",
        (tx.fleet, cluster, node, origin or _choose_origin(tx, cluster, node)),
    ).fetchone()
    return int(number)


def advance_position(tx: Transaction, nodes: Iterable[int] = (), *, tokens: bool = False) -> None:
    """Count a change of tokens, or of the offers of nodes; see `NodeChanges`."""
    (position,) = tx.execute(
        "UPDATE node_position SET position = position + 1 WHERE what = 'any' RETURNING position"
    ).fetchone()
    if tokens:
        tx.execute("UPDATE node_position SET position = ? WHERE what = 'tokens'", (position,))
    tx.execute_many(
        "UPDATE polled_node SET changed = ? WHERE number = ?", [(position, number) for number in nodes]
    )


def absorb_nodes(tx: Transaction, number: int, other: int) -> None:
    """Move the nodes of one fleet to another one that turned out to be the same."""
    # A node that both know has one of the two tokens: both count until the current one is used.
    rows = tx.execute(
        "SELECT mine.number AS mine, theirs.number AS theirs FROM polled_node AS mine"
        " JOIN polled_node AS theirs USING (cluster, node) WHERE mine.fleet = ? AND theirs.fleet = ?",
        (number, other),
    ).fetchall()
    for row in rows:
        tx.execute("UPDATE node_token SET node = ? WHERE node = ?", (row["mine"], row["theirs"]))
        tx.execute("DELETE FROM polled_node WHERE number = ?", (row["theirs"],))
    moved = tx.execute("SELECT number FROM polled_node WHERE fleet = ?", (other,)).fetchall()
    tx.execute("UPDATE polled_node SET fleet = ? WHERE fleet = ?", (number, other))
    if rows or moved:
        advance_position(tx, [row["number"] for row in moved], tokens=True)


def rename_nodes(tx: Transaction, former: str, name: str) -> None:
    """Move the nodes of a cluster to its new name; their tokens stay."""
    # Nodes under the new name are there if a run of it was refused late: they have the memory of the former.
    tx.execute(
        "DELETE FROM polled_node WHERE fleet = ?1 AND cluster = ?2 AND node IN"
        " (SELECT node FROM polled_node WHERE fleet = ?1 AND cluster = ?3)",
        (tx.fleet, name, former),
    )
    moved = [row["number"] for row in _read_rows(tx, former).values()]
    tx.execute("UPDATE polled_node SET cluster = ? WHERE fleet = ? AND cluster = ?", (name, tx.fleet, former))
    if moved:
        advance_position(tx, moved, tokens=True)


def _read_rows(tx: Transaction, cluster: str) -> dict[str, Row]:
    rows = tx.execute("SELECT * FROM polled_node WHERE fleet = ? AND cluster = ?", (tx.fleet, cluster))
    return {row["node"]: row for row in rows}


def _read_counting_digests(tx: Transaction, cluster: str) -> dict[str, int]:
    rows = tx.execute(
        "SELECT token.digest, token.node FROM node_token AS token"
        " JOIN polled_node AS node ON node.number = token.node"
        " WHERE node.fleet = ? AND node.cluster = ? AND token.ended IS NULL",
        (tx.fleet, cluster),
    )
    return {row["digest"]: row["node"] for row in rows}


def _list_counting(tx: Transaction, number: int) -> list[Row]:
    return tx.execute("SELECT digest FROM node_token WHERE node = ? AND ended IS NULL", (number,)).fetchall()


def _derive_current(key: HostKey, owner: Row | str, digests: Mapping[str, int]) -> _Derivation:
    """The current token of a node, by its row; or the first one of a new node, by its origin."""
    if isinstance(owner, str):
        return _Derivation(owner, 1, _make_token(key, owner, 1))
    origin, generation = owner["origin"], max(1, owner["generation"])
    token = _make_token(key, origin, generation)
    if owner["left"] is not None or not owner["generation"] or digest_token(token) in digests:
        return _Derivation(origin, generation, token)
    # The key of the host is another one: what nodes have counts on, by its digest, until the new one is used.
    return _Derivation(origin, generation + 1, _make_token(key, origin, generation + 1))


def _choose_origin(tx: Transaction, cluster: str, node: str) -> str:
    fleet = tx.fleet
    if fleet == NEW:  # the number that it gets, so that a plan made before its first run has the same tokens
        (fleet,) = tx.execute(tx.dialect.next_fleet).fetchone()
    # A renamed cluster keeps its tokens: a new one of its former name must not get the same.
    own, count = [fleet, cluster, node], 0
    while tx.execute("SELECT 1 FROM polled_node WHERE origin = ?", (json.dumps(own),)).fetchone():
        count += 1
        own = [fleet, cluster, node, count]
    return json.dumps(own)


def _make_token(key: HostKey, origin: str, generation: int) -> str:
    mac = key.make_mac(json.dumps([origin, generation]), "node tokens")
    return urlsafe_b64encode(mac).decode().rstrip("=")


def _write_token(tx: Transaction, number: int, derived: _Derivation) -> None:
    tx.execute(
        "UPDATE polled_node SET generation = ?, token = ? WHERE number = ?",
        (derived.generation, derived.digest, number),
    )
    tx.execute(
        "INSERT INTO node_token (digest, node, generation) VALUES (?, ?, ?) ON CONFLICT (digest) DO NOTHING",
        (derived.digest, number, derived.generation),
    )
