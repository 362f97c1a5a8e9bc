"""Entries that a fleet file names and this host does not have, with their places in the file; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.core.host_entries import (
    CHANNEL_KEYS,
    AllowedBus,
    EntryKind,
    HostEntries,
    NamedEntry,
    find_named_entries,
    is_channel_allowed,
)
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.host_commands import ENTRY, UNKNOWN
from reconciler.ports.cluster_input import ClusterInput, NamedChannel
from reconciler.text.one_line import join_some
from reconciler.text.suggestions import find_nearest

_MOST_NAMED = 10
_MOST_SHOWN = 3
UnknownEntries = Mapping[tuple[EntryKind, str], Diagnostic]
"""Kind and name of an entry -> what is wrong, with the first place that names it."""


def find_unknown_entries(cluster_input: ClusterInput, known: HostEntries) -> UnknownEntries:
    """What a cluster names and a host does not have, or has in a form that does not fit."""
    named: dict[tuple[EntryKind, str], list[NamedEntry]] = {}
    for one in find_named_entries(cluster_input.entry):
        named.setdefault((one.kind, one.name), []).append(one)
    found: dict[tuple[EntryKind, str], Diagnostic] = {}
    for key, entries in named.items():
        wrong = [(one, told) for one in entries if (told := _explain(one, known))]
        if wrong:
            (first, (message, remedy)), fleet = wrong[0], cluster_input.fleet
            pointers = [cluster_input.pointer + one.pointer for one, _ in wrong]
            found[key] = Diagnostic(
                Severity.ERROR,
                UNKNOWN if first.kind is EntryKind.COMMANDS else ENTRY,
                message,
                remedy,
                position=fleet.position(pointers[0]),
                pointer=pointers[0],
                target=cluster_input.entry.name,
                related=tuple(dict.fromkeys(map(fleet.position, pointers[1:_MOST_NAMED]))),
            )
    return found


def report_unknown_sink(fleet: Fleet, known: HostEntries | None) -> tuple[Diagnostic, ...]:
    """What is wrong with the entry that the sink of feedback names; messages wait, so it stops nothing."""
    entry = fleet.feedback
    named = entry.named_entry if entry else None
    if entry is None or named is None or known is None:
        return ()
    told, pointer = _explain(named, known), named.pointer
    if told is None:
        if is_channel_allowed(known.buses, named, entry.channel):
            return ()
        key = "topic" if entry.topic else "collection"
        there, pointer = f"`{named.kind}.{named.name}`", f"/feedback/{key}"
        told = (
            f"{entry.channel}, named for feedback, is not allowed by {there} of the host configuration",
            f"allow it there (`{CHANNEL_KEYS[named.kind]}`), or correct the name here",
        )
    message, remedy = told
    place = fleet.document.position(pointer)
    return (Diagnostic(Severity.WARNING, ENTRY, message, remedy, position=place, pointer=pointer),)


def find_unknown_buses(
    channels: Sequence[NamedChannel], known: HostEntries, cluster: str
) -> dict[tuple[EntryKind, str], Diagnostic]:
    """The channels of message buses that settings name, and that no entry of a host allows."""
    # A pull request must not make this host connect to a place of its choice.
    wrong: dict[tuple[EntryKind, str], list[tuple[NamedChannel, bool]]] = {}
    for one in channels:
        if any(bus.allows(one.channel) for bus in known.buses):
            continue
        places = {*one.channel.places}
        is_here = any(bus.id.kind is one.channel.kind and bus.places >= places for bus in known.buses)
        # Brokers that are wrong are told once, and not for each topic of each node.
        what = one.channel.name if is_here else " ".join(one.channel.places)
        wrong.setdefault((EntryKind(one.channel.kind), what), []).append((one, is_here))
    found: dict[tuple[EntryKind, str], Diagnostic] = {}
    for key, named in wrong.items():
        (first, is_here), kind = named[0], key[0]
        nodes = join_some(sorted({one.node for one, _ in named}), _MOST_SHOWN)
        what = first.channel.name if is_here else join_some(first.channel.places, _MOST_NAMED)
        pointer = first.pointer if is_here else first.places
        found[key] = Diagnostic(
            Severity.ERROR,
            ENTRY,
            f"{what}, named for {nodes}, is not allowed by `{kind}` of the host configuration",
            f"allow it there (`{CHANNEL_KEYS[kind]}`), or correct the name here"
            if is_here
            else f"add an entry of `{kind}` with all of these there, or correct the connection here",
            position=first.document.position(pointer),
            pointer=pointer,
            target=cluster,
        )
    return found | _find_own_groups(channels, known, cluster)


def _find_own_groups(
    channels: Sequence[NamedChannel], known: HostEntries, cluster: str
) -> dict[tuple[EntryKind, str], Diagnostic]:
    """The nodes that listen with the consumer group of this host: Kafka divides messages within a group."""
    named: dict[AllowedBus, list[NamedChannel]] = {}
    for bus in known.buses:
        for one in channels if bus.group else ():
            if one.group == bus.group and bus.allows(one.channel):
                named.setdefault(bus, []).append(one)
    found: dict[tuple[EntryKind, str], Diagnostic] = {}
    for bus, own in named.items():
        nodes, entry = (
            join_some(sorted({one.node for one in own}), _MOST_SHOWN),
            f"{bus.id.kind}.{bus.id.name}",
        )
        found[EntryKind(bus.id.kind), f"the groupId {bus.group}"] = Diagnostic(
            Severity.ERROR,
            ENTRY,
            f"the groupId {bus.group}, named for {nodes}, is that of this host (`{entry}.group`): each "
            "message of a topic would reach only one of them",
            f"give each node a groupId of its own, or set another `{entry}.group` in the host configuration",
            position=own[0].document.position(own[0].pointer),
            pointer=own[0].pointer,
            target=cluster,
        )
    return found


def _explain(one: NamedEntry, known: HostEntries) -> tuple[str, str] | None:
    """What is wrong with an entry, and what to do; None if it fits."""
    names, section = known.names(one.kind), f"`{one.kind}` of the host configuration"
    if one.name not in names:
        has = f"it has {join_some(sorted(names), _MOST_NAMED)}" if names else "it has none"
        meant = find_nearest(one.name, names)
        hint = f"did you mean `{meant}`? Otherwise add" if meant else "add"
        return (
            f"{one.name} is not in {section}; {has}",
            f"{hint} it there, or correct the name here",
        )
    if one.kind is EntryKind.SSH and one.name not in known.fixed:
        return (
            f"`ssh.{one.name}` leads to each node's own machine, so that it is no way to others",
            "name an entry of `ssh` whose `host` is one fixed machine",
        )
    if one.must_read and one.name not in known.reading:
        return (
            f"the command {one.name} has to be one that only reads, and {section} does not say so",
            "add `reads: true` to it there if it changes nothing, or name another one",
        )
    return None
