"""The Kafka clusters that this host may use."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from reconciler.core.endpoint import InvalidAddress, format_url_host, is_loopback_host, parse_endpoint
from reconciler.core.fields import Flag, StrictModel
from reconciler.host.config_fields import AbsolutePath, KeyFile

_BROKER: Final = r"^(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._\-]{1,253}):[0-9]{1,5}$"
_TOPIC: Final = r"^[A-Za-z0-9._\-*]{1,249}$"
_GROUP: Final = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,127}$"
_USER: Final = r"^[^\x00-\x1f\x7f]{1,256}$"


def _check_broker(text: Any) -> Any:
    try:
        place = parse_endpoint(text) if isinstance(text, str) and "://" not in text else None
    except InvalidAddress:
        place = None
    if place is None or not place.port:
        raise PydanticCustomError(
            "broker", "a broker must be written with its port, such as kafka-1.example.com:9092"
        )
    return f"{format_url_host(place.host)}:{place.port}"


Broker = Annotated[
    str, BeforeValidator(_check_broker), WithJsonSchema({"type": "string", "pattern": _BROKER})
]
"""Host and port of a broker."""


class KafkaTls(StrictModel):
    """TLS to the brokers."""

    ca: AbsolutePath | None = Field(
        default=None,
        description="Certificates of the authorities that sign those of the brokers, in PEM. Default: those "
        "of this machine.",
        examples=["/etc/reconciler/kafka-ca.pem"],
    )
    certificate: AbsolutePath | None = Field(
        default=None, description="This host's own certificate, in PEM; together with `key`."
    )
    key: KeyFile | None = Field(default=None, description="Its key, in PEM, without a password.")

    @model_validator(mode="after")
    def _require_both(self) -> KafkaTls:
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("half_tls", "`certificate` and `key` belong together")
        return self


class KafkaLogin(StrictModel):
    """A login by SASL."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="The mechanism."
    )
    user: Annotated[str, Field(pattern=_USER)] = Field(
        description="Name of the user.", examples=["reconciler"]
    )
    password: KeyFile = Field(
        description="File with the password; `$CREDENTIALS_DIRECTORY/NAME` is a credential of the systemd "
        "unit. It is read at each start of a connection.",
        examples=["/etc/reconciler/kafka-password"],
    )


class KafkaCluster(StrictModel):
    """A Kafka cluster by which nodes are told of offers, and report."""

    brokers: tuple[Broker, ...] = Field(
        min_length=1,
        max_length=100,
        description="All brokers that settings may name as `brokers` of a connection. A setting with any "
        "other broker is refused.",
        examples=[["kafka-1.example.com:9092", "kafka-2.example.com:9092"]],
    )
    bootstrap: tuple[Broker, ...] = Field(
        default=(),
        max_length=100,
        description="Brokers that this host itself calls, where it reaches them by other addresses than the "
        "nodes. Default: `brokers`.",
        examples=[["kafka-internal.example.com:9093"]],
    )
    tls: KafkaTls | None = Field(
        default=None, description="TLS to the brokers; `{}` uses the authorities of this machine."
    )
    login: KafkaLogin | None = Field(default=None, description="Login by SASL. Default: none.")
    plaintext: Flag = Field(
        default=False,
        description="Whether a connection without TLS is accepted also to other machines. Messages contain "
        "URLs by which a setting can be downloaded.",
    )
    group: Annotated[str, Field(pattern=_GROUP)] = Field(
        default="reconciler",
        description="Group id of this host's consumer. It must not be that of any node: they would share the "
        "messages.",
        examples=["reconciler"],
    )
    topics: tuple[Annotated[str, Field(pattern=_TOPIC)], ...] = Field(
        default=(),
        max_length=1000,
        description="Topics that settings and `feedback` of a fleet file may name; `*` is any text. Without "
        "an entry all are allowed.",
        examples=[["prd.m2.*"]],
    )

    @property
    def called(self) -> tuple[str, ...]:
        """The brokers that this host calls first."""
        return self.bootstrap or self.brokers

    @model_validator(mode="after")
    def _require_tls(self) -> KafkaCluster:
        is_local = all(is_loopback_host(parse_endpoint(one).host) for one in self.called)
        if self.tls is None and not self.plaintext and not is_local:
            raise PydanticCustomError(
                "plain_kafka", "`tls` is needed; without it, add `plaintext: true` to accept that"
            )
        return self
