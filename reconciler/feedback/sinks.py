"""Opens the sink that the fleet file names. Addresses and logins come from the host configuration alone."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.core.entries import FeedbackEntry
from reconciler.feedback.firestore_sink import FirestoreSink
from reconciler.feedback.http_sink import HttpSink
from reconciler.feedback.kafka_sink import KafkaSink
from reconciler.feedback.sink import Delivery, Sink
from reconciler.host.host import Host
from reconciler.ports.store import OutboxMessage
from reconciler.ports.transport import Http
from reconciler.text.one_line import join_some

_MOST_NAMED = 10


class MissingSink(Sink):
    """A sink whose entry this host does not have: messages wait until it has one.

    Args:
        kind: the part of the host configuration.
        name: of the missing entry.
        known: names of the entries that the host has.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = f"{kind}.{name}"
        has = join_some(sorted(known), _MOST_NAMED) or "none"
        self._delivery = Delivery(
            f"this host has no such entry; it has {has}",
            remedy=f"add `{kind}.{name}` to the host configuration, or correct `feedback.connect` in the "
            "fleet file",
        )

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
    if entry.url is not None:
        return HttpSink(http, entry.url, entry.timeout)
    name = entry.connect or ""
    if entry.type == "kafka":
        cluster = host.config.kafka.get(name)
        if cluster is None:
            return MissingSink("kafka", name, host.config.kafka)
        return KafkaSink((name, cluster), entry.topic or "", entry.timeout, host.environment)
    project = host.config.firestore.get(name)
    if project is None:
        return MissingSink("firestore", name, host.config.firestore)
    return FirestoreSink((name, project), entry.collection or "", entry.timeout, host.environment)
