"""The models of setting.json say what the product's pages say: permissions, types, limits, restarts."""

from __future__ import annotations

import json

import pytest
from support.m2_wire import setting

from reconciler.documents.document import parse_document
from reconciler.drivers.m2.caller_permissions import PERMISSION_DEFAULTS
from reconciler.drivers.m2.machine import RESTART_ONLY
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.drivers.m2.setting.feeds import CONNECTIONS, FEEDS
from reconciler.drivers.m2.setting.models import Env, Hosting, SettingFile
from reconciler.secrets.patterns import is_secret_key

SERVER = "env__management__server"
NODELIST = f"{SERVER}__features__nodelist"


def keys(model):
    return {field.alias or name for name, field in model.model_fields.items()}


def codes(document):
    file = parse_document("setting.json", json.dumps(document).encode())
    return [(problem.pointer.rpartition("/")[2], problem.code) for problem in check_setting(file)]


def test_the_nine_permissions_and_their_defaults():
    names = ["Setting", "Purge", "Metric", "Graph", "Monitoring", "Install", "Restart", "Get", "Cluster"]
    assert {f"enable{name}": name == "Get" for name in names} == PERMISSION_DEFAULTS


def test_the_top_level_and_a_hosting():
    assert keys(SettingFile) == {"$schema", "meta", "env", "functions", "hosting"}
    assert keys(Hosting) == {"name", "enable", "listen", "aliases", "mode", "origin"}


def test_every_restart_only_field_is_in_the_models_and_described():
    found = {}
    for part, field in Env.model_fields.items():
        if part != "management":
            (model,) = (one for one in field.annotation.__args__ if one is not type(None))
            found |= {f"env.{part}.{inner.alias}": inner for inner in model.model_fields.values()}
    assert set(found) == set(RESTART_ONLY)
    assert [field for field in found.values() if "needs a restart" not in field.description] == []


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("kafka", "clientId brokers"),
        (
            "firebasePubsub",
            "apiKey authDomain databaseUrl projectId storageBucket messagingSenderId appId",
        ),
        ("httpAwsSig4", "accessKeyId secretAccessKey region bucket"),
        ("awssdk3", "accessKeyId secretAccessKey region"),
        ("oci", "tenancyId userId compartmentId fingerprint privateKey region"),
    ],
)
def test_what_a_connection_needs(kind, wanted):
    assert keys(CONNECTIONS[kind]) == set(wanted.split())


def test_the_keys_that_the_pages_call_secret_sound_so_and_no_others():
    known = set().union(*map(keys, CONNECTIONS.values()))
    secret = {"accessKeyId", "secretAccessKey", "privateKey", "apiKey"}
    assert {key for key in known if is_secret_key(key)} == secret


def test_every_feature_has_the_documented_types():
    assert {"/".join(side): set(types) for side, types in FEEDS.items()} == {
        "setting/feed": {"apiPolling", "tgzPolling", "kafkaSub", "firestore"},
        "setting/feedback": {"api", "kafkaPub", "firestore"},
        "purge/feed": {"apiPolling", "kafkaSub"},
        "purge/feedback": {"api", "kafkaPub"},
        "heartbeat/feedback": {"apiPolling", "kafkaPub", "firestore"},
        "nodelist/feed": {"awssdk3", "oci"},
        "nodelist/feedback": {"setting", "api"},
    }


FILLED = {
    "oci": dict.fromkeys(
        ("tenancyId", "userId", "compartmentId", "fingerprint", "privateKey", "region"), "text"
    ),
    "httpAwsSig4": dict.fromkeys(("accessKeyId", "secretAccessKey", "region"), "text"),
    "firebasePubsub": dict.fromkeys(("apiKey", "projectId", "appId"), "text"),
}


def connection(kind, **info):
    info = FILLED[kind] | info
    return setting(**{f"{SERVER}__connection": [{"name": "c", "type": kind, "info": info}]})


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        (connection("oci", tenancyId=7), [("tenancyId", "wrong-type")]),
        (connection("httpAwsSig4", bucket=""), []),
        (connection("firebasePubsub", appId=["1"]), [("appId", "wrong-type")]),
        (setting(meta__setting__deploy="shared"), []),
        (setting(meta__setting__deploy="both"), [("deploy", "unknown-value")]),
        (setting(hosting=[{"name": "h", "listen": 80}]), [("listen", "wrong-type")]),
        (setting(hosting=[{"name": "h", "aliases": "g"}]), [("aliases", "wrong-type")]),
        (setting(hosting=[{"name": "h", "origin": {"address": "1.1.1.1"}}]), [("address", "wrong-type")]),
        (setting(hosting=[{"name": "h", "mode": {"volatile": True, "basehost": "h"}}]), []),
        (setting(env__network={"http2": {"enable": True}, "later": 1}, functions={"x": {}}), []),
        (setting(env__management__api__port=10040.0), []),
        (setting(env__management__api__port=10040.5), [("port", "wrong-type")]),
    ],
)
def test_each_invalid_value_has_its_code(document, wrong):
    assert codes(document) == wrong


HOSTS = [{"name": "foo.com", "field": "origin.address"}]


@pytest.mark.parametrize(
    ("kind", "info", "wrong"),
    [
        ("setting;api;", {"hosting": HOSTS, "url": "https://m.example.com/f"}, []),
        ("setting", {"hosting": HOSTS}, []),
        ("setting;api;", {"hosting": HOSTS}, [("url", "missing-key")]),
        ("setting", {}, [("hosting", "missing-key")]),
        ("setting", {"hosting": [{"name": "f", "field": "listen"}]}, [("field", "unknown-value")]),
    ],
)
def test_a_nodelist_may_join_its_feedbacks(kind, info, wrong):
    document = setting(**{f"{NODELIST}__enable": True, f"{NODELIST}__feedback": {"type": kind, "info": info}})
    assert [one for one in codes(document) if one[1] != "idle-feature"] == wrong


def test_no_other_feature_may_join_types():
    feed = {"type": "apiPolling;", "info": {"url": "https://m", "schedule": "0 * * * * *"}}
    document = setting(**{f"{SERVER}__features__setting": {"enable": True, "feed": feed}})
    assert codes(document) == [("type", "unknown-value")]


@pytest.mark.parametrize("text", ["0 0 0 31 2 *", "0 0 0 * 2 7-1", "* * * * * MON-FRI", "0 */5 1,2 L * 5#2"])
def test_a_schedule_is_refused_for_what_it_means_too(text):
    feed = {"type": "apiPolling", "info": {"url": "https://m", "schedule": text}}
    document = setting(**{f"{SERVER}__features__purge": {"enable": True, "feed": feed}})
    impossible = text in {"0 0 0 31 2 *", "0 0 0 * 2 7-1"}
    assert codes(document) == ([("schedule", "bad-schedule")] if impossible else [])


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://m", False),
        ("http://[::1]:9000/x?y", False),
        ("https://user:word@m.example.com/x", False),
        ("${env:FEED}", False),
        ("", True),
        ("m.example.com/feed", True),
        ("ftp://m/feed", True),
        ("https:///feed", True),
        ("https://m /feed", True),
        ("https://m:99999/", True),
    ],
)
def test_a_url_is_one_that_a_node_can_call(url, wrong):
    feed = {"type": "apiPolling", "info": {"url": url, "schedule": "0 * * * * *"}}
    document = setting(**{f"{SERVER}__features__setting": {"enable": True, "feed": feed}})
    assert codes(document) == ([("url", "bad-url")] if wrong else [])
