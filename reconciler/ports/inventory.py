"""Where the addresses of nodes come from that a fleet file names and does not place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler.core.endpoint import Endpoint


class Inventory(Protocol):
    """A list of machines that somebody else keeps, such as that of a cloud."""

    async def endpoints(self, cluster: str) -> Mapping[str, Endpoint]:
        """Node name -> where it is reached now, of the nodes of one cluster that the list knows.

        Args:
            cluster: its name in the fleet file.

        Raises:
            SourceError: the list cannot be read.
            SourceUnreachable: whoever keeps it does not answer.
        """
