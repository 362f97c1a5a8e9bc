"""Servers that earlier revisions named: what stops running when the fleet file names it no more; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from reconciler.core.prior_revisions import PriorRevisions
from reconciler.drivers.collab.schema import CollabCluster, CollabServer, FormerServer

MOST: Final = 100
"""Former servers that are read at most: earlier files may name any number."""


def find_former_servers(entry: CollabCluster, prior: PriorRevisions) -> tuple[FormerServer, ...]:
    """The servers of earlier revisions that this one does not name, sorted by name.

    One whose address belongs to a node of this revision under another name is left out: it was renamed.
    """
    names = {node.name for node in entry.members()}
    addresses = {node.endpoint() for node in entry.members()}
    found: dict[str, FormerServer] = {}
    for cluster in prior.clusters:
        for name, raw in sorted(cluster.nodes.items()):
            server = _read(raw)
            if server is None or name in names or server.address in addresses or len(found) >= MOST:
                continue
            found.setdefault(name, FormerServer(server.name, server.host, server.port, server.status or ""))
    return tuple(found[name] for name in sorted(found))


def _read(raw: Mapping[str, Any]) -> CollabServer | None:
    try:
        return CollabServer.model_validate(
            {key: raw[key] for key in ("name", "host", "port", "status") if key in raw}
        )
    except ValidationError:
        return None
