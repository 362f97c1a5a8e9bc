"""What a host allows about the instances of a cloud that become nodes."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from reconciler.core.fields import SomeTime, StrictModel
from reconciler.host.config_fields import Cidr, ServiceOrigin

MAX_AGE: Final = 900.0
"""Default age in seconds up to which the last known list of instances counts."""


class InstanceRules(StrictModel):
    """The instances of an account that become nodes of a fleet file or of a lone setting."""

    networks: tuple[Cidr, ...] = Field(
        min_length=1,
        max_length=1000,
        description="Networks of the instances. An instance with another address does not count, and the "
        "plan names it.",
        examples=[["10.20.0.0/16"]],
    )
    max_age: SomeTime = Field(
        default=MAX_AGE,
        description="How old the last known list may be while the cloud does not answer, or answers with an "
        "error or with nothing. After that time the clusters are refused until it answers.",
        examples=["15m"],
    )
    endpoint: ServiceOrigin | None = Field(
        default=None,
        description="Where another server than that of the cloud in `region` is called, such as a private "
        "endpoint.",
        examples=["https://vpce-0a1b2c.ec2.eu-central-1.vpce.amazonaws.com"],
    )
