"""What an M2 plan must never do: shut out, cut off or split, and destroy more than the policy allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Absent, Present
from reconciler.core.policy import resolve_amount
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.feed_topology import DiscoveryRing, FeedOrigin, find_feed_origins, find_ring
from reconciler.drivers.m2.management_access import (
    extract_access,
    find_addresses_losing_access,
    find_callers,
    has_certain_access,
)
from reconciler.drivers.m2.risk import NEEDED, find_allowed_addresses, find_lost_hostings, find_new_address
from reconciler.drivers.m2.schema import Content, Deliver, LoadedSetting, M2Desired, M2Policy, NodeTarget
from reconciler.drivers.m2.unresolved_secrets import assume_node_secrets

_NAMED: Final = 3


class _Way(NamedTuple):
    """What a node finds others by now, and once the run is over; none where it is in no cluster."""

    old: DiscoveryRing | None
    new: DiscoveryRing | None


@guard("uniformity")
def refuse_cluster_split(case: GuardContext) -> Iterator[Diagnostic]:
    """While a change runs through a cluster, and after it, all its nodes find each other.

    A change is made at once, and parts the cluster for no longer than its calls take, where it has no
    waves and no more steps than `concurrency`. A node that cannot be read stays as it is.
    """
    ways, unread = _ways(case), _unread(case)
    steps = case.plan.steps
    at_once = all(step.wave == 0 for step in steps) and len(steps) <= case.plan.concurrency
    for way in sorted(set(ways.values()), key=repr):
        old, new = way
        if old is None or new is None or old.meets(new):
            continue
        moving = [node for node, own in ways.items() if own == way]
        peers = {node: own.new for node, own in ways.items() if own != way and own.old and old.meets(own.old)}
        left = [node for node, then in peers.items() if then is not None and not new.meets(then)]
        left += [node for node, wanted in unread.items() if wanted is None or new.meets(wanted)]
        if left or (len(moving) + len(peers) > 1 and not at_once):
            yield _split(case, old.against(new), len(moving), sorted(left))


def _split(case: GuardContext, what: str, moving: int, left: list[str]) -> Diagnostic:
    cluster, count = case.plan.cluster, len(case.plan.steps)
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        meanwhile = f", and {', '.join(left[:_NAMED])}{more} would not find them any more"
        remedy = "change it on all nodes of the cluster in one run, once all of them can be read"
    else:
        meanwhile = " one after the other; meanwhile the cluster would be in two parts"
        remedy = f"change all at once: without waves, and with a concurrency of at least {count}"
    return Diagnostic(
        Severity.ERROR,
        "uniformity",
        f"{cluster}: {what} would change on {moving} node{'s' if moving > 1 else ''}{meanwhile}",
        f"{remedy}; add members in one commit, and remove others in a later one",
        target=cluster,
    )


def _ways(case: GuardContext) -> dict[str, _Way]:
    """Of each node that shows its setting: what it finds others by."""
    desired: M2Desired = case.desired
    changed = {step.node for step in case.plan.steps}
    wanted = {target.node: target.content for target in desired.targets if target.node in changed}
    found: dict[str, _Way] = {}
    rings: dict[str, DiscoveryRing | None] = {}
    for node, answer in sorted(case.observed.nodes.items()):
        if isinstance(answer, Present):
            shown: Content = answer.value.content
            then = wanted.get(node, shown)
            found[node] = _Way(_ring(shown, rings), _ring(then, rings))
    return found


def _unread(case: GuardContext) -> Mapping[str, DiscoveryRing | None]:
    """The nodes of the cluster that do not show their setting, with what they are to find others by.

    None stands for a node that this run does not look at; one that is in no cluster is left out.
    """
    desired: M2Desired = case.desired
    wanted = {target.node: find_ring(target.content.canonical) for target in desired.targets}
    names = [node.name for node in case.entry.members()]
    silent = [name for name in names if not isinstance(case.observed.nodes.get(name), Present | Absent)]
    return {name: wanted.get(name) for name in silent if name not in wanted or wanted[name] is not None}


def _ring(content: Content, known: dict[str, DiscoveryRing | None]) -> DiscoveryRing | None:
    print_ = content.fingerprints.get("env", content.fingerprint)
    if print_ not in known:
        known[print_] = find_ring(content.canonical)
    return known[print_]


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
