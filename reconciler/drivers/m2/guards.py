"""What an M2 plan must never do: shut out, cut off or split, and destroy more than the policy allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Absent, Present
from reconciler.core.policy import resolve_amount
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.discovery_guard import refuse_cluster_split
from reconciler.drivers.m2.feed_topology import FeedOrigin, find_feed_origins
from reconciler.drivers.m2.management_access import (
    extract_access,
    find_addresses_losing_access,
    find_callers,
    has_certain_access,
)
from reconciler.drivers.m2.risk import NEEDED, find_allowed_addresses, find_lost_hostings, find_new_address
from reconciler.drivers.m2.schema import Deliver, LoadedSetting, M2Desired, M2Policy, NodeTarget
from reconciler.drivers.m2.unresolved_secrets import assume_node_secrets


@guard("lock-out-all")
def refuse_lockout_of_everybody(case: GuardContext) -> Iterator[Diagnostic]:
    """After the change, some address still has a role that may deliver a setting.

    On a node that has shown nothing yet, that has to be so however it reads the order of its list.
    """
    for target in _changed(case):
        new = isinstance(case.observed.nodes.get(target.node), Absent)
        after = extract_access(target.content)
        if not (has_certain_access(after) if new else find_allowed_addresses(after)):
            yield Diagnostic(
                Severity.ERROR,
                "lock-out-all",
                f"{target.node}: no entry of the new allowList is sure to give a role with {NEEDED}, "
                "so nobody could deliver another setting",
                f"give some address a role with {NEEDED}, before any other entry that holds it",
                target=f"{case.plan.cluster}/{target.node}",
            )


@guard("lock-out")
def refuse_lockout_of_this_host(case: GuardContext) -> Iterator[Diagnostic]:
    """After the change, the management hosts may still deliver a setting, however the node reads its list.

    They are those that the fleet file names, or else this host. Where none of them could have read the
    node just now, it sees them at addresses that are not known here, because they are translated on the
    way: then every address that may deliver a setting now has to keep that.
    """
    desired: M2Desired = case.desired
    for target in _changed(case):
        answer, named = case.observed.nodes.get(target.node), desired.entry.management
        if not isinstance(answer, Present) and not (named and isinstance(answer, Absent)):
            continue
        loaded: LoadedSetting | None = answer.value if isinstance(answer, Present) else None
        hosts = find_callers(loaded.content if loaded else None, named, loaded.caller if loaded else "")
        after = extract_access(target.content)
        if hosts.rules:
            lost = hosts.losing(after, NEEDED)
            why = _lost(lost, own=not named) if lost else ""
        else:
            why = _translated(hosts.before, after)
        if why:
            yield Diagnostic(
                Severity.ERROR,
                "lock-out",
                f"{target.node}: {why}",
                "keep an entry for this host in the allowList, before any other that holds its address, "
                f"with a role that has {NEEDED}",
                target=f"{case.plan.cluster}/{target.node}",
            )


@guard("lock-out")
def refuse_unreachable_port(case: GuardContext) -> Iterator[Diagnostic]:
    """A node whose API moves to another port, perhaps at its next restart, is then looked for there."""
    for target in _changed(case):
        answer = case.observed.nodes.get(target.node)
        there = (
            find_new_address(answer.value.base, answer.value.content, target.content)
            if isinstance(answer, Present)
            else ""
        )
        if there and there not in target.bases:
            yield Diagnostic(
                Severity.ERROR,
                "lock-out",
                f"{target.node}: its API moves to {there}, perhaps at its next restart, "
                f"and the fleet file looks for it at {target.bases[0]} alone",
                "leave the port out of its address in the fleet file, so that the one of its setting counts",
                target=f"{case.plan.cluster}/{target.node}",
            )


def _lost(addresses: tuple[str, ...], *, own: bool) -> str:
    who = ", ".join(addresses)
    whose = "this host's address" if own else "named under `management`"
    return f"{who}, {whose}, would no longer be sure of {NEEDED}"


def _translated(before: Any, after: Any) -> str:
    gone = find_addresses_losing_access(before, after) if before != after else ()
    if not gone:
        return ""
    shown = ", ".join(gone[:3])
    return f"it is not known which address it sees this host at, and {shown} would not be sure of {NEEDED}"


@guard("feed-detached")
def refuse_feed_detachment(case: GuardContext) -> Iterator[Diagnostic]:
    """After the change, each feed still comes from where the node hears of changes now.

    A feed that is polled may move to an address that the fleet file names under `management`.
    """
    desired: M2Desired = case.desired
    for target in _changed(case):
        answer = case.observed.nodes.get(target.node)
        if not isinstance(answer, Present):
            continue
        before, after = (
            find_feed_origins(answer.value.content.canonical),
            find_feed_origins(target.content.canonical),
        )
        for feature, old in before.items():
            new = after.get(feature)
            if new is None or not (new.same(old) or new.on(desired.entry.management)):
                yield _detached(case, target, feature, (old, new))


def _detached(
    case: GuardContext, target: NodeTarget, feature: str, ways: tuple[FeedOrigin, FeedOrigin | None]
) -> Diagnostic:
    desired: M2Desired = case.desired
    old, new = ways
    then = f"would hear from {new.words} instead" if new else "would hear from nobody"
    pulled = desired.entry.deliver is Deliver.CHECKOUT and feature == "setting"
    more = ", and not be told any more to check its repository out" if pulled else ""
    return Diagnostic(
        Severity.ERROR,
        "feed-detached",
        f"{target.node}: its {feature} feed comes from {old.words}; after the change it {then}{more}",
        "keep the feed where it is, name the new server's address under `management`, or set an override",
        target=f"{case.plan.cluster}/{target.node}",
    )


@guard("hosting-deleted")
def refuse_hosting_deletion(case: GuardContext) -> Iterator[Diagnostic]:
    """No more nodes than the policy says lose the cache of a hosting in one run."""
    lost: dict[str, tuple[str, ...]] = {}
    for target in _changed(case):
        answer = case.observed.nodes.get(target.node)
        gone = find_lost_hostings(answer.value.content, target.content) if isinstance(answer, Present) else ()
        if gone:
            lost[target.node] = gone
    limit = resolve_amount(M2Policy.of(case.policy).max_cache_lost, case.plan.nodes)
    if len(lost) > limit:
        names = sorted({name for gone in lost.values() for name in gone})
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004  (enough to see what)
        yield Diagnostic(
            Severity.ERROR,
            "hosting-deleted",
            f"{case.plan.cluster}: {len(lost)} of {case.plan.nodes} nodes would lose the cache of "
            f"{', '.join(names[:3])}{more} for good, the limit is {limit}",
            "go in parts with --only so that caches fill again, or raise policy.max_cache_lost",
            target=case.plan.cluster,
        )


GUARDS: tuple[Guard, ...] = (
    refuse_lockout_of_everybody,
    refuse_lockout_of_this_host,
    refuse_unreachable_port,
    refuse_feed_detachment,
    refuse_cluster_split,
    refuse_hosting_deletion,
)
"""All of them; the order does not matter."""


def _changed(case: GuardContext) -> Iterator[NodeTarget]:
    """What is to be delivered; secrets that are not known here count as what the node shows."""
    desired: M2Desired = case.desired
    nodes = {step.node for step in case.plan.steps}
    for target in desired.targets:
        if target.node not in nodes:
            continue
        answer = case.observed.nodes.get(target.node)
        if isinstance(answer, Present) and desired.payloads[target.payload].missing:
            yield replace(target, content=assume_node_secrets(target.content, answer.value.content))
        else:
            yield target
