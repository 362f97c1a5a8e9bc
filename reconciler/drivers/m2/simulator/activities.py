"""What simulated nodes do by themselves: they poll, load, purge, report and propagate (M2 manual, Server).

Each activity is a generator that says one step at a time, without sockets or sleeping; the host performs the
steps. Where the manual says nothing, a field of `Choices` decides, or the docstring names the assumption.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import orjson
from cronsim import CronSim, CronSimError

from reconciler.drivers.m2.choices import FirstPoll, RememberedTime, RepeatedPurge
from reconciler.drivers.m2.machine import lookup
from reconciler.drivers.m2.simulator.channels import (
    BUSES,
    FIRESTORE,
    NO_CHANNELS,
    Channel,
    NodeChannels,
    get_api_port,
    list_propagation_targets,
    read_channels,
)
from reconciler.drivers.m2.simulator.messages import (
    LoadResult,
    MalformedFeed,
    ReceivedFeed,
    Sender,
    UrlPurge,
    is_report,
    make_heartbeat,
    make_nodelist_feedback,
    make_purge_feedback,
    make_setting_feedback,
    read_feed,
    read_purge_result,
)
from reconciler.drivers.m2.simulator.package import unpack_package
from reconciler.drivers.m2.simulator.world import BOOTUP, PROPAGATED, M2World, NodeEvent
from reconciler.ports.simulator import (
    PUBLISH,
    Activity,
    BusSubscription,
    LocalChange,
    NodeActivity,
    NodeRequest,
    OutgoingCall,
    Reply,
)

_Asking: TypeAlias = Generator[OutgoingCall | LocalChange, Reply, Reply]
"""A part of an activity that ends with the reply to a call."""

_JSON: Final = {"Content-Type": "application/json"}
_TOLD: Final = ("setting", "purge")
"""Features with a feed by which a node is told what to do."""

_NEVER: Final = float("inf")
_OK: Final = 200
_UNCHANGED: Final = 304


@dataclass(slots=True)
class NodeMemory:
    """What a node remembers besides its setting.

    Args:
        last_modified: URL or feature -> `Last-Modified` of its latest answer.
        connected: URLs of the setting feed that have answered.
        purged: `userdata` -> the results of its purge.
        instances: of the list of nodes that it reported last.
    """

    last_modified: dict[str, str] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    purged: dict[bytes, list[UrlPurge]] = field(default_factory=dict)
    instances: tuple[str, ...] | None = None


class NodeActivities:
    """The activities of the nodes of a world, each when it is due.

    Args:
        world: the nodes.
        addresses: node -> its own address.
        ids: node -> its id in M2Live; only nodes with one.
    """

    def __init__(
        self, world: M2World, addresses: Mapping[str, str], ids: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._world = world
        self._ids = ids
        self._addresses = addresses
        self._has_begun = False
        self._channels: dict[str, NodeChannels] = {}
        self._planned: dict[str, Mapping[str, Any] | None] = {}
        self._memories: dict[str, NodeMemory] = {}
        # (when, tie-breaker, node, feature, number of the node's plan): a node whose setting changed gets a
        # new number, and its old entries are dropped when they come up.
        self._due: list[tuple[float, int, str, str, int]] = []
        self._ties = count()
        self._plans: dict[str, int] = {}
        self._next_times: dict[tuple[str, int], float] = {}

    def take_due(self, now: datetime) -> Iterator[NodeActivity]:
        """The activities that begin now; those of events before the first call are left out."""
        moment = now.timestamp()
        events = self._world.take_events()
        if not self._has_begun:
            self._has_begun = True
            for name in self._world.names:
                self._plan(name, moment)
            return
        for event in events:
            self._plan(event.node, moment)
            yield from self._react(event)
        while self._due and self._due[0][0] <= moment:
            _, _, node, feature, plan = heappop(self._due)
            channel = self._find_channel(node, feature)
            if plan == self._plans[node] and channel is not None:
                self._push(node, feature, channel, moment)
                yield NodeActivity(node, feature, self._begin(node, feature, channel, plan))

    def list_subscriptions(self) -> list[BusSubscription]:
        """The channels of buses to which nodes that are up listen now.

        Where settings and purges have one topic and one group, the node reads it once, for both (assumed:
        with a reader for each, Kafka would give each message to one of them, perhaps to the wrong one).
        """
        found: dict[tuple[str, str, str], BusSubscription] = {}
        for node in self._channels:
            for feature in _TOLD:
                channel = self._find_channel(node, feature)
                if channel is None or channel.kind not in BUSES:
                    continue
                found.setdefault(
                    (node, channel.url, channel.group),
                    BusSubscription(
                        node,
                        channel.url,
                        channel.group,
                        from_beginning=channel.from_beginning,
                        resumes=self._world.choices.bus_resumes,
                    ),
                )
        return list(found.values())

    def receive_message(self, subscription: BusSubscription, body: bytes) -> Iterator[NodeActivity]:
        """What a node does with a message of a bus."""
        if is_report(body):
            return  # of this node or of another one, where they report to where they listen
        node, choices = subscription.node, self._world.choices
        for feature in _TOLD:
            channel = self._find_channel(node, feature)
            if channel is None or (channel.url, channel.group) != (subscription.url, subscription.group):
                continue  # by now it listens elsewhere
            # M2's pages list no event of Firestore.
            way = FIRESTORE if channel.kind == FIRESTORE else "kafkaSub"
            event = f"/env/management/server/{way}/{channel.connection}"
            follow = self._follow_setting if feature == "setting" else self._follow_purges
            for _ in range(1 + max(0, choices.bus_repeats)):
                steps = follow(node, channel, body, event)
                yield NodeActivity(node, feature, steps, is_periodic=False, delay=float(choices.bus_delay))

    def _begin(self, node: str, feature: str, channel: Channel, plan: int) -> Activity:
        # It may have waited until the node loaded another setting, whose schedules count then.
        if plan != self._plans[node] or self._world.state(node).running is not self._planned[node]:
            return
        if feature == "setting":
            yield from self._poll_setting(node, channel)
        elif feature == "purge":
            yield from self._poll_purge(node, channel)
        elif feature == "heartbeat":
            yield from self._beat(node, channel)
        else:
            yield from self._list_nodes(node, channel)

    def _plan(self, node: str, moment: float) -> None:
        """Read the node's setting again, and begin its schedules anew."""
        state = self._world.state(node)
        channels = read_channels(state.running, self._ids.get(node, "")) if state.up else NO_CHANNELS
        self._channels[node] = channels
        self._planned[node] = state.running
        self._plans[node] = self._plans.get(node, 0) + 1
        for feature in ("setting", "purge", "heartbeat", "nodelist"):
            channel = self._find_channel(node, feature)
            if channel is not None:
                self._push(node, feature, channel, moment)

    def _find_channel(self, node: str, feature: str) -> Channel | None:
        channels = self._channels[node]
        return {
            "setting": channels.setting_feed,
            "purge": channels.purge_feed,
            "heartbeat": channels.heartbeat,
            "nodelist": channels.nodelist_feed,
        }[feature]

    def _push(self, node: str, feature: str, channel: Channel, moment: float) -> None:
        # Spread by the name, so that a node has the same clock in each run.
        ahead = zlib.crc32(node.encode()) / 2**32 * self._world.choices.clock_spread
        due = self._find_next_time(channel.schedule, moment + ahead) - ahead
        if due != _NEVER:
            heappush(self._due, (due, next(self._ties), node, feature, self._plans[node]))

    def _find_next_time(self, schedule: str, moment: float) -> float:
        # Thousands of nodes have one schedule: its next time is found once for each second.
        key = (schedule, int(moment))
        if key not in self._next_times:
            if len(self._next_times) > 1000:  # noqa: PLR2004
                self._next_times.clear()
            try:
                found = next(CronSim(schedule, datetime.fromtimestamp(int(moment), UTC))).timestamp()
            except (CronSimError, StopIteration):  # any text may be in a setting: the node never polls
                found = _NEVER
            self._next_times[key] = found
        return self._next_times[key]

    def _react(self, event: NodeEvent) -> Iterator[NodeActivity]:
        """What a node does after a call of its API, or a start."""
        node = event.node
        if event.name == BOOTUP:
            memory = self._remember(node)
            memory.connected.clear()
            memory.instances = None
            if self._world.choices.forgets:
                memory.last_modified.clear()
        if event.purge is not None:
            yield NodeActivity(node, "purge call", self._follow_purge(node, event), is_periodic=False)
        elif event.name and self._channels[node].setting_feedback is not None:
            api = event.name.removeprefix("/_api_") if event.name != BOOTUP else "/setting/upload"
            steps = self._report_setting(node, LoadResult("ok"), api, event.name, None)
            yield NodeActivity(node, "setting report", steps, is_periodic=False)

    def _remember(self, node: str) -> NodeMemory:
        return self._memories.setdefault(node, NodeMemory())

    def _sender(self, node: str) -> Sender:
        return Sender(node, self._addresses[node])

    def _poll(self, node: str, feature: str, channel: Channel) -> _Asking:
        """Poll a feed, and remember its `Last-Modified` at once; gives its answer."""
        reply = yield OutgoingCall(
            f"{feature} feed",
            channel.url,
            channel.timeout,
            headers=self._make_headers(node, feature, channel),
        )
        status, headers, _ = reply
        # At once, as the manual says, and before anything is downloaded: a node whose download fails is not
        # told again until there is a later offer.
        if status in {_OK, _UNCHANGED} and headers.get("last-modified"):
            self._remember(node).last_modified[self._key(feature, channel)] = headers["last-modified"]
        return reply

    def _key(self, feature: str, channel: Channel) -> str:
        return channel.url if self._world.choices.remembered is RememberedTime.URL else feature

    def _make_headers(self, node: str, feature: str, channel: Channel) -> dict[str, str]:
        """Both headers of a poll."""
        label = lookup(self._world.state(node).running, "meta.version")
        headers = {} if label is None else {"X-M2-Setting-Meta-Version": str(label)}
        remembered = self._remember(node).last_modified.get(self._key(feature, channel))
        if remembered is not None or self._world.choices.first_poll is FirstPoll.EMPTY:
            headers["If-Modified-Since"] = remembered or ""
        return headers

    def _poll_setting(self, node: str, channel: Channel) -> Activity:
        event = f"/env/management/server/{channel.kind}/setting"
        reply = yield from self._poll(node, "setting", channel)
        status, headers, body = reply
        connected = self._remember(node).connected
        is_first = status != 0 and channel.url not in connected
        if status != 0:
            connected.clear()  # of the current URL only: a node has one setting feed
            connected.add(channel.url)
        if status != _OK:
            # On its first connection, a node reports the setting that it has (M2 manual, setting.feedback).
            if is_first:
                yield from self._report_setting(node, LoadResult("ok"), "/setting/upload", event, None)
            return
        if channel.kind == "tgzPolling":
            url, userdata = channel.url, None
            yield from self._load(node, url, reply, event, userdata)
            return
        if "last-modified" not in headers:
            self._world.complain(node, "the feed has no Last-Modified")
        yield from self._follow_setting(node, channel, body, event)

    def _follow_setting(self, node: str, channel: Channel, body: bytes, event: str) -> Activity:
        """Do what a message of the feed of settings asks for."""
        try:
            feed = read_feed(body)
        except MalformedFeed as error:
            self._world.complain(node, str(error))
            return
        # One topic may carry both features.
        if channel.kind in BUSES and not feed.api.startswith("/setting/"):
            return
        if feed.api == "/setting/deploy/checkout":
            yield from self._check_out(node, feed, event)
        elif feed.api == "/setting/upload" and feed.urls:
            for url in feed.urls:
                package = yield from self._download(url, channel.timeout)
                yield from self._load(node, url, package, event, feed.userdata)
        else:
            self._world.complain(node, f"the setting feed has the api {feed.api!r}, or no parameters")

    def _download(self, url: str, timeout: float) -> _Asking:
        reply: Reply = (0, {}, b"")
        for _ in range(max(1, self._world.choices.download_attempts)):
            reply = yield OutgoingCall("package", url, timeout)
            if reply[0] == _OK:
                break
        return reply

    def _load(self, node: str, url: str, fetched: Reply, event: str, userdata: Any) -> Activity:
        """Load a package, and report it."""
        status, headers, body = fetched
        modified = headers.get("last-modified", "")
        if status != _OK:
            result = LoadResult(f"the download failed with status {status}", url, modified)
        else:
            request = NodeRequest("POST", "/setting/upload", {}, b"", "")
            package = unpack_package(body)
            reply = yield LocalChange(request, lambda: self._world.load(node, package))
            result = _read_result(reply, url, modified)
        yield from self._report_setting(node, result, "/setting/upload", event, userdata)

    def _check_out(self, node: str, feed: ReceivedFeed, event: str) -> Activity:
        request = NodeRequest("POST", feed.api, {}, b"", "")
        reply = yield LocalChange(request, lambda: self._world.check_out(node))
        result = _read_result(reply, "", "")
        yield from self._report_setting(node, result, feed.api, event, feed.userdata)

    def _report_setting(self, node: str, result: LoadResult, api: str, event: str, userdata: Any) -> Activity:
        # By the setting that is in effect now: after a load, that is the new one (assumed).
        state = self._world.state(node)
        channels = read_channels(state.running, self._ids.get(node, ""))
        if channels.setting_feedback is None or state.loaded is None:
            return
        body = make_setting_feedback(
            self._sender(node),
            state.running,
            result,
            api=api,
            event=event,
            userdata=userdata,
            setting=state.loaded.package.text if channels.uploads_setting else None,
        )
        yield from self._report(node, "setting.feedback", channels.setting_feedback, body)

    def _report(self, node: str, purpose: str, channel: Channel, body: bytes) -> Activity:
        if channel.kind in BUSES:
            yield OutgoingCall(purpose, channel.url, channel.timeout, PUBLISH, body=body)
            return
        headers = dict(_JSON)
        if purpose == "heartbeat.feedback" and self._world.choices.beat_headers:
            headers |= self._make_headers(node, "heartbeat", channel)
        reply: Reply = (0, {}, b"")
        for _ in range(max(1, self._world.choices.report_attempts)):
            reply = yield OutgoingCall(purpose, channel.url, channel.timeout, "POST", headers, body)
            if _OK <= reply[0] < 300:  # noqa: PLR2004
                break

    def _beat(self, node: str, channel: Channel) -> Activity:
        body = make_heartbeat(self._sender(node), self._world.state(node).running)
        yield from self._report(node, "heartbeat.feedback", channel, body)

    def _poll_purge(self, node: str, channel: Channel) -> Activity:
        reply = yield from self._poll(node, "purge", channel)
        if reply[0] == _OK:
            yield from self._follow_purges(node, channel, reply[2], "/env/management/server/apiPolling/purge")

    def _follow_purges(self, node: str, channel: Channel, body: bytes, event: str) -> Activity:
        """Do what a message of the feed of purges asks for."""
        try:
            feed = read_feed(body)
        except MalformedFeed as error:
            self._world.complain(node, str(error))
            return
        if channel.kind in BUSES and not feed.api.startswith("/command/"):
            return
        if feed.api != "/command/purge" or not feed.urls:
            self._world.complain(node, f"the purge feed has the api {feed.api!r}, or no parameters")
            return
        if self._world.choices.propagates_feed:
            yield from self._propagate(node, feed.urls)
        key = orjson.dumps(feed.userdata, option=orjson.OPT_SORT_KEYS)
        purged = self._remember(node).purged
        is_once = self._world.choices.repeated_purge is RepeatedPurge.ONCE and feed.userdata is not None
        results = purged.get(key) if is_once else None
        if results is None:
            results = []
            for url in feed.urls:
                results.append((yield from self._purge(node, url)))
            if is_once:
                purged[key] = results
        yield from self._report_purge(node, results, event, feed.userdata)

    def _purge(self, node: str, url: str) -> Generator[OutgoingCall | LocalChange, Reply, UrlPurge]:
        request = NodeRequest("POST", f"/command/purge?url={quote(url, safe='')}", {}, b"", "")
        status, _, body = yield LocalChange(request, lambda: self._world.purge(node, request))
        return read_purge_result(url, status, body)

    def _report_purge(self, node: str, results: list[UrlPurge], event: str, userdata: Any) -> Activity:
        channel = self._channels[node].purge_feedback
        if channel is None:
            return
        running = self._world.state(node).running
        body = make_purge_feedback(self._sender(node), running, results, event=event, userdata=userdata)
        yield from self._report(node, "purge.feedback", channel, body)

    def _follow_purge(self, node: str, event: NodeEvent) -> Activity:
        """Propagate and report a purge that the API was called for."""
        assert event.purge is not None
        # The manual sends it before the purge is executed. A caller cannot tell the difference: no order is
        # promised between nodes, and nothing is sent twice.
        if not event.purge.is_propagated:
            yield from self._propagate(node, event.purge.urls)
        yield from self._report_purge(node, list(event.purge.results), event.name, None)

    def _propagate(self, node: str, urls: tuple[str, ...]) -> Activity:
        """Call the purge of the other nodes once; how it is sent is not in the manual."""
        running = self._world.state(node).running
        joined = quote("|".join(urls), safe="")
        for target in list_propagation_targets(running, self._addresses[node], get_api_port(running)):
            url = f"http://{target}/command/purge?url={joined}"
            yield OutgoingCall("propagation", url, 5.0, headers={PROPAGATED: "1"})

    def _list_nodes(self, node: str, channel: Channel) -> Activity:
        """Ask the cloud for its instances; if they changed, change the running origins and report."""
        found = self._world.find_instances(channel.tag)
        channels, memory = self._channels[node], self._remember(node)
        replaced = {
            name: before
            for name in channels.changed_hosting
            if (before := self._world.get_origin(node, name)) is not None and before != list(found)
        }
        # An empty list is no list: the manual does not say that it takes every origin away (assumed).
        if not found or (not replaced and memory.instances == found):
            return
        for name in replaced:
            self._world.change_origin(node, name, found)
        is_new, memory.instances = memory.instances != found or bool(replaced), found
        if channels.nodelist_feedback is None or not is_new:
            return
        running = self._world.state(node).running
        body = make_nodelist_feedback(self._sender(node), running, found, replaced)
        yield from self._report(node, "nodelist.feedback", channels.nodelist_feedback, body)


def _read_result(reply: Reply, url: str, modified: str) -> LoadResult:
    """What became of a setting, from the answer of the API."""
    status, _, body = reply
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = {}
    if status == _OK and answer.get("status") == "OK":
        return LoadResult("ok", url, modified, answer.get("notupdated", ()))
    return LoadResult(str(answer.get("result") or f"status {status}"), url, modified)
