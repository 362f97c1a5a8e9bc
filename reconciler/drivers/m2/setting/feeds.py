"""Models of the `info` of feeds, feedbacks and connections, one for each type (M2 manual, setting.json)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from reconciler.core.cron import SIX_FIELDS
from reconciler.drivers.m2.setting import patterns
from reconciler.drivers.m2.setting.models import Seconds, SettingPart

Schedule = Annotated[str, Field(json_schema_extra={"pattern": patterns.make_schedule_pattern(SIX_FIELDS)})]


class Call(SettingPart):
    """One POST for each event."""

    url: str = Field(description="Where.")
    timeout: Seconds | None = Field(default=None, description="Seconds for one request.")


class Poll(Call):
    """A request at intervals; `schedule` is cron with six fields, seconds first."""

    schedule: Schedule = Field(
        description="Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class Subscription(SettingPart):
    """What to read of a topic."""

    topic: str = Field(description="Name of the topic.")
    from_beginning: bool | None = Field(default=None, description="Whether old messages count.")


class KafkaSub(SettingPart):
    """Listening to a Kafka topic."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    group_id: str | None = Field(default=None, description="Consumer group.")
    subscribe: Subscription = Field(description="What to read.")


class KafkaPub(SettingPart):
    """Writing to a Kafka topic."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    topic: str = Field(description="Name of the topic.")


class KafkaBeat(KafkaPub):
    """Writing to a Kafka topic at intervals."""

    schedule: Schedule = Field(
        description="Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class Firestore(SettingPart):
    """Listening or writing to one document of Firestore."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    doc: str = Field(description="Document; `#m2live.nodeId` stands for the node's own id.")


class FirestoreBeat(Firestore):
    """Writing to one document of Firestore at intervals."""

    schedule: Schedule = Field(
        description="Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class Instances(SettingPart):
    """Asking a cloud for its instances at intervals."""

    connect: str = Field(description="Name of a connection of the fitting type.")
    tag: str = Field(description="Tags, as `key=value;` or `key=;`.", examples=["type=parent;type=child;"])
    schedule: Schedule | None = Field(
        default=None, description="Cron with six fields, seconds first.", examples=["*/15 * * * * *"]
    )


class HostingField(SettingPart):
    """What of a running virtual host is changed."""

    name: str = Field(description="The virtual host.", examples=["www.example.com"])
    field: Literal["origin.address"] = Field(
        default="origin.address", description="The field; only this one can be changed."
    )


class RuntimeChange(SettingPart):
    """Changing running virtual hosts; `setting.json` itself stays as it is."""

    hosting: list[HostingField] = Field(description="What is changed.")


class Kafka(SettingPart):
    """A connection of type `kafka`."""

    client_id: str | None = Field(default=None, description="What it calls itself.")
    brokers: list[str] = Field(
        description="`host:port` of each broker.", examples=[["kafka-1.example.com:9092"]]
    )


class Firebase(SettingPart):
    """A connection of type `firebasePubsub`: what Firebase calls the configuration of a web app."""

    api_key: str | None = Field(default=None, description="Key of the project's API; a secret.")
    auth_domain: str | None = Field(default=None, description="Domain of the sign-in.")
    database_url: str | None = Field(default=None, description="Where the database is.")
    project_id: str | None = Field(default=None, description="The project.")
    storage_bucket: str | None = Field(default=None, description="The project's bucket.")
    messaging_sender_id: str | None = Field(default=None, description="Whom messages come from.")
    app_id: str | None = Field(default=None, description="The app.")


class Aws(SettingPart):
    """A connection of type `awssdk3`."""

    access_key_id: str | None = Field(default=None, description="Access key.")
    secret_access_key: str | None = Field(default=None, description="Secret access key; a secret.")
    region: str | None = Field(default=None, description="Region.", examples=["us-east-1"])


class Bucket(Aws):
    """A connection of type `httpAwsSig4`."""

    bucket: str | None = Field(default=None, description="Bucket; may be empty where it only signs.")


class Oci(SettingPart):
    """A connection of type `oci`."""

    tenancy_id: str | None = Field(default=None, description="OCID of the tenancy.")
    user_id: str | None = Field(default=None, description="OCID of the user.")
    compartment_id: str | None = Field(default=None, description="OCID of the compartment.")
    fingerprint: str | None = Field(default=None, description="Fingerprint of the key, which is public.")
    private_key: str | None = Field(default=None, description="File of the key; a secret.")
    region: str | None = Field(default=None, description="Region.", examples=["us-phoenix-1"])


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
