"""What channels of message buses mean: who meets there, what a host allows, and whom a message reaches."""

# ruff: noqa: SLF001  (faults are planted where they hurt, in private functions too)

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from reconciler.core import bus_channels, host_entries
from reconciler.core.bus_channels import BusChannel, BusId, BusKind, ChannelIndex
from reconciler.core.host_entries import AllowedBus, EntryKind, NamedEntry
from reconciler.drivers.m2 import guards


def topic(name: str, *brokers: str) -> BusChannel:
    """A topic of Kafka."""
    return BusChannel(BusKind.KAFKA, brokers or ("k:1",), name)


def path(name: str, project: str = "live") -> BusChannel:
    """A path in Firestore."""
    return BusChannel(BusKind.FIRESTORE, (project,), name)


def meeting_channels() -> None:
    """Who gets a message: of one topic on any brokers, of one path of a project, and through a collection."""
    pairs = (
        (topic("a"), topic("a", "other:1"), True),
        (topic("a"), topic("b"), False),
        (topic("a"), path("a"), False),
        (path("a"), topic("a"), False),
        (path("f/a"), path("f/a"), True),
        (path("f/a"), path("f/b"), False),
        (path("f/a"), path("f"), True),
        (path("f"), path("f/a"), True),
        (path("f"), path("f"), True),
        (path("f"), path("g"), False),
        (path("f/a"), path("f/a", "other"), False),
        (path("f/a"), path("f", "other"), False),
        (path("f/a/g"), path("f/a"), False),
    )
    for one, other, is_met in pairs:
        assert one.meets(other) is is_met, (one, other)
        assert ChannelIndex([("x", other)]).find(one) == (("x",) if is_met else ()), (one, other)
    index = ChannelIndex([("a", path("f/a")), ("b", path("f")), ("c", path("f/c")), ("b", path("f/b"))])
    for _ in range(2):
        assert index.find(path("f")) == ("b", "a", "c")
        assert index.find(path("f/a")) == ("a", "b")
    assert ChannelIndex([("a", topic("t/a"))]).find(topic("t")) == ()


def allowed_channels() -> None:
    """A setting may name what one entry has: all its places, and a topic or path that it allows."""
    kafka = AllowedBus(BusId(BusKind.KAFKA, "prod"), frozenset({"k:1", "k:2"}), ("m2.*", "x"))
    assert kafka.allows(topic("m2.a"))
    assert kafka.allows(topic("x", "k:1", "k:2"))
    assert not kafka.allows(topic("m2.a", "k:1", "evil:1"))
    assert not kafka.allows(BusChannel(BusKind.KAFKA, (), "m2.a"))
    assert not kafka.allows(topic("other"))
    assert not kafka.allows(BusChannel(BusKind.FIRESTORE, ("k:1",), "x"))
    assert not kafka.allows(topic("m2.^*"))
    anything = AllowedBus(BusId(BusKind.KAFKA, "prod"), frozenset({"k:1"}))
    assert anything.allows(topic("other"))
    assert not any(anything.allows_name(name) for name in (".", "..", "^.*", "a b", ""))
    assert AllowedBus(BusId(BusKind.FIRESTORE, "live"), frozenset({"live"})).allows_name("f/a")
    entry = NamedEntry(EntryKind.KAFKA, "prod", "")
    other = AllowedBus(BusId(BusKind.KAFKA, "other"), frozenset({"k:9"}), ("y",))
    twin = AllowedBus(BusId(BusKind.FIRESTORE, "prod"), frozenset({"live"}), ("y",))
    buses = (other, twin, kafka)
    assert host_entries.is_channel_allowed(buses, entry, "x")
    assert not host_entries.is_channel_allowed(buses, entry, "y")
    assert host_entries.is_channel_allowed((other, twin), entry, "x")


def shared_feeds() -> None:
    """Whom a message would reach beside the node that it is for, and in which wave."""
    channel = topic("m2.all")

    def explain(
        names: str,
        *,
        groups: Any = (),
        waves: Any = (),
        as_desired: str = "",
        wave: int = 0,
        checkout: bool = True,
    ) -> str:
        known = {node: {group} for node, group in dict(groups).items()}
        told: Any = {node: (SimpleNamespace(wave=number), []) for node, number in dict(waves).items()}
        context: Any = SimpleNamespace(as_desired=frozenset(as_desired.split()))
        listeners = guards._Listeners.group(sorted(names.split()), context, told, known)
        step: Any = SimpleNamespace(node="a", wave=wave)
        return guards._explain_sharing(step, channel, listeners, known, checkout=checkout)

    assert explain("a", checkout=False) == explain("", checkout=False) == ""
    assert explain("a b", checkout=False).startswith("b listens too on Kafka topic m2.all")
    assert explain("a b c", checkout=False).startswith("b, c listen too on")
    assert explain("a b", groups={"a": "g", "b": "h"}, waves={"a": 0, "b": 0}) == ""
    same = explain("a b c", groups={"a": "g", "b": "g", "c": "h"}, waves={"a": 0, "b": 0, "c": 0})
    assert same.startswith("it has the groupId of b on Kafka topic m2.all")
    three = explain("c b a", groups=dict.fromkeys("abc", "g"), waves=dict.fromkeys("abc", 0))
    assert three.startswith("it has the groupId of b, c on")
    assert explain("b", groups=dict.fromkeys("ab", "g"))
    assert explain("a b", waves={"a": 0, "b": 1}).startswith("b would check out at the same moment")
    assert explain("a b", waves={"a": 1, "b": 1}, wave=1) == ""
    assert explain("a b", waves={"a": 0}).startswith("b would check out"), "told in no wave"
    assert explain("a b", waves={"a": 1}, wave=1).startswith("b would check out"), "told in no wave"
    assert explain("a b", waves={"a": 0}, as_desired="b") == "", "it has what it would check out"
    assert explain("a b c", waves={"a": 0, "b": 0}, as_desired="b").startswith("c would check out")
    assert explain("a", waves={"a": 1}) == explain("a") == "", "it does not share with itself"


MEETING: Final = (
    BusChannel.meets,
    BusChannel.meeting,
    ChannelIndex.__init__,
    ChannelIndex.find,
    bus_channels._find_collection_key,
)
ALLOWING: Final = (
    bus_channels.is_valid_name,
    AllowedBus.allows,
    AllowedBus.allows_name,
    host_entries.is_channel_allowed,
)
SHARING: Final = (guards._Listeners.group, guards._explain_sharing)

MEETING_ALIKE: Final = {
    "ChannelIndex.__init__: self._at.setdefault(channel.meeting, []).append(name) later": "two tables",
    "ChannelIndex.find: always True: key not in self._answers": "an answer is only remembered",
}
SHARING_ALIKE: Final = {
    "_Listeners.group: for own in groups.get(name, ()): later": "two tables",
    "_Listeners.group: one more than 1": "any number that no wave has",
}
