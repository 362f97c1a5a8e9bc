"""Guards of M2 plans: lost access, detached feeds, split clusters and destroyed caches; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from reconciler.core.bus_channels import BusChannel, ChannelIndex, read_channel
from reconciler.core.fields import resolve_amount
from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.observation import Absent, Present, Stale
from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.arguments import OfferArguments, is_restart
from reconciler.drivers.m2.caller_permissions import SETTING_PERMISSION, AccessTable
from reconciler.drivers.m2.feed_rendering import polls_daily, polls_here
from reconciler.drivers.m2.feed_topology import (
    BUS_KINDS,
    DiscoveryRing,
    find_bus_channel,
    find_feed_origins,
    find_group,
    find_ring,
)
from reconciler.drivers.m2.lock_out import (
    extract_access,
    find_addresses_losing_access,
    find_callers,
    has_certain_access,
)
from reconciler.drivers.m2.restarts import list_restarts, list_served_hostings
from reconciler.drivers.m2.risk import find_lost_hostings, find_new_address
from reconciler.drivers.m2.schema import Content, Deliver, LoadedSetting, M2Desired, M2Policy, NodeTarget
from reconciler.drivers.m2.unresolved_secrets import assume_node_secrets
from reconciler.text.one_line import join_some

_MAX_NAMED: Final = 3


@guard("lock-out-all")
def refuse_lockout_of_everybody(context: GuardContext) -> Iterator[Diagnostic]:
    """After the change, some address still has a role that may deliver a setting."""
    for target in _list_changed_targets(context):
        if not target.bases:
            continue  # it polls, and nobody calls it
        # A node with a setting was read with this permission, so its way of reading the list is known to let
        # somebody in; of a node without one nothing is known, and every way has to.
        new = isinstance(context.observed.nodes.get(target.node), Absent)
        after = extract_access(target.content)
        allowed = AccessTable(after).find_allowed(SETTING_PERMISSION)
        if not (has_certain_access(after) if new else allowed):
            yield _refuse(
                context,
                target,
                "lock-out-all",
                f"no entry of the new allowList is certain to grant {SETTING_PERMISSION}, "
                "so nobody could deliver another setting",
                f"give an address a role with {SETTING_PERMISSION}, before any other entry that contains it",
            )


@guard("lock-out")
def refuse_lockout_of_this_host(context: GuardContext) -> Iterator[Diagnostic]:
    """After the change, the management hosts may still deliver a setting, however the node reads its list.

    They are those that the fleet file names, or else this host.
    """
    desired: M2Desired = context.desired
    for target in _list_changed_targets(context):
        answer, named = context.observed.nodes.get(target.node), desired.entry.management
        # A node that polls was not called for this plan, so that its view of this host is unknown.
        is_called = isinstance(answer, Present) and bool(answer.value.base)
        if desired.entry.polling and not named and not is_called:
            continue
        if not target.bases:
            continue
        if not isinstance(answer, Present) and not (named and isinstance(answer, Absent)):
            continue
        loaded: LoadedSetting | None = answer.value if isinstance(answer, Present) else None
        # What is in effect decides who may call now: what waits for a restart counts with the new setting.
        hosts = find_callers(loaded.in_effect if loaded else None, named, loaded.caller if loaded else "")
        after = extract_access(target.content)
        why = ""
        if hosts.rules:
            if lost := hosts.losing(after, SETTING_PERMISSION):
                whose = "listed under `management`" if named else "this host's address"
                why = f"{', '.join(lost)}, {whose}, may lose {SETTING_PERMISSION}"
        # None of the known addresses could have read the node, yet it was read: an address translation on the
        # way hides the real one. So every address that has the permission now has to keep it.
        elif hosts.before != after and (lost := find_addresses_losing_access(hosts.before, after)):
            why = (
                f"the address at which it sees this host is unknown, and {', '.join(lost[:_MAX_NAMED])} "
                f"may lose {SETTING_PERMISSION}"
            )
        if why:
            yield _refuse(
                context,
                target,
                "lock-out",
                why,
                "keep an entry for this host in the allowList, before any other entry that contains its "
                f"address, with a role that has {SETTING_PERMISSION}",
            )


@guard("lock-out")
def refuse_unreachable_port(context: GuardContext) -> Iterator[Diagnostic]:
    """Where a change moves a node's API to another port, later runs look for it there."""
    for target in _list_changed_targets(context):
        answer = context.observed.nodes.get(target.node)
        there = (
            find_new_address(answer.value.base, answer.value.in_effect, target.content)
            if isinstance(answer, Present)
            else ""
        )
        if there and there not in target.bases:
            yield _refuse(
                context,
                target,
                "lock-out",
                f"its API moves to {there}, perhaps at its next restart, "
                f"but the fleet file has only {target.bases[0]}",
                "remove the port from its address in the fleet file, so that the port in its setting is used",
            )


@guard("feed-detached")
def refuse_feed_detachment(context: GuardContext) -> Iterator[Diagnostic]:
    """After the change, each feed comes from where it comes from now, or from a host under `management`."""
    desired: M2Desired = context.desired
    for target in _list_changed_targets(context):
        answer = context.observed.nodes.get(target.node)
        if not isinstance(answer, Present):
            continue
        # Who sends a feed decides about the node: its next message replaces what this program delivered.
        after = find_feed_origins(target.content.canonical)
        for feature, old in find_feed_origins(answer.value.content.canonical).items():
            new = after.get(feature)
            if new is not None and (new.same(old) or new.on(desired.entry.management)):
                continue
            # This host tells the node on either channel, and offers by the one on which it listens now.
            if new is not None and desired.entry.polling and {old.kind, new.kind} <= BUS_KINDS:
                continue
            then = f"would come from {new.label}" if new else "would have no source"
            if desired.entry.deliver is Deliver.CHECKOUT and feature == "setting":
                then += ", and the node would no longer be notified to check out its repository"
            yield _refuse(
                context,
                target,
                "feed-detached",
                f"its {feature} feed comes from {old.label}; after the change it {then}",
                "keep the feed, list the address of the new server under `management`, or set an override",
            )


@guard("lock-out")
def refuse_lost_polling(context: GuardContext) -> Iterator[Diagnostic]:
    """After the change, a node that polls still polls this server, by a path of its own that counts."""
    desired: M2Desired = context.desired
    polling = desired.entry.polling
    if polling is None:
        return
    for target in _list_changed_targets(context):
        if not polls_here(target.content, polling, target.tokens):
            yield _refuse(
                context,
                target,
                "lock-out",
                f"with its new setting it would not poll {polling.server} by its own path, "
                "so no other setting could reach it",
                "keep the feed that `deliver: poll` writes, and its token",
            )
        elif not polls_daily(target.content):
            yield _refuse(
                context,
                target,
                "lock-out",
                "with its new setting it would poll less than once a day, and so miss the way back, "
                "which is offered for a day",
                "remove `schedule` of the feed, or let it fire at least once on every day",
            )


@guard("shared-feed")
def refuse_shared_feed(context: GuardContext) -> Iterator[Diagnostic]:
    """A message on a bus has no addressee: all who listen on the channel of a node get what is for it."""
    told = _find_told_steps(context)
    if not told:
        return
    cluster, running, groups = context.plan.cluster, _find_running_channels(context), _find_groups(context)
    known: dict[BusChannel, _Listeners] = {}
    for node, (step, channels) in sorted(told.items()):
        for channel in channels:
            if channel not in known:
                names = {*context.listeners.find(channel), *running.find(channel)}
                known[channel] = _Listeners.group(
                    sorted(name.removeprefix(f"{cluster}/") for name in names), context, told, groups
                )
            checkout = context.desired.entry.polling.checkout
            if why := _explain_sharing(step, channel, known[channel], groups, checkout=checkout):
                yield Diagnostic(
                    Severity.ERROR,
                    "shared-feed",
                    f"{node}: {why}",
                    "give each node a channel and a groupId of its own, in the setting that it has too: "
                    "apply the file that `reconcile enroll NODE` writes on the node itself, once",
                    target=f"{cluster}/{node}",
                )
                break


_ToldSteps: TypeAlias = Mapping[str, tuple[Step, list[BusChannel]]]
"""Node -> its step, and the channels on which it listens before and after it."""


_Groups: TypeAlias = Mapping[str, Collection[str]]
"""Node -> the consumer groups of its feed."""


def _find_told_steps(context: GuardContext) -> _ToldSteps:
    """The steps of nodes that are told by a message bus, or will be."""
    desired: M2Desired = context.desired
    if desired.entry.polling is None:
        return {}
    wanted = {target.node: target.content for target in desired.targets}
    found = {}
    for step in context.plan.steps:
        if is_restart(step) or step.node not in wanted:
            continue
        # By the setting that it has, which an upload does not need, and by the one that it gets.
        now = read_channel(step.arguments.channel) if isinstance(step.arguments, OfferArguments) else None
        node_id = desired.entry.node_ids.get(step.node, "")
        then = find_bus_channel(wanted[step.node].document, "setting", "feed", node_id)
        channels = [channel for channel in dict.fromkeys((now, then)) if channel is not None]
        if channels:
            found[step.node] = step, channels
    return found


class _Listeners(NamedTuple):
    """Who listens on one channel: nodes of this cluster by their names, others with their cluster.

    Args:
        names: sorted.
        groups: groupId -> the nodes of this cluster that have it.
        waves: wave -> those that would check out at its message, and not have it already; -1 for those that
            are told in none.
    """

    names: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    waves: Mapping[int, Sequence[str]]

    @classmethod
    def group(
        cls, names: Sequence[str], context: GuardContext, told: _ToldSteps, groups: _Groups
    ) -> _Listeners:
        """Group them, once for all nodes that are told there."""
        of_groups: dict[str, list[str]] = {}
        of_waves: dict[int, list[str]] = {}
        for name in names:
            for own in groups.get(name, ()):
                of_groups.setdefault(own, []).append(name)
            if name not in context.as_desired:
                of_waves.setdefault(told[name][0].wave if name in told else -1, []).append(name)
        return cls(names, of_groups, of_waves)


def _explain_sharing(
    step: Step, channel: BusChannel, listeners: _Listeners, groups: _Groups, *, checkout: bool
) -> str:
    """Why a node must not be told on a channel on which others listen; empty if it may."""
    own = step.node
    same = {one for group in groups.get(own, ()) for one in listeners.groups.get(group, ())} - {own}
    if same:
        shown = join_some(sorted(same), _MAX_NAMED)
        return f"it has the groupId of {shown} on {channel.label}: only one of them would get a message"
    if not checkout:
        others = [one for one in listeners.names if one != own]
        if not others:
            return ""
        shown, end = join_some(others, _MAX_NAMED), "s" if len(others) == 1 else ""
        return (
            f"{shown} listen{end} too on {channel.label}: a message there tells all where the "
            "setting of one node is, in one wave"
        )
    # One message for all is enough for those that are told in the same wave, or have what they would check
    # out.
    apart = sorted(
        one for wave, names in listeners.waves.items() if wave != step.wave for one in names if one != own
    )
    if apart:
        return (
            f"{join_some(apart, _MAX_NAMED)} would check out at the same moment, outside of its wave: "
            f"{channel.label} is shared, and a message there has no addressee"
        )
    return ""


def _find_running_channels(context: GuardContext) -> ChannelIndex[str]:
    """Where the nodes of the cluster listen by the settings that they have."""
    found = []
    for node, answer in context.observed.nodes.items():
        if isinstance(answer, Present | Stale):
            node_id = context.desired.entry.node_ids.get(node, "")
            running = find_bus_channel(answer.value.content.document, "setting", "feed", node_id)
            if running is not None:
                found.append((f"{context.plan.cluster}/{node}", running))
    return ChannelIndex(found)


def _find_groups(context: GuardContext) -> _Groups:
    """The consumer groups of each feed, by the setting that a node has and by the one that it is to get."""
    desired: M2Desired = context.desired
    documents = [(target.node, target.content.document) for target in desired.targets]
    documents += [
        (node, answer.value.content.document)
        for node, answer in context.observed.nodes.items()
        if isinstance(answer, Present | Stale)
    ]
    found: dict[str, set[str]] = {}
    for node, document in documents:
        if group := find_group(document, "setting"):
            found.setdefault(node, set()).add(group)
    return found


class _RingChange(NamedTuple):
    """By what a node finds the other members now, and after the run; None where it is in no cluster."""

    old: DiscoveryRing | None
    new: DiscoveryRing | None


@guard("uniformity")
def refuse_cluster_split(context: GuardContext) -> Iterator[Diagnostic]:
    """While a change runs through a cluster, and after it, all its nodes find each other."""
    # A restart changes no setting that nodes find each other by.
    steps = [step for step in context.plan.steps if not is_restart(step)]
    if not steps:
        return
    changes, unread = _find_ring_changes(context), _find_unread_rings(context)
    # Steps that start together part the cluster for no longer than their calls take, which is accepted.
    at_once = all(step.wave == 0 for step in steps) and len(steps) <= context.plan.concurrency
    for change in sorted(set(changes.values()), key=repr):
        old, new = change
        if old is None or new is None or old.meets(new):
            continue
        moving = [node for node, own in changes.items() if own == change]
        peers = {
            node: own.new for node, own in changes.items() if own != change and own.old and old.meets(own.old)
        }
        left = [node for node, then in peers.items() if then is not None and not new.meets(then)]
        left += [node for node, wanted in unread.items() if wanted is None or new.meets(wanted)]
        if left or (len(moving) + len(peers) > 1 and not at_once):
            yield _refuse_split(context, old.against(new), len(moving), sorted(left))


def _refuse_split(context: GuardContext, keys: str, moving: int, left: list[str]) -> Diagnostic:
    cluster = context.plan.cluster
    count = sum(not is_restart(step) for step in context.plan.steps)
    if left:
        meanwhile = f", and {join_some(left, _MAX_NAMED)} would no longer find them"
        remedy = "change it on all nodes of the cluster in one run, once all of them can be read"
    else:
        meanwhile = " one after the other; until all have changed, the cluster would be split"
        remedy = f"change all at once: without waves, and with a concurrency of at least {count}"
    return Diagnostic(
        Severity.ERROR,
        "uniformity",
        f"{cluster}: {keys} would change on {moving} node{'s' if moving > 1 else ''}{meanwhile}",
        f"{remedy}; add members in one commit, and remove others in a later one",
        target=cluster,
    )


def _find_ring_changes(context: GuardContext) -> dict[str, _RingChange]:
    """Node -> its ring now and after the run, for nodes that show their setting."""
    desired: M2Desired = context.desired
    changed = {step.node for step in context.plan.steps if not is_restart(step)}
    wanted = {target.node: target.content for target in desired.targets if target.node in changed}
    found: dict[str, _RingChange] = {}
    rings: dict[str, DiscoveryRing | None] = {}
    for node, answer in sorted(context.observed.nodes.items()):
        if isinstance(answer, Present):
            shown: Content = answer.value.content
            found[node] = _RingChange(_find_ring(shown, rings), _find_ring(wanted.get(node, shown), rings))
    return found


def _find_unread_rings(context: GuardContext) -> Mapping[str, DiscoveryRing | None]:
    """Node -> the ring it should have, for nodes that could not be read and so stay as they are.

    None stands for a node that this run does not look at; a node that should be in no cluster is left out.
    """
    desired: M2Desired = context.desired
    wanted = {target.node: find_ring(target.content.canonical) for target in desired.targets}
    names = [node.name for node in context.entry.members()]
    silent = [name for name in names if not isinstance(context.observed.nodes.get(name), Present | Absent)]
    return {name: wanted.get(name) for name in silent if name not in wanted or wanted[name] is not None}


def _find_ring(content: Content, cache: dict[str, DiscoveryRing | None]) -> DiscoveryRing | None:
    key = content.fingerprints.get("env", content.fingerprint)
    if key not in cache:
        cache[key] = find_ring(content.canonical)
    return cache[key]


@guard("hosting-deleted")
def refuse_hosting_deletion(context: GuardContext) -> Iterator[Diagnostic]:
    """At most as many nodes as the policy allows lose the cache of a hosting in one run.

    A deleted hosting loses its cache, and adding it again does not restore it (M2 manual, Hosting).
    """
    # Over the whole run: each of its waves alone could stay within the limit.
    lost: dict[str, tuple[str, ...]] = {}
    for target in _list_changed_targets(context):
        answer = context.observed.nodes.get(target.node)
        gone = find_lost_hostings(answer.value.content, target.content) if isinstance(answer, Present) else ()
        if gone:
            lost[target.node] = gone
    limit = resolve_amount(M2Policy.of(context.policy).max_cache_lost, context.plan.nodes)
    if len(lost) > limit:
        names = sorted({name for gone in lost.values() for name in gone})
        yield Diagnostic(
            Severity.ERROR,
            "hosting-deleted",
            f"{context.plan.cluster}: {len(lost)} of {context.plan.nodes} nodes would lose the cache of "
            f"{join_some(names, _MAX_NAMED)} permanently; the limit is {limit}",
            "apply in parts with --only so that caches fill again, or raise policy.max_cache_lost",
            target=context.plan.cluster,
        )


@guard("hosting-interrupted")
def refuse_interruption_of_hosting(context: GuardContext) -> Iterator[Diagnostic]:
    """Restarts at the same time leave each virtual host of several nodes on one that serves it."""
    waves: dict[int, list[Step]] = {}
    for step in list_restarts(context.plan.steps):
        waves.setdefault(step.wave, []).append(step)
    if not waves:
        return
    served: dict[str, set[str]] = {}
    for node, loaded in context.observed.present().items():
        if node in context.observed.reserved:
            continue  # somebody may stop it at any moment
        for name in list_served_hostings(loaded.content):
            served.setdefault(name, set()).add(node)
    reported: set[str] = set()
    for steps in waves.values():
        # Restarts that wait for each other never run together: of each chain, one at a time.
        ids = {step.id for step in steps}
        chains = sum(ids.isdisjoint(step.after) for step in steps)
        at_once = min(context.plan.concurrency, chains)
        for name, nodes in sorted(served.items()):
            away = min(at_once, len(nodes & {step.node for step in steps}))
            # The only node that serves it can only be restarted so; the risk of its step says that.
            if len(nodes) > 1 and away >= len(nodes) and name not in reported:
                reported.add(name)
                yield Diagnostic(
                    Severity.ERROR,
                    "hosting-interrupted",
                    f"{context.plan.cluster}: all {len(nodes)} nodes that serve {name} may be restarted "
                    "at the same time",
                    "roll out in smaller waves, lower the concurrency, or set an override for it",
                    target=context.plan.cluster,
                )


GUARDS: tuple[Guard, ...] = (
    refuse_lockout_of_everybody,
    refuse_lockout_of_this_host,
    refuse_unreachable_port,
    refuse_feed_detachment,
    refuse_lost_polling,
    refuse_shared_feed,
    refuse_cluster_split,
    refuse_hosting_deletion,
    refuse_interruption_of_hosting,
)
"""All guards of M2; the order does not matter."""


def _refuse(context: GuardContext, target: NodeTarget, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(
        Severity.ERROR,
        code,
        f"{target.node}: {message}",
        remedy,
        target=f"{context.plan.cluster}/{target.node}",
    )


def _list_changed_targets(context: GuardContext) -> Iterator[NodeTarget]:
    """The targets that the plan has steps for; secrets unknown here count as what the node shows."""
    desired: M2Desired = context.desired
    nodes = {step.node for step in context.plan.steps}
    for target in desired.targets:
        if target.node not in nodes:
            continue
        answer = context.observed.nodes.get(target.node)
        if isinstance(answer, Present) and desired.payloads[target.payload].missing:
            yield replace(target, content=assume_node_secrets(target.content, answer.value.content))
        else:
            yield target
