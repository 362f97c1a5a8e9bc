"""Whether a change, as it runs through a cluster of M2 nodes, leaves them finding each other; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from reconciler.core.guard import GuardContext, guard
from reconciler.core.observation import Absent, Present
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.feed_topology import DiscoveryRing, find_ring
from reconciler.drivers.m2.schema import Content, M2Desired

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
