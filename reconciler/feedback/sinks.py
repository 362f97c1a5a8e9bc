"""Opens the sink that the fleet file names. Addresses and logins come from the host configuration alone."""

from __future__ import annotations

from reconciler.core.entries import FeedbackEntry
from reconciler.core.host_entries import CHANNEL_KEYS, EntryKind, NamedEntry, is_channel_allowed
from reconciler.feedback.firestore_sink import FirestoreSink
from reconciler.feedback.http_sink import HttpSink
from reconciler.feedback.kafka_sink import KafkaSink
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.host import Host, list_allowed_buses
from reconciler.ports.store import OutboxMessage
from reconciler.ports.transport import Http
from reconciler.text.one_line import join_some

_MOST_NAMED = 10


class WaitingSink(Sink):
    """A sink that this host does not have, or does not allow: messages wait until it does.

    Args:
        name: of the sink.
        problem: why messages wait.
        remedy: what to do about it.
    """

    def __init__(self, name: str, problem: str, remedy: str) -> None:
        self.name = name
        self._delivery = Delivery(problem, remedy=remedy)

    async def send(self, message: OutboxMessage) -> Delivery:  # noqa: ARG002  (the contract's parameter)
        return self._delivery


def open_sink(entry: FeedbackEntry | None, http: Http, host: Host) -> Sink | None:
    """The sink of a fleet; it connects with its first message. None without an entry.

    Args:
        entry: of the fleet file.
        http: for APIs.
        host: has the entries that a fleet file may name.
    """
    if entry is None:
        return None
    named = entry.named_entry
    if named is None:
        return HttpSink(http, entry.url or "", entry.timeout)
    if waiting := _find_waiting(named, entry.channel, host):
        return waiting
    name, settings = named.name, (entry.channel, entry.timeout, host.environment)
    if named.kind is EntryKind.KAFKA:
        return KafkaSink((name, host.config.kafka[name]), *settings)
    return FirestoreSink((name, host.config.firestore[name]), *settings)


def _find_waiting(named: NamedEntry, channel: str, host: Host) -> WaitingSink | None:
    """What takes the place of a sink that this host does not have or allow; None if it does."""
    place, buses = f"{named.kind}.{named.name}", list_allowed_buses(host.config)
    known = sorted(bus.id.name for bus in buses if bus.id.kind.value == named.kind.value)
    if named.name not in known:
        return WaitingSink(
            place,
            f"this host has no such entry; it has {join_some(known, _MOST_NAMED) or 'none'}",
            f"add `{place}` to the host configuration, or correct `feedback.connect` in the fleet file",
        )
    if is_channel_allowed(buses, named, channel):
        return None
    return WaitingSink(
        place,
        f"this host does not allow {channel} there",
        f"add it to `{place}.{CHANNEL_KEYS[named.kind]}` of the host configuration, or correct `feedback` in "
        "the fleet file",
    )
