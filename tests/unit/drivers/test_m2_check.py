"""Problems of a setting.json: each with its line, its column and its remedy."""

from __future__ import annotations

import json

import pytest
from support.m2_wire import setting

from reconciler.core.secret import Secret
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.text.json_pointer import split_pointer

API = "env__management__api__"
CLUSTER = "env__management__cluster__"
MEMBERS = CLUSTER + "discover__members"
SERVER = "env__management__server"
NINE = {"onPurgeRequest": {"propagation": {"nodelist": [f"1.1.1.{n}" for n in range(9)]}}}
POLL = {"url": "https://m.example.com/s", "schedule": "*/15 * * * * *", "timeout": 5}
KAFKA = {"name": "k", "type": "kafka", "info": {"brokers": ["b:9092"]}}
FIRE = {"name": "f", "type": "firebasePubsub", "info": {"apiKey": "k", "projectId": "p", "appId": "a"}}


def check(document):
    file = parse_document("setting.json", json.dumps(document, indent=2).encode())
    found = check_setting(file)
    for problem in found:
        assert problem.position.file == "setting.json"
        assert problem.position.line > 0
    return found


def only(document):
    (problem,) = check(document)
    return problem


def feature(name, side="feed", *, enable=True, connection=(), **info):
    part = {"type": info.pop("type"), "info": info}
    return setting(
        **{SERVER: {"connection": list(connection), "features": {name: {"enable": enable, side: part}}}}
    )


def test_the_base_and_an_empty_setting_are_right():
    assert check(setting()) == []
    assert check({}) == []


def test_unknown_keys_pass_everywhere():
    assert check(setting(new={"a": 1}, env__management__api__later=1, env__other__x=[1])) == []


def test_a_role_that_is_not_defined_has_its_place_and_the_nearest_name():
    text = json.dumps(setting(), indent=2).replace('"role": "user"', '"role": "usr"')
    (problem,) = check_setting(parse_document("setting.json", text.encode()))
    line = next(number for number, row in enumerate(text.splitlines(), 1) if '"usr"' in row)
    column = text.splitlines()[line - 1].index('"usr"') + 1
    assert (problem.position.line, problem.position.column) == (line, column)
    assert problem.pointer == "/env/management/api/allowList/1/role"
    assert (problem.code, problem.severity) == ("unknown-role", Severity.ERROR)
    assert "usr" in problem.message
    assert "user" in problem.remedy


def test_an_unknown_role_without_a_similar_name_lists_all_names():
    problem = only(setting(**{API + "defaultRole": "operations"}))
    assert problem.pointer == "/env/management/api/defaultRole"
    assert "admin, user" in problem.remedy


def test_the_documented_default_role_must_exist_where_it_is_needed():
    ops = [{"name": "ops", "permissions": {"enableSetting": True}}]
    named = [{"role": "ops", "addr": "10.0.0.1"}]
    assert check(setting(env__management__roles=ops, **{API + "allowList": named})) == []
    problem = only(setting(env__management__roles=ops, **{API + "allowList": [{"addr": "10.0.0.1"}]}))
    assert problem.code == "unknown-role"
    assert '"admin"' in problem.message


def test_without_roles_the_factorys_are_known():
    assert check(setting(env__management__roles=None)) == []


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({API + "port": "10040"}, "/api/port", "wrong-type"),
        ({API + "port": True}, "/api/port", "wrong-type"),
        ({API + "port": 0}, "/api/port", "out-of-range"),
        ({API + "port": 65_536}, "/api/port", "out-of-range"),
        ({API + "multipartName": ""}, "/api/multipartName", "empty-text"),
        ({API + "allowList": {}}, "/api/allowList", "wrong-type"),
        ({API + "allowList": [{"role": "user"}]}, "/api/allowList/0/addr", "missing-key"),
        ({API + "allowList": [{"addr": "192.168.3.7/24"}]}, "/api/allowList/0/addr", "bad-address"),
        ({CLUSTER + "discover__port": 70_000}, "/cluster/discover/port", "out-of-range"),
        ({CLUSTER + "meta__baseHostingPort": -1}, "/cluster/meta/baseHostingPort", "out-of-range"),
        ({CLUSTER + "balance__mode": "random"}, "/cluster/balance/mode", "unknown-value"),
        ({CLUSTER + "stats__listen": "127.0.0.1"}, "/cluster/stats/listen", "bad-address"),
        ({CLUSTER + "stats__enable": "true"}, "/cluster/stats/enable", "wrong-type"),
        ({"meta__version": ["1"]}, "/meta/version", "wrong-type"),
        (
            {"env__management__roles": [{"name": "admin"}, {"name": "user"}, {"name": ""}]},
            "/roles/2/name",
            "empty-text",
        ),
        ({MEMBERS: ["10.0.0.1", {"nodes": ["10.0.0.2"]}]}, "/cluster/discover/members", "mixed-members"),
        ({MEMBERS: ["10.0.0.300"]}, "/cluster/discover/members/0", "bad-member"),
        ({MEMBERS: ["aws:vm:tag=edge"]}, "/cluster/discover/members/0", "bad-member"),
        ({MEMBERS: ["#aws:disk:tag=edge"]}, "/cluster/discover/members/0", "bad-member"),
        ({MEMBERS: [7]}, "/cluster/discover/members/0", "wrong-type"),
        ({MEMBERS: [{"functions": ["all"]}]}, "/cluster/discover/members/0/nodes", "missing-key"),
        ({MEMBERS: [{"nodes": ["10.0.0.999"]}]}, "/cluster/discover/members/0/nodes/0", "bad-member"),
        (
            {MEMBERS: [{"nodes": [], "balance": {"mode": "x"}}]},
            "/cluster/discover/members/0/balance/mode",
            "unknown-value",
        ),
        ({SERVER: {"events": NINE}}, "/server/events/onPurgeRequest/propagation/nodelist", "too-many-nodes"),
        ({SERVER: {"connection": [KAFKA, KAFKA]}}, "/server/connection/1/name", "duplicate-name"),
        (
            {SERVER: {"connection": [{"name": "k", "type": "kafca"}]}},
            "/server/connection/0/type",
            "unknown-value",
        ),
        (
            {SERVER: {"connection": [{"name": "k", "type": "kafka", "info": {"brokers": "b:9092"}}]}},
            "/server/connection/0/info/brokers",
            "wrong-type",
        ),
        ({"hosting": [{"enable": True}]}, "/hosting/0/name", "missing-key"),
    ],
)
def test_one_wrong_value_is_one_problem_at_its_place(changes, pointer, code):
    problem = only(setting(**changes))
    place = problem.pointer.removeprefix("/env/management")
    assert (place, problem.code, problem.severity) == (pointer, code, Severity.ERROR)


def test_right_members_pass():
    for members in (
        None,
        [],
        ["10.0.0.1", "10.0.0.2:9900", "[::1]:9900"],
        ["#oci:vm:tag=mystyle", "#aws:vip:tag=x#:8080"],
        [
            {"functions": ["all"], "nodes": ["10.0.0.1"]},
            {"nodes": ["#oci:vm:tag=x"], "balance": {"mode": "hash"}},
        ],
    ):
        assert check(setting(**{MEMBERS: members})) == []


def test_a_repeated_role_name_is_reported_at_the_second_role():
    roles = [{"name": "admin"}, {"name": "user"}, {"name": "admin"}]
    problem = only(setting(env__management__roles=roles))
    assert problem.pointer == "/env/management/roles/2/name"
    assert "item 1" in problem.message


def test_quoted_numbers_and_booleans_get_their_repair():
    assert only(setting(**{API + "port": "10040"})).remedy == "write `10040` without quotes"
    listen = setting(env__management__cluster__stats__enable="true")
    assert only(listen).remedy == "write `true` without quotes"


def test_all_problems_are_reported_in_the_order_of_the_file():
    found = check(
        setting(
            **{
                API + "port": 0,
                API + "allowList": [{"role": "nobody", "addr": "x"}],
                "env__management__cluster__balance__mode": "y",
                MEMBERS: ["z!"],
            }
        )
    )
    assert [problem.code for problem in found] == [
        "out-of-range",
        "unknown-role",
        "bad-address",
        "unknown-value",
        "bad-member",
    ]
    assert found == sorted(found, key=lambda problem: problem.position)


@pytest.mark.parametrize(
    ("document", "last", "code"),
    [
        (feature("setting", type="apiPoling", **POLL), "type", "unknown-value"),
        (feature("purge", type="tgzPolling", **POLL), "type", "unknown-value"),
        (feature("setting", type="apiPolling", url="https://m"), "schedule", "missing-key"),
        (
            feature("setting", type="apiPolling", **{**POLL, "schedule": "*/5 * * * *"}),
            "schedule",
            "bad-schedule",
        ),
        (
            feature("setting", type="apiPolling", **{**POLL, "schedule": "61 * * * * *"}),
            "schedule",
            "bad-schedule",
        ),
        (
            feature("setting", type="kafkaSub", connect="q", subscribe={"topic": "t"}),
            "connect",
            "unknown-connection",
        ),
        (
            feature("setting", type="kafkaSub", connection=[FIRE], connect="f", subscribe={"topic": "t"}),
            "connect",
            "wrong-connection-type",
        ),
        (
            feature("setting", "feedback", type="kafkaPub", connection=[KAFKA], connect="k"),
            "topic",
            "missing-key",
        ),
        (
            feature("heartbeat", "feedback", type="kafkaPub", connection=[KAFKA], connect="k", topic="t"),
            "schedule",
            "missing-key",
        ),
        (feature("nodelist", type="oci", connect="o", tag="k=v;"), "connect", "unknown-connection"),
        (feature("nodelist", "feedback", type="setting;mail;"), "type", "unknown-value"),
    ],
)
def test_a_feature_that_cannot_work_is_an_error_where_it_is_enabled_and_else_a_warning(document, last, code):
    (part,) = document["env"]["management"]["server"]["features"].values()
    for part["enable"], severity in ((True, Severity.ERROR), (False, Severity.WARNING)):
        (problem,) = (problem for problem in check(document) if problem.code == code)
        assert (split_pointer(problem.pointer)[-1], problem.severity) == (last, severity)


@pytest.mark.parametrize(
    "document",
    [
        feature("setting", type="tgzPolling", **POLL),
        feature(
            "setting", type="firestore", connection=[FIRE], connect="f", doc="m2nodes/#m2live.nodeId/events"
        ),
        feature("purge", type="kafkaSub", connection=[KAFKA], connect="k", subscribe={"topic": "t"}),
        feature("heartbeat", "feedback", type="apiPolling", **POLL),
        feature("setting", enable=False, type=""),
    ],
)
def test_features_that_can_work_pass(document):
    assert check(document) == []


def test_an_enabled_feature_without_a_type_is_reported():
    problem = only(setting(**{SERVER: {"features": {"setting": {"enable": True}}}}))
    assert (problem.code, problem.severity) == ("idle-feature", Severity.WARNING)


def test_a_backup_needs_a_connection_of_its_type():
    backup = {"onSettingLoad": {"backup": {"enable": True, "connect": "k"}}}
    problem = only(setting(**{SERVER: {"connection": [KAFKA], "events": backup}}))
    assert (problem.code, problem.pointer.rpartition("/")[2]) == ("wrong-connection-type", "connect")
    assert "httpAwsSig4" in problem.remedy


def kept(document):
    """A file with secrets in it, whose values only the machine that applies it knows."""
    file = parse_document("setting.json", b"{}")
    return type("Kept", (), {"name": "s", "value": document, "position": file.position})()


def test_secrets_are_not_judged_and_never_shown():
    secret = Secret("hunter2", "${env:OFFICE}")
    document = setting(**{API + "multipartName": secret, API + "allowList": [{"addr": secret}]})
    assert check_setting(kept(document)) == []


def test_a_secret_is_text_and_wrong_where_none_may_stand():
    (problem,) = check_setting(kept(setting(**{API + "port": Secret("10040", "${env:PORT}")})))
    assert (problem.pointer, problem.code) == ("/env/management/api/port", "wrong-type")
    assert problem.message == "`port` must be a whole number, got the text `${env:PORT}`"
    assert "10040" not in f"{problem.remedy}"


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], [1], {"env": 1}, {"env": {"management": []}}, {"meta": None}]
)
def test_any_shape_is_answered_with_problems_not_with_an_exception(value):
    assert check_setting(parse_document("setting.json", json.dumps(value).encode()))


def large(*, hosts=0, text=0):
    """A setting of many hosts, or with a long text."""
    hosting = [{"name": f"h{number}.example.com"} for number in range(hosts)]
    return setting(hosting=hosting or [{"name": "www.example.com"}], env__properties__note="x" * text)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (large(hosts=100_000), "more than 200,000 values"),
        (large(text=8 * 1024 * 1024), "bytes, more than 8,388,608"),
        (large(hosts=100_000, text=9_000_000), "bytes, more than 8,388,608"),
    ],
    ids=["values", "bytes", "both"],
)
def test_a_setting_too_large_to_be_read_back_is_refused(document, words):
    (problem,) = check_setting(parse_document("folder/setting.json", json.dumps(document).encode()))
    assert (problem.code, problem.severity) == ("setting-too-large", Severity.ERROR)
    assert (problem.position.file, problem.position.line) == ("folder/setting.json", 1)
    assert words in problem.message
    assert "hosting" in problem.remedy


@pytest.mark.parametrize("document", [large(hosts=60_000), large(text=8_300_000)], ids=["values", "bytes"])
def test_what_a_node_may_show_may_be_sent(document):
    body = json.dumps(document).encode()
    assert ContentCache().read(body).document
    codes = [problem.code for problem in check_setting(parse_document("setting.json", body))]
    assert "setting-too-large" not in codes


HOST = {"name": "www.example.com", "listen": "*:80"}


@pytest.mark.parametrize("name", ["www.example.com", "WWW.Example.com", "www.example.com."])
def test_a_hosting_is_named_once(name):
    problem = only(setting(hosting=[HOST, {"name": name, "listen": "*:443"}]))
    assert (problem.code, problem.pointer) == ("duplicate-name", "/hosting/1/name")
    assert "first as item 1" in problem.message
    assert check(setting(hosting=[HOST, {"name": "www2.example.com"}])) == []


@pytest.mark.parametrize("listen", ["*:70000", "*:65536", "10.0.0.1:0", "*:-1", "[::1]:99999"])
def test_a_hosting_listens_at_a_port_that_exists(listen):
    problem = only(setting(hosting=[{**HOST, "listen": listen}]))
    assert (problem.code, problem.pointer) == ("out-of-range", "/hosting/0/listen")


@pytest.mark.parametrize("listen", ["*:65535", "off", "*:1", "[::1]:80", "2001:db8::99999"])
def test_other_texts_where_a_hosting_listens_are_no_wrong_port(listen):
    problems = check(setting(hosting=[{**HOST, "listen": listen}]))
    assert problems == []


def test_ports_of_origins_brokers_and_lists_of_nodes_exist():
    origin = {**HOST, "origin": {"address": ["198.51.100.10:65536", "http://o.example.com:80/x"]}}
    broker = {**KAFKA, "info": {"brokers": ["b:70000"]}}
    nodes = {"onPurgeRequest": {"propagation": {"nodelist": ["1.1.1.1:70000"]}}}
    found = check(setting(hosting=[origin], **{SERVER: {"connection": [broker], "events": nodes}}))
    assert {problem.pointer for problem in found if problem.code == "out-of-range"} == {
        "/hosting/0/origin/address/0",
        "/env/management/server/connection/0/info/brokers/0",
        "/env/management/server/events/onPurgeRequest/propagation/nodelist/0",
    }


def test_the_ports_that_a_cluster_counts_from_its_base_exist():
    meta = {"enable": True, "baseHostingPort": 65535}
    two = [HOST, {"name": "b.example.com"}]
    problem = only(setting(hosting=two, **{CLUSTER + "meta": meta}))
    assert (problem.code, problem.remedy) == ("out-of-range", "write at most 65534")
    assert check(setting(hosting=two[:1], **{CLUSTER + "meta": meta})) == []
    assert check(setting(hosting=two, **{CLUSTER + "meta": {**meta, "enable": False}})) == []
    assert check(setting(hosting=[HOST, {**two[1], "enable": False}], **{CLUSTER + "meta": meta})) == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("enviroment", "env"),
        ("Env", "env"),
        ("environment", "env"),
        ("metadata", "meta"),
        ("hostings", "hosting"),
    ],
)
def test_a_misspelt_key_at_the_top_is_an_error_where_the_right_one_is_missing(key, meant):
    document = {**setting(), "hosting": [HOST]}
    document.setdefault("meta", {})
    document[key] = document.pop(meant)
    problem = next(one for one in check(document) if one.code == "unknown-key")
    assert (problem.pointer, problem.remedy) == (f"/{key}", f"did you mean `{meant}`?")
    assert not [one for one in check({**document, meant: {}}) if one.code == "unknown-key"]


def test_keys_that_resemble_none_at_the_top_are_no_error():
    assert check({**setting(), "plugin": {}, "setting": {}, "$schema": "x"}) == []
