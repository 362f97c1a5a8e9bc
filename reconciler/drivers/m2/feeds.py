"""What feeds, feedbacks and connections of M2's central management look like, type by type."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from pydantic import Field

from reconciler.drivers.m2.setting import Part, Seconds


class Call(Part):
    """One POST for each event."""

    url: str = Field(description="Where.")
    timeout: Seconds | None = Field(default=None, description="Seconds for one request.")


class Poll(Call):
    """A request at intervals; `schedule` is cron with six fields, seconds first."""

    schedule: str = Field(description="Cron with six fields, seconds first.")


class Subscription(Part):
    """What to read of a topic."""

    topic: str = Field(description="Name of the topic.")
    from_beginning: bool | None = Field(default=None, description="Whether old messages count.")


class KafkaSub(Part):
    """Listening to a Kafka topic."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    group_id: str | None = Field(default=None, description="Consumer group.")
    subscribe: Subscription = Field(description="What to read.")


class KafkaPub(Part):
    """Writing to a Kafka topic."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    topic: str = Field(description="Name of the topic.")


class KafkaBeat(KafkaPub):
    """Writing to a Kafka topic at intervals."""

    schedule: str = Field(description="Cron with six fields, seconds first.")


class Firestore(Part):
    """Listening or writing to one document of Firestore."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    doc: str = Field(description="Document; `#m2live.nodeId` stands for the node's own id.")


class FirestoreBeat(Firestore):
    """Writing to one document of Firestore at intervals."""

    schedule: str = Field(description="Cron with six fields, seconds first.")


class Instances(Part):
    """Asking a cloud for its instances at intervals."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    tag: str = Field(description="Tags, as `key=value;` or `key=;`.")
    schedule: str | None = Field(default=None, description="Cron with six fields, seconds first.")


class Kafka(Part):
    """A connection of type `kafka`."""

    client_id: str | None = Field(default=None, description="What it calls itself.")
    brokers: list[str] = Field(description="`host:port` of each broker.")


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
