"""Addresses of nodes that a fleet file names without an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler.core.endpoint import Endpoint


class Inventory(Protocol):
    """An external list of machines, such as that of a cloud provider."""

    async def endpoints(self, cluster: str) -> Mapping[str, Endpoint]:
        """Node name -> its current endpoint, for the listed nodes of one cluster.

        Args:
            cluster: its name in the fleet file.

        Raises:
            SourceError: the list cannot be read.
            SourceUnreachable: the service does not answer.
        """
