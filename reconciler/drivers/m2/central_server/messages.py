"""All kinds of message format v1: answers of a central server to nodes, and reports of nodes.

Facts: M2, "Central server". The `feed.json` of a backup is a `setting.feed`. A purge is propagated by the
call itself, without a message. Unknown keys are kept. Keys that the documents do not require may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema

_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})$"

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

    # A newer product may add keys. Types are strict: a converted value could hide a change of the format.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, alias_generator=to_camel)


class MessageV1(MessagePart):
    """The key of every message."""

    message_ver: Literal["1"] = Field(description="Version of the format.")


class Node(MessagePart):
    """Identity of a node."""

    hostname: str = Field(description="The node's own name.", examples=["edge-01"])
    iplist: list[str] = Field(description="Its addresses.", examples=[["10.10.10.1", "10.10.10.2"]])
    product_ver: str | None = Field(default=None, description="Version of the product.", examples=["2.8.1"])
    setting_ver: Version = Field(
        default=None, description="`meta.version` of its setting.", examples=["2022-06-21-A", 10]
    )
    license_id: str | None = Field(default=None, description="Its licence.", examples=["KR200099999"])


class FeedMessage(MessageV1):
    """An answer of a central server."""

    timestamp: Timestamp
    userdata: Any = Field(default=None, description="Returned unchanged in the feedback.")


class FeedbackMessage(MessageV1):
    """A report of a node about an action."""

    timestamp: Timestamp | None = Field(
        default=None, description="When it was sent, in ISO 8601.", examples=["2022-07-13T14:10:30.000Z"]
    )
    node: Node = Field(description="The node that reports.")
    userdata: Any = Field(default=None, description="`userdata` of the feed.")


class Done(MessagePart):
    """The action of a node, and its cause."""

    api: str = Field(description="The call that was made.", examples=["/setting/upload"])
    # Any text: for polling, the pages name no connection; for Firestore, they list no event.
    event: str = Field(
        description="The cause: a feed, a call, a start of the product, a command line.",
        examples=["/env/management/server/apiPolling/central", "/_api_/setting/upload", "/_sys_/bootup"],
    )


class FeedLocation(MessagePart):
    """One package."""

    url: str = Field(
        min_length=1, description="URL of the package.", examples=["http://www.example.com/m2pkg_v10.tgz"]
    )


class Upload(MessagePart):
    """The action of a feed with a package."""

    api: Literal["/setting/upload"] = Field(description="The node loads the package.")


class Checkout(MessagePart):
    """The action of a feed that only notifies."""

    api: Literal["/setting/deploy/checkout"] = Field(description="The node pulls from its repository.")


class UploadFeed(FeedMessage):
    """`setting.feed`: a package to download and load."""

    action: Upload = Field(description="The action.")
    parameters: list[FeedLocation] = Field(min_length=1, description="The packages.")


class CheckoutFeed(FeedMessage):
    """`setting.feed` for nodes with a git repository: only a notification."""

    action: Checkout = Field(description="The action.")
    parameters: list[Any] | None = Field(default=None, max_length=0, description="Empty.")


class NotUpdated(MessagePart):
    """A field that waits for a restart."""

    field: str = Field(description="Name of the field, with dots.", examples=["env.network.http2"])
    cur: Any = Field(default=None, description="The value in effect.")
    new: Any = Field(default=None, description="The requested value.")


class SettingResult(MessagePart):
    """The result of loading a setting.

    The documents show two keys `version`, of the product and of the setting; the last one counts. What this
    program writes has the first one as `productVersion`.
    """

    method: str = Field(description="The part of the product that did it.", examples=["deploy"])
    status: str = Field(description="`ok`, or the reason of the failure.", examples=["ok"])
    version: Version = Field(default=None, description="`meta.version` of the setting.", examples=[10])
    product_version: str | None = Field(
        default=None, description="Version of the product.", examples=["22.02.0"]
    )
    last_modified: str | None = Field(
        default=None,
        description="`Last-Modified` of the package.",
        examples=["Tue, 11 Oct 2022 12:45:26 GMT"],
    )
    notupdated: list[NotUpdated] | None = Field(default=None, description="Fields that wait for a restart.")


class SettingParameter(MessagePart):
    """One package and its result."""

    url: str | None = Field(default=None, description="URL of the package.")
    result: SettingResult = Field(description="The result.")


class SettingFeedbackMessage(FeedbackMessage):
    """`setting.feedback`: the result of a setting."""

    action: Done = Field(description="The action and its cause.")
    parameters: list[SettingParameter] | None = Field(default=None, description="One for each package.")
    setting: dict[str, Any] | None = Field(
        default=None, description="The loaded `setting.json`, if `uploadSetting` requests it."
    )


class Purge(MessagePart):
    """The action of a feed that purges."""

    api: Literal["/command/purge"] = Field(description="The node removes content from its cache.")


class Target(MessagePart):
    """Content to purge."""

    url: str = Field(
        min_length=1,
        description="With or without scheme; `*` matches any text.",
        examples=["http://www.example.com/image.jpg", "www.example.com/image/*.bmp"],
    )


class PurgeFeedMessage(FeedMessage):
    """`purge.feed`: content to purge."""

    action: Purge = Field(description="The action.")
    parameters: list[Target] = Field(min_length=1, description="The content to purge.")


class Purged(MessagePart):
    """How much was purged."""

    count: Count = Field(description="Number of objects.", examples=[3])
    size: Count = Field(description="Size in bytes.", examples=[77656899])
    time: Annotated[Number, Field(ge=0)] = Field(description="Duration.", examples=[12])


class PurgeResult(MessagePart):
    """The result of a purge."""

    version: Version = Field(default=None, description="Version of the product.", examples=["22.02.0"])
    method: str = Field(description="The part of the product that did it.", examples=["purge"])
    status: str = Field(description="`OK`, or the reason of the failure.", examples=["OK", "Bad Gateway"])
    result: Purged | None = Field(default=None, description="How much was purged.")


class PurgeParameter(Target):
    """Content and its result."""

    result: PurgeResult = Field(description="The result.")


class PurgeFeedbackMessage(FeedbackMessage):
    """`purge.feedback`: the result of a purge."""

    action: Done = Field(description="The action and its cause.")
    parameters: list[PurgeParameter] = Field(description="One for each target.")


class HeartbeatMessage(MessageV1):
    """`heartbeat.feedback`: a node is alive."""

    timestamp: Timestamp | None = Field(default=None, description="When it was sent, in ISO 8601.")
    node: Node = Field(description="The node.")


class Updated(MessagePart):
    """A field of a running virtual host that was changed."""

    field: Literal["origin.address"] = Field(description="The field.")
    values: list[str] = Field(description="The new value.", examples=[["10.10.10.10", "10.10.10.11"]])


class UpdatedHosting(MessagePart):
    """A running virtual host that was changed."""

    name: str = Field(description="Its name.", examples=["www.example.com"])
    updated: Updated = Field(description="The change.")


class NodelistFeedbackMessage(MessageV1):
    """`nodelist.feedback`: the instances in a cloud, and the changes made for them."""

    timestamp: Timestamp | None = Field(default=None, description="When it was sent, in ISO 8601.")
    node: Node = Field(description="The node that reports.")
    nodelist: list[str] = Field(description="Addresses of the instances.", examples=[["10.10.10.10"]])
    hosting: list[UpdatedHosting] | None = Field(default=None, description="The change.")


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


def make_message_schema(kind: str) -> Schema:
    """The schema of one kind of message."""
    side = "A central server's answer to a poll" if kind.endswith("feed") else "A node's report"
    return make_schema(
        KINDS[kind], SchemaTitle(kind, f"Message v1: {kind}", f"{side}, in M2's message format v1.")
    )
