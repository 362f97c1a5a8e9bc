"""Message format v1 in all its kinds: what a central server answers to nodes, and what nodes report to it.

Facts: M2, "Central server". A backup's `feed.json` is a `setting.feed`; a purge is propagated by the call
itself, without a message. Unknown keys are kept, and what the documents leave open may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema

_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})$"
_EVENT = r"^/(env/management/server/[A-Za-z]+/[^/]|_api_/[^ ]|_sys_/(bootup|cli/[^ ]))"

Timestamp = Annotated[
    str,
    Field(
        pattern=_TIMESTAMP,
        description="When it was sent, in ISO 8601.",
        examples=["2022-07-13T14:10:30.000Z"],
    ),
]
Version = str | Whole | Number | None
Count = Annotated[Whole, Field(ge=0)]


class MessagePart(BaseModel):
    """A part of a message: unknown keys are kept."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, alias_generator=to_camel)


class MessageV1(MessagePart):
    """What every message has."""

    message_ver: Literal["1"] = Field(description="Version of the format.")


class Node(MessagePart):
    """Which node a message is of."""

    hostname: str = Field(description="The node's own name.", examples=["edge-01"])
    iplist: list[str] = Field(description="Its addresses.", examples=[["10.10.10.1", "10.10.10.2"]])
    product_ver: str | None = Field(default=None, description="What it runs.", examples=["2.8.1"])
    setting_ver: Version = Field(
        default=None, description="`meta.version` of its setting.", examples=["2022-06-21-A", 10]
    )
    license_id: str | None = Field(default=None, description="Its licence.", examples=["KR200099999"])


class FeedMessage(MessageV1):
    """What a central server answers."""

    timestamp: Timestamp
    userdata: Any = Field(default=None, description="Comes back unchanged in the feedback.")


class FeedbackMessage(MessageV1):
    """What a node reports of an action."""

    timestamp: Timestamp | None = Field(
        default=None, description="When it was sent, in ISO 8601.", examples=["2022-07-13T14:10:30.000Z"]
    )
    node: Node = Field(description="Which node reports.")
    userdata: Any = Field(default=None, description="What the feed said.")


class Done(MessagePart):
    """What a node did, and why."""

    api: str = Field(description="The call that was made.", examples=["/setting/upload"])
    event: str = Field(
        pattern=_EVENT,
        description="What led to it: a feed, a call, a start, a command line.",
        examples=["/env/management/server/apiPolling/central", "/_api_/setting/upload", "/_sys_/bootup"],
    )


class FeedLocation(MessagePart):
    """One thing to act on."""

    url: str = Field(
        min_length=1, description="Where it is.", examples=["http://www.example.com/m2pkg_v10.tgz"]
    )


class Upload(MessagePart):
    """The action of a feed that brings a package."""

    api: Literal["/setting/upload"] = Field(description="The node loads the package.")


class Checkout(MessagePart):
    """The action of a feed that only notifies."""

    api: Literal["/setting/deploy/checkout"] = Field(description="The node pulls from its repository.")


class UploadFeed(FeedMessage):
    """`setting.feed`: a package to download and load."""

    action: Upload = Field(description="What to do.")
    parameters: list[FeedLocation] = Field(min_length=1, description="The packages.")


class CheckoutFeed(FeedMessage):
    """`setting.feed` of nodes with a git repository: only a notification."""

    action: Checkout = Field(description="What to do.")
    parameters: list[Any] | None = Field(default=None, max_length=0, description="Nothing.")


class NotUpdated(MessagePart):
    """A field that waits for a restart."""

    field: str = Field(description="Its dotted name.", examples=["env.network.http2"])
    cur: Any = Field(default=None, description="What is in effect.")
    new: Any = Field(default=None, description="What is asked for.")


class SettingResult(MessagePart):
    """How loading a setting went.

    The documents show two keys `version`, of the product and of the setting; the last one counts.
    """

    method: str = Field(description="Which part of the product did it.", examples=["deploy"])
    status: str = Field(description="`ok`, or the reason why not.", examples=["ok"])
    version: Version = Field(default=None, description="`meta.version` of the setting.", examples=[10])
    last_modified: str | None = Field(
        default=None,
        description="`Last-Modified` of the package.",
        examples=["Tue, 11 Oct 2022 12:45:26 GMT"],
    )
    notupdated: list[NotUpdated] | None = Field(default=None, description="What waits for a restart.")


class SettingParameter(MessagePart):
    """One package with what became of it."""

    url: str | None = Field(default=None, description="Where it was.")
    result: SettingResult = Field(description="What became of it.")


class SettingFeedbackMessage(FeedbackMessage):
    """`setting.feedback`: what became of a setting."""

    action: Done = Field(description="What was done, and why.")
    parameters: list[SettingParameter] | None = Field(default=None, description="One for each package.")
    setting: dict[str, Any] | None = Field(
        default=None, description="The loaded `setting.json`, where `uploadSetting` asks for it."
    )


class Purge(MessagePart):
    """The action of a feed that purges."""

    api: Literal["/command/purge"] = Field(description="The node forgets content.")


class Target(MessagePart):
    """Content to forget."""

    url: str = Field(
        min_length=1,
        description="With or without scheme; `*` stands for any text.",
        examples=["http://www.example.com/image.jpg", "www.example.com/image/*.bmp"],
    )


class PurgeFeedMessage(FeedMessage):
    """`purge.feed`: content to forget."""

    action: Purge = Field(description="What to do.")
    parameters: list[Target] = Field(min_length=1, description="The content.")


class Purged(MessagePart):
    """How much was forgotten."""

    count: Count = Field(description="Objects.", examples=[3])
    size: Count = Field(description="Bytes.", examples=[77656899])
    time: Annotated[Number, Field(ge=0)] = Field(description="How long it took.", examples=[12])


class PurgeResult(MessagePart):
    """How a purge went."""

    version: Version = Field(default=None, description="What the node runs.", examples=["22.02.0"])
    method: str = Field(description="Which part of the product did it.", examples=["purge"])
    status: str = Field(description="`OK`, or the reason why not.", examples=["OK", "Bad Gateway"])
    result: Purged | None = Field(default=None, description="How much was forgotten.")


class PurgeParameter(Target):
    """Content with what became of it."""

    result: PurgeResult = Field(description="What became of it.")


class PurgeFeedbackMessage(FeedbackMessage):
    """`purge.feedback`: what became of a purge."""

    action: Done = Field(description="What was done, and why.")
    parameters: list[PurgeParameter] = Field(description="One for each target.")


class HeartbeatMessage(MessageV1):
    """`heartbeat.feedback`: a node is alive."""

    timestamp: Timestamp | None = Field(default=None, description="When it was sent, in ISO 8601.")
    node: Node = Field(description="Which node is alive.")


class Updated(MessagePart):
    """A field of a running virtual host that was changed."""

    field: Literal["origin.address"] = Field(description="The field.")
    values: list[str] = Field(description="What it is now.", examples=[["10.10.10.10", "10.10.10.11"]])


class UpdatedHosting(MessagePart):
    """A running virtual host that was changed."""

    name: str = Field(description="Its name.", examples=["www.example.com"])
    updated: Updated = Field(description="What was changed.")


class NodelistFeedbackMessage(MessageV1):
    """`nodelist.feedback`: the instances that a cloud told, and what was changed for them."""

    timestamp: Timestamp | None = Field(default=None, description="When it was sent, in ISO 8601.")
    node: Node = Field(description="Which node reports.")
    nodelist: list[str] = Field(description="Addresses of the instances.", examples=[["10.10.10.10"]])
    hosting: list[UpdatedHosting] | None = Field(default=None, description="What was changed.")


KINDS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "setting.feed": UploadFeed | CheckoutFeed,
        "setting.feedback": SettingFeedbackMessage,
        "purge.feed": PurgeFeedMessage,
        "purge.feedback": PurgeFeedbackMessage,
        "heartbeat.feedback": HeartbeatMessage,
        "nodelist.feedback": NodelistFeedbackMessage,
    }
)
"""Kind of a message v1 -> its model."""


def validate_message(kind: str, message: Any) -> Any:
    """A message as its model.

    Args:
        kind: one of `KINDS`.
        message: plain.

    Raises:
        pydantic.ValidationError: it is no message of this kind.
    """
    return TypeAdapter(KINDS[kind]).validate_python(message)


def make_message_schema(kind: str) -> Schema:
    """The schema of one kind of message."""
    side = "A central server's answer to a poll" if kind.endswith("feed") else "A node's report"
    return make_schema(
        KINDS[kind], SchemaTitle(kind, f"Message v1: {kind}", f"{side}, in M2's message format v1.")
    )
