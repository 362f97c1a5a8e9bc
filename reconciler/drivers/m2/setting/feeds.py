"""Models of the `info` of feeds, feedbacks and connections, one for each type (M2 manual, setting.json)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from reconciler.core.cron import SIX_FIELDS
from reconciler.drivers.m2.setting import patterns
from reconciler.drivers.m2.setting.models import Seconds, SettingPart, make_optional

Schedule = Annotated[str, Field(json_schema_extra={"pattern": patterns.make_schedule_pattern(SIX_FIELDS)})]
Broker = Annotated[str, Field(json_schema_extra={"pattern": patterns.BROKER})]


class Scheduled(SettingPart):
    """A part that acts at intervals."""

    schedule: Schedule = Field(
        description="Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class Call(SettingPart):
    """One POST for each event."""

    url: str = Field(description="URL of the request.", json_schema_extra={"pattern": patterns.URL})
    timeout: Seconds | None = make_optional("Timeout of one request in seconds.")


class Poll(Scheduled, Call):
    """Requests at intervals."""


class Subscription(SettingPart):
    """The subscription of a topic."""

    topic: str = Field(description="Name of the topic.", json_schema_extra={"pattern": patterns.TOPIC})
    from_beginning: bool | None = make_optional("Whether to read earlier messages too.")


class KafkaSub(SettingPart):
    """A subscriber of a Kafka topic."""

    connect: str = Field(description="Name of a connection of the type `kafka`.")
    group_id: str | None = make_optional("Consumer group.", json_schema_extra={"pattern": patterns.FILLED})
    subscribe: Subscription = Field(description="The subscription.")


class KafkaPub(SettingPart):
    """A publisher to a Kafka topic."""

    connect: str = Field(description="Name of a connection of the type `kafka`.")
    topic: str = Field(description="Name of the topic.", json_schema_extra={"pattern": patterns.TOPIC})


class KafkaBeat(Scheduled, KafkaPub):
    """A publisher to a Kafka topic, at intervals."""


class Firestore(SettingPart):
    """A document of Firestore that is read or written."""

    connect: str = Field(description="Name of a connection of the type `firebasePubsub`.")
    doc: str = Field(
        description="Path of the document; M2 replaces `#m2live.nodeId` by the node's id.",
        json_schema_extra={"pattern": patterns.FILLED},
    )


class FirestoreBeat(Scheduled, Firestore):
    """A document of Firestore that is written at intervals."""


class Instances(SettingPart):
    """Requests to a cloud for its instances, at intervals."""

    connect: str = Field(description="Name of a connection of the type `awssdk3` or `oci`.")
    tag: str = Field(
        description="Tags, as `key=value;` or `key=;`.",
        examples=["type=parent;type=child;"],
        json_schema_extra={"pattern": patterns.TAGS},
    )
    schedule: Schedule | None = make_optional(
        "Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class HostingField(SettingPart):
    """A field of a running virtual host that is changed."""

    name: str = Field(description="Name of the virtual host.", examples=["www.example.com"])
    field: Literal["origin.address"] = Field(
        default="origin.address", description="The field; no other can be changed."
    )


class RuntimeChange(SettingPart):
    """A change of running virtual hosts; `setting.json` itself does not change."""

    hosting: list[HostingField] = Field(description="The fields that are changed.")


class Kafka(SettingPart):
    """A connection of type `kafka`."""

    client_id: str | None = make_optional("Client id.")
    brokers: list[Broker] = Field(
        min_length=1, description="`host:port` of each broker.", examples=[["kafka-1.example.com:9092"]]
    )


class Firebase(SettingPart):
    """A connection of type `firebasePubsub`: the configuration of a web app in Firebase."""

    api_key: str | None = make_optional("API key of the project; a secret.")
    auth_domain: str | None = make_optional("Domain for authentication.")
    database_url: str | None = make_optional("URL of the database.")
    project_id: str | None = make_optional("Id of the project.")
    storage_bucket: str | None = make_optional("Storage bucket of the project.")
    messaging_sender_id: str | None = make_optional("Id of the sender of messages.")
    app_id: str | None = make_optional("Id of the app.")


class Aws(SettingPart):
    """A connection of type `awssdk3`."""

    access_key_id: str | None = make_optional("Access key.")
    secret_access_key: str | None = make_optional("Secret access key; a secret.")
    region: str | None = make_optional("Region.", examples=["us-east-1"])


class Bucket(Aws):
    """A connection of type `httpAwsSig4`."""

    bucket: str | None = make_optional("Bucket; may be empty where the connection only authenticates.")


class Oci(SettingPart):
    """A connection of type `oci`."""

    tenancy_id: str | None = make_optional("OCID of the tenancy.")
    user_id: str | None = make_optional("OCID of the user.")
    compartment_id: str | None = make_optional("OCID of the compartment.")
    fingerprint: str | None = make_optional("Fingerprint of the key, which is public.")
    private_key: str | None = make_optional("Private key file; a secret.")
    region: str | None = make_optional("Region.", examples=["us-phoenix-1"])


Types: TypeAlias = Mapping[str, type[SettingPart]]

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
        ("nodelist", "feedback"): {"setting": RuntimeChange, "api": Call},
    }
)
"""(feature, side) -> type -> the model of its `info`."""

CONNECTIONS: Final[Types] = MappingProxyType(
    {"kafka": Kafka, "firebasePubsub": Firebase, "httpAwsSig4": Bucket, "awssdk3": Aws, "oci": Oci}
)
"""Type of a connection -> the model of its `info`."""

NEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kafkaSub": "kafka",
        "kafkaPub": "kafka",
        "firestore": "firebasePubsub",
        "awssdk3": "awssdk3",
        "oci": "oci",
    }
)
"""Type of a feed or feedback -> the type of the connection that its `connect` must name."""

JOINED: Final = ("nodelist", "feedback")
"""The only side whose `type` may list several types, as in `"setting;api;"`."""


def split_types(text: str, side: tuple[str, str]) -> list[str]:
    """The types in a `type`: several at `JOINED`, one elsewhere.

    Args:
        text: the value of `type`.
        side: feature and side.
    """
    return [part for part in (text.split(";") if side == JOINED else [text]) if part]
