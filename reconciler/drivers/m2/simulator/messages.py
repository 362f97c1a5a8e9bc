"""The messages v1 that a simulated node sends and reads (M2 manual, Message v1); pure.

It reads and writes without the code of the central server: an error there must not be repeated by the
simulator that tests it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.canonical import write_json
from reconciler.core.json_reader import JsonError, read_json
from reconciler.drivers.m2.machine import LIMITS, lookup

PRODUCT: Final = "2.8.1"
"""The product version in the messages, from the manual's examples."""

MODULE: Final = "22.02.0"
"""The version in the results, from the manual's examples; it differs from `PRODUCT` there."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Sender:
    """What a node says of itself.

    Args:
        name: its hostname.
        address: its address.
    """

    name: str
    address: str

    def describe(self, running: Mapping[str, Any] | None) -> dict[str, Any]:
        """The object `node` of a message."""
        return {
            "productVer": PRODUCT,
            "settingVer": lookup(running, "meta.version"),
            "licenseId": "KR200099999",
            "hostname": self.name,
            "iplist": [self.address],
        }


def make_heartbeat(sender: Sender, running: Mapping[str, Any] | None) -> bytes:
    """The message of a heartbeat."""
    return write_json({"messageVer": "1", "node": sender.describe(running)})


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a setting.

    Args:
        status: `ok`, or the reason of a failure.
        url: from which it came; empty for a direct call, and at a start.
        last_modified: header of the package; empty if it had none.
        waiting: `notupdated` of the answer of the API: the fields that wait for a restart.
    """

    status: str
    url: str = ""
    last_modified: str = ""
    waiting: Sequence[Any] = ()


def make_setting_feedback(
    sender: Sender,
    running: Mapping[str, Any] | None,
    result: LoadResult,
    *,
    api: str,
    event: str,
    userdata: Any,
    setting: bytes | None,
) -> bytes:
    """The message about a setting.

    Args:
        sender: the node.
        running: its setting after the change.
        result: what became of the setting.
        api: that was called.
        event: the reason of the call.
        userdata: of the feed.
        setting: the loaded setting.json as bytes; None if it is not sent.
    """
    fields: list[tuple[str, bytes]] = [
        ("version", write_json(MODULE)),
        ("method", b'"deploy"'),
        ("status", write_json(result.status)),
    ]
    if result.last_modified:
        fields.append(("lastModified", write_json(result.last_modified)))
    if result.waiting:
        fields.append(("notupdated", write_json(list(result.waiting))))
    # A second time, as in the manual's example: first the version of M2, then that of the setting.
    fields.append(("version", write_json(lookup(running, "meta.version"))))
    parameter = [("url", write_json(result.url))] if result.url else []
    return _write_object(
        [
            ("messageVer", b'"1"'),
            ("node", write_json(sender.describe(running))),
            ("userdata", write_json(userdata)),
            ("action", write_json({"api": api, "event": event})),
            ("parameters", b"[" + _write_object([*parameter, ("result", _write_object(fields))]) + b"]"),
            ("setting", b"null" if setting is None else setting),
        ]
    )


def _write_object(fields: Sequence[tuple[str, bytes]]) -> bytes:
    """A JSON object of written values; unlike a dictionary, it may have a name twice."""
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields) + b"}"


@dataclass(frozen=True, slots=True)
class UrlPurge:
    """What a purge of one URL did; `status` is `OK`, or the reason of a failure."""

    url: str
    status: str
    count: int = 0
    size: int = 0
    time: int = 0


def read_purge_result(url: str, status: int, body: bytes) -> UrlPurge:
    """What a purge did, from the answer of the API; its capitals become lower case in a report."""
    try:
        answer = read_json(body, LIMITS)
    except JsonError:
        return UrlPurge(url, f"status {status}")
    done = answer.get("result")
    if not isinstance(done, dict):
        return UrlPurge(url, str(done))
    return UrlPurge(url, answer["status"], done["Count"], done["Size"], done["Time"])


def make_purge_feedback(
    sender: Sender,
    running: Mapping[str, Any] | None,
    results: Sequence[UrlPurge],
    *,
    event: str,
    userdata: Any,
) -> bytes:
    """The message about a purge."""
    parameters = [
        {
            "url": one.url,
            "result": {
                "version": MODULE,
                "method": "purge",
                "status": one.status,
                "result": {"count": one.count, "size": one.size, "time": one.time},
            },
        }
        for one in results
    ]
    return write_json(
        {
            "messageVer": "1",
            "node": sender.describe(running),
            "userdata": userdata,
            "action": {"api": "/command/purge", "event": event},
            "parameters": parameters,
        }
    )


def make_nodelist_feedback(
    sender: Sender,
    running: Mapping[str, Any] | None,
    instances: Sequence[str],
    replaced: Mapping[str, Sequence[str]],
) -> bytes:
    """The message about a changed list of nodes.

    Args:
        sender: the node.
        running: its setting after the change.
        instances: the addresses that were found.
        replaced: hosting -> the addresses of its origin before.
    """
    hosting = [
        {"name": name, "updated": {"field": "origin.address", "values": list(values)}}
        for name, values in replaced.items()
    ]
    return write_json(
        {
            "messageVer": "1",
            "node": sender.describe(running),
            "nodelist": list(instances),
            "hosting": hosting,
        }
    )


@dataclass(frozen=True, slots=True)
class ReceivedFeed:
    """A message of the central server.

    Args:
        api: to call.
        urls: of its parameters.
        userdata: comes back unchanged in the report.
    """

    api: str
    urls: tuple[str, ...]
    userdata: Any


class MalformedFeed(ValueError):
    """A message is not in the form of the manual."""


def is_report(body: bytes) -> bool:
    """Whether a message is the report of a node: only those have `node`."""
    try:
        message = read_json(body, LIMITS)
    except JsonError:
        return False
    return isinstance(message, dict) and "node" in message


def read_feed(body: bytes) -> ReceivedFeed:
    """A message of the central server, read strictly.

    Raises:
        MalformedFeed: it does not have the form of the manual's examples.
    """
    try:
        message = read_json(body, LIMITS)
    except JsonError as error:
        raise MalformedFeed(f"the feed is not JSON: {error}") from error
    if not isinstance(message, dict) or message.get("messageVer") != "1":
        raise MalformedFeed("the feed has no messageVer 1")
    if not isinstance(message.get("timestamp"), str) or not _TIMESTAMP.fullmatch(message["timestamp"]):
        raise MalformedFeed("the feed has no timestamp in ISO 8601 with milliseconds")
    if unknown := set(message) - {"messageVer", "timestamp", "userdata", "action", "parameters"}:
        raise MalformedFeed(f"the feed has unknown keys: {', '.join(sorted(unknown))}")
    api = lookup(message, "action.api")
    parameters = message.get("parameters", [])
    if not isinstance(api, str) or "userdata" not in message or not isinstance(parameters, list):
        raise MalformedFeed("the feed has no action.api, no userdata, or no list of parameters")
    urls = [one.get("url") if isinstance(one, dict) else None for one in parameters]
    if not all(isinstance(url, str) and url for url in urls):
        raise MalformedFeed("a parameter of the feed has no url")
    return ReceivedFeed(api, tuple(str(url) for url in urls), message["userdata"])
