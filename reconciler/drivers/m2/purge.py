"""M2's purge: its nodes, the part of an offer, and `/command/async/purge` (M2 manual, API).

What the manual leaves open is taken from its older sibling STON Edge Server: a purge that the node has queued
(`/command/async/…`, another status than 201) counts as done, since from then on the node does not serve what
it matches; its counts are not known, unless it reports them to this host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

from reconciler.core.json_reader import JsonError, JsonLimits, read_json
from reconciler.core.offers import OfferFeed
from reconciler.core.operations import QUEUED, OperationResult, OperationState
from reconciler.drivers.m2.client import UNAUTHORIZED_STATUSES
from reconciler.drivers.m2.feed_topology import find_bus_channel, find_group
from reconciler.drivers.m2.purge_targets import InvalidTarget, get_target_host, pack_targets, read_target
from reconciler.drivers.m2.schema import M2Desired, NodeTarget
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.errors import UsageError
from reconciler.ports.operations import OperationNode, OperationTarget, ProductOperation
from reconciler.ports.transport import HttpAnswer, Transports
from reconciler.text.one_line import join_some, quote_text
from reconciler.text.urls import strip_secrets

PATH: Final = "/command/async/purge"

MOST_TARGETS: Final = 10_000
"""Targets of one operation; the feed lists all of them for each node."""

LONGEST_CALL: Final = 6_000
"""Characters of the query of one call: many servers refuse a request line above 8,000."""

_MOST_NAMED: Final = 5
_MOST_QUOTED: Final = 300
_ANSWER: Final = JsonLimits(size=1024 * 1024, values=10_000)
_COUNTS: Final = ("count", "size", "time")


class PurgeOperation(ProductOperation[M2Desired]):
    """Removes content from the caches of nodes."""

    kind = "purge"
    feed = OfferFeed.PURGE

    def read_targets(self, texts: Sequence[str]) -> tuple[OperationTarget, ...]:
        if len(texts) > MOST_TARGETS:
            raise UsageError(
                f"a purge has at most {MOST_TARGETS:,} targets, and these are more",
                remedy="use patterns with *, or purge in parts",
            )
        found: dict[str, OperationTarget] = {}
        wrong: list[str] = []
        for text in texts:
            try:
                target = read_target(text)
                found.setdefault(target.text, target)
            except InvalidTarget as error:
                wrong.append(f"{quote_text(strip_secrets(text), most=80)}: {error}")
        if wrong:
            raise UsageError(
                f"not a target of a purge: {join_some(wrong, _MOST_NAMED)}",
                remedy="write HOST/PATH, with or without http://; * stands for any text",
            )
        if not found:
            raise UsageError("a purge needs a target", remedy="give URLs, or --file FILE with one a line")
        return tuple(found.values())

    def remark(self, desired: M2Desired, targets: Sequence[str]) -> tuple[str, ...]:
        """Hosts that no hosting of the cluster has: a purge of them finds nothing."""
        known = _list_hosts(desired)
        hosts = dict.fromkeys(get_target_host(target) for target in targets)
        unknown = [host for host in hosts if host and "*" not in host and host not in known]
        if not unknown or not known:
            return ()
        what = (
            "hosts that no hosting or alias has"
            if len(unknown) > 1
            else "a host that no hosting or alias has"
        )
        return (f"{what}: {join_some(unknown, _MOST_NAMED)}",)

    def list_nodes(self, desired: M2Desired) -> tuple[OperationNode, ...]:
        polling = desired.entry.polling
        callable_nodes = {node.name for node in desired.entry.nodes if node.address}
        channels = {
            target.node: find_bus_channel(
                target.content.document, "purge", "feed", desired.entry.node_ids.get(target.node, "")
            )
            if polling
            else None
            for target in desired.targets
        }
        return tuple(
            OperationNode(
                target.node,
                period=polling.every if polling else 0.0,
                channel=channels[target.node],
                group=find_group(target.content.document, "purge"),
                is_callable=target.node in callable_nodes,
                overdue=polling.overdue if polling else 1,
                reports=desired.entry.reporting is not None,
            )
            for target in desired.targets
        )

    def pack(self, targets: Sequence[str]) -> tuple[bytes, ...]:
        return (pack_targets(targets),)

    async def call(
        self, desired: M2Desired, node: str, targets: Sequence[str], transports: Transports
    ) -> OperationResult:
        """Purge all targets, in as many calls as their length needs."""
        target = next(one for one in desired.targets if one.node == node)
        totals: dict[str, float] = {}
        for query in _split_calls(targets):
            answer = await self._send(desired, target, query, transports)
            result = read_purge_answer(node, answer)
            for name, value in result.totals.items():
                totals[name] = totals.get(name, 0) + value
            if result.state is OperationState.FAILED:
                return OperationResult(node, OperationState.FAILED, result.reason, totals)
        return OperationResult(node, OperationState.DONE, totals=totals)

    async def _send(
        self, desired: M2Desired, target: NodeTarget, query: str, transports: Transports
    ) -> HttpAnswer:
        timeouts = desired.entry.timeouts
        # GET, which the manual shows; on a connection of its own, so that nothing repeats it unseen.
        return await transports.http.send(
            "GET",
            f"{target.bases[0]}{PATH}?url={query}",
            node=target.node,
            timeout=timeouts.read,
            connect=timeouts.connect,
            headers={"connection": "close"},
        )


def read_purge_answer(node: str, answer: HttpAnswer) -> OperationResult:
    """What a node says to `/command/async/purge`."""
    try:
        value = read_json(answer.body, _ANSWER)
    except JsonError:
        value = None
    body: Mapping[str, Any] = value if isinstance(value, dict) else {}
    text = answer.redact(str(body.get("result", "")), _MOST_QUOTED) if body else answer.quote(_MOST_QUOTED)
    if answer.status in UNAUTHORIZED_STATUSES:
        reason = f"this host may not purge ({answer.status}): the node gives it no role with enablePurge"
        return OperationResult(node, OperationState.FAILED, reason)
    is_accepted = answer.status in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED}
    if not is_accepted or str(body.get("status", "")).upper() != "OK":
        reason = f"it refused {PATH} with {answer.status}" + (f" ({text})" if text else "")
        return OperationResult(node, OperationState.FAILED, reason)
    # 201: done at once. Another status: the node has queued it, and its counts are those of the queueing.
    if answer.status != HTTPStatus.CREATED:
        return OperationResult(node, OperationState.DONE, totals={QUEUED: 1})
    return OperationResult(node, OperationState.DONE, totals=read_counts(body.get("result")))


def read_counts(result: Any) -> dict[str, float]:
    """The counts of a purge: the API writes `Count`, a report `count`."""
    if not isinstance(result, Mapping):
        return {}
    found: dict[str, float] = {}
    for key, value in result.items():
        name = str(key).lower()
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _COUNTS and is_number and 0 <= value < 2**63:  # also refuses NaN
            found[name] = value
    return found


def _split_calls(targets: Sequence[str]) -> Iterator[str]:
    """The values of `url` of all calls: targets with `|` between them, up to the length of one call."""
    rest = iter(targets)
    encoded = [quote(target, safe="/*:") for target in islice(rest, 1)]
    for target in rest:
        one = quote(target, safe="/*:")
        if sum(map(len, encoded)) + 3 * len(encoded) + len(one) > LONGEST_CALL:
            yield "%7C".join(encoded)
            encoded = []
        encoded.append(one)
    if encoded:
        yield "%7C".join(encoded)


def _list_hosts(desired: M2Desired) -> frozenset[str]:
    """Names and aliases of all hostings of a cluster, in lower case."""
    found: set[str] = set()
    for content in {id(target.content): target.content for target in desired.targets}.values():
        hostings = get_value(content.document, ("hosting",))
        for one in hostings if isinstance(hostings, list) else ():
            if isinstance(one, Mapping):
                aliases = one.get("aliases")
                names = [one.get("name"), *(aliases if isinstance(aliases, list) else ())]
                found |= {name.lower() for name in names if isinstance(name, str)}
    return frozenset(found)
