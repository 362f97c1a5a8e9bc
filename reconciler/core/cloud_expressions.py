"""Cloud expressions, such as `aws:vm:tag=edge`, and the tags of instances that they mean; pure.

The forms are those of M2's manual (Cluster, and `features.nodelist`). Where a setting has an expression, the
nodes resolve it themselves; this program resolves it to know which nodes there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.core.endpoint import LAST_PORT, format_url_host
from reconciler.text.one_line import quote_text

EXPRESSION: Final = r"(?:aws|oci):(?:vm|vip):tag=[^#\s]{1,1024}"
"""An expression, without what stands around it in a setting."""

_PARTS: Final = re.compile(r"(aws|oci):(vm|vip):tag=([^#\s]{1,1024})")
_EMBEDDED: Final = re.compile(rf"#(?P<expression>{EXPRESSION})(?:#(?P<rest>:[0-9]{{1,5}})?)?")
_MOST_TAGS: Final = 50
_LONGEST_KEY, _LONGEST_VALUE = 128, 256

FORMS: Final = "write aws:vm:tag=KEY, oci:vm:tag=KEY, or with values aws:vm:tag=KEY=VALUE;KEY=VALUE;"


class CloudProvider(StrEnum):
    """The cloud that is asked."""

    AWS = "aws"
    OCI = "oci"


class CloudTarget(StrEnum):
    """What of a cloud is meant."""

    VM = "vm"
    """Instances that run."""

    VIP = "vip"
    """Load balancers; M2's manual does not say which objects of a cloud."""


class InvalidExpression(ValueError):
    """A text is not a cloud expression, or its tags are malformed.

    Args:
        message: what is wrong, without a full stop.
    """

    def __init__(self, message: str, remedy: str = FORMS) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True, order=True)
class TagCondition:
    """A tag that an instance must have.

    Args:
        value: that the tag must have; empty for any.
    """

    key: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value};"


@dataclass(frozen=True, slots=True)
class CloudExpression:
    """The addresses of which objects of a cloud are meant.

    Args:
        tags: sorted; an object counts if it has one of them.
        rest: what is appended to each address, such as `:9900`; empty for nothing.
    """

    provider: CloudProvider
    target: CloudTarget
    tags: tuple[TagCondition, ...]
    rest: str = ""

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether an object with these tags is meant; keys and values are compared exactly."""
        return any(one.key in tags and (not one.value or tags[one.key] == one.value) for one in self.tags)

    def make_address(self, address: str) -> str:
        """An address of an object in place of the expression."""
        return f"{format_url_host(address)}{self.rest}"

    def __str__(self) -> str:
        (first, *others) = self.tags
        listed = first.key if not others and not first.value else "".join(map(str, self.tags))
        return f"{self.provider}:{self.target}:tag={listed}"


def parse_tags(text: str) -> tuple[TagCondition, ...]:
    """The conditions of a list such as `type=parent;type=child;`, sorted, each once.

    Args:
        text: each condition is `key=value;`, or `key=;` for any value; the last `;` may be missing.

    Raises:
        InvalidExpression: it has none, a condition has no key, or there are too many.
    """
    found: set[TagCondition] = set()
    for part in text.removesuffix(";").split(";"):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            shown = quote_text(part or text)
            raise InvalidExpression(f"{shown} is not a tag of the form key=value or key=")
        if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
            raise InvalidExpression(
                f"a tag is too long: {quote_text(part)}",
                "write at most 128 characters for a key, 256 for a value",
            )
        found.add(TagCondition(key.strip(), value.strip()))
    if len(found) > _MOST_TAGS:
        raise InvalidExpression(f"{len(found)} tags are listed", f"list at most {_MOST_TAGS} tags")
    return tuple(sorted(found))


def parse_expression(text: str) -> CloudExpression:
    """An expression, written alone (`aws:vm:tag=K`) or as in a setting (`#aws:vm:tag=K#:9900`).

    Of `tag=K`, M2's manual does not say whether K is a key or a value: K without `=` is a key with any value.

    Raises:
        InvalidExpression: it is neither.
    """
    embedded = _EMBEDDED.fullmatch(text)
    alone = embedded["expression"] if embedded else text
    rest = (embedded["rest"] or "") if embedded else ""
    parts = _PARTS.fullmatch(alone)
    # It is shown in plans and logs.
    if parts is None or not text.isprintable():
        raise InvalidExpression(f"{quote_text(text)} is not a cloud expression")
    if rest and not 1 <= int(rest[1:]) <= LAST_PORT:
        raise InvalidExpression(
            f"{quote_text(text)} has no usable port", f"write a port from 1 to {LAST_PORT} after the second #"
        )
    listed = parts[3] if "=" in parts[3] else f"{parts[3].removesuffix(';')}=;"
    return CloudExpression(CloudProvider(parts[1]), CloudTarget(parts[2]), parse_tags(listed), rest)


def is_embedded(text: str) -> bool:
    """Whether a text of a setting is a cloud expression, well-formed or not."""
    return text.startswith("#")
