"""Unknown keys of a setting.json: reported where all keys are known, else where they resemble one."""

import copy
import json

import pytest
from test_m2_lints import cluster_input

from reconciler.core.secret import Secret
from reconciler.documents.document import parse_document
from reconciler.drivers.m2 import lints

API = ("env", "management", "api")
SERVER = ("env", "management", "server")
CLUSTER = ("env", "management", "cluster")
WHOLE = {
    "meta": {"version": 1, "setting": {"deploy": "shared"}},
    "env": {
        "management": {
            "api": {"port": 10040, "allowList": [{"addr": "10.0.0.1"}]},
            "roles": [{"name": "admin", "permissions": {"enableSetting": True}}],
            "server": {
                "enable": True,
                "connection": [{"name": "k", "type": "kafka", "info": {"clientId": "c", "brokers": ["b:1"]}}],
                "features": {
                    "purge": {
                        "feed": {
                            "type": "apiPolling",
                            "info": {"url": "https://m", "schedule": "0 * * * * *"},
                        },
                        "feedback": {"type": "kafkaPub", "info": {"connect": "k", "topic": "t"}},
                    },
                    "heartbeat": {},
                    "nodelist": {
                        "feedback": {"type": "setting;api;", "info": {"hosting": [{"name": "h"}], "url": "u"}}
                    },
                },
                "events": {"onSettingLoad": {"backup": {"enable": False}}},
            },
            "cluster": {"discover": {"members": [{"nodes": ["10.0.0.1"], "balance": {"mode": "rr"}}]}},
        }
    },
    "hosting": [{"name": "h", "mode": {"volatile": True}, "origin": {"address": ["1.1.1.1"]}}],
}


def lint(document):
    file = parse_document("setting.json", json.dumps(document, indent=1).encode())
    return [problem for problem in lints.lint(cluster_input(file)) if problem.code == "unfamiliar-key"]


def with_key(path, key):
    document = copy.deepcopy(WHOLE)
    holder = document
    for part in path:
        holder = holder[part]
    holder[key] = 1
    return document


def test_known_keys_are_known_at_every_depth():
    assert lint(WHOLE) == []
    assert lint({}) == []
    assert lint(json.loads(json.dumps(WHOLE).replace("kafkaPub", "nothing").replace("10.0.0.1", "x"))) == []


@pytest.mark.parametrize(
    ("path", "key", "meant"),
    [
        ((*API,), "prot", "port"),
        ((*API, "allowList", 0), "rule", "role"),
        (("env", "management", "roles", 0, "permissions"), "enablePurges", "enablePurge"),
        (("env", "management"), "clusters", "cluster"),
        ((*SERVER, "connection", 0, "info"), "broker", "brokers"),
        ((*SERVER, "features", "purge"), "workers", "workerCount"),
        ((*SERVER, "features", "purge", "feed", "info"), "timout", "timeout"),
        ((*SERVER, "features", "purge", "feedback", "info"), "later", ""),
        ((*SERVER, "features", "nodelist", "feedback", "info"), "hostings", "hosting"),
        ((*SERVER, "features", "nodelist", "feedback", "info", "hosting", 0), "fields", "field"),
        ((*SERVER, "features", "heartbeat"), "feed", "feedback"),
        ((*SERVER, "events", "onSettingLoad", "backup"), "hostnames", "hostname"),
        ((*CLUSTER, "discover", "members", 0), "function", "functions"),
        ((*CLUSTER, "discover", "members", 0, "balance"), "luaPath", ""),
        (("hosting", 0), "enabled", "enable"),
        (("env",), "networks", "network"),
    ],
)
def test_a_misspelt_key_is_reported_with_the_known_key(path, key, meant):
    (problem,) = lint(with_key(path, key))
    assert problem.pointer == "".join(f"/{part}" for part in (*path, key))
    assert (
        (problem.remedy == f'did you mean "{meant}"?') if meant else problem.remedy.startswith("known keys")
    )


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "later"),
        (("env",), "http3"),
        (("meta",), "author"),
        (("hosting", 0), "tls"),
        (("hosting", 0, "mode"), "facade"),
        ((*SERVER, "features", "nodelist", "feedback", "info"), "timeout"),
    ],
)
def test_the_product_is_larger_than_what_is_known(path, key):
    assert lint(with_key(path, key)) == []


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], [[]], {"env": {"management": {"server": []}}}, {"hosting": 1}]
)
def test_any_shape_is_looked_at(value):
    assert lint(value) == []


def test_the_value_of_an_unknown_key_is_not_shown():
    document = with_key(API, "pasword")
    document["env"]["management"]["api"]["pasword"] = "hunter2-hunter2"
    (problem,) = lint(document)
    assert "hunter2" not in f"{problem.message}{problem.remedy}"
    file = parse_document("setting.json", b"{}")
    kept = type("Kept", (), {"name": "s", "value": {"env": Secret("hunter2")}, "position": file.position})()
    assert list(lints.lint(cluster_input(kept))) == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [("enviroment", "env"), ("Hosting", "hosting"), ("metadata", "meta"), ("vhosts", "hosting")],
)
def test_misspelt_keys_at_the_top_beside_the_right_ones(key, meant):
    (problem,) = lint({**WHOLE, key: {}})
    assert (problem.pointer, problem.remedy) == (f"/{key}", f'did you mean "{meant}"?')


def test_a_key_that_replaces_a_missing_one_is_reported_as_an_error_alone():
    document = {"enviroment" if key == "env" else key: value for key, value in WHOLE.items()}
    assert lint(document) == []
