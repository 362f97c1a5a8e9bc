"""What the store remembers of a cluster's nodes, by name of the fact."""

from __future__ import annotations

from typing import Final

OUTDATED: Final = "outdated_start"
"""Of a server or Redis: the start that it showed when its file was changed, and that uses the former file."""

STARTED: Final = "started"
"""Of a server: the last start that it showed, for a change of its file while it does not answer."""

RESTARTED_FOR: Final = "restarted_for"
"""Of a server: fingerprint of the values that it shows and was restarted for last."""

LEAVING: Final = "leaving"
"""Of the load balancer: servers that it no longer uses and that are not stopped yet, joined by commas."""

STATUS: Final = "status"
"""Of a server, beside `OUTDATED`: where that start was read."""

STOPPED: Final = "stopped"
"""Of a server that left the fleet file: the start that it showed when a run of this host stopped it."""

INTERRUPTED: Final = "interrupted"
"""Of a server: the start that it showed when a run of this host restarted Redis, until it serves again."""

KEYS: Final = "file_keys"
"""Of a server or Redis: the keys that were delivered to its file, see `file_delivery.delivered_keys`."""
