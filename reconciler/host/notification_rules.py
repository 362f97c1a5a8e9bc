"""The section `notifications` of the host configuration: whom the watch of this host tells what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from reconciler.core.alerts import AlertEvent, AlertSeverity
from reconciler.core.fields import SomeTime, StrictModel
from reconciler.host.config_fields import KeyFile

VARIABLES: Final = "RECONCILE_NOTIFY_"
"""Prefix of the environment variables that have addresses; references of a fleet file never read them."""

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"
_VARIABLE: Final = rf"^\${VARIABLES}[A-Z0-9_]{{1,100}}$"
_PATTERN: Final = r"^[^\x00-\x20\x7f]{1,100}$"

RecipientName = Annotated[str, Field(pattern=_NAME)]
AddressPlace = Annotated[str, Field(pattern=_VARIABLE)] | KeyFile
"""Where an address is: `$RECONCILE_NOTIFY_…`, a variable; or a file, as `KeyFile`."""

_URL: Final = r"^https?://[^\x00-\x20?#@<>]{1,500}$"
DashboardUrl = Annotated[str, Field(pattern=_URL), AfterValidator(lambda text: text.rstrip("/"))]
"""Where people reach the pages of a watch, without query."""


class Recipient(StrictModel):
    """Who is told: one or more addresses, with how often."""

    addresses: tuple[AddressPlace, ...] = Field(
        min_length=1,
        max_length=20,
        description="Where the addresses are, never the addresses: files with one URL of Apprise each, such "
        "as `slack://…`. `$CREDENTIALS_DIRECTORY/NAME` is a credential of the systemd unit, "
        f"`${VARIABLES}NAME` an environment variable.",
        examples=[["$CREDENTIALS_DIRECTORY/slack"]],
    )
    group: SomeTime = Field(
        default=60.0,
        le=86_400.0,
        description="How long a notice waits for others, to be told together. A critical one does not wait.",
        examples=["60s"],
    )
    limit: int = Field(
        default=20,
        ge=1,
        le=1_000,
        description="Messages within `per`. Further notices wait, and come together in one message.",
    )
    per: SomeTime = Field(
        default=3600.0, le=7 * 86_400.0, description="The time in which `limit` counts.", examples=["1h"]
    )


class TellingRule(StrictModel):
    """Who is told of which events."""

    recipients: tuple[RecipientName, ...] = Field(
        min_length=1, max_length=100, description="Names in `recipients`.", examples=[["on-call"]]
    )
    events: tuple[AlertEvent, ...] = Field(
        default=(), max_length=100, description="Only these events. Without an entry every event."
    )
    clusters: tuple[Annotated[str, Field(pattern=_PATTERN)], ...] = Field(
        default=(),
        max_length=1000,
        description="Only these clusters; `*` is any text. Without an entry all. What concerns no single "
        "cluster, such as an unreachable source, is always told.",
        examples=[["prod-*"]],
    )
    severity: AlertSeverity = Field(
        default=AlertSeverity.INFO, description="The lowest severity that is told."
    )


class NotificationRules(StrictModel):
    """Whom the watch of this host tells what."""

    url: DashboardUrl | None = Field(
        default=None,
        description="URL of the watch's pages as people reach them, for links. Default: no links.",
        examples=["https://reconciler.example.com"],
    )
    recipients: Mapping[RecipientName, Recipient] = Field(
        default_factory=dict,
        description="Who can be told.",
        examples=[{"on-call": {"addresses": ["$CREDENTIALS_DIRECTORY/slack"]}}],
    )
    rules: tuple[TellingRule, ...] = Field(
        default=(),
        max_length=1000,
        description="Who is told what. A recipient of several rules that fit is told once.",
        examples=[[{"recipients": ["on-call"], "severity": "warning"}]],
    )
    steady: SomeTime = Field(
        default=300.0,
        le=86_400.0,
        description="How long something must be over before that is told, so that what comes and goes is "
        "told once.",
        examples=["5m"],
    )
    give_up: SomeTime = Field(
        default=86_400.0,
        ge=60.0,
        le=7 * 86_400.0,
        description="Age at which a notice that cannot be delivered is given up.",
        examples=["1d"],
    )

    @model_validator(mode="after")
    def _require_recipients(self) -> NotificationRules:
        """Require that each rule names recipients that exist; the errors stand at the names."""
        wrong = [
            InitErrorDetails(
                type=PydanticCustomError("unknown_recipient", "`recipients` has no such entry"),
                loc=("rules", number, "recipients", index),
                input=name,
            )
            for number, rule in enumerate(self.rules)
            for index, name in enumerate(rule.recipients)
            if name not in self.recipients
        ]
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self
