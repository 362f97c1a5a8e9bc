"""Cases for guards: M2 nodes and Sora clusters with a plan, and what a machine sees come of some of them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta

from reconciler.core.bus_channels import ChannelIndex
from reconciler.core.change_windows import Freeze
from reconciler.core.guard import GuardContext
from reconciler.core.observation import Absent, Observed, Present
from reconciler.core.secret import reveal
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Policy
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.cluster_state import has_majority
from reconciler.drivers.sora.cluster_view import make_machine_state, merge_views
from reconciler.drivers.sora.history import ClusterPast
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.ports.simulator import NodeRequest
from support.driver import NOON
from support.m2_polled import POLL, tokens
from support.m2_wire import REVISION, cluster_input, loaded, setting, world
from support.sora_clusters import agreeing, entry, full, planned, seen


def edge(wanted=None, shown=None, *, nodes=("n1", "n2", "n3"), domain=(), port="", **more):
    """A change of M2 nodes from one setting to another; `port` stands in their addresses."""
    keys = ("management", "concurrency", "deliver", "restart")
    given = {key: more.pop(key) for key in keys if key in more}
    where = cluster_input(wanted or setting(meta__version="B"), nodes=nodes, **given)
    places = dict(zip(nodes, domain or [""] * len(nodes), strict=True))
    own = [
        node.model_copy(update={"domain": places[node.name], "address": f"{node.address}{port}"})
        for node in where.entry.nodes
    ]
    where = replace(where, entry=where.entry.model_copy(update={"nodes": tuple(own)}))
    desired = DRIVER.desire(where)
    answers = {
        node: loaded(shown, caller="127.0.0.1", base=f"http://{node}.example.com:10040") for node in nodes
    }
    starts = dict.fromkeys(nodes, "start 1") if given.get("restart") else {}
    observed = Observed({node: Present(answer) for node, answer in answers.items()}, starts=starts)
    plan = DRIVER.plan(desired, observed)
    return GuardContext(plan, where.entry, desired, observed, revision=REVISION, now=NOON, **more)


def polled(assigned, counting, schedule="*/15 * * * * *"):
    """A change of a node that polls: to URLs with one token, while another one counts."""
    features = {"setting": {"feed": {"info": {"schedule": schedule}}}}
    wanted = setting(meta__version="B", env__management__server={"features": features})
    where = cluster_input(wanted, nodes=("n1",), deliver="poll", poll=POLL)
    now = DRIVER.assign_tokens(DRIVER.desire(where), tokens("n1", generation=counting))
    wanted = DRIVER.assign_tokens(DRIVER.desire(where), tokens("n1", generation=assigned))
    (target,), (own,) = wanted.targets, now.targets
    desired = replace(wanted, targets=(replace(target, tokens=own.tokens),))
    shown = loaded({**reveal(own.content.document), "functions": {"x": 1}}, base="")
    observed = Observed({"n1": Present(shown)})
    plan = DRIVER.plan(desired, observed)
    return GuardContext(plan, where.entry, desired, observed, revision=REVISION, now=NOON, policy=FREE)


def told(topic="m2.{node}", group="{node}", *, shown=None, nodes=("n1", "n2"), **more):
    """A change of nodes that are told by Kafka, each on its own topic where the text has `{node}`.

    Args:
        topic: of each node.
        group: its consumer group.
        shown: the topic that it listens to now; the same as by the file if it is None.
        nodes: their names.
        more: keys of `poll`, such as `checkout`.
    """
    documents, entry = {}, None
    for node in nodes:
        wanted = by_kafka(topic.format(node=node), group.format(node=node))
        where = cluster_input(wanted, nodes=nodes, name=f"{node}.json", deliver="poll", poll=POLL | more)
        documents[node], entry = where.documents[node], where
    where = replace(entry, documents=documents)
    own = tokens(*nodes)
    desired = DRIVER.assign_tokens(DRIVER.desire(where), own)
    answers = {}
    for target in desired.targets:
        now = copy.deepcopy(reveal(target.content.document))
        if shown is not None:
            feed = now["env"]["management"]["server"]["features"]["setting"]["feed"]
            feed["info"]["subscribe"] = {"topic": shown.format(node=target.node)}
        answers[target.node] = Present(loaded({**now, "functions": {"x": 1}}, base=""))
    observed = Observed(answers)
    plan = DRIVER.plan(desired, observed)
    named = [one for one in DRIVER.list_bus_channels(where) if one.is_feed]
    listeners = ChannelIndex((f"{where.entry.name}/{one.node}", one.channel) for one in named)
    return GuardContext(
        plan,
        where.entry,
        desired,
        observed,
        revision=REVISION,
        now=NOON,
        policy=FREE,
        listeners=listeners,
    )


def by_kafka(topic, group="g", reports="", *, broker="kafka-1:9092", version="B"):
    """A setting that is fed by Kafka, and reports by it where there is a topic for that."""
    features = {
        "setting": {
            "feed": {
                "type": "kafkaSub",
                "info": {
                    "connect": "bus",
                    "groupId": group,
                    "subscribe": {"topic": topic, "fromBeginning": True},
                },
            }
        }
    }
    if reports:
        feedback = {"type": "kafkaPub", "info": {"connect": "bus", "topic": reports}}
        features["setting"]["feedback"] = feedback
        features["heartbeat"] = {
            "feedback": {**feedback, "info": {**feedback["info"], "schedule": "*/15 * * * * *"}}
        }
    connection = [{"name": "bus", "type": "kafka", "info": {"clientId": "m2", "brokers": [broker]}}]
    return setting(
        meta__version=version, env__management__server={"connection": connection, "features": features}
    )


def live(
    words,
    answers,
    other=None,
    *,
    change=lambda steps: steps,
    limits=None,
    history=None,
    commands=None,
    **more,
):
    """A plan for Sora nodes, perhaps one made from other answers than it meets, or changed by somebody."""
    wanted = entry(words, stop={"command": "stop"}, drain=0, **more)
    observed, history = seen(answers, limits=limits), history or ClusterPast()
    plan = planned(wanted, seen(other or answers, limits=limits), history=history)
    plan = replace(plan, steps=tuple(change(plan.steps)))
    desired = SoraDesired(wanted, {}, history)
    return GuardContext(plan, wanted, desired, observed, revision=REVISION, now=NOON, commands=commands)


def upgrading(words, answers, *, running="2024.1.3", version="2024.2.0"):
    """A plan that upgrades Sora nodes, made while all of them were there."""
    commands = {"upgrade": {"command": "upgrade"}, "start": {"command": "start"}}
    wanted = entry(words, stop={"command": "stop"}, drain=0, version=version, **commands)
    whole = show_version(seen(agreeing(words, *words.split())), running)
    desired = SoraDesired(wanted, {}, ClusterPast())
    plan = planned(wanted, whole)
    observed = show_version(seen(answers), running)
    return GuardContext(plan, wanted, desired, observed, revision=REVISION, now=NOON)


def show_version(observed, version):
    """The same answers, with a version of every connected node."""
    nodes = dict(observed.nodes)
    for name, answer in observed.present().items():
        rows = tuple(
            one.model_copy(update={"version": version}) if one.connected else one for one in answer.rows
        )
        nodes[name] = Present(replace(answer, rows=rows))
    return replace(observed, nodes=nodes)


def doubtful(cluster_memory):
    """New nodes that do not tell whether they are new."""
    answers = dict.fromkeys("abc", "?ODD")
    case = live("a b c", answers, initialise=True)
    return replace(case, digest="d1", cluster_memory=cluster_memory, policy=FREE)


API = "env__management__api__allowList"
ADMIN = {"role": "admin", "addr": "127.0.0.1"}
OTHERS = setting(**{API: [{"role": "admin", "addr": "10.0.0.1"}]})
NOBODY = setting(env__management__roles=[{"name": "admin"}, {"name": "user"}])
KEPT = setting(**{API: [ADMIN]})
FREE = M2Policy(max_risky="100%", max_cache_lost="100%", max_domains="100%")
WITHOUT = setting(hosting=[])
LARGER = setting(meta__version="B", env__properties__memoryUsage=70)
RESTART = {"command": "restart-m2", "started": {"command": "m2-started"}}
FIVE, BLANK = agreeing("a b c d e", *"abcde"), {"a": "", "b": "", "c": ""}


def fed(url):
    feed = {"type": "apiPolling", "info": {"url": url, "schedule": "0 * * * * *"}}
    features = {"setting": {"enable": True, "feed": feed}}
    return setting(env__management__server={"enable": True, "features": features})


def ring(port, version="A"):
    told = {"meta": {"enable": True}, "discover": {"port": port}}
    return setting(meta__version=version, env__management__cluster=told)


def hasty(steps):
    return [replace(step, after=()) for step in steps]


def locked_out():
    """Whether a node that has this setting turns this host away, by the simulated node's own word."""
    nodes = world(KEPT)
    body = json.dumps(OTHERS).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    upload = NodeRequest("POST", "/setting/upload", headers, body, "127.0.0.1")
    assert nodes.answer("edge-01", upload)[0] == 200
    reading = NodeRequest("GET", "/setting/setting.json", {}, b"", "127.0.0.1")
    return nodes.answer("edge-01", reading)[0] == 401


def lost_by_half_a_registration():
    """Whether the majority is gone once a registration fails halfway, by the state machine."""
    cluster_view = merge_views(seen(WEAK), regular=[full(one) for one in "abc"])
    node_numbers, state = make_machine_state(cluster_view, [full("d")], ())
    half = machine.register(state, node_numbers.at(full("d")), node_numbers.at(full("a")), half=True)
    return has_majority(state) and not has_majority(half)


def lost_by_one_more_failure():
    """Whether the majority is gone once the stopped node and one more are, by the state machine."""
    cluster_view = merge_views(seen(agreeing("a b c d", *"abcd")))
    node_numbers, state = make_machine_state(cluster_view, (), ())
    stopped = machine.stop(state, node_numbers.at(full("d")))
    return has_majority(stopped) and not has_majority(machine.stop(stopped, node_numbers.at(full("a"))))


WEAK = agreeing("a b c!", *"ab", c=None, d="")
HEALTHY = agreeing("a b c", *"abc", d="")
DEAD = agreeing("a b c d!", *"abc", d=None)


def replaced(policy, **more):
    return policy.model_copy(update=more)


def freeze(days):
    day = (NOON + timedelta(days=days)).date().isoformat()
    return Freeze.model_validate({"from": day, "until": day, "reason": "holidays"})


def unread(wanted):
    """The first setting of a node, which shows nothing that this host could lose."""
    where = cluster_input(wanted, nodes=("n1",))
    desired = DRIVER.desire(where)
    observed = Observed({"n1": Absent("404")})
    return GuardContext(
        DRIVER.plan(desired, observed), where.entry, desired, observed, revision=REVISION, now=NOON
    )
