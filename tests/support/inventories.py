"""Answers of clouds, without a cloud."""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.core.cloud_expressions import parse_expression
from reconciler.ports.inventory import Instance, Inventory, InventoryList, InventoryQuery, UnreadInventory

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def query(text="aws:vm:tag=edge", account=""):
    return InventoryQuery.of(parse_expression(text), account)


def listed(**instances):
    """A list with these ids, `_` for `-`, and addresses."""
    found = [Instance(number.replace("_", "-"), address) for number, address in instances.items()]
    return InventoryList(tuple(sorted(found)), NOW, account="prod")


def inventory(answer=None, **instances):
    """The answer to `aws:vm:tag=edge`: what is given, or a list of these instances."""
    return Inventory({query(): answer or listed(**instances)}, NOW)


def unread(message="it does not answer", **more):
    return inventory(UnreadInventory(message, **more))
