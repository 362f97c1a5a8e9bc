"""Finds what expires: in the fleet file, in what is delivered, on this host, and in what nodes show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from reconciler.core.expiry import Expiry, ExpiryKind, select_soon
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Present
from reconciler.host.files import FileRefused, read_regular
from reconciler.host.host import Host
from reconciler.planning.plan_pass import Drivers, PlanResult
from reconciler.ports.cluster_input import ClusterInput
from reconciler.secrets.dated_texts import find_certificate_end, find_dated_texts, find_token_end

MOST: Final = 500
"""Different documents of one cluster that are searched."""

_LARGEST: Final = 1_000_000
"""Bytes of a certificate file of this host."""


def list_soon_expiries(plan_result: PlanResult, drivers: Drivers, host: Host) -> tuple[Expiry, ...]:
    """What has expired, or expires within the fleet's `expiry_warning`, of the clusters of a pass.

    Args:
        plan_result: of the pass.
        drivers: kind -> product.
        host: this machine, whose own certificates count, too.
    """
    moments = [context.now for context in plan_result.guard_contexts if context.now is not None]
    if not moments:
        return ()
    found = [*_list_overrides(plan_result), *list_host_expiries(host)]
    for context in plan_result.guard_contexts:
        found += _list_cluster_expiries(context, plan_result, drivers)
    return select_soon(found, max(moments), plan_result.fleet.expiry_warning)


def list_host_expiries(host: Host) -> Iterator[Expiry]:
    """The ends of the certificates of this host: of the listener for nodes, and of authorities."""
    nodes = host.config.nodes
    files = [(ExpiryKind.AUTHORITY, name, path) for name, path in host.config.authorities.items()]
    if nodes is not None and nodes.certificate is not None:
        files.append((ExpiryKind.LISTENER, str(nodes.certificate), nodes.certificate))
    for kind, name, path in files:
        try:
            end = find_certificate_end(read_regular(path, limit=_LARGEST))
        except (FileRefused, OSError):  # whoever uses the file says what is wrong with it
            continue
        if end is not None:
            yield Expiry(kind, name, "", end)


def _list_overrides(plan_result: PlanResult) -> Iterator[Expiry]:
    for override in plan_result.fleet.overrides:
        # Its last day is in force as a whole.
        until = override.until + timedelta(days=1)
        at = datetime(until.year, until.month, until.day, tzinfo=UTC)
        yield Expiry(ExpiryKind.OVERRIDE, override.guard, override.target, at)


def _list_cluster_expiries(
    context: GuardContext, plan_result: PlanResult, drivers: Drivers
) -> Iterator[Expiry]:
    cluster = context.plan.cluster
    for cluster_input in plan_result.fleet.part(cluster).cluster_inputs:
        yield from _list_delivered(cluster, cluster_input)
    for node, files in context.observed.files.items():
        for entry, reading in files.items():
            content = reading.value.content if isinstance(reading, Present) else None
            yield from _search(cluster, f"{cluster}/{node}", f"file {entry}", content or b"")
    yield from drivers[context.plan.kind].list_expiries(context.desired, context.observed)


def _list_delivered(cluster: str, cluster_input: ClusterInput) -> Iterator[Expiry]:
    for path, data in cluster_input.resources.items():
        yield from _search(cluster, cluster, path, data)
    seen: set[int] = set()
    for node, document in cluster_input.documents.items():
        if id(document) in seen or len(seen) >= MOST:
            continue
        seen.add(id(document))
        target = f"{cluster}/{node}" if len(cluster_input.documents) > 1 else cluster
        for pointer, kind, end in find_dated_texts(document.value):
            yield Expiry(kind, pointer, target, end)


def _search(cluster: str, target: str, name: str, data: bytes) -> Iterator[Expiry]:
    if (end := find_certificate_end(data)) is not None:
        yield Expiry(ExpiryKind.CERTIFICATE, name, target or cluster, end)
    if b"eyJ" in data and (end := find_token_end(data.decode("utf-8", "replace"))) is not None:
        yield Expiry(ExpiryKind.TOKEN, name, target or cluster, end)
