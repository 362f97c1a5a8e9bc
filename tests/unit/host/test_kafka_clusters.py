"""The Kafka clusters of a host: what an entry may say, and what it allows."""

import pytest
from pydantic import ValidationError

from reconciler.core.bus_channels import BusChannel, BusKind
from reconciler.errors import UsageError
from reconciler.host.config import HostConfig
from reconciler.host.host import list_allowed_buses
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.message_bus.factory import list_bus_entries

LOCAL = {"brokers": ["127.0.0.1:9092"]}
FAR = {"brokers": ["kafka-1.example.com:9092"]}


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (FAR, "plain_kafka"),
        ({"brokers": ["kafka-1.example.com"], "tls": {}}, "broker"),
        ({"brokers": ["https://kafka-1.example.com:9092"], "tls": {}}, "broker"),
        ({"brokers": ["user@kafka-1.example.com:9092"], "tls": {}}, "broker"),
        ({"brokers": [], "tls": {}}, "too_short"),
        ({**FAR, "tls": {"certificate": "/etc/own.pem"}}, "half_tls"),
        ({**FAR, "tls": {}, "login": {"user": "u", "password": "secret"}}, "absolute_path"),
        ({**LOCAL, "group": "a b"}, "string_pattern_mismatch"),
        ({**LOCAL, "topics": ["m2/x"]}, "string_pattern_mismatch"),
    ],
)
def test_an_entry_that_cannot_work_or_is_not_safe_is_refused(entry, code):
    with pytest.raises(ValidationError) as caught:
        KafkaCluster.model_validate(entry)
    assert caught.value.errors()[0]["type"] == code


@pytest.mark.parametrize(
    "entry", [LOCAL, {**FAR, "tls": {}}, {**FAR, "plaintext": True}, {**FAR, "bootstrap": ["localhost:9093"]}]
)
def test_an_entry_is_accepted_with_tls_for_this_machine_or_by_intent(entry):
    assert KafkaCluster.model_validate(entry)


def test_a_broker_belongs_to_one_entry():
    with pytest.raises(ValidationError) as caught:
        HostConfig.model_validate({"kafka": {"one": LOCAL, "two": LOCAL}})
    assert caught.value.errors()[0]["loc"] == ("kafka", "two", "brokers", 0)


def test_a_setting_may_name_brokers_and_topics_of_one_entry_only():
    config = HostConfig.model_validate(
        {"kafka": {"prod": {**FAR, "brokers": ["k1:1", "k2:1"], "tls": {}, "topics": ["m2.*"]}}}
    )
    (allowed,) = list_allowed_buses(config)

    def allows(name, *places):
        return allowed.allows(BusChannel(BusKind.KAFKA, places, name))

    assert allows("m2.edge-01", "k1:1")
    assert allows("m2.edge-01", "k1:1", "k2:1")
    assert not allows("m2.edge-01", "k1:1", "evil:1")
    assert not allows("m2.edge-01")
    assert not allows("other", "k1:1")
    assert not allowed.allows(BusChannel(BusKind.FIRESTORE, ("k1:1",), "m2.x"))


def test_a_password_may_be_a_credential_of_the_unit():
    login = {"user": "u", "password": "$CREDENTIALS_DIRECTORY/kafka"}
    config = HostConfig.model_validate({"kafka": {"prod": {**LOCAL, "login": login}}})
    (entry,) = list_bus_entries(config, {"CREDENTIALS_DIRECTORY": "/run/credentials/x"})
    assert str(entry.kafka.password) == "/run/credentials/x/kafka"
    with pytest.raises(UsageError) as caught:
        list_bus_entries(config, {})
    assert "LoadCredential=kafka:PATH" in caught.value.remedy


@pytest.mark.parametrize(
    ("one", "other", "is_refused"),
    [
        ([], [], True),
        ([], ["m2/*"], True),
        (["m2/*", "a"], ["b", "m2/*"], True),
        (["m2/*"], ["changes"], False),
    ],
)
def test_two_databases_of_a_project_have_different_paths(one, other, is_refused):
    # A setting names the project alone: what is meant for nodes must not be read and written in both.
    there = {"project": "m2live-prod", "emulator": "127.0.0.1:1"}
    entries = {"nodes": {**there, "paths": one}, "sink": {**there, "database": "other", "paths": other}}
    if is_refused:
        with pytest.raises(ValidationError, match="has this project too"):
            HostConfig.model_validate({"firestore": entries})
    else:
        assert HostConfig.model_validate({"firestore": entries}).firestore.keys() == entries.keys()
