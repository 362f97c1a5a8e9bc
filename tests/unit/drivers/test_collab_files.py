"""What is checked about a cluster's entry and its files, and what is doubtful about them."""

import json

import pytest
from pydantic import ValidationError
from support.collab_runs import make_entry, make_input, with_password
from support.collab_worlds import make_config

from reconciler.core.secret import Secret
from reconciler.documents.document import parse_document
from reconciler.drivers.collab.product import DRIVER
from reconciler.drivers.collab.schema import CollabCluster, parse_redis_url
from reconciler.errors import InputError

CONFIG = json.loads(make_config())


def problems(config=None, keys=None, each=None, **entry):
    """code -> message of each error."""
    cluster_input = make_input(make_entry(**entry), config, keys, each)
    return {one.code: one.message for one in DRIVER.examine(cluster_input)}


def warnings(config=None, keys=None, **entry):
    return sorted(one.code for one in DRIVER.lint(make_input(make_entry(**entry), config, keys)))


def redis_on(host, **more):
    return {**make_entry()["redis"], "host": host, **more}


def test_the_sample_has_no_problems():
    assert problems() == {}
    assert warnings() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scaling": "none"}, "scaling-not-horizontal"),
        ({"scaling": None}, "scaling-not-horizontal"),
        ({"Port": 3000}, "config-key-case"),
        ({"redisserverurl": "x"}, "config-key-case"),
        ({"dataSource": {"userName": "a"}}, "config-key-case"),
        ({"port": 3001}, "config-port"),
        ({"enableTls": True}, "config-tls-files"),
        ({"enableTls": True, "privateKeyFile": "/k"}, "config-tls-files"),
        ({"redisServerUrl": "redis://192.0.2.77:6379"}, "redis-url-differs"),
        ({"redisServerUrl": "redis://127.0.0.1:6380"}, "redis-url-differs"),
        ({"authorizationServerUrl": "http://192.0.2.1:3000/api"}, "authorization-url"),
        ({"authorizationServerUrl": "http://127.0.0.1:8080"}, "authorization-url"),
        ({"trustedCerts": ["C:\\certs\\ca.pem"]}, "windows-host"),
        ({"logging": "yes"}, "wrong-type"),
    ],
)
def test_a_wrong_config(change, code):
    assert code in problems(CONFIG | change)


def test_horizontal_scaling_needs_the_url_of_redis():
    config = {key: value for key, value in CONFIG.items() if key != "redisServerUrl"}
    assert "redis-url-missing" in problems(config)


def test_the_url_of_one_server_alone_is_named():
    found = problems(CONFIG | {"authorizationServerUrl": "http://192.0.2.1:3000/api"})
    assert "which is the server c1 alone" in found["authorization-url"]


def test_servers_that_differ_do_not_work_together():
    other = CONFIG | {"redisServerUrl": "redis://:other@127.0.0.1:6379"}
    assert "redis-url-differs" in problems(each={"c2": other})


def test_one_server_may_work_alone():
    assert problems(CONFIG | {"scaling": "none"}, names=("c1",)) == {}


def test_keys_that_are_not_documented_pass():
    assert problems(CONFIG | {"whatever": {"Port": 1}}) == {}


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"bind": "127.0.0.1"}, "redis-bind"),
        ({"bind": "192.0.2.21"}, "redis-bind"),
        ({"port": 6380}, "config-port"),
        ({"include": "/etc/x.conf"}, "redis-key"),
        ({"user": "bob on nopass"}, "redis-key"),
        ({"aclfile": "/x"}, "redis-key"),
        ({"Bind": "0.0.0.0"}, "bad-value"),
        ({"save": "1\n2"}, "bad-value"),
        ({"appendonly": True}, "bad-value"),
        ({"dir": "C:\\redis"}, "windows-host"),
        ({"requirepass": ""}, "bad-value"),
        ({"requirepass": Secret("one", "${env:A}")}, "redis-password-differs"),
    ],
)
def test_wrong_keys_of_redis(keys, code):
    config = CONFIG | {"redisServerUrl": "redis://:old@192.0.2.20:6379"}
    assert code in problems(config, keys, redis=redis_on("192.0.2.20"))


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.20 127.0.0.1", "-192.0.2.20", "* -::*"])
def test_an_address_that_servers_reach(bind):
    config = CONFIG | {"redisServerUrl": "redis://192.0.2.20:6379"}
    assert problems(config, {"bind": bind}, redis=redis_on("192.0.2.20")) == {}


def test_redis_on_all_addresses_without_a_password():
    config = CONFIG | {"redisServerUrl": "redis://192.0.2.20:6379"}
    open_to_all = {"bind": "0.0.0.0", "protected-mode": "no"}
    where = {"redis": redis_on("192.0.2.20")}
    assert warnings(config, open_to_all, **where) == ["redis-open"]
    assert problems(config, open_to_all, **where) == {}
    assert "redis-open" in problems(config, open_to_all, strict=True, **where)


def test_a_password_by_reference_is_the_same_in_both_files():
    config, redis = with_password("new")
    assert problems(config, redis) == {}
    text = "redis://:${env:P}@127.0.0.1:6379"
    unknown = Secret(text, text, "not here")
    assert (
        problems(CONFIG | {"redisServerUrl": unknown}, {"requirepass": Secret("${env:P}", "${env:P}", "no")})
        == {}
    )


@pytest.mark.parametrize(
    ("config", "entry", "code"),
    [
        (CONFIG | {"scaling": "none"}, {"names": ("c1",)}, "single-server"),
        (CONFIG | {"scaling": "none"}, {"names": ("c1",)}, "redis-url-ignored"),
        (CONFIG, {"loadBalancer": None}, "no-balancer"),
        (CONFIG | {"keystoreFile": "/k", "privateKeyFile": "/p"}, {}, "tls-pairs"),
        (CONFIG | {"loging": True}, {}, "config-key-similar"),
        (CONFIG | {"dataSource": {"usernme": "u"}}, {}, "config-key-similar"),
    ],
)
def test_what_is_doubtful(config, entry, code):
    assert code in warnings(config, **entry)


def test_servers_with_and_without_tls_behind_one_load_balancer():
    tls = CONFIG | {"enableTls": True, "privateKeyFile": "/k", "publicCertFile": "/c"}
    found = problems(each={"c1": CONFIG, "c2": tls})
    assert found["config-tls-differs"].startswith("c2 speaks TLS and c1 does not")
    assert problems(each={"c1": CONFIG, "c2": tls}, loadBalancer=None) == {}


@pytest.mark.parametrize("key", ["pollInterval", "Loging2Elsewhere", "x", ""])
def test_other_unknown_keys_pass_through(key):
    assert warnings(CONFIG | {key: True}) == []


@pytest.mark.parametrize(
    ("url", "password", "words"),
    [
        ("redis://:p@ss/w@127.0.0.1:6379", "p@ss/w", "may have a character that ends"),
        ("redis://:a%41b@127.0.0.1:6379", "a%41b", "reads each % in it as the start of an escape"),
        ("rediss://:geheim-1@127.0.0.1:6379", "geheim-1", "uses TLS"),
    ],
)
def test_a_password_that_does_not_fit_into_a_url_is_explained_and_not_shown(url, password, words):
    config = CONFIG | {"redisServerUrl": Secret(url, "redis://:${env:P}@127.0.0.1:6379")}
    redis = {"bind": "127.0.0.1", "requirepass": Secret(password, "${env:P}")}
    with pytest.raises(InputError) as caught:
        DRIVER.desire(make_input(make_entry(), config, redis))
    text = " ".join(f"{one.message} {one.remedy}" for one in caught.value.problems)
    assert words in text
    assert password not in text


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("protected-mode", True, 'write "yes", in quotes'),
        ("bind", ["127.0.0.1", "::1"], 'bind: "127.0.0.1 ::1"'),
        ("requirepass", ["geheim-1"], "write a whole number, or a text in quotes"),
        ("requirepass", None, "remove the key to leave it as it is"),
        ("logfile", "a\nuser default on nopass", "remove line ends"),
    ],
)
def test_a_value_of_redis_conf_in_another_form(key, value, remedy):
    with pytest.raises(InputError) as caught:
        DRIVER.desire(make_input(make_entry(), CONFIG, {"bind": "127.0.0.1", key: value}))
    assert remedy in caught.value.problems[0].remedy
    assert "geheim" not in repr(caught.value.problems)


@pytest.mark.parametrize("key", ["include", "loadmodule", "user", "aclfile", "rename-command", "replicaof"])
def test_keys_of_redis_conf_that_are_not_accepted(key):
    with pytest.raises(InputError) as caught:
        DRIVER.desire(make_input(make_entry(), CONFIG, {"bind": "127.0.0.1", key: "x"}))
    assert [one.code for one in caught.value.problems] == ["redis-key"]


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": []},
        {"nodes": [{"name": "c1", "host": "http://x"}]},
        {"nodes": [{"name": "c1", "host": "x:3000"}]},
        {"nodes": [{"name": "c1", "host": "x", "status": "http://x:3000/other"}]},
        {"nodes": [{"name": "c1", "host": "x", "port": 0}]},
        {"restart": "systemctl restart collab"},
        {"restart": ["systemctl", "restart"]},
        {"version": "-x"},
        {"loadBalancer": {"name": "lb", "url": "http://lb/", "file": "nginx"}},
        {"loadBalancer": {"name": "lb", "url": "http://lb", "upstream": "a b; }"}},
    ],
)
def test_a_wrong_entry(change):
    with pytest.raises(ValidationError):
        CollabCluster.model_validate(make_entry() | change)


def test_the_dots_of_the_documents_are_told():
    with pytest.raises(InputError) as caught:
        parse_document("config.json", b'{"port": 3000,\n.......\n}')
    (problem,) = caught.value.problems
    assert "what the dots stand for" in problem.remedy


@pytest.mark.parametrize(
    ("text", "address", "password"),
    [
        ("redis://h:1", "h:1", ""),
        ("redis://H", "h:6379", ""),
        ("redis://:p%40x@h", "h:6379", "p@x"),
        ("rediss://default:p@[::1]:6380/0", "[::1]:6380", "p"),
    ],
)
def test_a_url_of_redis(text, address, password):
    found = parse_redis_url(text)
    assert (found.address, found.password) == (address, password)


@pytest.mark.parametrize("text", ["http://h", "redis://", "redis://a@b@c", "redis://h:x", ""])
def test_what_is_no_url_of_redis(text):
    assert parse_redis_url(text) is None
