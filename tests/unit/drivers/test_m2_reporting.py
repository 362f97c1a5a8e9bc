"""M2 nodes that are called and report: what is written into their settings, and who is believed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from pydantic import ValidationError
from support.m2_polled import SERVER, PolledNodes, token, tokens
from support.m2_wire import BASE, WorldWire, cluster_input, setting, world

from reconciler.core.observation import Present
from reconciler.core.outcome import Outcome, State
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.secret import MASK, Secret, reveal
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2 import client as client_module
from reconciler.drivers.m2 import content as content_module
from reconciler.drivers.m2 import setting_comparison
from reconciler.drivers.m2.central_server import mail_secrets
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.shared_contents import PLACEHOLDER
from reconciler.feedback.message import make_message
from reconciler.ports.node_store import NodeTokens
from reconciler.ports.transport import Transports

ONE = ("edge-01",)
REPORTS = {"server": SERVER}


class Site:
    """A cluster of nodes that are called by their addresses, with a mailbox for what they report."""

    def __init__(self, document=None, nodes=ONE, **entry):
        self.nodes, self.entry = nodes, {"version": "commit", "reports": REPORTS, **entry}
        self.mailbox, self.world = PolledNodes(), world(document, nodes=nodes)
        self.wire = WorldWire(self.world)
        self.transports = Transports(http=self.wire, mailbox=self.mailbox)

    def desired(self, document=None, known=None):
        where = cluster_input(document, nodes=self.nodes, **self.entry)
        desired = DRIVER.add_history(DRIVER.desire(where), {}, PriorRevisions())
        return DRIVER.assign_tokens(desired, tokens(*self.nodes) if known is None else known)

    async def plan(self, document=None, known=None):
        desired = self.desired(document, known)
        return DRIVER.plan(desired, await DRIVER.observe(desired, self.transports))

    async def act(self, plan):
        return [await DRIVER.act(step, self.transports, plan.payloads) for step in plan.steps]

    async def judge(self, step):
        return DRIVER.judge(step, await DRIVER.observe_step(step, self.transports))

    def running(self, node="edge-01"):
        return self.world.state(node).running


def server_part(document):
    return reveal(document)["env"]["management"]["server"]


def codes(document=None, **entry):
    found = DRIVER.examine(cluster_input(document, **{"reports": REPORTS, **entry}))
    return [problem.code for problem in found]


def test_each_node_gets_urls_to_report_to_and_no_feed():
    first, second = Site(nodes=("edge-01", "edge-02")).desired().targets
    report = f"{SERVER}/{token('edge-01')}/report"
    assert server_part(first.content.document) == {
        "enable": True,
        "features": {
            "setting": {
                "enable": True,
                "feedback": {"type": "api", "uploadSetting": False, "info": {"url": report, "timeout": 5}},
            },
            "heartbeat": {
                "enable": True,
                "feedback": {
                    "type": "apiPolling",
                    "info": {"url": report, "schedule": "*/15 * * * * *", "timeout": 5},
                },
            },
            "purge": {
                "enable": True,
                "feedback": {"type": "api", "info": {"url": report, "timeout": 5}},
            },
        },
    }
    assert token("edge-02") in json.dumps(reveal(second.content.document))
    assert first.payload != second.payload, "a node must never get the URL of another one"


def test_every_node_has_a_token_and_none_polls():
    desired = Site(nodes=("edge-01", "edge-02")).desired()
    assert DRIVER.list_reporting_nodes(desired) == ("edge-01", "edge-02")
    assert DRIVER.list_polling_nodes(desired) == ()


def test_lists_of_nodes_are_reported_where_they_are_used():
    feature = {"enable": True, "feedback": {"type": "setting;api;", "info": {"hosting": []}}}
    document = setting(env__management__server={"enable": True, "features": {"nodelist": feature}})
    (target,) = Site().desired(document).targets
    info = server_part(target.content.document)["features"]["nodelist"]["feedback"]["info"]
    assert info == {"hosting": [], "url": f"{SERVER}/{token('edge-01')}/report", "timeout": 5}


def test_what_the_file_says_stays():
    features = {
        "setting": {
            "enable": True,
            "feed": {"type": "kafkaSub", "info": {"connect": "bus", "subscribe": {"topic": "t"}}},
            "feedback": {"uploadSetting": True, "info": {"timeout": 9}},
        },
        "heartbeat": {"feedback": {"info": {"schedule": "0 * * * * *"}}},
        "purge": {"enable": False},
    }
    bus = {"name": "bus", "type": "kafka", "info": {"brokers": ["k:9092"]}}
    document = setting(env__management__server={"enable": True, "connection": [bus], "features": features})
    (target,) = Site().desired(document).targets
    found = server_part(target.content.document)["features"]
    assert found["setting"]["feed"] == features["setting"]["feed"]
    assert found["setting"]["feedback"]["uploadSetting"] is True
    assert found["setting"]["feedback"]["info"]["timeout"] == 9
    assert found["heartbeat"]["feedback"]["info"]["schedule"] == "0 * * * * *"
    assert found["purge"] == {"enable": False}


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, []),
        ({"enable": False}, ["feed-elsewhere"]),
        ({"features": {"setting": {"enable": False}}}, ["feed-elsewhere"]),
        ({"features": {"heartbeat": {"enable": False}}}, []),
        ({"features": {"heartbeat": {"feedback": {"type": "kafkaSub"}}}}, ["feed-elsewhere"]),
        (
            {"features": {"purge": {"feedback": {"info": {"url": "https://other.example.com/r"}}}}},
            ["feed-elsewhere"],
        ),
    ],
)
def test_a_file_that_names_another_server_is_refused(server, expected):
    # Others follow from it, such as the `connect` that is missing.
    assert codes(setting(env__management__server=server))[:1] == expected


def polled_feed(url="https://other.example.com/feed"):
    return {"type": "apiPolling", "info": {"url": url, "schedule": "*/15 * * * * *"}}


@pytest.mark.parametrize("feature", ["setting", "purge"])
@pytest.mark.parametrize(
    ("enables", "expected"),
    [
        ({"server": True, "feature": True}, []),
        ({"server": True, "feature": None}, ["feed-elsewhere"]),
        ({"server": None, "feature": True}, ["feed-elsewhere"]),
        ({"server": None, "feature": None}, ["feed-elsewhere"]),
    ],
)
def test_reports_do_not_switch_on_a_feed_that_is_off(feature, enables, expected):
    part = {"feed": polled_feed()}
    if enables["feature"] is not None:
        part["enable"] = enables["feature"]
    server = {"features": {feature: part}}
    if enables["server"] is not None:
        server["enable"] = enables["server"]
    assert codes(setting(env__management__server=server)) == expected


def test_reports_without_tls_are_told():
    assert codes(reports={"server": "http://central.example.com:9443"}) == ["unencrypted-polling"]
    assert codes(reports={"server": "http://127.0.0.1:9443"}) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"deliver": "poll", "poll": {"server": SERVER}, "reports": REPORTS},
        {"deliver": "local", "reports": REPORTS},
        {"deliver": "checkout", "reports": REPORTS},
        {"reports": {"server": SERVER, "overdue": 3}},
        {"reports": {}},
    ],
)
def test_one_thing_is_said_in_one_way(entry):
    nodes = [{"name": "a", "address": "a"}]
    with pytest.raises(ValidationError):
        M2Cluster.model_validate({"name": "edge", "kind": "m2", "setting": "s.json", "nodes": nodes, **entry})


async def test_reports_come_to_an_existing_cluster_by_one_delivery():
    site = Site()
    plan = await site.plan()
    (step,) = plan.steps
    assert step.action == "upload"
    assert "differs in server" in step.reason
    await site.act(plan)
    assert (await site.judge(step)).status is StepStatus.DONE
    assert server_part(site.running())["features"]["heartbeat"]["feedback"]["info"]["url"].endswith("/report")
    assert (await site.plan()).steps == ()


async def test_plans_show_no_token_and_are_completed_on_this_host():
    site = Site()
    (step,) = (await site.plan()).steps
    shown = json.dumps(
        [step.arguments.plain(), [str(change) for change in step.changes], step.reason], ensure_ascii=False
    )
    assert token("edge-01") not in shown
    assert MASK in shown
    written = replace(step, arguments=type(step.arguments).load(step.arguments.plain()))
    assert written.arguments.reports
    assert written.arguments.label == "c0ffee1"
    again = DRIVER.complete_step(written, site.desired())
    assert again.arguments.after == step.arguments.after


async def test_without_a_state_tokens_are_not_compared():
    site = Site()
    await site.act(await site.plan())
    plan = await site.plan(known={})
    assert plan.steps == ()
    assert "secret-unavailable" in [finding.code for finding in plan.findings]


async def test_a_new_token_is_delivered_like_a_change():
    site = Site()
    await site.act(await site.plan())
    later = tokens("edge-01", generation=2, former=1)
    (step,) = (await site.plan(known=later)).steps
    assert step.action == "upload"
    await site.act(await site.plan(known=later))
    assert token("edge-01", 2) in json.dumps(site.running())


async def test_a_report_proves_nothing_beside_a_reading():
    site = Site()
    plan = await site.plan()
    (step,) = plan.steps
    # It says that it has loaded what it never got.
    site.mailbox.edit("edge-01", reveal(plan.payloads[step.payload].document))
    (seen,) = (await DRIVER.observe(site.desired(), site.transports)).nodes.values()
    assert isinstance(seen, Present)
    assert seen.value.content.document == BASE
    assert (await site.judge(step)).status is StepStatus.READY
    assert len((await site.plan()).steps) == 1


@pytest.mark.parametrize("stamped", [True, False])
async def test_messages_say_what_a_node_reports_of_itself(stamped):
    site = Site(**({} if stamped else {"version": None}))
    plan = await site.plan()
    (step,) = plan.steps
    (answer,) = await site.act(plan)
    report(site, "c0ffee1" if stamped else "A")
    verdict = await site.judge(step)
    message = make_message(
        Outcome(step, State.DONE, feedback=answer.feedback.merge(verdict.feedback)),
        run="r1",
        revision=site.desired().revision,
        now=site.mailbox.time(),
    )
    assert message["node"] == {
        "hostname": "edge-01",
        "iplist": ["10.10.10.1"],
        "productVer": "2.8.1",
        "licenseId": "KR200099999",
        "settingVer": "c0ffee1" if stamped else "A",
    }
    (parameter,) = message["parameters"]
    assert parameter["url"] == "http://edge-01.example.com:10040/setting/upload"
    assert parameter["result"]["productVersion"] == "22.02.0"
    # An unstamped version may be that of any change: the report is not taken for one about this step.
    assert ("lastModified" in parameter["result"]) is stamped


def report(site, version):
    """The node reports a setting; its result names a date, as after a download."""
    offer = type("Dated", (), {"last_modified": site.mailbox.time(), "id": "none"})()
    site.mailbox.tell("edge-01", None, offer)
    body, at = site.mailbox.node("edge-01").report
    message = json.loads(body)
    message["parameters"][0]["result"]["version"] = version
    site.mailbox.node("edge-01").report = (json.dumps(message).encode(), at)


async def test_what_a_node_says_is_masked_where_it_quotes_its_token():
    site = Site()
    plan = await site.plan()
    await site.act(plan)
    report(site, f"{SERVER}/{token('edge-01')}/report")
    verdict = await site.judge(plan.steps[0])
    assert token("edge-01") not in repr(verdict)


async def test_what_a_node_says_is_masked_where_it_quotes_a_secret_of_its_setting():
    secret = "hunter2-of-this-node"
    connection = [{"name": "bus", "type": "oci", "info": {"privateKey": secret}}]
    document = setting(env__management__server={"connection": connection})
    site = Site(document)
    plan = await site.plan(document)
    await site.act(plan)
    site.mailbox.tell("edge-01")
    body, at = site.mailbox.node("edge-01").report
    site.mailbox.node("edge-01").report = (body.replace(b"2.8.1", secret.encode()), at)
    verdict = await site.judge(plan.steps[0])
    assert verdict.status is StepStatus.DONE
    assert verdict.feedback.product_version == MASK


async def test_an_undo_of_the_first_delivery_takes_the_urls_out_again():
    site = Site()
    plan = await site.plan()
    (step,) = plan.steps
    observed = await DRIVER.observe(site.desired(), site.transports)
    await site.act(plan)
    undo, payloads = DRIVER.undo(step, observed, plan.payloads)
    assert undo.arguments.reports
    await DRIVER.act(undo, site.transports, payloads)
    assert (await site.judge(undo)).status is StepStatus.DONE
    assert site.running() == BASE


MANY = tuple(f"edge-{number:02}" for number in range(1, 31))


@pytest.fixture
def counted(monkeypatch):
    """How often each of the functions that cost most is called."""
    calls = Counter()

    def count(module, name):
        inner = getattr(module, name)

        def counting(*args, **more):
            calls[name] += 1
            return inner(*args, **more)

        monkeypatch.setattr(module, name, counting)

    count(content_module, "read_json")
    count(setting_comparison, "find_masked_changes")
    count(client_module, "has_immediate_change")
    count(mail_secrets, "list_document_secrets")
    return calls


async def test_nodes_that_differ_in_their_token_alone_are_read_and_compared_once(counted):
    site = Site(nodes=MANY)
    await site.act(await site.plan())
    changed = setting(functions={"limit": 3})
    counted.clear()
    plan = await site.plan(changed)
    assert len(plan.steps) == len(MANY)
    # as the file that it has loaded, and as what is running
    assert counted == {"read_json": 2, "find_masked_changes": 1, "has_immediate_change": 1}
    assert len({repr(step.changes) for step in plan.steps}) == 1
    assert [change.pointer for change in plan.steps[0].changes] == ["/functions"]
    await site.act(plan)
    counted.clear()
    for step in plan.steps:
        assert (await site.judge(step)).status is StepStatus.DONE
    assert counted["read_json"] <= 2
    assert counted["list_document_secrets"] <= 1
    for node in MANY:
        assert token(node) in json.dumps(site.running(node))


async def test_a_node_with_another_token_than_it_should_have_is_compared_by_itself():
    site = Site(nodes=MANY)
    await site.act(await site.plan())
    rotated = {**tokens(*MANY), "edge-02": NodeTokens(Secret("x" * 43))}
    plan = await site.plan(known=rotated)
    (step,) = plan.steps
    assert step.node == "edge-02"
    assert {change.pointer.rsplit("/", 1)[-1] for change in step.changes} == {"url"}
    shown = json.dumps(plan.plain()) + repr(plan.steps)
    assert token("edge-02") not in shown
    assert PLACEHOLDER not in shown
    assert "x" * 43 not in shown


async def test_a_node_with_the_urls_of_another_node_gets_its_own():
    site = Site(nodes=MANY[:3])
    known = tokens(*site.nodes)
    await site.act(await site.plan(known={**known, "edge-01": known["edge-02"]}))
    assert token("edge-02") in json.dumps(site.running("edge-01"))
    plan = await site.plan()
    assert [step.node for step in plan.steps] == ["edge-01"]
    assert plan.steps[0].changes
