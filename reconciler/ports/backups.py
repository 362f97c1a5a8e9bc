"""Backups that nodes write by themselves after they have loaded what was delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BACKUP_MISSING: Final = "backup-missing"
"""Code of the finding that a node did not write its backup."""

BACKUP_UNKNOWN: Final = "backup-unknown"
"""Code of the finding that nobody can say whether a node wrote its backup."""


@dataclass(frozen=True, slots=True)
class ExpectedBackup:
    """A backup that one node of a cluster should write.

    Args:
        hostname: what the node calls itself; empty if every node writes one.
        bucket: where; empty if that is not known.
        path: below which, without slashes at its ends.
        nodes: names of the nodes whose content says so.
        is_automatic: whether it is written after every change.
        seconds: in which one attempt to write it ends.
    """

    hostname: str
    bucket: str
    path: str
    nodes: frozenset[str]
    is_automatic: bool = True
    seconds: float = 30.0
