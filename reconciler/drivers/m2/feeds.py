"""What feeds, feedbacks and connections of M2's central management look like, type by type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from reconciler.drivers.m2.setting import Part, Seconds


class Call(Part):
    """One POST for each event."""

    url: str
    timeout: Seconds | None = None


class Poll(Call):
    """A request at intervals; `schedule` is cron with six fields, seconds first."""

    schedule: str


class Subscription(Part):
    """What to read of a topic."""

    topic: str
    from_beginning: bool | None = None


class KafkaSub(Part):
    """Listening to a Kafka topic."""

    connect: str
    group_id: str | None = None
    subscribe: Subscription


class KafkaPub(Part):
    """Writing to a Kafka topic."""

    connect: str
    topic: str


class KafkaBeat(KafkaPub):
    """Writing to a Kafka topic at intervals."""

    schedule: str


class Firestore(Part):
    """Listening or writing to one document of Firestore."""

    connect: str
    doc: str


class FirestoreBeat(Firestore):
    """Writing to one document of Firestore at intervals."""

    schedule: str


class Instances(Part):
    """Asking a cloud for its instances at intervals."""

    connect: str
    tag: str
    schedule: str | None = None


class Kafka(Part):
    """A connection of type `kafka`."""

    client_id: str | None = None
    brokers: list[str]


class Texts(Part):
    """A connection whose `info` is nothing but texts that the product hands on."""


Types: TypeAlias = Mapping[str, type[Part]]

_PUSH: Final[Types] = MappingProxyType({"api": Call, "kafkaPub": KafkaPub, "firestore": Firestore})

FEEDS: Final[Mapping[tuple[str, str], Types]] = MappingProxyType(
    {
        ("setting", "feed"): {
            "apiPolling": Poll,
            "tgzPolling": Poll,
            "kafkaSub": KafkaSub,
            "firestore": Firestore,
        },
        ("setting", "feedback"): _PUSH,
        ("purge", "feed"): {"apiPolling": Poll, "kafkaSub": KafkaSub},
        ("purge", "feedback"): {"api": Call, "kafkaPub": KafkaPub},
        ("heartbeat", "feedback"): {"apiPolling": Poll, "kafkaPub": KafkaBeat, "firestore": FirestoreBeat},
        ("nodelist", "feed"): {"awssdk3": Instances, "oci": Instances},
        ("nodelist", "feedback"): {"setting": Part, "api": Call},
    }
)
"""(feature, side) -> type -> the shape of its `info`."""

CONNECTIONS: Final[Types] = MappingProxyType(
    {"kafka": Kafka, "firebasePubsub": Texts, "httpAwsSig4": Texts, "awssdk3": Texts, "oci": Texts}
)
"""Type of a connection -> the shape of its `info`."""

NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kafkaSub": "kafka",
        "kafkaPub": "kafka",
        "firestore": "firebasePubsub",
        "awssdk3": "awssdk3",
        "oci": "oci",
    }
)
"""Type of a feed or feedback -> the type of connection that its `connect` must name."""

SECRET_KEYS: Final = frozenset({"accessKeyId", "secretAccessKey", "privateKey", "apiKey"})
"""Keys of a connection's `info` that are never shown.

An OCI `fingerprint` is left readable: it is the public name of a key, and the one way for a person to
see which key is meant.
"""


def types_of(text: str) -> list[str]:
    """The single types of a `type`, which may join several as in `"setting;api;"`."""
    return [part for part in text.split(";") if part]
