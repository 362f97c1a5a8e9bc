"""The answers to polls and downloads (M2 manual, Message v1); pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from reconciler.core.offers import Offer, OfferFeed
from reconciler.core.timestamps import format_timestamp
from reconciler.drivers.m2.central_server.offered_parts import read_checkout, read_package, read_purge
from reconciler.ports.central_server import InboundAnswer, InboundRequest, NodeRoute, PollHeaders, RouteKind
from reconciler.text.http_dates import format_http_date, parse_http_date

LABEL: Final = "x-m2-setting-meta-version"
"""The header with the `meta.version` that the node has loaded; in lower case."""

LONGEST_LABEL: Final = 256
"""Characters that are read of it: this program gives no longer ones."""

TGZ: Final = "application/x-compressed"

SETTING: Final = NodeRoute("setting", RouteKind.POLL, ("GET",), OfferFeed.SETTING)
TGZ_SETTING: Final = NodeRoute("setting.tgz", RouteKind.POLL, ("GET",), OfferFeed.SETTING)
PACKAGE: Final = NodeRoute("package", RouteKind.DOWNLOAD, ("GET",), OfferFeed.SETTING, suffix=".tgz")
PURGE: Final = NodeRoute("purge", RouteKind.POLL, ("GET",), OfferFeed.PURGE)
REPORT: Final = NodeRoute("report", RouteKind.REPORT, ("POST",))


def read_poll_headers(headers: Mapping[str, str]) -> PollHeaders:
    """What a poll shows; a missing, empty or invalid header counts as none."""
    asked = parse_http_date(headers.get("if-modified-since", "").strip())
    return PollHeaders(asked, _decode_header(headers.get(LABEL, "")).strip()[:LONGEST_LABEL])


def answer_setting_poll(request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
    """The feed `apiPolling`: where the package is, or that the node shall check out."""
    if read_checkout(parts) is not None:
        return _answer_feed(request, offer, "/setting/deploy/checkout")
    url = f"{request.base}/{PACKAGE.path}/{offer.id}{PACKAGE.suffix}"
    return _answer_feed(request, offer, "/setting/upload", [url])


def answer_purge_poll(request: InboundRequest, offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
    """The feed of purges."""
    return _answer_feed(request, offer, "/command/purge", read_purge(parts))


def answer_package(offer: Offer, parts: Sequence[bytes]) -> InboundAnswer:
    """The package itself: for a download, and for the feed `tgzPolling`."""
    if read_checkout(parts) is not None:
        # Only `apiPolling` can say it; the node keeps what it has.
        return InboundAnswer(404)
    headers = {
        "content-type": TGZ,
        "last-modified": format_http_date(offer.last_modified),
        "etag": f'"{offer.id}"',
    }
    return InboundAnswer(200, headers, read_package(parts).parts.pieces())


def _answer_feed(request: InboundRequest, offer: Offer, api: str, urls: Sequence[str] = ()) -> InboundAnswer:
    message: dict[str, Any] = {
        "messageVer": "1",
        "timestamp": format_timestamp(request.at),
        "userdata": {"offer": offer.id, "run": offer.run, "revision": offer.revision},
        "action": {"api": api},
    }
    if urls:
        message["parameters"] = [{"url": url} for url in urls]
    headers = {"content-type": "application/json", "last-modified": format_http_date(offer.last_modified)}
    return InboundAnswer(200, headers, (orjson.dumps(message),))


def _decode_header(text: str) -> str:
    """A header as UTF-8: servers read its bytes as Latin-1, and a version may have any letters."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text
