"""Reads what nodes POST: feedback, heartbeats, lists of nodes (M2 manual, Message v1); pure.

Every report is validated with the published JSON Schema of its kind. All kinds may come to one URL: they are
told apart by `action.api`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import jsonschema_rs

from reconciler.core.canonical import write_json
from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.offers import OfferFeed
from reconciler.drivers.m2.central_server.messages import make_message_schema
from reconciler.drivers.m2.purge_targets import InvalidTarget, read_target
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value
from reconciler.ports.central_server import InvalidReport, ReceivedReport
from reconciler.secrets.redaction import SHAPES
from reconciler.text.http_dates import parse_http_date
from reconciler.text.numbers import normalise_whole, read_any_number, read_whole_number
from reconciler.text.one_line import LONGEST_NAME, LONGEST_SENTENCE, make_one_line

SETTING: Final = "setting.feedback"
PURGE: Final = "purge.feedback"
NODELIST: Final = "nodelist.feedback"
HEARTBEAT: Final = "heartbeat.feedback"
OTHER: Final = "other.feedback"
"""Of an action that this program does not know: the node was heard, no more."""

LIMITS: Final = JsonLimits(size=9 * 1024 * 1024, values=250_000)
"""Of a report: a setting as large as files may have (`setting.check.LIMITS`), and what is about it."""

LARGEST_BODY: Final = 1024 * 1024
"""Bytes of a report without the setting."""

MOST_RESULTS: Final = 100
"""Results in a report that are stored; all of them are counted."""

MOST_ADDRESSES: Final = 64
"""Addresses of a node that are read."""

MOST: Final = 2**63 - 1
"""Highest number of a total."""

PURGES: Final = frozenset({"purge", "expire", "expireafter", "hardpurge"})
"""Last parts of the calls that remove content; `/command/async/purge` is one, too."""

_FEEDS: Final = {SETTING: OfferFeed.SETTING, PURGE: OfferFeed.PURGE}
"""Kind of report -> the feed whose offers it has results of."""

_CALLED: Final = "/_api_/"
"""Begin of the event of a report about a call of the node's API."""

_VERSION: Final = b'"version"'


def is_feed(body: bytes) -> bool:
    """Whether a message is a feed of a central server: it has an action without an event, and no node."""
    try:
        message = read_json(body, LIMITS)
    except JsonError:
        return False
    action = message.get("action") if isinstance(message, Mapping) and "node" not in message else None
    return isinstance(action, Mapping) and "api" in action and "event" not in action


def read_report_body(body: bytes) -> ReceivedReport:
    """The report in a body.

    Raises:
        InvalidReport: it is not one, or too large.
    """
    try:
        message = read_json(body, LIMITS)
    except JsonError as error:
        raise InvalidReport(str(error)) from error
    if not isinstance(message, Mapping):
        raise InvalidReport("it is not an object")
    kind = _choose_kind(message)
    setting = message.get("setting") if kind == SETTING else None
    if not isinstance(setting, Mapping):
        setting = None
    # Of a setting, only that it is an object matters here: the rest is checked where it is compared.
    rest = dict(message) if setting is None else {**message, "setting": {}}
    _validate(kind, rest)
    if setting is not None:
        del rest["setting"]
    content = None if setting is None else write_json(setting)
    stored = _shorten(_keep_both_versions(body, rest, content or b""))
    text = write_json(stored)
    if len(text) > LARGEST_BODY:
        raise InvalidReport(f"it has {len(text):,} bytes without the setting, more than {LARGEST_BODY:,}")
    return _read_fields(kind, message, content, text)


def _keep_both_versions(body: bytes, rest: Mapping[str, Any], content: bytes) -> Mapping[str, Any]:
    """The message without its setting; in results with two keys `version`, the first one is `productVersion`.

    The documents have both in one object: first the version of the product, then that of the setting. Readers
    keep the last one.
    """
    if body.count(_VERSION) == content.count(_VERSION) + write_json(rest).count(_VERSION):
        return rest

    def read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        versions = [value for key, value in pairs if key == "version"]
        first = {"productVersion": versions[0]} if len(versions) > 1 and isinstance(versions[0], str) else {}
        return {**dict(pairs), **first}

    # The setting is the last key in the documents: then it need not be read again. The limits were checked
    # before.
    head = body[: body.find(b'"setting"')] + b'"setting":{}}'
    text = head if content and _equals(head, {**rest, "setting": {}}) else body
    again = json.loads(
        text, object_pairs_hook=read_pairs, parse_int=read_whole_number, parse_float=read_any_number
    )
    return {**rest, "parameters": again["parameters"]} if "parameters" in again else rest


def _equals(text: bytes, value: Any) -> bool:
    try:
        found: bool = read_json(text, LIMITS) == value
    except JsonError:
        return False
    return found


def _shorten(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message with at most `MOST_RESULTS` results, the failed ones first: a purge may have thousands."""
    found = message.get("parameters")
    if not isinstance(found, list) or len(found) <= MOST_RESULTS:
        return message
    found = sorted(found, key=lambda one: str(get_value(one, ("result", "status"))).casefold() == "ok")
    return {**message, "parameters": found[:MOST_RESULTS], "leftOut": len(found) - MOST_RESULTS}


def _choose_kind(message: Mapping[str, Any]) -> str:
    action = message.get("action")
    if action is None:
        return NODELIST if "nodelist" in message else HEARTBEAT
    api = action.get("api") if isinstance(action, Mapping) else None
    if not isinstance(api, str):
        raise InvalidReport("action.api is not a text")
    if api.startswith("/setting/"):
        return SETTING
    return PURGE if api.startswith("/command/") and api.rpartition("/")[2] in PURGES else OTHER


def _validate(kind: str, message: Mapping[str, Any]) -> None:
    for error in make_validator(HEARTBEAT if kind == OTHER else kind).iter_errors(message):
        innermost = _find_innermost(error)
        where = ".".join(str(part) for part in innermost.instance_path)
        why = make_one_line(innermost.message, LONGEST_NAME)
        raise InvalidReport(f"it is no {kind}: {where}: {why}" if where else f"it is no {kind}: {why}")


def _find_innermost(error: Any) -> Any:
    """Of an error about several alternatives, the deepest one inside: most keys may also be null."""
    while inner := [one for alternative in getattr(error.kind, "context", ()) for one in alternative]:
        error = max(inner, key=lambda one: len(one.instance_path))
    return error


@cache
def make_validator(kind: str) -> Any:
    """The validator of a kind of message: it reads nothing from outside, and its messages quote nothing."""
    return jsonschema_rs.Draft202012Validator(make_message_schema(kind), offline=True, mask="the value")


def _read_fields(kind: str, message: Mapping[str, Any], content: bytes | None, body: bytes) -> ReceivedReport:
    node = message["node"]
    results = _list_results(message)
    succeeded: bool | None = None
    reason, totals = "", {}
    label = node.get("settingVer")
    if kind in (SETTING, PURGE) and results:
        failures = [one for one in results if one[1].get("status", "").casefold() != "ok"]
        succeeded = not failures
        reason = _describe_failures(kind, failures)
        if kind == PURGE:
            totals = _add_totals(results) | ({"failed": len(failures)} if failures else {})
        elif succeeded and content is None:
            version = results[-1][1].get("version")
            label = label if version is None else version
    if content is not None:
        label = get_value(message, ("setting", "meta", "version"))
    # Any report may echo `userdata`; only one with results proves something about an offer.
    about = _FEEDS.get(kind) if results else None
    offer = get_value(message, ("userdata", "offer")) if about is not None else None
    run = get_value(message, ("userdata", "run")) if about is not None else None
    # What came by a call, or is loaded at the start, has no date of a feed.
    event = str(get_value(message, ("action", "event")) or "")
    is_polled = not event.startswith((_CALLED, "/_sys_/"))
    is_called = kind == PURGE and not offer and event.startswith(_CALLED)
    is_dated = kind == SETTING and is_polled
    dates = [parse_http_date(one[1].get("lastModified") or "") for one in results if is_dated]
    return ReceivedReport(
        kind=kind,
        hostname=make_one_line(node["hostname"], LONGEST_NAME),
        addresses=tuple(make_one_line(one, LONGEST_NAME) for one in node["iplist"][:MOST_ADDRESSES]),
        about=None if is_called else about,
        offer=offer if isinstance(offer, str) and len(offer) <= LONGEST_NAME else "",
        run=run if isinstance(run, str) and len(run) <= LONGEST_NAME else "",
        last_modified=next((one for one in dates if one is not None), None),
        succeeded=succeeded,
        reason=reason,
        totals=totals,
        targets=_read_targets(results) if is_called else (),
        label=format_label(label),
        links=tuple(url for url, _ in results[:MOST_RESULTS]) if kind == SETTING else (),
        is_known=kind != OTHER,
        content=content,
        body=body,
    )


def format_label(version: Any) -> str:
    """A `meta.version` as text, as the header of a poll shows it; empty for none."""
    if isinstance(version, bool) or not isinstance(version, str | int | float):
        return ""
    return str(normalise_whole(version)) if isinstance(version, int | float) else version


def _list_results(message: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(URL, result) of each parameter that has a result."""
    found = message.get("parameters")
    items = found if isinstance(found, list) else []
    return [
        (str(get_object(one).get("url") or ""), get_object(one, "result"))
        for one in items
        if get_object(one, "result")
    ]


def _read_targets(results: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """The targets of a purge by a call, as an operation has them; a node may join those of one call."""
    texts = [text for url, _ in results[:MOST_RESULTS] for text in url.split("|")]
    found: dict[str, None] = {}
    for text in texts:
        try:
            found[read_target(text).text] = None
        except InvalidTarget:
            return ()  # of another caller
    return tuple(found)


def _describe_failures(kind: str, failures: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    if not failures:
        return ""
    url, result = failures[0]
    # Before it is cut, which would hide the format of a secret.
    status = SHAPES.redact_text(result["status"]) or "no reason given"
    more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
    first = make_one_line(f"{url}: {status}" if kind == PURGE else status, LONGEST_SENTENCE - len(more))
    return first + more


def _add_totals(results: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, float]:
    """Count, size and time of a purge, over its targets; failed ones count too."""
    found = {}
    for name in ("count", "size", "time"):
        numbers = [result.get("result") or {} for _, result in results]
        # Bounded, since a sum of doubles may be infinite, and a database has whole numbers of 64 bits.
        found[name] = min(sum(min(one.get(name, 0), MOST) for one in numbers), MOST)
    return found
