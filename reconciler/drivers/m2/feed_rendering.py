"""What this program writes into settings: URLs of its central server, which nodes poll or report to; pure.

Each node has URLs of its own: the first part of their path is its token, which shows who calls. Without a
state there are no tokens; then the URLs are missing secrets, which plans leave uncompared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from reconciler.core.endpoint import DEFAULT_PORTS, parse_endpoint
from reconciler.core.entries import Polling, Reporting
from reconciler.core.plan import Payload
from reconciler.core.secret import MASK, Secret, reveal
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.m2.feed_topology import BUS_FEEDBACK, BUS_FEEDS, BUS_TYPES, find_bus_channel
from reconciler.drivers.m2.schema import Content, M2Desired
from reconciler.drivers.m2.setting.check import CRON_FIELDS
from reconciler.drivers.m2.setting.diagnostics import Path, get_named_items, get_object, get_value
from reconciler.drivers.m2.setting.feeds import JOINED, split_types
from reconciler.drivers.m2.shared_contents import PLACEHOLDER, fill_content, remove_value, replace_values
from reconciler.drivers.m2.unresolved_secrets import UNKNOWN_URL
from reconciler.text.json_pointer import make_pointer

if TYPE_CHECKING:
    from reconciler.ports.node_store import NodeTokens

SERVER: Final[Path] = ("env", "management", "server")

SETTING: Final = "setting"
"""Route of the setting feed, and of the package that tgzPolling downloads with `PACKAGE` behind it."""

PACKAGE: Final = ".tgz"
PURGE: Final = "purge"
REPORT: Final = "report"

_POLLING: Final = ("apiPolling", "tgzPolling")
_SIDES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("setting", "feed", "apiPolling", SETTING),
    ("setting", "feedback", "api", REPORT),
    ("heartbeat", "feedback", "apiPolling", REPORT),
    ("purge", "feed", "apiPolling", PURGE),
    ("purge", "feedback", "api", REPORT),
)
"""Feature, side, type and route of what every node that polls gets; one that only reports gets no feed."""


def find_feeds_elsewhere(document: Document, reporting: Reporting) -> Iterator[Diagnostic]:
    """What a settings file says against its nodes calling this server: other URLs, other ways, no feed."""
    does, key = ("poll", "deliver: poll") if isinstance(reporting, Polling) else ("report to", "reports")
    for path in (SERVER, (*SERVER, "features", "setting")):
        if get_object(document.value, *path).get("enable") is False:
            message = f"`{path[-1]}` is not enabled, but these nodes {does} {reporting.server}"
            remedy = f"remove `enable`: `{key}` enables it"
            yield make_diagnostic(
                document, make_pointer((*path, "enable")), "feed-elsewhere", message, remedy
            )
    remedy = f"remove it: `{key}` writes the URLs of {reporting.server} into the setting of each node"
    for feature, side, _, _ in _list_sides(document.value, polls=isinstance(reporting, Polling)):
        path = (*SERVER, "features", feature, side)
        kind = get_value(document.value, (*path, "type"))
        if isinstance(kind, str) and kind and not _is_fitting(feature, side, kind):
            message = f"the {feature} {side} has the type {kind}, but these nodes {does} {reporting.server}"
            yield make_diagnostic(document, make_pointer((*path, "type")), "feed-elsewhere", message, remedy)
        if kind in BUS_TYPES:
            continue  # there is no URL
        url = get_value(document.value, (*path, "info", "url"))
        if url not in (None, "") and not is_same_server(url, reporting):
            message = f"the {feature} {side} has a URL of another server than {reporting.server}"
            pointer = make_pointer((*path, "info", "url"))
            yield make_diagnostic(document, pointer, "feed-elsewhere", message, remedy)
    if not isinstance(reporting, Polling):
        yield from _find_enabled_feeds(document)


def _find_enabled_feeds(document: Document) -> Iterator[Diagnostic]:
    """Feeds that are off, and that reports would switch on: a feature has one `enable` for both."""
    is_off = get_object(document.value, *SERVER).get("enable") is not True
    for feature in ("setting", "purge"):
        path = (*SERVER, "features", feature)
        enable, kind = (
            get_object(document.value, *path).get("enable"),
            get_value(document.value, (*path, "feed", "type")),
        )
        if not kind or enable is False or (enable is True and not is_off):
            continue
        message = f"the {feature} feed is not enabled, and `reports` would enable it with the feature"
        remedy = "remove the feed, or enable the server and the feature here if the nodes shall follow it"
        yield make_diagnostic(
            document, make_pointer((*path, "feed", "type")), "feed-elsewhere", message, remedy
        )


def is_same_server(url: Any, reporting: Reporting) -> bool:
    """Whether a URL is one of this program's central server, with any token."""
    clear = reveal(url)
    if not isinstance(clear, str):
        return False
    try:
        here, there = parse_endpoint(reporting.server), urlsplit(clear)
        # None of these is in a URL that this program writes.
        if there.username is not None or there.query or there.fragment or there.scheme not in DEFAULT_PORTS:
            return False
        place = parse_endpoint(f"{there.scheme}://{there.netloc}")
    except ValueError:  # no URL at all
        return False
    return place.scheme == here.scheme and place.at(DEFAULT_PORTS[place.scheme]) == here.at(
        DEFAULT_PORTS[here.scheme]
    )


def render_feeds(document: Mapping[str, Any], reporting: Reporting) -> dict[str, Any]:
    """A setting with the URLs of the central server, as missing secrets; see `assign_tokens`."""
    rendered = _put(document, (*SERVER, "enable"), True)
    for feature, side, kind, route in _list_sides(document, polls=isinstance(reporting, Polling)):
        part: Path = (*SERVER, "features", feature)
        rendered = _put(rendered, (*part, "enable"), True)
        given = get_value(document, (*part, side, "type"))
        rendered = _put(rendered, (*part, side, "type"), given or kind)
        info: Path = (*part, side, "info")
        is_by_bus = given in BUS_TYPES
        if kind == "apiPolling" and not is_by_bus:
            every = get_value(document, (*info, "schedule"))
            rendered = _put(rendered, (*info, "schedule"), every or make_schedule(reporting.every))
        if (feature, side) == ("setting", "feedback"):
            upload = get_value(document, (*part, side, "uploadSetting"))
            # Written out: M2's pages give both defaults. The setting of a node that polls is read from its
            # report; one that is called shows it when it is asked, and need not send it, secrets and all.
            wanted = upload is not False if isinstance(reporting, Polling) else upload is True
            rendered = _put(rendered, (*part, side, "uploadSetting"), wanted)
        if is_by_bus:
            continue  # where it goes is in the file: a topic or document, by a connection of the setting
        if get_value(document, (*info, "timeout")) is None:
            rendered = _put(rendered, (*info, "timeout"), max(1, min(_TIMEOUT, int(reporting.every))))
        shown = make_url(reporting, MASK, route)
        rendered = _put(rendered, (*info, "url"), Secret(shown, shown, UNKNOWN_URL))
    return rendered


def strip_feeds(document: Mapping[str, Any], reporting: Reporting) -> dict[str, Any]:
    """A setting as a file has it: without what `render_feeds` writes, above all without tokens."""
    bare: Any = document
    features: Path = (*SERVER, "features")
    # Also of a feature that is switched off: its URL has the token as well.
    for feature, sides in get_object(document, *features).items():
        for side in sides if isinstance(sides, Mapping) else ():
            path: Path = (*features, feature, side, "info", "url")
            if is_same_server(get_value(document, path), reporting):
                bare = remove_value(bare, path)
    return _without(bare, render_feeds({}, reporting))


def _without(value: Mapping[str, Any], rendered: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the members that the rendering writes, and without objects that are empty then."""
    found = {}
    for key, item in value.items():
        given = rendered.get(key)
        if isinstance(item, Mapping) and isinstance(given, Mapping):
            if left := _without(item, given):
                found[key] = left
        elif key not in rendered or item != given:
            found[key] = item
    return found


def find_central_server(document: Any) -> tuple[str, bool]:
    """The server that a setting calls with a path of this program's form, and whether it polls settings.

    The server is empty for none.
    """
    features = get_object(document, *SERVER, "features")
    kind = get_value(features, ("setting", "feed", "type"))
    found = _find_own_server(get_value(features, ("setting", "feed", "info", "url")))
    if found and kind in _POLLING:
        return found, True
    for sides in features.values():
        for side in sides.values() if isinstance(sides, Mapping) else ():
            if found := _find_own_server(get_value(side, ("info", "url"))):
                return found, False
    return "", False


def _find_own_server(url: Any) -> str:
    found = _OWN_URL.fullmatch(url) if isinstance(url, str) else None
    return found[1] if found else ""


_OWN_URL: Final = re.compile(r"(https?://[^/?#@]+)/[A-Za-z0-9_-]{43}/(?:setting|setting\.tgz|purge|report)")

_TIMEOUT: Final = 5
"""Seconds; the value in all samples of the M2 manual."""

_YEAR: Final = datetime(2027, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_DAYS: Final = 365

_MINUTE: Final = 60
_HOUR: Final = 3600


def make_schedule(every: float) -> str:
    """The cron expression, seconds first, that fires at least as often as every so many seconds."""
    seconds = max(1, int(every))
    if seconds < _MINUTE:
        # Only divisors of a minute fire evenly.
        step = max(one for one in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if one <= seconds)
        return f"*/{step} * * * * *"
    if seconds < _HOUR:
        step = max(one for one in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if one * _MINUTE <= seconds)
        return f"0 */{step} * * * *" if step > 1 else "0 * * * * *"
    return "0 0 * * * *"


def carry_feeds(document: Mapping[str, Any], rendered: Any) -> Mapping[str, Any]:
    """An earlier setting with the feeds of a later one.

    Its own token may have ended since, or it may not poll at all: a node that goes back to it would not come
    back for another one.

    Args:
        document: the earlier setting.
        rendered: the later one, with the URLs of the node that gets the earlier one.
    """
    found = _put(document, (*SERVER, "enable"), True)
    for feature, side, _, _ in _list_sides(rendered, polls=True):
        part: Path = (*SERVER, "features", feature)
        if get_value(rendered, (*part, side, "type")) in BUS_TYPES:
            found = _put(found, (*part, "enable"), True)
            found = _put(found, (*part, side), get_object(rendered, *part, side))
            found = _carry_connection(found, rendered, get_value(rendered, (*part, side, "info", "connect")))
            continue
        url = get_value(rendered, (*part, side, "info", "url"))
        clear = url if isinstance(url, Secret) else Secret(url)
        found = _put(found, (*part, "enable"), True)
        found = _put(found, (*part, side, "type"), get_value(rendered, (*part, side, "type")))
        info: Path = (*part, side, "info")
        given = {**get_object(rendered, *info), **get_object(found, *info), "url": clear}
        found = _put(found, info, given)
    return found


def _carry_connection(document: dict[str, Any], rendered: Any, name: Any) -> dict[str, Any]:
    """A setting with the connection of another one that has this name."""
    wanted = [one for _, own, one in get_named_items(rendered, *SERVER, "connection") if own == name]
    kept = [one for _, own, one in get_named_items(document, *SERVER, "connection") if own != name]
    return _put(document, (*SERVER, "connection"), [*kept, *wanted[:1]])


def polls_here(content: Content, polling: Polling, tokens: NodeTokens | None) -> bool:
    """Whether a node with this setting polls this server for settings, by a path of its own that counts."""
    server = get_object(reveal(get_object(content.canonical, *SERVER)))
    feature = get_object(server, "features", "setting")
    url = get_value(feature, ("feed", "info", "url"))
    if server.get("enable") is not True or feature.get("enable") is not True:
        return False
    if get_value(feature, ("feed", "type")) in BUS_FEEDS:
        # Whether this host may use the bus is checked with the host configuration.
        return find_bus_channel(content.document, "setting", "feed") is not None
    if get_value(feature, ("feed", "type")) not in _POLLING or not is_same_server(url, polling):
        return False
    if tokens is None:
        return True
    known = {str(one.value) for one in (tokens.current, tokens.former) if one is not None}
    return str(url).removeprefix(f"{polling.server}/").partition("/")[0] in known


def polls_daily(content: Content) -> bool:
    """Whether the schedule of a setting makes its node ask for another one at least once a day."""
    schedule = get_value(
        reveal(content.canonical), (*SERVER, "features", "setting", "feed", "info", "schedule")
    )
    return not isinstance(schedule, str) or _fires_daily(schedule)


@lru_cache(maxsize=1024)
def _fires_daily(schedule: str) -> bool:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  (loaded only where a node polls)

    fields = schedule.split()
    if len(fields) == CRON_FIELDS and fields[3:] == ["*", "*", "*"]:
        return True  # most do
    try:
        return all(
            next(CronSim(schedule.upper(), day)) <= day + _DAY
            for day in (_YEAR + number * _DAY for number in range(_DAYS))
        )
    except CronSimError:
        return True  # another check says so
    except StopIteration:
        return False


def make_url(reporting: Reporting, token: str, route: str) -> str:
    """The URL of a route of the node that has a token."""
    return f"{reporting.server}/{token}/{route}"


def assign_tokens(desired: M2Desired, tokens: Mapping[str, NodeTokens]) -> M2Desired:
    """The desired state with each node's own URLs; nodes without a token keep missing secrets."""
    reporting = desired.entry.reporting
    if reporting is None:
        return desired
    targets, payloads, templates = [], dict(desired.payloads), dict[int, Content]()
    for target in desired.targets:
        own = tokens.get(target.node)
        if own is None:
            targets.append(target)
            continue
        common = target.content
        if id(common) not in templates:
            templates[id(common)] = _fill_urls(common, reporting, PLACEHOLDER)
        content = _fill_urls(common, reporting, str(reveal(own.current)), templates[id(common)])
        payload = payloads[target.payload]
        missing = {name: why for name, why in payload.missing.items() if why != UNKNOWN_URL}
        payloads[target.payload] = Payload(content.document, payload.resources, missing)
        targets.append(replace(target, content=content, tokens=own))
    return replace(desired, targets=tuple(targets), payloads=payloads)


def _fill_urls(
    content: Content, reporting: Reporting, token: str, template: Content | None = None
) -> Content:
    """A setting with the URLs of one node; its meaning and fingerprints follow without a second reading."""
    values = {
        (*SERVER, "features", feature, side, "info", "url"): Secret(
            make_url(reporting, token, route), reference=make_url(reporting, MASK, route)
        )
        for feature, side, _, route in _list_sides(content.document, polls=isinstance(reporting, Polling))
        if get_value(content.document, (*SERVER, "features", feature, side, "type")) not in BUS_TYPES
    }
    return fill_content(content, values, token, template)


def _list_sides(document: Any, *, polls: bool) -> Iterator[tuple[str, str, str, str]]:
    """Feature, side, type and route of every side that the rendering writes into this setting."""
    for feature, side, kind, route in _SIDES:
        if side == "feed" and not polls:
            continue
        # Nodes without heartbeats or purges are a choice; without a feed of settings they could not poll.
        is_refused = get_value(document, (*SERVER, "features", feature, "enable")) is False
        if is_refused and feature != "setting":
            continue
        given = get_value(document, (*SERVER, "features", feature, side, "type"))
        is_package = (feature, side) == ("setting", "feed") and given == "tgzPolling"
        yield feature, side, kind, route + PACKAGE if is_package else route
    nodelist = get_object(document, *SERVER, "features", "nodelist")
    types = get_value(nodelist, ("feedback", "type"))
    if nodelist.get("enable") is True and isinstance(types, str) and "api" in split_types(types, JOINED):
        yield "nodelist", "feedback", types, REPORT


def _is_fitting(feature: str, side: str, kind: str) -> bool:
    if kind in (BUS_FEEDS if side == "feed" else BUS_FEEDBACK):
        return True
    if (feature, side) == ("setting", "feed"):
        return kind in _POLLING
    return feature == "nodelist" or any(
        (feature, side, kind) == (one, way, own) for one, way, own, _ in _SIDES
    )


def _put(document: Any, path: Path, value: Any) -> dict[str, Any]:
    return replace_values(document, {path: value})
