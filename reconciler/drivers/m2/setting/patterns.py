"""Patterns of texts in a `setting.json`, for schemas; `check` and `address_range` decide about the same.

A text with a reference to a secret in it, such as `${env:NAME}`, fits every pattern: its value comes later.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from reconciler.core.fields import BYTE, IPV4, IPV6

_MASKS = "|".join(str(ip_network(f"0.0.0.0/{length}").netmask).replace(".", r"\.") for length in range(33))
_PORT = "0*(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LABEL = "[0-9A-Za-z_][0-9A-Za-z_-]{0,62}"
# A host that ends in a number is an IPv4 address in another notation for many resolvers (`0x7f.1` is
# 127.0.0.1): it would pass as a name and reach another machine.
_NUMBER = r"(?:[^:/]*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?(?:[:/]|$)"
_NAME = rf"(?!{_NUMBER})(?=[^:/]{{1,253}}(?:[:/]|$)){_LABEL}(?:\.{_LABEL})*\.?"
_HOST = f"(?:{IPV4}|{_NAME})"
_SCOPED = f"{IPV6}(?:%[!-~]+)?"
_REFERENCE = r"[^$]*\$\{(?:env|file|age):[^}]+\}[\s\S]*"

CLOUD: Final = rf"#(?:aws|oci):(?:vm|vip):tag=[^#]+(?:#(?::{_PORT})?)?"
"""A cloud expression: the node replaces it by addresses that it asks a cloud for (M2 manual, Cluster)."""

ADDR: Final = (
    f"^(?:{IPV4}(?:-{BYTE}|/0*(?:[0-9]|[12][0-9]|3[0-2])|/(?:{_MASKS}))?|{IPV6}(?:/[0-9]+)?|{_REFERENCE})$"
)
"""`addr` of an allowList."""

_PLACE = f"(?:{_HOST}(?::{_PORT})?|\\[{_SCOPED}\\](?::{_PORT})?|{_SCOPED})"

ENDPOINT: Final = f"^(?:{_PLACE}|https?://{_PLACE}/?)$"
"""Where a node's management API is reached."""

MEMBER: Final = f"^(?:{CLOUD}|{_PLACE}|{_REFERENCE})$"
"""A member of a cluster."""

LISTEN: Final = f"^(?:(?:\\*|{_HOST}|\\[{_SCOPED}\\]):{_PORT}|{_REFERENCE})$"
"""Where something listens."""

BROKER: Final = f"^(?:(?:{_HOST}|\\[{_SCOPED}\\]):{_PORT}|{_REFERENCE})$"
"""A broker of Kafka, with its port."""

TAGS: Final = (
    rf"^(?:(?:[^=;\s]|[^=;\s][^=;]*[^=;\s])=(?:[^;\s]|[^;\s][^;]*[^;\s])?(?:;|$))+\s*$|^{_REFERENCE}$"
)
"""Tags of instances; at least one."""

TOPIC: Final = rf"^(?:(?!\.{{1,2}}$)[A-Za-z0-9._\-]{{1,249}}|{_REFERENCE})$"
"""A topic of Kafka."""

FILLED: Final = r"\S"
"""A text that is not blank."""

URL: Final = f"^(?:[hH][tT][tT][pP][sS]?://(?:[^/?#\\s]*@)?{_PLACE}(?:[/?#]\\S*)?|{_REFERENCE})$"
"""What a node polls, or reports to."""

BEYOND: Final = (
    "a range of addresses ends after its start, a network begins with its first address, IPv6 is valid, "
    "a connection that is used has its keys"
)
"""What these patterns cannot express."""


def make_schedule_pattern(pattern: str) -> str:
    """The pattern of a schedule, extended by references to secrets."""
    return f"^(?:{pattern.removeprefix('^').removesuffix('$')}|{_REFERENCE})$"


def make_types_pattern(types: list[str]) -> str:
    """The pattern of a list of types, separated or ended by `;`; it may be empty."""
    one = "|".join(types)
    return f"^;*(?:(?:{one});+)*(?:{one})?;*$"


def make_contains_pattern(kind: str) -> str:
    """The pattern of a list of types that has this one in it."""
    return f"(^|;){kind}(;|$)"
