"""The answer of a node's API about its peers: read strictly and within bounds; pure.

The API sends `{"success": bool, "error": "", "data": "JSON as a text"}`: what matters is JSON in JSON.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.drivers.gocluster.quorum import has_quorum
from reconciler.text.one_line import make_one_line

OFFLINE: Final = "Offline"
AUTHENTICATING: Final = "Authenticating"
STOPPING: Final = "Stopping"
ONLINE: Final = "Online"
LEAVING: Final = "Leaving"
STATUSES: Final = frozenset({OFFLINE, AUTHENTICATING, STOPPING, ONLINE, LEAVING})
"""What the library's constants are; a peer with any other status does not count as connected."""

NEVER: Final = "0001-01-01T00:00:00Z"
"""`jointime` of a peer that is not connected: Go's zero time."""

LONGEST_ERROR: Final = 300
"""Characters of a node's own words that are kept."""

_LIMITS: Final = JsonLimits(size=2 * 1024 * 1024, values=40_000, depth=8)
_MOST_PEERS: Final = 2_000
_MOST_MANAGERS: Final = 100
_NAME: Final = re.compile(r"[^\x00-\x20\x7f/]{1,253}")
_ADDRESS: Final = re.compile(r"[!-~]{0,300}")
_WORD: Final = re.compile(r"[A-Za-z]{1,32}")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_INT64: Final = 2**63


class UnreadableView(ValueError):
    """An answer is not what the library sends; the text says why, to follow "it"."""


class RefusedView(Exception):
    """The library answered that it refuses, with `success: false`; the text is its own `error`."""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """What a node shows of one configured peer.

    Args:
        error: why it is not connected, in the library's words; not compared, as it may quote anything.
        joined: `jointime`, as text; another one after each join.
        lag: nanoseconds; changes by itself.
        packets: received; changes by itself.
    """

    name: str
    address: str
    status: str
    error: str = field(default="", compare=False)
    joined: str = field(default=NEVER, compare=False)
    lag: int = field(default=0, compare=False)
    packets: int = field(default=0, compare=False)

    @property
    def is_online(self) -> bool:
        """Whether the node is connected to it and has announced it."""
        return self.status == ONLINE


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node shows: the peers of its own configuration, itself not among them.

    Args:
        peers: sorted by name.
    """

    peers: tuple[PeerRow, ...]

    def peer(self, name: str) -> PeerRow | None:
        """The row of one peer; None where it is not configured."""
        place = bisect_left(self.peers, name, key=lambda row: row.name)
        found = self.peers[place] if place < len(self.peers) else None
        return found if found is not None and found.name == name else None

    @property
    def connected(self) -> frozenset[str]:
        """The peers that it is connected to."""
        return frozenset(row.name for row in self.peers if row.is_online)

    @property
    def has_quorum(self) -> bool:
        """Whether it has the quorum in its own view.

        A lower bound: the library also counts connected nodes that it does not show, those not configured.
        """
        return has_quorum(len(self.peers), len(self.connected))


def parse_managers(body: bytes) -> tuple[str, ...]:
    """The names of the managers in a process, from `GET /api/v1/cluster`, sorted.

    Raises:
        UnreadableView: it is not such an answer.
        RefusedView: the library refused.
    """
    names = _read_data(body)
    if isinstance(names, dict):
        names = list(names)
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise UnreadableView("has no list of names")
    if len(names) > _MOST_MANAGERS or len(set(names)) != len(names):
        raise UnreadableView("lists too many managers, or one twice")
    if not all(map(_NAME.fullmatch, names)):
        raise UnreadableView("lists a name that no manager can have")
    return tuple(sorted(names))


def parse_view(body: bytes) -> NodeView:
    """The peers of a node, from `GET /api/v1/cluster/NAME`.

    Raises:
        UnreadableView: it is not such an answer.
        RefusedView: the library refused.
    """
    data = _read_data(body)
    nodes = data.get("nodes") if isinstance(data, dict) else None
    # Go writes a map without members as `null` if it was never made.
    if isinstance(data, dict) and "nodes" in data and nodes is None:
        nodes = {}
    if not isinstance(nodes, dict):
        raise UnreadableView("has no object `nodes`")
    if len(nodes) > _MOST_PEERS:
        raise UnreadableView(f"lists more than {_MOST_PEERS:,} peers")
    return NodeView(tuple(sorted((_read_row(*item) for item in nodes.items()), key=lambda row: row.name)))


def _read_data(body: bytes) -> Any:
    """What is in the envelope, decoded a second time."""
    if not body.strip():
        # An admin call without a cookie is answered so, too: nothing follows from it.
        raise UnreadableView("is empty")
    envelope = _read_strictly(body)
    if not isinstance(envelope, dict) or type(envelope.get("success")) is not bool:
        raise UnreadableView("is no envelope with `success`, `error` and `data`")
    if not isinstance(envelope.get("error"), str) or not isinstance(envelope.get("data"), str):
        raise UnreadableView("is no envelope with `success`, `error` and `data`")
    if not envelope["success"] or envelope["error"]:
        raise RefusedView(make_one_line(envelope["error"], LONGEST_ERROR) or "it gives no reason")
    return _read_strictly(envelope["data"].encode())


def _read_strictly(body: bytes) -> Any:
    """The JSON value; refused if an object has a name twice, since readers differ in which one counts."""
    try:
        value = read_json(body, _LIMITS)
        json.loads(body, object_pairs_hook=_refuse_repetition)
    except JsonError as error:
        raise UnreadableView(f"cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnreadableView):
            raise
        raise UnreadableView("cannot be read as JSON") from error
    return value


def _refuse_repetition(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UnreadableView("has a name twice in one object")
    return found


def _read_row(name: str, row: Any) -> PeerRow:
    if not isinstance(row, dict) or not _NAME.fullmatch(name):
        raise UnreadableView("has a peer that is no object, or whose name no node can have")
    if row.get("name") != name:
        raise UnreadableView("has a peer under another name than its own")
    texts: dict[str, Any] = {key: row.get(key) for key in ("addr", "status", "error", "jointime")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise UnreadableView("has a peer without `addr`, `status`, `error` or `jointime`")
    forms = (_ADDRESS.fullmatch(texts["addr"]), _WORD.fullmatch(texts["status"]))
    if not all(forms) or not _TIME.fullmatch(texts["jointime"]):
        raise UnreadableView("has a peer with an address, a status or a time of another form")
    numbers = [row.get("lag"), row.get("packets")]
    if not all(type(one) is int and -_INT64 <= one < _INT64 for one in numbers):
        raise UnreadableView("has a peer whose `lag` or `packets` is no whole number of 64 bits")
    return PeerRow(
        name=name,
        address=texts["addr"],
        status=texts["status"],
        error=make_one_line(texts["error"], LONGEST_ERROR),
        joined=texts["jointime"],
        lag=row["lag"],
        packets=row["packets"],
    )
