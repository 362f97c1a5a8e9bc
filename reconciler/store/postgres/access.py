"""What this host needs to use a database that several hosts share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.store.postgres.address import PostgresAddress

LEASE_SECONDS: Final = 30.0
"""How long a lease lasts after its last renewal."""


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """A host, as the others see it.

    Args:
        name: of the machine.
        rules: section of its configuration -> digest of what a plan depends on in it; None for a command that
            takes no pass.
    """

    name: str
    rules: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """How this host uses a database.

    Args:
        address: of the database.
        key: file with the key of the store, the same on every host.
        host: this one.
        lease: seconds that a lease lasts.
    """

    address: PostgresAddress
    key: Path
    host: HostIdentity
    lease: float = LEASE_SECONDS

    def __str__(self) -> str:
        return str(self.address)
