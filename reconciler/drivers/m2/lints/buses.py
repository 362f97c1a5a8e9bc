"""Lints of message buses in settings: loops, and channels that several nodes share; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.drivers.m2.feed_topology import list_named_channels
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.text.json_pointer import split_pointer
from reconciler.text.one_line import join_some

CODES: Final = frozenset({"feed-loop", "missed-offer", "shared-feed-channel", "shared-report-channel"})

_MOST_NAMED: Final = 3


def lint_buses(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """The lints of the channels of a cluster whose nodes this host tells and hears."""
    if cluster_input.entry.reporting is None:
        return
    named = list_named_channels(cluster_input)
    yield from _find_loops(named)
    yield from _find_late_listeners(named)
    feeds = [one for one in named if one.is_feed]
    for channel, some in _find_shared(feeds).items():
        nodes = join_some(sorted({one.node for one in some}), _MOST_NAMED)
        message = (
            f"{nodes} listen on {channel.label}: a message has no addressee, so that none of them can be "
            "told its own setting there"
        )
        remedy = "give each node a channel of its own, and with Kafka a groupId of its own, by an overlay"
        yield _warn(some[0].document, some[0].pointer, "shared-feed-channel", message, remedy)
    reports = [one for one in named if not one.is_feed and "heartbeat" in one.pointer]
    for channel, some in _find_shared(reports).items():
        nodes = join_some(sorted({one.node for one in some}), _MOST_NAMED)
        message = (
            f"{nodes} send their heartbeats to {channel.label}: a name in a message proves nothing, so that "
            "they count as silent once their last proven report is too old"
        )
        remedy = "give each node a channel of its own for its heartbeats, or leave them to HTTP: remove this"
        yield _warn(some[0].document, some[0].pointer, "shared-report-channel", message, remedy)


def _find_loops(named: list[NamedChannel]) -> Iterator[Diagnostic]:
    """Nodes that report where they listen."""
    reported: set[tuple[int, str]] = set()
    feeds: dict[str, list[BusChannel]] = {}
    for one in named:
        if one.is_feed:
            feeds.setdefault(one.node, []).append(one.channel)
    for one in named:
        if one.is_feed or (id(one.document), one.pointer) in reported:
            continue
        if any(channel.meets(one.channel) for channel in feeds.get(one.node, ())):
            reported.add((id(one.document), one.pointer))
            message = f"the node reports on {one.channel.label}, where it listens for its feed: a loop"
            remedy = (
                "give feed and feedback channels of their own; each message there is read twice and skipped"
            )
            yield _warn(one.document, one.pointer, "feed-loop", message, remedy)


def _find_late_listeners(named: list[NamedChannel]) -> Iterator[Diagnostic]:
    """Topics that a node reads from the moment on at which it subscribes for the first time."""
    reported: set[tuple[int, str]] = set()
    for one in named:
        subscription = one.pointer.removesuffix("/topic")
        is_told = one.is_feed and one.channel.kind is BusKind.KAFKA and "/features/setting/" in one.pointer
        if not is_told or (id(one.document), subscription) in reported:
            continue
        if get_value(one.document.value, (*split_pointer(subscription), "fromBeginning")) is not True:
            reported.add((id(one.document), subscription))
            message = (
                f"the node reads {one.channel.label} from its first subscription on: an offer that was "
                "published before is lost, and overdue in the end"
            )
            remedy = "set `fromBeginning: true`; it counts only as long as the consumer group has no position"
            yield _warn(one.document, subscription, "missed-offer", message, remedy)


def _find_shared(named: list[NamedChannel]) -> dict[BusChannel, list[NamedChannel]]:
    """Channel -> what names it, where that is more than one node."""
    found: dict[tuple[str, ...], list[NamedChannel]] = {}
    for one in named:
        found.setdefault(one.channel.meeting, []).append(one)
    return {some[0].channel: some for some in found.values() if len({one.node for one in some}) > 1}


def _warn(document: Document, pointer: str, code: str, message: str, remedy: str) -> Diagnostic:
    return make_diagnostic(document, pointer, code, message, remedy, severity=Severity.WARNING)
