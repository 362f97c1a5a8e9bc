"""What cloud expressions within settings mean now: for people, since the nodes resolve them themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from reconciler.core.cloud_expressions import CloudExpression
from reconciler.core.timestamps import format_age
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.planning.inventory_source import InventorySource
from reconciler.ports.driver import Driver
from reconciler.ports.inventory import Inventory, InventoryList, InventoryQuery
from reconciler.ports.source import Source
from reconciler.text.one_line import join_some

CODE: Final = "cloud-origins"
"""Code of what an expression in a setting means."""

_SHOWN: Final = 5


async def report_origins(
    fleet: Fleet, source: Source, drivers: Mapping[str, Driver[Any, Any]], now: datetime
) -> Fleet:
    """The fleet with a note for each expression in its settings, or a warning that it means nothing.

    Nothing of it changes what is delivered, or the plan.

    Args:
        fleet: one that was read.
        source: asks the inventory, if it is one that can.
        drivers: kind -> product, which knows where its settings have expressions.
        now: for ages.
    """
    if not isinstance(source, InventorySource):
        return fleet
    named = {
        one.entry.name: drivers[one.entry.kind].find_cloud_expressions(one) for one in fleet.cluster_inputs
    }
    queries = [InventoryQuery.of(expression) for own in named.values() for expression in own.values()]
    if not queries:
        return fleet
    known = await source.ask(queries)
    notes = [note for cluster, own in named.items() for note in _report(cluster, own, known, now)]
    return replace(fleet, warnings=(*fleet.warnings, *notes))


def _report(
    cluster: str, own: Mapping[str, CloudExpression], known: Inventory, now: datetime
) -> Iterator[Diagnostic]:
    for place, expression in own.items():
        found = known.find(InventoryQuery.of(expression))
        what = f"{place}: {expression}"
        if isinstance(found, InventoryList):
            addresses = [expression.make_address(one.address) for one in found.instances]
            age = format_age(max(0.0, (now - found.read_at).total_seconds()))
            meaning = f"{what} means {join_some(addresses, _SHOWN)} ({found.account}, {age} ago)"
            yield Diagnostic(Severity.NOTE, CODE, f"{meaning}; the nodes ask themselves", target=cluster)
        else:
            yield Diagnostic(
                Severity.WARNING if found.is_asked else Severity.NOTE,
                CODE,
                f"{what} is not known here: {found.message}; the nodes ask themselves",
                found.remedy if found.is_asked else "",
                target=cluster,
            )
