"""What is planned for M2 nodes from what they show, in words, arguments and risk."""

from __future__ import annotations

import json

import pytest
from support.m2_wire import BASE, cluster_input, content, loaded, setting
from support.m2_wire import desired as desired_of

from reconciler.core.diff import Op
from reconciler.core.observation import Absent, Observed, Present, Stale, Unauthorized, Unreachable
from reconciler.core.plan import Effect, Plan, Risk, load_plan
from reconciler.core.secret import MASK
from reconciler.diagnostic import Severity
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.package import compute_digests
from reconciler.drivers.m2.planner import plan
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.redacted_fingerprints import RedactedFingerprints

API = "env__management__api__"
LIST = API + "allowList"
RESOURCES = {"certs/a.pem": b"A"}
HELD = compute_digests(RESOURCES)


def planned(wanted, *answers, recalled=None, **entry):
    """A plan for as many nodes as there are answers; an answer may be a document."""
    nodes = tuple(f"edge-{index:02}" for index, _ in enumerate(answers, 1))
    desired = desired_of(cluster_input(wanted, nodes=nodes, **entry), recalled)
    shown = [Present(loaded(each)) if isinstance(each, dict) else each for each in answers]
    return plan(desired, Observed(dict(zip(nodes, shown, strict=True))))


def step(wanted, shown, **entry):
    (only,) = planned(wanted, shown, **entry).steps
    return only


def codes(cluster):
    return [(finding.code, finding.target, finding.severity) for finding in cluster.findings]


def test_a_node_that_means_the_same_needs_nothing():
    explicit = setting(**{API + "defaultRole": "admin"})
    cluster = planned(BASE, explicit, BASE)
    assert (cluster.steps, cluster.unchanged, cluster.nodes, cluster.findings) == ((), 2, 2, ())


def test_a_node_that_differs_gets_one_complete_step():
    wanted = setting(meta__version="B", env__management__cluster__balance__mode="hash")
    cluster = planned(wanted, BASE, wanted, timeouts={"connect": 1, "read": 4, "settle": 9}, concurrency=3)
    (only,) = cluster.steps
    assert (cluster.unchanged, cluster.nodes, cluster.concurrency) == (1, 2, 3)
    assert only.id == "edge/edge-01/upload"
    assert (only.effect, only.risk, only.settle) == (Effect.HOT, Risk.LOW, 9)
    arguments = only.arguments.plain()
    payload = arguments.pop("payload")
    assert cluster.payloads[payload].document == wanted
    assert arguments == {
        "bases": ["http://n:10040", "http://edge-01.example.com:10040"],
        "addresses": ["n"],
        "before": RedactedFingerprints().of(content(), content(wanted)),
        "after": RedactedFingerprints().of(content(wanted)),
        "restart": [],
        "resources": {},
        "setting_version": "B",
        "timeout": 4,
        "connect": 1,
        "part": "settingFile",
    }
    assert "cluster.balance" in only.reason
    assert "version A becomes B" in only.reason
    assert "version `A`" in only.inverse.words
    assert only.inverse.arguments == {"fingerprint": arguments["before"]}
    assert only.arguments.exact_values() == {
        "before": content().fingerprint,
        "after": content(wanted).fingerprint,
        "resources": {},
    }


def test_a_step_survives_the_journal():
    cluster = planned(setting(meta__version="B"), BASE)
    whole = Plan(cluster_input().revision, "0", (cluster,))
    (again,) = load_plan(json.loads(whole.encode())).clusters[0].steps
    assert again == cluster.steps[0]


def test_the_same_arguments_give_the_same_bytes_whatever_the_order_of_answers():
    wanted = setting(meta__version="B", **{LIST: [{"addr": "127.0.0.0/8"}, {"addr": "10.0.0.1"}]})
    desired = DRIVER.desire(cluster_input(wanted, nodes=("edge-01", "edge-02")))
    shown = {"edge-01": Present(loaded()), "edge-02": Unreachable("no answer within 10 s")}
    plans = [
        Plan(cluster_input().revision, "0", (plan(desired, Observed(dict(order))),)).encode()
        for order in (shown.items(), reversed(shown.items()))
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Unreachable("no answer within 10 s"), "node-unreachable"),
        (Unauthorized("this host may not read its setting (401)"), "node-unauthorized"),
        (Stale(loaded(), "it is behind"), "node-unreachable"),
    ],
)
def test_nothing_is_planned_for_a_node_that_was_not_read(answer, code):
    cluster = planned(setting(meta__version="B"), answer, BASE)
    assert [each.node for each in cluster.steps] == ["edge-02"]
    assert codes(cluster) == [(code, "edge/edge-01", Severity.ERROR)]
    (finding,) = cluster.findings
    assert answer.reason in finding.message
    assert "no change is planned" in finding.message


def test_a_node_that_was_not_read_does_not_count_as_absent():
    desired = DRIVER.desire(cluster_input())
    assert [finding.code for finding in plan(desired, Observed({})).findings] == ["node-unreachable"]
    assert plan(desired, Observed({})).steps == ()


def test_an_empty_node_gets_its_first_setting():
    only = step(BASE, Absent("404"))
    assert (only.arguments.before, only.arguments.part) == ("", "settingFile")
    assert (only.effect, only.risk) == (Effect.HOT, Risk.LOW)
    assert only.inverse.words.startswith("point of no return")
    assert only.inverse.action == ""


def test_the_part_has_the_name_in_the_loaded_setting():
    shown = setting(**{API + "multipartName": "theirs"})
    assert step(setting(meta__version="B"), shown).arguments.part == "theirs"


def test_a_deleted_hosting_is_a_point_of_no_return():
    shown = setting(hosting=[{"name": "www.example.com", "listen": "*:80"}, {"name": "old.example.com"}])
    only = step(setting(meta__version="B"), shown)
    assert only.risk is Risk.HIGH
    assert "old.example.com" in only.risk_reason
    assert only.inverse.words.startswith("point of no return")
    assert only.inverse.action == ""


def test_a_hosting_that_is_changed_or_moved_keeps_its_cache():
    hosts = [{"name": "www.example.com", "listen": "*:80"}, {"name": "b.example.com"}]
    only = step(setting(hosting=[hosts[1], {**hosts[0], "listen": "off"}]), setting(hosting=hosts))
    assert only.risk is Risk.LOW
    assert only.inverse.action == "upload"


@pytest.mark.parametrize(
    ("wanted", "risk", "words"),
    [
        ({LIST: [{"addr": "127.0.0.0/8"}, {"addr": "10.0.0.1"}]}, Risk.MEDIUM, "allowList or roles change"),
        ({LIST: [{"addr": "127.0.0.1"}]}, Risk.MEDIUM, "127.0.0.0/8 loses enableSetting"),
        ({LIST: [{"addr": "10.0.0.1"}]}, Risk.HIGH, "every address that has enableSetting loses it"),
        ({API + "port": 10041}, Risk.HIGH, "from port 10040 to 10041"),
        ({"env__management__cluster__discover__port": 9901}, Risk.MEDIUM, "do not find each other"),
        ({"env__management__cluster__meta__baseHostingPort": 9100}, Risk.MEDIUM, "do not find each other"),
        (
            {"env__management__cluster__discover__members": ["10.0.0.1"]},
            Risk.MEDIUM,
            "do not find each other",
        ),
        ({"env__management__cluster__balance__mode": "hash"}, Risk.LOW, "no interruption"),
    ],
)
def test_a_risk_has_its_reason(wanted, risk, words):
    only = step(setting(**wanted), BASE)
    assert only.risk is risk
    assert words in only.risk_reason


def test_a_role_that_loses_a_permission_is_a_risk():
    roles = [{"name": "admin", "permissions": {"enableGet": True}}, {"name": "user"}]
    assert step(setting(env__management__roles=roles), BASE).risk is Risk.HIGH


def test_several_reasons_are_joined():
    only = step(setting(hosting=[], **{API + "port": 10041}), BASE)
    assert "www.example.com" in only.risk_reason
    assert "10041" in only.risk_reason


def test_the_plan_names_fields_that_will_wait_for_a_restart():
    only = step(setting(env__properties__memoryUsage=70, env__network__http__x=1), BASE)
    assert only.effect is Effect.RESTART
    assert only.arguments.restart == ("env.properties.memoryUsage", "env.network.http")
    assert "next restart" in only.risk_reason


def test_a_moved_port_is_tried_at_both_addresses():
    shown = Present(loaded(BASE, base="http://edge-01.example.com:10040"))
    desired = DRIVER.desire(cluster_input(setting(**{API + "port": 10041})))
    (only,) = plan(desired, Observed({"edge-01": shown})).steps
    assert only.arguments.bases == ("http://edge-01.example.com:10040", "http://edge-01.example.com:10041")


def test_a_translated_port_is_not_guessed():
    shown = Present(loaded(BASE, base="http://edge-01.example.com:8080"))
    desired = DRIVER.desire(cluster_input(setting(**{API + "port": 10041})))
    (only,) = plan(desired, Observed({"edge-01": shown})).steps
    assert "http://edge-01.example.com:8081" not in only.arguments.bases
    assert only.arguments.bases[0] == "http://edge-01.example.com:8080"


def test_each_way_of_delivery_has_its_arguments():
    wanted = setting(meta__version="B")
    pulled = step(wanted, BASE, deliver="checkout", checkoutMethod="POST")
    assert (pulled.action, pulled.arguments.method) == ("checkout", "POST")
    assert "payload" not in pulled.arguments.plain()
    assert step(wanted, BASE, deliver="checkout").arguments.method == "GET"
    local = step(wanted, BASE, deliver="local")
    assert (local.id, "payload" in local.arguments.plain()) == ("edge/edge-01/local", False)
    assert "on its disk" in local.reason


def test_a_change_under_the_same_version_is_reported_for_each_node_without_a_stamp():
    wanted = setting(env__management__cluster__balance__mode="hash")
    cluster = planned(wanted, BASE, BASE)
    assert codes(cluster) == [("same-version", f"edge/edge-0{number}", Severity.WARNING) for number in (1, 2)]
    assert "stays A" in cluster.findings[0].message


def test_a_new_version_or_a_first_setting_gives_no_version_warning():
    assert codes(planned(setting(meta__version="B"), BASE, Absent("404"))) == []


def test_fields_that_still_wait_are_reported():
    waiting = Present(loaded(BASE, waiting=("env.properties.memoryUsage",)))
    cluster = planned(BASE, waiting)
    assert codes(cluster) == [("waits-for-restart", "edge/edge-01", Severity.NOTE)]
    assert "env.properties.memoryUsage" in cluster.findings[0].message


def test_unknown_waiting_fields_are_reported_only_where_they_matter():
    unknown = Present(loaded(BASE, waiting=None))
    assert codes(planned(BASE, unknown)) == []
    wanted = setting(env__properties__memoryUsage=70)
    cluster = planned(wanted, Present(loaded(wanted, waiting=None)))
    assert codes(cluster) == [("waiting-unknown", "edge/edge-01", Severity.NOTE)]


def test_a_setting_that_was_asked_for_and_waits_is_there():
    wanted = setting(env__properties__memoryUsage=70)
    shown = loaded(BASE, asked=content(wanted).fingerprint, waiting=("env.properties.memoryUsage",))
    cluster = planned(wanted, Present(shown))
    assert (cluster.steps, cluster.unchanged) == ((), 1)


@pytest.mark.parametrize(
    ("held", "steps", "found"),
    [
        (HELD, 0, []),
        ({**HELD, "left/over.txt": "0"}, 0, []),
        ({"certs/a.pem": "0"}, 1, []),
        ({}, 1, []),
        (None, 0, [("resources-unseen", "edge/edge-01", Severity.NOTE)]),
    ],
)
def test_files_are_compared_where_a_node_shows_them(held, steps, found):
    cluster = planned(BASE, Present(loaded(held=held)), resources=RESOURCES)
    assert len(cluster.steps) == steps
    assert codes(cluster) == found
    for each in cluster.steps:
        assert each.arguments.before == each.arguments.after
        assert each.arguments.resources == HELD
        assert "files" in each.reason
        assert each.changes == ()


@pytest.mark.parametrize(("delivered", "steps"), [(RESOURCES, 0), ({"certs/a.pem": b"older"}, 1), ({}, 0)])
def test_stored_facts_count_for_files_that_a_node_does_not_show(delivered, steps):
    desired = DRIVER.desire(cluster_input(resources=delivered))
    remembered = {"edge-01": {"files": desired.files}} if delivered else {}
    cluster = planned(BASE, Present(loaded(held=None)), resources=RESOURCES, recalled=remembered)
    assert (len(cluster.steps), cluster.unchanged) == (steps, 1 - steps)
    assert codes(cluster) == ([] if delivered else [("resources-unseen", "edge/edge-01", Severity.NOTE)])
    for step in cluster.steps:
        assert step.arguments.is_blind
        assert "changed since they were delivered" in step.reason


def test_narrowed_to_one_node_the_cluster_keeps_its_size():
    desired = DRIVER.desire(
        cluster_input(setting(meta__version="B"), nodes=("edge-01", "edge-02", "edge-03"))
    )
    narrowed = DRIVER.exclude_nodes(desired, frozenset({"edge-01", "edge-03"}))
    cluster = plan(narrowed, Observed({"edge-02": Present(loaded())}))
    assert [each.node for each in cluster.steps] == ["edge-02"]
    assert (cluster.nodes, codes(cluster)) == (3, [])


def test_items_with_names_are_addressed_by_name():
    roles = BASE["env"]["management"]["roles"]
    more = [*roles, {"name": "ops", "permissions": {"enablePurge": True}}]
    first, second = BASE["env"]["management"]["api"]["allowList"]
    wanted = setting(
        env__management__roles=more, **{LIST: [first, {**second, "role": "ops"}, {"addr": "10.0.0.1"}]}
    )
    changes = find_changes(content(), content(wanted))
    assert [(change.op, change.pointer) for change in changes] == [
        (Op.ADD, "/env/management/api/allowList/10.0.0.1"),
        (Op.REPLACE, "/env/management/api/allowList/192.168.3.0~124/role"),
        (Op.ADD, "/env/management/roles/ops"),
    ]


def test_a_changed_order_with_an_effect_is_shown_as_a_list():
    over = [{"role": "admin", "addr": "10.0.0.0/24"}, {"role": "user", "addr": "10.0.0.2"}]
    changes = find_changes(content(setting(**{LIST: over})), content(setting(**{LIST: over[::-1]})))
    assert changes
    assert [
        change for change in changes if not change.pointer.startswith("/env/management/api/allowList/")
    ] == []


def test_secrets_are_masked_at_every_place():
    connection = [{"name": "s", "type": "awssdk3", "info": {"secretAccessKey": "planted", "region": "r"}}]
    wanted = setting(
        env__management__server__connection=connection,
        functions={"x": {"password": "planted", "list": [{"apiKey": "planted"}], "bypass": "seen"}},
        later={"auth": {"token": "planted"}},
    )
    shown = setting(functions={"x": {"password": "planted-before"}})
    for answer in (shown, Absent("404")):
        encoded = Plan(cluster_input().revision, "0", (planned(wanted, answer),)).encode().decode()
        assert "planted" not in encoded
        assert "seen" in encoded
        assert MASK in encoded


@pytest.mark.parametrize(
    "shown",
    [
        {"hosting": [{"name": [1]}, {"name": {"a": 1}}]},
        {"hosting": {"a": 1}, "meta": 5},
        {"env": {"management": {"roles": [1, {"name": [1]}, {"permissions": 5}], "server": []}}},
        {"env": {"management": {"api": {"allowList": [5, {"addr": "1.1.1.1-" + "9" * 5_000, "role": [1]}]}}}},
        {"env": {"management": {"api": {"port": 10**3_999, "multipartName": [1], "defaultRole": {"a": 1}}}}},
        {"env": {"management": {"cluster": {"discover": {"members": {"a": 1}}, "balance": 5}}}},
        {"meta": {"version": [[[1]]] * 1_000}},
        {f"password{index}": "x" * 500 for index in range(3_000)},
    ],
    ids=["names", "sections", "roles", "addresses", "port", "members", "version", "many"],
)
def test_values_of_any_type_at_one_node_do_not_stop_the_others(shown):
    cluster = planned(setting(meta__version="B"), shown, BASE)
    assert [step.node for step in cluster.steps] == ["edge-01", "edge-02"]
    assert len(Plan(cluster_input().revision, "0", (cluster,)).encode()) < 1_000_000
