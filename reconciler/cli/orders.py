"""What `suspend`, `resume` and `approve` share: open orders, plan ids, cluster names."""

from __future__ import annotations

from reconciler.core.fleet_matching import HOST
from reconciler.core.memory import Suspension
from reconciler.errors import UsageError
from reconciler.host import aio
from reconciler.ports.store import OpenOrders, StoreReader

LEAST = 8
"""Characters of a plan id that are enough if the plan waits for approval."""

_WHOLE = 64
"""Characters of a complete plan id, a SHA-256 in hexadecimal."""


def read_open_orders(store: StoreReader) -> OpenOrders:
    """All orders in force."""
    return aio.run_until_signal(store.orders())


def warn_of_unknown_cluster(cluster: str, store: StoreReader) -> str:
    """A warning about a cluster that no fleet in the store has; empty if one has it."""
    from reconciler.text.suggestions import find_nearest  # noqa: PLC0415

    async def read() -> list[str]:
        found: set[str] = set()
        for number in (HOST, *(fleet.number for fleet in await store.fleets())):
            memory = await store.select_fleet(number).read_memory()
            found |= {*memory.cluster_memory, *memory.facts} - {""}
        return sorted(found)

    known = aio.run_until_signal(read())
    if cluster in known:
        return ""
    near = find_nearest(cluster, known)
    hint = f"; did you mean {near}?" if near else ""
    return f"No run on this host has seen a cluster {cluster!r}{hint}\n"


def describe_scope(suspension: Suspension) -> str:
    """`all clusters` or `cluster NAME`."""
    return f"cluster {suspension.cluster}" if suspension.cluster else "all clusters"


def resolve_digest(text: str, found: OpenOrders) -> str:
    """The full digest of a plan id, or of its first characters.

    Raises:
        UsageError: no plan or more than one has this id.
    """
    prefix = text.strip().lower()
    if set(prefix) - set("0123456789abcdef") or not LEAST <= len(prefix) <= _WHOLE:
        raise UsageError(
            f"{text!r} is not a plan id", remedy=f"give at least {LEAST} characters of the id in the refusal"
        )
    matching = sorted({one.digest for one in found.requests if one.digest.startswith(prefix)})
    if len(matching) == 1:
        return matching[0]
    if len(prefix) == _WHOLE:  # a plan that another host made may be approved before this host plans it
        return prefix
    if matching:
        raise UsageError(f"{len(matching)} plan ids begin with {text!r}", remedy="give more characters")
    raise UsageError(
        f"no plan with an id that begins with {text!r} waits for approval on this host",
        remedy=f"see `reconcile approve --list`, or give all {_WHOLE} characters of the id",
    )
