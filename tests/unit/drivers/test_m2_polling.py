"""M2 nodes that poll: what is written into their settings, planned, offered, proven and judged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.driver import REVISION
from support.m2_polled import POLL, SERVER, PolledNodes, token, tokens
from support.m2_wire import BASE, cluster_input, loaded, setting
from support.offers import NOON
from support.schema_documents import validate_message

from reconciler.core.observation import Absent, Liveness, Observed, Present, Stale, Unreachable
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import Plan, load_plan
from reconciler.core.prior_revisions import PriorRevisions
from reconciler.core.secret import MASK, reveal
from reconciler.core.step_status import StepStatus
from reconciler.diagnostic import Severity
from reconciler.drivers.m2.central_server.offered_parts import read_checkout, read_package
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import LoadedSetting
from reconciler.feedback.message import make_message
from reconciler.ports.transport import Transports

ONE = ("edge-01",)


class Site:
    """A cluster of nodes that poll, and the calls of a pass."""

    def __init__(self, nodes=ONE, **entry):
        self.mailbox, self.nodes, self.entry = PolledNodes(), nodes, {"version": "commit", **entry}
        self.transports = Transports(mailbox=self.mailbox)
        self.tokens = tokens(*nodes)

    def desired(self, document=None, short="c0ffee1"):
        entry = {"deliver": "poll", "poll": POLL, **self.entry}
        where = cluster_input(document, nodes=self.nodes, **entry)
        raw = where.entry.model_copy(
            update={"nodes": tuple(one.model_copy(update={"address": ""}) for one in where.entry.nodes)}
        )
        where = replace(where, entry=raw, revision=replace(where.revision, short=short))
        desired = DRIVER.add_history(DRIVER.desire(where), {}, PriorRevisions())
        return DRIVER.assign_tokens(desired, self.tokens)

    async def plan(self, document=None, short="c0ffee1"):
        desired = self.desired(document, short)
        observed = await DRIVER.observe(desired, self.transports)
        return DRIVER.plan(desired, observed)

    async def act(self, plan):
        for step in plan.steps:
            answer = await DRIVER.act(step, self.transports, plan.payloads)
            assert answer.is_pending
            assert answer.facts == {}, "an offer that nobody took is no fact about a node"

    async def judge(self, step):
        return DRIVER.judge(step, await DRIVER.observe_step(step, self.transports))

    def enrol(self, document=None, short="c0ffee1"):
        """Every node has got its first setting by hand, and polls."""
        for target in self.desired(document, short).targets:
            self.mailbox.edit(target.node, reveal(target.content.document))
            self.mailbox.later(1)
            self.mailbox.poll(target.node)

    async def seen(self, document=None, short="c0ffee1"):
        return (await DRIVER.observe(self.desired(document, short), self.transports)).nodes


def features(document):
    return reveal(document)["env"]["management"]["server"]["features"]


def test_each_node_gets_urls_of_its_own():
    site = Site(("edge-01", "edge-02"))
    first, second = site.desired().targets
    base = f"{SERVER}/{token('edge-01')}"
    assert features(first.content.document) == {
        "setting": {
            "enable": True,
            "feed": {
                "type": "apiPolling",
                "info": {"url": f"{base}/setting", "schedule": "*/15 * * * * *", "timeout": 5},
            },
            "feedback": {
                "type": "api",
                "uploadSetting": True,
                "info": {"url": f"{base}/report", "timeout": 5},
            },
        },
        "heartbeat": {
            "enable": True,
            "feedback": {
                "type": "apiPolling",
                "info": {"url": f"{base}/report", "schedule": "*/15 * * * * *", "timeout": 5},
            },
        },
        "purge": {
            "enable": True,
            "feed": {
                "type": "apiPolling",
                "info": {"url": f"{base}/purge", "schedule": "*/15 * * * * *", "timeout": 5},
            },
            "feedback": {"type": "api", "info": {"url": f"{base}/report", "timeout": 5}},
        },
    }
    assert token("edge-02") in json.dumps(features(second.content.document))
    assert token("edge-01") not in json.dumps(features(second.content.document))
    assert first.payload != second.payload


def test_what_the_file_says_of_schedules_types_and_features_stays():
    server = {
        "features": {
            "setting": {"feed": {"type": "tgzPolling", "info": {"schedule": "0 * * * * *", "timeout": 9}}},
            "heartbeat": {"enable": False},
            "purge": {"workerCount": 4},
            "nodelist": {
                "enable": True,
                "feed": {"type": ""},
                "feedback": {"type": "setting;api;", "info": {"hosting": []}},
            },
        }
    }
    (target,) = Site().desired(setting(env__management__server=server)).targets
    found, base = features(target.content.document), f"{SERVER}/{token('edge-01')}"
    assert found["setting"]["feed"] == {
        "type": "tgzPolling",
        "info": {"url": f"{base}/setting.tgz", "schedule": "0 * * * * *", "timeout": 9},
    }
    assert found["heartbeat"] == {"enable": False}
    assert found["purge"]["workerCount"] == 4
    assert found["nodelist"]["feedback"]["info"]["url"] == f"{base}/report"


def test_tokens_stand_nowhere_in_a_plan(capsys):
    site = Site(("edge-01", "edge-02"))
    site.enrol()


async def test_a_plan_shows_no_token_and_has_one_digest_with_and_without_them():
    site = Site(("edge-01", "edge-02"))
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    text = json.dumps(plan.plain())
    assert len(plan.steps) == 2
    assert token("edge-01") not in text
    assert token("edge-01")[:20] not in text
    site.tokens = {}
    without = await site.plan(setting(functions={"x": 1}), short="decade2")
    assert without.payloads[without.steps[0].payload].missing
    assert [one.payload for one in without.steps] == [one.payload for one in plan.steps]
    assert [one.plain() for one in without.steps] == [one.plain() for one in plan.steps]


async def test_an_offer_is_settled_by_the_version_in_the_next_poll():
    site = Site()
    site.enrol()
    wanted = setting(functions={"x": 1})
    plan = await site.plan(wanted, short="decade2")
    (step,) = plan.steps
    assert (step.id, step.action) == ("edge/edge-01/offer", "offer")
    assert step.in_flight == 20 * 15
    assert step.arguments.label == "decade2"
    assert (await site.judge(step)).status is StepStatus.READY
    await site.act(plan)
    assert (await site.judge(step)).status is StepStatus.READY
    assert site.mailbox.poll("edge-01")
    assert (await site.judge(step)).status is StepStatus.READY, "to be served is not to have loaded"
    site.mailbox.load("edge-01", report=False)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    assert await site.judge(step) == (await site.judge(step))
    assert (await site.judge(step)).status is StepStatus.DONE
    again = await site.plan(wanted, short="decade2")
    assert (again.steps, again.unchanged, again.findings) == ((), 1, ())


async def test_a_new_commit_of_the_same_content_offers_nothing():
    site = Site()
    site.enrol()
    assert (await site.plan(short="decade2")).steps == ()


async def test_an_offer_is_settled_by_the_setting_in_a_report_where_there_is_no_stamp():
    site = Site(version=None)
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}))
    (step,) = plan.steps
    assert step.arguments.label == "", "the version is somebody's own"
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    assert (await site.judge(step)).status is StepStatus.DONE


@pytest.mark.parametrize("userdata", [True, False])
async def test_a_node_that_reports_a_failure_is_not_waited_for(userdata):
    site = Site()
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01", status="E0003 not loadable", upload=False, userdata=userdata)
    verdict = await site.judge(step)
    assert (verdict.status, verdict.is_final) == (StepStatus.READY, True)
    assert verdict.reason == "E0003 not loadable"
    await site.act(plan)
    assert not (await site.judge(step)).is_final, "the report was about the offer before"


async def test_a_restart_after_a_failure_does_not_hide_it():
    site = Site()
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01", status="E0003 not loadable", upload=False)
    site.mailbox.later(1)
    site.mailbox.tell("edge-01", event="/_sys_/bootup")
    verdict = await site.judge(step)
    assert (verdict.is_final, verdict.reason) == (True, "E0003 not loadable")


async def test_a_report_about_another_offer_is_no_failure_of_this_one():
    site = Site()
    site.enrol()
    await site.act(await site.plan(setting(functions={"x": 1}), short="decade2"))
    site.mailbox.poll("edge-01")
    plan = await site.plan(setting(functions={"x": 2}), short="decade3")
    site.mailbox.later(1)
    await site.act(plan)
    site.mailbox.load("edge-01", status="disk full", upload=False)
    assert not (await site.judge(plan.steps[0])).is_final


async def told(site, step, state=State.DONE):
    verdict = await site.judge(step)
    outcome = Outcome(step, state, verdict.reason, feedback=verdict.feedback)
    message = make_message(outcome, run="r1", revision=REVISION, now=NOON)
    validate_message("setting.feedback", message)
    return message


@pytest.mark.parametrize("status", ["ok", "E0003 not loadable"])
async def test_messages_pass_on_what_the_node_reported_of_the_offer_without_its_token(status):
    site = Site()
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01", status=status)
    message = await told(site, step, State.DONE if status == "ok" else State.FAILED)
    assert message["node"]["productVer"] == "2.8.1"
    assert message["node"]["licenseId"] == "KR200099999"
    assert message["node"]["iplist"] == ["10.10.10.1"]
    (parameter,) = message["parameters"]
    assert parameter["url"] == f"{SERVER}/{MASK}/package/o.tgz"
    assert parameter["result"]["productVersion"] == "22.02.0"
    assert parameter["result"]["lastModified"].endswith(" GMT")
    # Of a report about another step, only the node's own properties count.
    other = await told(site, replace(step, id="edge/edge-01/other"))
    assert other["node"]["productVer"] == "2.8.1"
    assert "url" not in other["parameters"][0]
    assert "lastModified" not in other["parameters"][0]["result"]


async def test_a_node_with_a_repository_is_only_asked_to_check_it_out():
    site = Site(poll={**POLL, "checkout": True})
    site.enrol()
    wanted = setting(functions={"x": 1})
    plan = await site.plan(wanted, short="decade2")
    (step,) = plan.steps
    assert step.arguments.label == "", "what a repository has, this program does not stamp"
    assert step.arguments.feedback.api == "/setting/deploy/checkout"
    await site.act(plan)
    ((offer, parts, *_),) = site.mailbox.node("edge-01").offers
    assert read_checkout(parts) == step.arguments.after
    site.mailbox.poll("edge-01")
    site.mailbox.tell("edge-01", offer, status="no such branch", upload=False)
    failed = await site.judge(step)
    assert (failed.is_final, failed.reason) == (True, "no such branch")
    other = await site.plan(setting(functions={"x": 2}), short="decade3")
    assert not (await site.judge(other.steps[0])).is_final, "it failed to do something else"
    site.mailbox.later(1)
    site.mailbox.edit("edge-01", reveal(site.desired(wanted).targets[0].content.document))
    assert (await site.judge(step)).status is StepStatus.DONE
    undo, payloads = DRIVER.undo(
        step, Observed({"edge-01": Present(LoadedSetting(ContentCache().of(setting())))}), plan.payloads
    )
    assert not undo.arguments.checkout, "only a package can bring back what was there"
    assert payloads


async def test_a_version_that_stood_for_two_contents_proves_nothing():
    """Such as a secret that was rotated: the commit, and so the stamp, is the same."""
    site = Site()
    site.enrol()
    for value in (1, 2):
        await site.act(await site.plan(setting(functions={"x": value}), short="decade2"))
        site.mailbox.later(15)
        site.mailbox.poll("edge-01")
        site.mailbox.load("edge-01", report=False)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    answer = (await site.seen())["edge-01"]
    assert isinstance(answer, Unreachable)
    assert answer.liveness is Liveness.ALIVE
    assert "its version decade2 is not a stamp for one content only" in answer.reason
    plan = await site.plan(setting(functions={"x": 2}), short="decade2")
    assert plan.steps == ()
    assert [finding.code for finding in plan.findings] == ["setting-unproven"]
    site.mailbox.tell("edge-01")
    assert isinstance((await site.seen())["edge-01"], Present)


async def test_a_version_that_is_always_the_same_proves_nothing():
    site = Site(version=None)
    site.enrol(setting(meta__version=1))
    site.mailbox.edit("edge-01", setting(meta__version=1, functions={"by": "hand"}), report=False)
    site.mailbox.later(50)
    site.mailbox.poll("edge-01")
    # Nothing shows the change, so the last report counts: this is what `uploadSetting` is for.
    answer = (await site.seen(setting(meta__version=1)))["edge-01"]
    assert answer.value.content.document.get("functions") is None
    site.mailbox.tell("edge-01")
    answer = (await site.seen(setting(meta__version=1)))["edge-01"]
    assert answer.value.content.document["functions"] == {"by": "hand"}


async def test_an_edit_by_hand_that_keeps_the_stamp_is_seen_by_its_report():
    site = Site()
    site.enrol()
    await site.act(await site.plan(setting(functions={"x": 1}), short="decade2"))
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    assert (await site.plan(setting(functions={"x": 1}), short="decade2")).steps == ()
    edited = {**site.mailbox.node("edge-01").setting, "functions": {"x": "edited"}}
    site.mailbox.edit("edge-01", edited)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    (step,) = (await site.plan(setting(functions={"x": 1}), short="decade2")).steps
    assert [change.pointer for change in step.changes] == ["/functions/x"]


async def test_a_silent_node_is_out_of_date_and_nothing_is_planned():
    site = Site()
    site.enrol()
    site.mailbox.later(61)
    answer = (await site.seen())["edge-01"]
    assert isinstance(answer, Stale)
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    assert plan.steps == ()
    assert [finding.code for finding in plan.findings] == ["node-silent"]


async def test_a_node_that_never_called_is_to_be_enrolled():
    plan = await Site().plan()
    assert plan.steps == ()
    (finding,) = plan.findings
    assert finding.code == "node-not-enrolled"
    assert "reconcile enroll NODE" in finding.remedy


async def test_a_clock_that_was_set_back_makes_nothing_fresh():
    site = Site()
    site.enrol()
    site.mailbox.now -= 3600
    assert isinstance((await site.seen())["edge-01"], Stale)


async def test_a_new_token_is_offered_like_a_setting():
    site = Site()
    site.enrol()
    site.tokens = tokens("edge-01", generation=2, former=1)
    plan = await site.plan()
    (step,) = plan.steps
    assert {change.pointer.rpartition("/")[2] for change in step.changes} == {"url"}
    assert token("edge-01", 2) not in json.dumps(plan.plain())
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    assert (await site.judge(step)).status is StepStatus.DONE


async def test_going_back_is_an_offer_with_the_token_that_counts():
    site = Site()
    site.enrol(setting(functions={"x": 0}))
    site.tokens = tokens("edge-01", generation=2, former=1)
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    mail = await site.mailbox.read_mail("edge", "edge-01")
    undo, payloads = DRIVER.undo_offer(step, mail.offers[0])
    assert (undo.action, undo.id) == ("offer", step.id)
    assert token("edge-01") not in json.dumps(undo.plain())
    assert (await site.judge(undo)).status is StepStatus.READY
    await DRIVER.act(undo, site.transports, payloads)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    assert (await site.judge(undo)).status is StepStatus.DONE
    now = site.mailbox.node("edge-01").setting
    assert now["functions"] == {"x": 0}
    assert features(now)["setting"]["feed"]["info"]["url"] == f"{SERVER}/{token('edge-01', 2)}/setting"


async def test_an_offer_of_another_version_is_taken_back_as_one_of_this_version():
    site = Site(resources={"a.pem": b"A"})
    site.enrol(setting(functions={"x": 0}))
    plan = await site.plan(setting(functions={"x": 0}), short="decade1")
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    site.entry["resources"] = {"a.pem": b"B"}
    document = setting(functions={"x": 1})
    plan = await site.plan(document, short="decade2")
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    mail = await site.mailbox.read_mail("edge", "edge-01")
    offered, desired = mail.offers[0], site.desired(document, short="decade2")
    rebuilt = DRIVER.rebuild_offer(DRIVER.exclude_nodes(desired, frozenset(ONE)), offered)
    assert (rebuilt.id, rebuilt.action) == (step.id, step.action)
    assert (rebuilt.arguments.before, rebuilt.arguments.after) == (
        step.arguments.before,
        step.arguments.after,
    )
    undo, payloads = DRIVER.undo_offer(rebuilt, offered)
    same, others = DRIVER.undo_offer(step, offered)
    assert list(payloads.values()) == list(others.values())
    for name in ("before", "after", "resources", "label", "period", "fresh"):
        assert getattr(undo.arguments, name) == getattr(same.arguments, name), name
    shown = json.dumps([rebuilt.plain(), undo.plain()])
    assert token("edge-01") not in shown
    assert rebuilt.arguments.after not in shown
    assert (await site.judge(rebuilt)).status is StepStatus.READY
    site.mailbox.load("edge-01")
    assert (await site.judge(rebuilt)).status is StepStatus.DONE


async def test_an_offer_is_not_rebuilt_where_nodes_do_not_poll_any_more_or_its_contents_are_lost():
    site = Site()
    site.enrol(setting(functions={"x": 0}))
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    await site.act(plan)
    site.mailbox.poll("edge-01")
    offered, desired = (await site.mailbox.read_mail("edge", "edge-01")).offers[0], site.desired()
    assert DRIVER.rebuild_offer(desired, replace(offered, parts=())) is None
    assert DRIVER.rebuild_offer(desired, replace(offered, former=())) is None
    pushed = replace(desired, entry=desired.entry.model_copy(update={"poll": None, "deliver": "upload"}))
    assert DRIVER.rebuild_offer(pushed, offered) is None


async def test_a_node_quotes_no_secret_of_what_it_has_had_or_was_offered():
    site = Site()
    old, had, new = "correct-horse-1", "battery-staple-2", "swordfish-3000"
    site.enrol(setting(functions={"x": {"password": old}}))
    for word, short in ((had, "decade1"), (new, "decade2")):
        plan = await site.plan(setting(functions={"x": {"password": word}}), short=short)
        await site.act(plan)
        site.mailbox.poll("edge-01")
        if word == had:
            site.mailbox.load("edge-01")
    (step,) = plan.steps
    quoted = f"login with {had} and then {new}; {new[:9]} in part"
    site.mailbox.load("edge-01", status=quoted, notupdated=[{"field": f"/x/{had}"}])
    verdict = await site.judge(step)
    assert verdict.is_final
    for word in (had, new, new[:9]):
        assert word not in repr(verdict)
    assert verdict.reason.startswith(f"login with {MASK}")
    mail = await site.mailbox.read_mail("edge", "edge-01")
    found = DRIVER.central_server().list_secrets(mail)
    assert {had, new} <= found


async def test_files_that_change_alone_need_a_report_about_their_offer():
    site = Site(version=None, resources={"a.pem": b"A"})
    site.enrol()
    plan = await site.plan(setting(meta__version="B"))
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01")
    assert (await site.plan(setting(meta__version="B"))).steps == ()
    site.entry["resources"] = {"a.pem": b"B"}
    plan = await site.plan(setting(meta__version="B"))
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    assert (await site.judge(step)).status is not StepStatus.DONE
    site.mailbox.load("edge-01")
    assert (await site.judge(step)).status is StepStatus.DONE
    assert read_package(site.mailbox.node("edge-01").offers[0][1]).resources() == {"a.pem": b"B"}


async def test_without_a_state_a_node_that_polls_is_not_compared():
    site = Site()
    site.tokens = {}
    site.transports = Transports()
    plan = await site.plan()
    assert plan.steps == ()
    assert {(one.severity, one.code) for one in plan.findings} == {
        (Severity.NOTE, "secret-unavailable"),
        (Severity.NOTE, "node-not-enrolled"),
    }


async def test_settings_are_imported_without_the_feeds_that_this_program_writes():
    site = Site()
    site.enrol()
    desired = site.desired()
    live = DRIVER.build_live_state(desired, await DRIVER.observe(desired, site.transports))
    assert (live.missing, live.entry) == ((), {})
    (document,) = live.documents.values()
    assert token("edge-01") not in json.dumps(document)
    assert document == setting(meta__version=document["meta"]["version"])
    site.mailbox.now += 1_000
    silent = DRIVER.build_live_state(desired, await DRIVER.observe(desired, site.transports))
    assert silent.missing == ("edge-01 polls and has no address at which it could be read",)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ({"enable": False}, "/enable"),
        ({"features": {"setting": {"enable": False}}}, "/features/setting/enable"),
        ({"features": {"setting": {"feed": {"type": "kafkaPub"}}}}, "/features/setting/feed/type"),
        (
            {"features": {"purge": {"feed": {"info": {"url": "https://x/p"}}}}},
            "/features/purge/feed/info/url",
        ),
        ({"features": {"setting": {"feed": {"info": {"url": f"{SERVER}/mine"}}}}}, None),
        ({"features": {"setting": {"feed": {"info": {"url": ""}}}}}, None),
        ({"features": {"purge": {"enable": False, "feed": {"info": {"url": "https://x/p"}}}}}, None),
    ],
)
def test_a_file_that_names_another_server_is_refused(server, place):
    where = cluster_input(setting(env__management__server=server), deliver="poll", poll=POLL)
    found = [one.pointer for one in DRIVER.examine(where) if one.code == "feed-elsewhere"]
    assert found == ([f"/env/management/server{place}"] if place else [])


@pytest.mark.parametrize(
    ("server", "url", "is_here"),
    [
        (SERVER, f"{SERVER.upper()}/mine", True),
        (SERVER, SERVER.replace("//", "//kim:pw@") + "/mine", False),
        (SERVER, f"{SERVER}/mine#part", False),
        (SERVER, f"{SERVER}/mine?a=b", False),
        (SERVER, "https://{{host}}/mine", False),
        (SERVER, "//central.example.com:9443/mine", False),
        (SERVER, "http://central.example.com:9443/mine", False),
        ("https://c.example.com", "https://c.example.com:443/mine", True),
        ("https://c.example.com:443", "https://c.example.com./mine", True),
        ("https://c.example.com", "https://c.example.com:444/mine", False),
        ("http://[::1]:80", "http://[0:0::1]/mine", True),
        ("http://[::1]", "http://[::g]/mine", False),
    ],
)
def test_spellings_of_one_server_are_the_same_server(server, url, is_here):
    features = {"setting": {"feed": {"info": {"url": url}}}}
    document = setting(env__management__server={"features": features})
    where = cluster_input(document, deliver="poll", poll={"server": server})
    found = [one.code for one in DRIVER.examine(where) if one.code == "feed-elsewhere"]
    assert found == ([] if is_here else ["feed-elsewhere"])


async def test_a_version_that_a_node_showed_before_it_took_an_offer_does_not_prove_the_offer():
    """Somebody gave it that version by hand, with other content."""
    site = Site()
    site.enrol()
    plan = await site.plan(setting(functions={"x": 1}), short="decade2")
    await site.act(plan)
    edited = {**site.mailbox.node("edge-01").setting, "meta": {"version": "decade2"}, "functions": {"by": 1}}
    site.mailbox.edit("edge-01", edited)
    site.mailbox.later(15)
    assert site.mailbox.poll("edge-01")
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    assert (await site.judge(plan.steps[0])).status is not StepStatus.DONE
    answer = (await site.seen())["edge-01"]
    assert isinstance(answer, Stale)
    assert answer.value.content.document["functions"] == {"by": 1}


async def test_an_offer_without_a_report_leaves_open_what_a_node_with_one_version_has():
    site = Site(version=None)
    site.enrol(setting(meta__version=1))
    plan = await site.plan(setting(meta__version=1, functions={"x": 1}))
    (step,) = plan.steps
    await site.act(plan)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01", report=False)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    answer = (await site.seen())["edge-01"]
    assert isinstance(answer, Stale)
    assert "it took an offer that it has not reported about" in answer.reason
    assert (await site.judge(step)).status is StepStatus.UNKNOWN
    plan = await site.plan(setting(meta__version=1, functions={"x": 2}))
    assert (plan.steps, [finding.code for finding in plan.findings]) == ((), ["setting-unproven"])
    site.mailbox.tell("edge-01")
    assert (await site.judge(step)).status is StepStatus.DONE


async def test_a_failure_ends_a_step_also_where_the_version_is_always_the_same():
    site = Site(version=None)
    site.enrol(setting(meta__version=1))
    plan = await site.plan(setting(meta__version=1, functions={"x": 1}))
    await site.act(plan)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    site.mailbox.load("edge-01", status="disk full", upload=False)
    site.mailbox.later(15)
    site.mailbox.poll("edge-01")
    verdict = await site.judge(plan.steps[0])
    assert (verdict.is_final, verdict.reason) == (True, "disk full")


async def test_an_offer_from_a_plan_file_is_completed_where_the_content_is_the_same():
    site = Site()
    site.enrol()
    wanted = setting(functions={"x": 1})
    plan = await site.plan(wanted, short="decade2")
    whole = Plan(site.desired().revision, "1.0", (plan,))
    (read,) = load_plan(json.loads(json.dumps(whole.plain()))).steps()
    step = DRIVER.complete_step(DRIVER.load_step(read), site.desired(wanted, "decade2"))
    assert step.arguments.after == plan.steps[0].arguments.after
    other = DRIVER.complete_step(DRIVER.load_step(read), site.desired(setting(functions={"x": 2}), "decade2"))
    assert other.arguments.after != site.desired(setting(functions={"x": 2})).targets[0].content.fingerprint


async def test_a_node_whose_setting_polls_elsewhere_is_enrolled_again_by_an_upload():
    """The API of the node is read because its mail is silent."""
    site = Site()
    (target,) = site.desired().targets
    elsewhere = reveal(target.content.document)
    elsewhere["env"]["management"]["server"]["features"]["setting"]["feed"]["info"]["url"] = "https://x/y"
    for document, action in ((elsewhere, "upload"), (BASE, "upload"), (None, "upload")):
        answer = Absent("404", "http://n:10040") if document is None else Present(loaded(document))
        (step,) = DRIVER.plan(site.desired(short="decade2"), Observed({"edge-01": answer})).steps
        assert (step.action, step.id) == (action, f"edge/edge-01/{action}")
    here = {**reveal(target.content.document), "functions": {"x": 1}}
    for held, shown, action in ((1, 1, "offer"), (2, 1, "offer"), (3, 1, "upload")):
        site.tokens = tokens("edge-01", generation=held, former=shown if held == 2 else None)
        assert token("edge-01", shown) in json.dumps(here)
        (step,) = DRIVER.plan(site.desired(), Observed({"edge-01": Present(loaded(here))})).steps
        assert step.action == action


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ("https://central.example.com", False),
        ("http://central.example.com", True),
        ("http://192.0.2.7:80", True),
        ("http://127.0.0.1:9443", False),
        ("http://[::1]:9443", False),
        ("http://localhost:9443", False),
    ],
)
def test_polling_without_tls_is_told(server, warned):
    where = cluster_input(deliver="poll", poll={"server": server})
    found = [one.pointer for one in DRIVER.examine(where) if one.code == "unencrypted-polling"]
    assert found == (["/clusters/0/poll/server"] if warned else [])
