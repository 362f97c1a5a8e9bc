"""Sends one message to one address by Apprise, and says why it failed without showing the address."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.host.credentials import find_key_file, read_key_text
from reconciler.host.extras import import_extra
from reconciler.host.notification_rules import VARIABLES
from reconciler.notifications.message_text import NoticeMessage
from reconciler.notifications.routing import Address

SERVICE_SECONDS: Final = 20.0
"""Seconds that a service has for one message."""

_WAIT: Final = "cto=5&rto=10"
"""Seconds for a connection and for an answer, unless the address says something else."""

_STATUS: Final = re.compile(r"error=(\d{3})\b")
_FORM: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,40}://[\x21-\x7e]{1,4000}")
_LIBRARIES: Final = ("apprise", "urllib3")
_TOLD: Final = {
    401: ", so that its login or token does not count",
    403: ", so that its login or token does not count",
    404: ", so that the address does not exist any more",
    429: ": too many messages",
}


def read_address(address: Address, environment: Mapping[str, str]) -> str:
    """The URL of an address; read at each use, so that a new one needs no restart.

    Raises:
        UsageError: it cannot be read, or is no URL; the message shows nothing of it.
    """
    place = address.place
    if isinstance(place, str) and place.startswith(f"${VARIABLES}"):
        text = environment.get(place[1:], "").strip()
        if not text:
            raise UsageError(f"the variable {place[1:]} is not set", remedy="set it to the address")
    else:
        text = read_key_text(find_key_file(place, environment), "the file with an address").strip()
    if not _FORM.fullmatch(text):
        raise UsageError(
            f"what is in {place} is no address",
            remedy="write one URL into it, such as slack://…; Apprise's documentation lists the services",
        )
    return text


def send_by_apprise(url: str, message: NoticeMessage) -> str:
    """Send a message; gives why it failed, or an empty text. It blocks for `SERVICE_SECONDS` at most.

    Args:
        url: the address.
        message: to send.

    Raises:
        UsageError: Apprise is not installed.
    """
    apprise = import_extra("apprise", "notify", "Notifications")
    # Their lines contain parts of addresses, also headers, whatever their options about privacy say.
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        if logger.propagate:
            logger.propagate = False
            logger.addHandler(logging.NullHandler())  # without one, warnings go to standard error
    asset = apprise.AppriseAsset(
        # In memory only: the other modes keep files beside the state, with what a service answered.
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        service_timeout=SERVICE_SECONDS,
        allow_templates=False,
        secure_logging=True,
        async_mode=False,
        http_redirects=False,
        app_id="reconciler",
        app_desc="",
        app_url="",
    )
    service = apprise.Apprise.instantiate(_add_waits(url), asset=asset, suppress_exceptions=True)
    if not service:
        return "Apprise knows no service with such an address"
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        body=message.body or message.subject, title=message.subject, body_format=apprise.NotifyFormat.TEXT
    )
    return "" if result else _describe_failure(result)


def _add_waits(url: str) -> str:
    """An address with shorter waits than a service would have by default; its own ones count."""
    return url if "rto=" in url else f"{url}{'&' if '?' in url else '?'}{_WAIT}"


def _describe_failure(result: Any) -> str:
    """Why a message was not delivered: of what the library logs only the status of an answer is passed on."""
    statuses = [found[1] for entry in result.logs() if (found := _STATUS.search(str(entry)))]
    if statuses:
        return f"the service answered {statuses[-1]}{_TOLD.get(int(statuses[-1]), '')}"
    return "the service did not answer in time, or refused the message"
