"""What people ordered and runs concluded beside the desired state: suspensions, rejections, approvals.

They are facts of a cluster, or of the whole fleet under the empty cluster name, and hold JSON.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from reconciler.core.history import Suspension
from reconciler.core.timestamps import moment

SUSPENDED = "suspended"
"""Fact of a cluster or of the fleet: `reconcile suspend` was given for it."""

ASKED = "asked"
"""Fact of a cluster: the plan that last waited for an approval."""

_APPROVED = "approved/"
_REJECTED = "rejected/"

Facts = dict[str, dict[str, str]]
"""Node, here always the empty one, -> key -> value, as `Store.remember` takes them."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A revision that failed its gates in a cluster."""

    cluster: str
    revision: str
    short: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """A plan of a cluster that waits for an approval.

    Args:
        digest: of the plan with this cluster alone.
        words: what it would do, for whoever is to approve it.
    """

    cluster: str
    digest: str
    short: str
    words: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """Somebody's word that a plan may be applied, once."""

    digest: str
    by: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Orders:
    """All of them, each sorted by cluster and time."""

    suspensions: tuple[Suspension, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    requests: tuple[Request, ...] = ()
    approvals: tuple[Approval, ...] = ()


def suspension(reason: str, by: str) -> Facts:
    """The fact of a suspension."""
    return _fact(SUSPENDED, reason=reason, by=by)


def resumption() -> Facts:
    """Forgets a suspension."""
    return {"": {SUSPENDED: ""}}


def rejection(revision: str, short: str, reason: str) -> Facts:
    """The fact that a revision is not to be tried again."""
    return _fact(f"{_REJECTED}{revision}", short=short, reason=reason)


def request(digest: str, short: str, words: str) -> Facts:
    """The fact that a plan waits for an approval; there is one for each cluster."""
    return _fact(ASKED, digest=digest, short=short, words=words)


def approval(digest: str, by: str, reason: str) -> Facts:
    """The fact that a plan may be applied, kept for the whole fleet."""
    return _fact(f"{_APPROVED}{digest}", by=by, reason=reason)


def used(digest: str) -> Facts:
    """Forgets an approval: it was for one run."""
    return {"": {f"{_APPROVED}{digest}": ""}}


def orders(connection: sqlite3.Connection) -> Orders:
    """All orders that stand."""
    found: dict[str, list[tuple[str, str, dict[str, str], datetime]]] = defaultdict(list)
    rows = connection.execute(
        "SELECT cluster, key, value, since FROM fact WHERE node = '' ORDER BY cluster, since, key"
    )
    for row in rows:
        kind, slash, name = row["key"].partition("/")
        if kind + slash in {SUSPENDED, ASKED, _APPROVED, _REJECTED}:
            found[kind].append((row["cluster"], name, json.loads(row["value"]), moment(row["since"])))
    return Orders(
        suspensions=tuple(
            Suspension(cluster, since=at, **value) for cluster, _, value, at in found[SUSPENDED]
        ),
        rejections=tuple(
            Rejection(cluster, name, since=at, **value) for cluster, name, value, at in found["rejected"]
        ),
        requests=tuple(Request(cluster, since=at, **value) for cluster, _, value, at in found[ASKED]),
        approvals=tuple(Approval(name, since=at, **value) for _, name, value, at in found["approved"]),
    )


def _fact(key: str, **value: str) -> Facts:
    return {"": {key: json.dumps(value, sort_keys=True)}}
