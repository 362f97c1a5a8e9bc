"""Connections of a setting.json that cannot work: brokers, keys, buckets, tags, topics; each at its place."""

from __future__ import annotations

import json

import pytest
from support.m2_wire import setting

from reconciler.core.secret import Secret
from reconciler.documents.document import parse_document
from reconciler.drivers.m2.setting.check import check_setting

SERVER = "env__management__server"
BASE = "/env/management/server"
AWS = {"accessKeyId": "AKIA", "secretAccessKey": "s", "region": "eu-central-1"}
FIREBASE = {"apiKey": "k", "projectId": "p", "appId": "a"}
OCI = {
    "tenancyId": "ocid1.tenancy.oc1..a",
    "userId": "ocid1.user.oc1..a",
    "compartmentId": "ocid1.compartment.oc1..a",
    "fingerprint": "20:3b",
    "privateKey": "key.pem",
    "region": "us-phoenix-1",
}
SCHEDULE = "*/15 * * * * *"


def check(document):
    return check_setting(parse_document("setting.json", json.dumps(document, indent=2).encode()))


def tell(document):
    """(code, severity, pointer below the server) of every problem."""
    found = check(document)
    for problem in found:
        assert problem.position.file == "setting.json"
        assert problem.position.line > 0
        assert problem.position.column > 0
        assert problem.remedy, problem
    return [(one.code, one.severity.name, one.pointer.removeprefix(BASE)) for one in found]


def kafka(*brokers):
    return setting(**{SERVER: {"connection": [{"name": "k", "type": "kafka", "info": {"brokers": brokers}}]}})


def nodelist(tag, *, enable=True, kind="awssdk3", info=None, **more):
    connection = [{"name": "c", "type": kind, "info": AWS if info is None else info}]
    feed = {"type": "awssdk3", "info": {"connect": "c", "tag": tag, "schedule": SCHEDULE} | more}
    features = {"nodelist": {"enable": enable, "feed": feed}}
    return setting(**{SERVER: {"connection": connection, "features": features}})


def backup(info, *, enable=True, kind="httpAwsSig4", **more):
    events = {"onSettingLoad": {"backup": {"enable": enable, "hostname": "a", "connect": "c"} | more}}
    return setting(**{SERVER: {"connection": [{"name": "c", "type": kind, "info": info}], "events": events}})


@pytest.mark.parametrize(
    ("broker", "words", "remedy"),
    [
        ("kafka-1", "has no port", "write kafka-1:9092"),
        ("[2001:db8::1]", "has no port", r"write [2001:db8::1]:9092"),
        ("2001:db8::1", "has no port", r"write [2001:db8::1]:9092"),
        ("192.0.2.1", "has no port", "write 192.0.2.1:9092"),
        ("", "empty", "HOST:PORT"),
        ("  ", "empty", "HOST:PORT"),
        ("kafka-1:", "kafka-1:", "HOST:PORT"),
        (":9092", ":9092", "HOST:PORT"),
        ("kafka 1:9092", "kafka 1", "HOST:PORT"),
        ("kafka-1:9092 ", "kafka-1:9092 ", "HOST:PORT"),
        ("kafka-1:port", "kafka-1:port", "HOST:PORT"),
        ("kafka-1:9092,kafka-2:9092", "several", "item of the list"),
        ("kafka://kafka-1:9092", "URL", "write kafka-1:9092"),
        ("kafka-1:9092/x", "kafka-1:9092/x", "HOST:PORT"),
    ],
)
def test_a_broker_is_a_host_with_its_port(broker, words, remedy):
    document = kafka("good:9092", broker)
    assert tell(document) == [("bad-broker", "ERROR", "/connection/0/info/brokers/1")]
    (problem,) = check(document)
    assert words in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    "broker", ["kafka-1:0", "kafka-1:65536", "[2001:db8::1]:0", "kafka-1:-1", "k:99999999"]
)
def test_a_broker_has_a_port_that_exists(broker):
    assert tell(kafka(broker)) == [("out-of-range", "ERROR", "/connection/0/info/brokers/0")]


def test_good_brokers_pass_and_the_same_one_twice_is_told():
    assert tell(kafka("kafka-1.example.com:9092", "[2001:db8::1]:9092", "192.0.2.1:1", "k:65535")) == []
    repeated = [("duplicate-broker", "WARNING", "/connection/0/info/brokers/1")]
    assert tell(kafka("kafka-1:9092", "KAFKA-1.:9092")) == repeated
    assert tell(kafka("[2001:db8::1]:9092", "[2001:db8:0::1]:9092")) == repeated


def test_a_connection_to_kafka_without_brokers_is_an_error():
    assert [one[1:] for one in tell(kafka())] == [("ERROR", "/connection/0/info/brokers")]
    no_info = setting(**{SERVER: {"connection": [{"name": "k", "type": "kafka"}]}})
    assert [one[1:] for one in tell(no_info)] == [("ERROR", "/connection/0/info/brokers")]


KEYS = [
    *(("httpAwsSig4", AWS | {"bucket": "m2-backups"}, key) for key in AWS),
    *(("awssdk3", AWS, key) for key in AWS),
    *(("oci", OCI, key) for key in OCI),
    *(("firebasePubsub", FIREBASE, key) for key in FIREBASE),
]


def use(kind, info, *, enable):
    """A setting in which something uses a connection."""
    if kind == "httpAwsSig4":
        return backup(info, enable=enable)
    connection = [{"name": "c", "type": kind, "info": info}]
    if kind == "firebasePubsub":
        feature = {"setting": {"feed": {"type": "firestore", "info": {"connect": "c", "doc": "a/b"}}}}
    else:
        feature = {"nodelist": {"feed": {"type": kind, "info": {"connect": "c", "tag": "a=b;"}}}}
    for part in feature.values():
        part["enable"] = enable
    return setting(**{SERVER: {"connection": connection, "features": feature}})


@pytest.mark.parametrize(("kind", "info", "key"), KEYS)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_a_connection_needs_is_an_error_where_it_is_used(kind, info, key, value):
    assert tell(use(kind, info, enable=True)) == []
    broken = info | {key: value}
    place = f"/connection/0/info/{key}"
    severity = "WARNING" if key in ("apiKey", "appId") else "ERROR"
    assert tell(use(kind, broken, enable=True)) == [("connection-without-key", severity, place)]
    assert tell(use(kind, broken, enable=False)) == [("connection-without-key", "WARNING", place)]
    del broken[key]
    assert tell(use(kind, broken, enable=True)) == [("connection-without-key", severity, place)]


def test_half_a_pair_of_keys_is_told_as_such():
    for lost, other in (("secretAccessKey", "accessKeyId"), ("accessKeyId", "secretAccessKey")):
        (problem,) = check(use("awssdk3", AWS | {lost: ""}, enable=True))
        assert f"although it has `{other}`" in problem.message
        assert "nodelist.feed" in problem.message
    found = check(use("awssdk3", {"region": "r"}, enable=True))
    assert [one.message.partition(", ")[0] for one in found] == [
        'the connection "c" has no `accessKeyId`',
        'the connection "c" has no `secretAccessKey`',
    ]


def test_a_secret_counts_as_a_key_that_is_there():
    secrets = {key: Secret(f"value-of-{key}", f"${{env:{key}}}") for key in AWS}
    document = use("awssdk3", secrets, enable=True)
    kept = type(
        "Kept", (), {"name": "s", "value": document, "position": parse_document("s", b"{}").position}
    )()
    assert check_setting(kept) == []


def test_a_backup_needs_a_connection_with_a_bucket():
    place = "/connection/0/info/bucket"
    for info in (AWS, AWS | {"bucket": ""}, AWS | {"bucket": " "}, AWS | {"bucket": None}):
        assert tell(backup(info)) == [("empty-bucket", "ERROR", place)]
        assert tell(backup(info, enable=False)) == [("empty-bucket", "WARNING", place)]
    assert tell(backup(AWS | {"bucket": "s3://m2"})) == [("bad-bucket", "WARNING", place)]
    assert tell(backup(AWS | {"bucket": "M2"})) == [("bad-bucket", "WARNING", place)]
    where = "/events/onSettingLoad/backup/connect"
    good = AWS | {"bucket": "m2-backups"}
    assert tell(backup(good)) == []
    assert tell(backup(good, connect="")) == [("unknown-connection", "ERROR", where)]
    assert tell(backup(good, connect=None)) == [("unknown-connection", "ERROR", where)]
    assert ("wrong-connection-type", "ERROR", where) in tell(backup(AWS, kind="awssdk3"))


def test_a_bucket_may_be_empty_where_the_connection_only_authenticates():
    connection = [{"name": "c", "type": "httpAwsSig4", "info": AWS | {"bucket": ""}}]
    assert tell(setting(**{SERVER: {"connection": connection}})) == []


@pytest.mark.parametrize(
    "tag", ["type=parent;type=child;", "key=;", "a=b;", "a=b c;", "aws:tag=x;", "a=b=c;", "k=v;k=;"]
)
def test_good_tags_pass(tag):
    assert tell(nodelist(tag)) == []


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (";", "is empty"),
        ("key=;;", "tag 2"),
        ("a=b;;c=d;", "tag 2"),
        ("type;", 'no "="'),
        ("type:parent;", 'no "="'),
        ("a=b,c=d;e;", 'no "="'),
        ("=parent;", "no key"),
        (" =parent;", "no key"),
        ("a=b; c=d;", "blank"),
        ("a = b;", "blank"),
        ("a" * 129 + "=b;", "too long"),
        ("a=" + "b" * 257 + ";", "too long"),
    ],
)
def test_a_malformed_tag_is_an_error_where_it_is_used(tag, words):
    place = "/features/nodelist/feed/info/tag"
    assert tell(nodelist(tag)) == [("bad-tag", "ERROR", place)]
    assert tell(nodelist(tag, enable=False)) == [("bad-tag", "WARNING", place)]
    (problem,) = check(nodelist(tag))
    assert words in problem.message
    assert "KEY=VALUE;" in problem.remedy


def test_a_tag_without_its_end_and_one_that_repeats_are_warnings():
    place = "/features/nodelist/feed/info/tag"
    assert tell(nodelist("type=parent")) == [("bad-tag", "WARNING", place)]
    assert tell(nodelist("a=b;a=b;")) == [("bad-tag", "WARNING", place)]
    assert {one[1] for one in tell(nodelist("type"))} == {"WARNING", "ERROR"}


def test_the_cloud_of_a_nodelist_is_that_of_its_connection():
    found = tell(nodelist("a=b;", kind="oci", info=OCI))
    assert found == [("wrong-connection-type", "ERROR", "/features/nodelist/feed/info/connect")]
    assert tell(nodelist("a=b;", schedule="* * * * *")) == [
        ("bad-schedule", "ERROR", "/features/nodelist/feed/info/schedule")
    ]


@pytest.mark.parametrize(
    ("info", "code", "place"),
    [
        ({"topic": ""}, "empty-text", "topic"),
        ({"topic": "a b"}, "bad-topic", "topic"),
        ({"topic": ".."}, "bad-topic", "topic"),
        ({"topic": "t" * 250}, "bad-topic", "topic"),
    ],
)
def test_a_topic_is_a_name_that_kafka_accepts(info, code, place):
    connection = [{"name": "k", "type": "kafka", "info": {"brokers": ["b:9092"]}}]
    feedback = {"type": "kafkaPub", "info": {"connect": "k"} | info}
    features = {"purge": {"enable": True, "feedback": feedback}}
    found = tell(setting(**{SERVER: {"connection": connection, "features": features}}))
    assert found == [(code, "ERROR", f"/features/purge/feedback/info/{place}")]
