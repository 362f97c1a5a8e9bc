"""The secret that is shared with the forge, read again at each call, so that a new one needs no restart."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.errors import UsageError
from reconciler.host.credentials import WEBHOOK_SECRET, read_credential
from reconciler.server.logs import Log


class WebhookSecret:
    """Gives the secret as its variable or its file has it now.

    Args:
        environment: of the process.
        first: the secret at the start, which stays in force while the file cannot be read.
        log: where a change, and a file that cannot be read, are logged once.
    """

    def __init__(self, environment: Mapping[str, str], first: str, log: Log) -> None:
        self._environment = environment
        self._last = first
        self._log = log
        self._problem = ""

    def __call__(self) -> str:
        """The secret now; empty to accept no calls."""
        try:
            found, problem = read_credential(self._environment, WEBHOOK_SECRET), ""
        except UsageError as error:  # it is being written: the last one is still right for most calls
            found, problem = self._last, error.message
        if problem and problem != self._problem:
            self._log.warning("webhook secret cannot be read", message=problem)
        if found != self._last:
            self._log.info("webhook secret changed")
        self._last, self._problem = found, problem
        return found
