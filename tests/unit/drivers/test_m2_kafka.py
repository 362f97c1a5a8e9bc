"""M2 nodes that are told by Kafka: what is written into settings, planned, refused and proven."""

import copy
import json
from dataclasses import replace

import pytest
from support.guard_cases import by_kafka, told
from support.m2_polled import POLL, SERVER, PolledNodes, tokens
from support.m2_wire import cluster_input

from reconciler.core.bus_channels import BusChannel, BusId, BusKind, ChannelIndex, read_channel
from reconciler.core.guard import run_guards
from reconciler.core.host_entries import AllowedBus, HostEntries
from reconciler.core.observation import Observed, Present, Stale, Unreachable
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.secret import reveal
from reconciler.diagnostic import Severity
from reconciler.drivers.m2 import guards, lints
from reconciler.drivers.m2.product import DRIVER
from reconciler.planning.unknown_entries import find_unknown_buses
from reconciler.ports.transport import MailItem, NodeLabel, NodeMail, Transports

BROKERS = ("kafka-1:9092",)
PROD = BusId(BusKind.KAFKA, "prod")


def topic(name):
    return BusChannel(BusKind.KAFKA, BROKERS, name)


def where(document, nodes=("n1",), **poll):
    return cluster_input(document, nodes=nodes, deliver="poll", poll=POLL | poll)


def features(target):
    return reveal(target.content.document)["env"]["management"]["server"]["features"]


def desired(document, **poll):
    return DRIVER.assign_tokens(DRIVER.desire(where(document, **poll)), tokens("n1"))


def refusals(context):
    return [one.message for one in run_guards(context, guards.GUARDS) if one.code == "shared-feed"]


def test_what_the_file_says_of_kafka_stays_and_everything_else_is_the_central_server():
    (target,) = desired(by_kafka("m2.n1")).targets
    found = features(target)
    assert found["setting"]["feed"] == {
        "type": "kafkaSub",
        "info": {"connect": "bus", "groupId": "g", "subscribe": {"topic": "m2.n1", "fromBeginning": True}},
    }
    assert found["setting"]["enable"] is True
    assert found["setting"]["feedback"]["uploadSetting"] is True
    assert found["setting"]["feedback"]["info"]["url"].startswith(SERVER)
    assert found["heartbeat"]["feedback"]["info"]["url"].startswith(SERVER)


def test_a_setting_that_uses_kafka_alone_has_no_url_and_no_token():
    document = by_kafka("m2.n1", reports="r.n1")
    document["env"]["management"]["server"]["features"]["purge"] = {"enable": False}
    (target,) = desired(document).targets
    text = json.dumps(reveal(target.content.document))
    assert SERVER not in text
    assert features(target)["heartbeat"]["feedback"]["type"] == "kafkaPub"


def test_the_channels_of_a_file_are_known_with_their_places():
    document = where(by_kafka("m2.n1", reports="r.n1"))
    found = DRIVER.list_bus_channels(document)
    assert {(one.channel.name, one.is_feed) for one in found} == {("m2.n1", True), ("r.n1", False)}
    feed = next(one for one in found if one.is_feed)
    assert feed.places == "/env/management/server/connection/0/info/brokers"
    assert feed.pointer == "/env/management/server/features/setting/feed/info/subscribe/topic"


def test_brokers_that_no_entry_of_the_host_allows_are_told_with_their_line():
    place = where(by_kafka("m2.n1"))
    known = HostEntries(buses=(AllowedBus(PROD, frozenset({"kafka-2:9092"})),), kafka=frozenset({"prod"}))
    (found,) = find_unknown_buses(DRIVER.list_bus_channels(place), known, "edge").values()
    assert found.code == "unknown-entry"
    assert "kafka-1:9092, named for n1, is not allowed by `kafka`" in found.message
    assert str(found.position).startswith("setting.json:")


def test_a_topic_that_no_entry_of_the_host_allows_is_told_with_its_line():
    place = where(by_kafka("m2.n1", reports="other"))
    known = HostEntries(buses=(AllowedBus(PROD, frozenset(BROKERS), ("m2.*",)),))
    (found,) = find_unknown_buses(DRIVER.list_bus_channels(place), known, "edge").values()
    assert found.message.startswith("other, named for n1, is not allowed")
    assert found.pointer.endswith("/feedback/info/topic")


def test_a_list_of_brokers_with_one_of_another_cluster_is_refused():
    document = by_kafka("m2.n1")
    document["env"]["management"]["server"]["connection"][0]["info"]["brokers"].append("evil:9092")
    known = HostEntries(buses=(AllowedBus(PROD, frozenset(BROKERS)),))
    assert find_unknown_buses(DRIVER.list_bus_channels(where(document)), known, "edge")


@pytest.mark.parametrize(
    ("group", "brokers", "is_refused"),
    [("g", BROKERS, True), ("other", BROKERS, False), ("", BROKERS, False), ("g", ("kafka-9:9092",), False)],
)
def test_no_node_listens_with_the_consumer_group_of_this_host(group, brokers, is_refused):
    place = where(by_kafka("m2.n1", group="g", reports="r"), nodes=("n1", "n2"))
    other = AllowedBus(BusId(BusKind.KAFKA, "b"), frozenset(brokers), (), group)
    buses = (AllowedBus(PROD, frozenset(BROKERS)), other)
    found = find_unknown_buses(DRIVER.list_bus_channels(place), HostEntries(buses=buses), "edge")
    assert bool(found) is is_refused
    for one in found.values():
        assert one.code == "unknown-entry"
        assert "the groupId g, named for n1, n2, is that of this host (`kafka.b.group`)" in one.message
        assert str(one.position).startswith("setting.json:")


def test_a_node_is_told_on_the_topic_that_it_listens_to_now():
    context = told("new.{node}", shown="old.{node}", nodes=("n1",))
    (step,) = context.plan.steps
    assert step.action == "offer"
    assert read_channel(step.arguments.channel) == topic("old.n1")
    assert [one for one in run_guards(context, guards.GUARDS) if one.code == "feed-detached"] == []


async def test_the_offer_has_the_channel_and_opens_at_once():
    context, drafts = told(nodes=("n1",)), []

    class Box(PolledNodes):
        async def offer(self, draft):
            drafts.append(draft)
            return await super().offer(draft)

    (step,) = context.plan.steps
    await DRIVER.act(step, Transports(mailbox=Box()), context.plan.payloads)
    assert (drafts[0].channel, drafts[0].period) == (topic("m2.n1"), 0.0)


def test_own_topics_and_groups_are_accepted():
    assert refusals(told()) == []
    assert refusals(told(checkout=True)) == []


def test_a_package_on_a_shared_topic_is_refused():
    found = refusals(told("m2.all"))
    assert len(found) == 2
    assert "n2 listens too on Kafka topic m2.all of kafka-1:9092" in found[0]


def test_a_shared_group_is_refused_also_for_a_checkout():
    found = refusals(told("m2.all", "one", checkout=True))
    assert "n1: it has the groupId of n2" in found[0]
    assert "only one of them" in found[0]


def test_the_topic_that_runs_counts_as_well_as_the_one_to_come():
    assert len(refusals(told("m2.{node}", shown="m2.all"))) == 2
    assert refusals(told("m2.all", shown="m2.{node}"))


def add_listener(context, channel):
    return ChannelIndex((*context.listeners.listeners, ("other/x", channel)))


def test_a_node_of_another_cluster_counts():
    context = told(nodes=("n1",))
    assert refusals(replace(context, listeners=add_listener(context, topic("m2.n1"))))
    assert not refusals(replace(context, listeners=add_listener(context, topic("m2.x"))))


def test_brokers_of_another_name_do_not_part_a_shared_topic():
    context = told(nodes=("n1",))
    # Both may be brokers of one cluster: any of them leads to all of it.
    same = BusChannel(BusKind.KAFKA, ("kafka-2:9092",), "m2.n1")
    assert refusals(replace(context, listeners=add_listener(context, same)))
    nodes = where(by_kafka("m2.all"), nodes=("n1", "n2"))
    documents = {
        "n1": nodes.documents["n1"],
        "n2": where(by_kafka("m2.all", broker="b:9092")).documents["n1"],
    }
    assert codes(replace(nodes, documents=documents)) == ["shared-feed-channel"]


@pytest.mark.parametrize("name", ["^.*", "^m2[.].*", "a b", "../m2", ".", "..", "m2.ö", "m2.n1 ", "x" * 250])
def test_what_no_topic_is_called_is_not_listened_to(name):
    allowed = AllowedBus(PROD, frozenset(BROKERS))
    assert allowed.allows(topic("m2.n1"))
    # The library takes a name that begins with ^ for a pattern of topics.
    assert not allowed.allows(topic(name))


def test_a_checkout_on_a_shared_topic_goes_to_all_in_one_wave_only():
    context = told("m2.all", checkout=True)
    assert refusals(context) == []
    first, second = context.plan.steps
    waves = replace(context.plan, steps=(replace(first, wave=1), replace(second, wave=2)))
    assert "outside of its wave" in refusals(replace(context, plan=waves))[0]
    alone = replace(context.plan, steps=(first,))
    assert "outside of its wave" in refusals(replace(context, plan=alone))[0]
    assert refusals(replace(context, plan=alone, as_desired=frozenset({"n2"}))) == []


def test_a_checkout_feed_pins_no_revision_and_the_plan_says_so():
    (note,) = [one for one in told(checkout=True).plan.findings if one.code == "unpinned-checkout"]
    assert note.severity is Severity.NOTE
    assert "names no revision" in note.message
    assert not [one for one in told().plan.findings if one.code == "unpinned-checkout"]


def codes(place):
    return sorted(one.code for one in lints.lint(place) if one.code in lints.buses.CODES)


def test_lints_of_topics():
    assert codes(where(by_kafka("m2.n1", reports="r"))) == []
    assert codes(where(by_kafka("m2.n1", reports="m2.n1"))) == ["feed-loop", "feed-loop"]
    assert codes(where(by_kafka("m2.all"), nodes=("n1", "n2"))) == ["shared-feed-channel"]
    shared = by_kafka("m2.all", reports="r")
    assert codes(where(shared, nodes=("n1", "n2"))) == ["shared-feed-channel", "shared-report-channel"]


@pytest.mark.parametrize("given", [False, None])
def test_a_node_that_reads_from_its_first_subscription_on_may_miss_its_first_offer(given):
    document = by_kafka("m2.n1")
    features = document["env"]["management"]["server"]["features"]
    subscribe = features["setting"]["feed"]["info"]["subscribe"]
    subscribe.pop("fromBeginning")
    features["purge"] = copy.deepcopy({"feed": features["setting"]["feed"]})
    if given is not None:
        subscribe["fromBeginning"] = given
    (found,) = (one for one in lints.lint(where(document, nodes=("n1", "n2"))) if one.code == "missed-offer")
    assert found.pointer == "/env/management/server/features/setting/feed/info/subscribe"
    assert "Kafka topic m2.n1" in found.message


class Told:
    """A node that is told by Kafka, and its mail."""

    def __init__(self):
        self.desired = DRIVER.add_history(desired(by_kafka("m2.n1", reports="r.n1")), {}, PriorRevisions())
        (self.target,) = self.desired.targets
        self.body = json.dumps(reveal(self.target.content.document)).encode()

    async def observe(self, **mail):
        found = NodeMail(**{"heard": 1.0, "content": MailItem(self.body, 600.0), **mail})

        class Box(PolledNodes):
            async def read_mail(self, cluster, node):
                return found

        bare = tuple(replace(one, bases=()) for one in self.desired.targets)
        observed = await DRIVER.observe(replace(self.desired, targets=bare), Transports(mailbox=Box()))
        return observed.nodes["n1"]


async def test_heartbeats_keep_the_reported_setting_proven():
    found = await Told().observe(label=NodeLabel("B", 1.0))
    assert isinstance(found, Present)


async def test_a_node_that_says_the_same_version_always_is_proven_by_its_reports():
    # By M2's pages `settingVer` is "always 1": the heartbeat after the report changed the version.
    assert isinstance(await Told().observe(label=NodeLabel("1", 1.0, other_age=600.0)), Present)


async def test_another_version_after_the_report_proves_nothing():
    assert isinstance(await Told().observe(label=NodeLabel("C", 1.0, other_age=20.0)), Unreachable)


async def test_a_node_that_is_not_heard_is_out_of_date():
    assert isinstance(await Told().observe(heard=500.0, label=NodeLabel("B", 500.0)), Stale)


async def test_a_silent_node_is_told_with_its_broker():
    told_node = Told()
    found = await told_node.observe(heard=500.0, label=NodeLabel("B", 500.0))
    bare = tuple(replace(one, bases=()) for one in told_node.desired.targets)
    plan = DRIVER.plan(replace(told_node.desired, targets=bare), Observed({"n1": found}))
    (silent,) = [one for one in plan.findings if one.code == "node-silent"]
    assert "reaches kafka-1:9092" in silent.remedy


async def test_a_claim_alone_is_nothing():
    assert isinstance(await Told().observe(heard=None, content=None), Unreachable)
