"""The port of inventories: instances of a cloud, and what is known of them at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

from reconciler.core.cloud_expressions import CloudExpression

LARGEST: Final = 10_000
"""Instances that one query may find."""


@dataclass(frozen=True, slots=True)
class InventoryQuery:
    """Which instances are asked for.

    Args:
        account: entry of `aws` or `oci` of the host configuration; empty for the only one of the provider.
        expression: without a port: queries that differ in it are one query.
    """

    account: str
    expression: CloudExpression

    @classmethod
    def of(cls, expression: CloudExpression, account: str = "") -> InventoryQuery:
        """The query that resolves an expression."""
        return cls(account, replace(expression, rest=""))

    def __str__(self) -> str:
        return f"{self.expression} of {self.account}" if self.account else str(self.expression)


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """One instance that counts.

    Args:
        id: by which the cloud knows it; it never gets another instance's id.
        address: its private IP address.
        name: for people; may be empty.
    """

    id: str
    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class InventoryList:
    """The complete list of the instances of a query at one moment; never empty.

    Args:
        instances: sorted by id.
        read_at: when the cloud answered.
        failure: why there is no newer list, if there was an attempt; empty for the answer of this pass.
        refused: sentences about instances that do not count, such as one outside the allowed networks.
        account: entry of the host configuration that was asked.
    """

    instances: tuple[Instance, ...]
    read_at: datetime
    failure: str = ""
    refused: tuple[str, ...] = ()
    account: str = ""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Id of an instance -> its address."""
        return {one.id: one.address for one in self.instances}


@dataclass(frozen=True, slots=True)
class UnreadInventory:
    """Why the instances of a query are not known; never to be taken for "there are none".

    Args:
        message: what happened, without a full stop.
        is_elsewhere: whether this machine has no host configuration: another one applies the plan.
        is_asked: whether a cloud was asked.
    """

    message: str
    remedy: str = ""
    is_elsewhere: bool = False
    is_asked: bool = False


InventoryAnswer: TypeAlias = InventoryList | UnreadInventory

_NOT_ASKED: Final = UnreadInventory("this command does not ask the inventory")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is known of the instances of some queries.

    Args:
        answers: query -> what is known.
        at: the moment of it, for ages.
        makes_examples: whether unknown instances are replaced by an example, to check files without a cloud.
    """

    answers: Mapping[InventoryQuery, InventoryAnswer] = field(default_factory=lambda: MappingProxyType({}))
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    makes_examples: bool = False

    def find(self, query: InventoryQuery) -> InventoryAnswer:
        """What is known of a query."""
        return self.answers.get(query, _NOT_ASKED)

    @property
    def content(self) -> Mapping[InventoryQuery, Any]:
        """What of it makes nodes: query -> id -> address; equal if the fleet is the same."""
        return {
            query: dict(found.addresses) if isinstance(found, InventoryList) else found.message
            for query, found in self.answers.items()
        }


NO_INVENTORY: Final = Inventory()
"""Nothing was asked."""

EXAMPLES: Final = Inventory(makes_examples=True)
"""Nothing was asked; an example stands for the instances of each query."""


class InventoryClient(Protocol):
    """One account of one cloud."""

    async def list_instances(self, expression: CloudExpression) -> tuple[Instance, ...]:
        """All instances that count, from a complete answer; may be empty.

        Raises:
            InventoryError: the cloud does not answer, refuses, or its answer is cut or contradicts itself.
        """
