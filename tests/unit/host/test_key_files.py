"""Files with keys and passwords that the host configuration names: each is read by the same rules."""

from __future__ import annotations

import os

import pytest

from reconciler.clouds.aws_credentials import read_aws_credentials
from reconciler.clouds.oci_credentials import read_oci_key
from reconciler.core.bus_channels import BusId, BusKind
from reconciler.errors import ReconcilerError
from reconciler.host.aws_accounts import AwsAccount
from reconciler.host.config import SshWay
from reconciler.host.files import FileExposed, FileRefused, read_private
from reconciler.host.firestore_client import open_firestore
from reconciler.host.firestore_config import FirestoreProject
from reconciler.host.kafka_client import find_kafka_access, make_kafka_settings
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.host.oci_accounts import OciAccount
from reconciler.store.postgres.address import PostgresAddress
from reconciler.transports.machines.machine import MachineError
from reconciler.transports.machines.ssh_credentials import CredentialFiles

OCID = "ocid1.{}.oc1..aaaaexample"
LOCAL = {"brokers": ["127.0.0.1:9092"]}


def read_kafka(file, **entry):
    access = find_kafka_access(KafkaCluster.model_validate({**LOCAL, **entry}), {})
    return make_kafka_settings(BusId(BusKind.KAFKA, "prod"), access, print)


def read_ssh(file):
    entry = {"user": "u", "keys": [str(file)], "known_hosts": "/etc/known_hosts"}
    return CredentialFiles({}).read(SshWay.model_validate(entry))


def read_oci(file):
    fingerprint = ":".join(["20"] * 16)
    ids = {"tenancy": OCID.format("tenancy"), "user": OCID.format("user")}
    entry = {"region": "eu-frankfurt-1", **ids, "fingerprint": fingerprint, "key": str(file)}
    return read_oci_key("main", OciAccount.model_validate(entry), {})


def read_aws(file):
    account = AwsAccount.model_validate({"region": "eu-central-1", "credentials": str(file)})
    return read_aws_credentials("main", account, {})


def read_firestore(file):
    return open_firestore("main", FirestoreProject(project="m2live-prod", credentials=file), {})


READERS = {
    "ssh": read_ssh,
    "aws": read_aws,
    "oci": read_oci,
    "kafka password": lambda file: read_kafka(file, login={"user": "u", "password": str(file)}),
    "kafka key": lambda file: read_kafka(file, tls={"certificate": "/etc/c.pem", "key": str(file)}),
    "firestore": read_firestore,
    "postgresql": lambda file: PostgresAddress("postgresql://db/x", file).parameters(3),
}


@pytest.fixture
def key(tmp_path):
    file = tmp_path / "key"
    file.write_text("s3cret")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o644, r"can be read by every user of this machine \(mode 0644\)"), (0o620, "others may write")],
)
@pytest.mark.parametrize("reader", READERS)
def test_no_product_uses_a_key_that_others_may_read_or_write(key, monkeypatch, reader, mode, words):
    monkeypatch.setattr("reconciler.host.firestore_client.import_extra", lambda *_: os)  # not installed here
    key.chmod(mode)
    with pytest.raises((ReconcilerError, MachineError), match=words) as caught:
        READERS[reader](key)
    assert str(key) in str(caught.value)
    assert caught.value.remedy
    assert "s3cret" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o444])
def test_a_private_file_may_not_be_read_by_everybody(key, mode):
    key.chmod(mode)
    with pytest.raises(FileExposed, match=f"mode {mode:04o}"):
        read_private(key, limit=10)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_private_file_may_be_read_by_its_group(key, mode):
    key.chmod(mode)
    assert read_private(key, limit=10) == b"s3cret"
    with pytest.raises(FileRefused, match="more than 5 bytes"):
        read_private(key, limit=5)


def test_the_mode_is_that_of_the_file_behind_a_link(key):
    link = key.with_name("link")
    link.symlink_to(key)
    assert read_private(link, limit=10) == b"s3cret"
    key.chmod(0o644)
    with pytest.raises(FileExposed):
        read_private(link, limit=10)
