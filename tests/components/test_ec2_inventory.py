"""Instances of a server that speaks EC2's protocol and checks each signature by the key's own policy."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from ipaddress import ip_network

import pytest

from reconciler.core.cloud_expressions import parse_expression
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.inventory import ec2 as module
from reconciler.inventory.cache import InventoryCache
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.inventory import InventoryList, InventoryQuery, UnreadInventory

pytestmark = pytest.mark.component("moto_server")

REGION = "eu-central-1"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Moto:
    """The server, with one user who may list instances and nothing else."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "1000000"}
        self.log = (folder / "moto.log").open("w")
        self.process = subprocess.Popen(
            ["moto_server", "-H", "127.0.0.1", "-p", str(self.port)],
            env=environment,
            stdout=self.log,
            stderr=self.log,
        )
        self._wait()

    def _wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError("moto_server did not start")

    def client(self, service):
        import boto3  # noqa: PLC0415  (only where it is installed)

        keys = {"aws_access_key_id": "maker", "aws_secret_access_key": "maker"}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)

    def make_user(self):
        iam = self.client("iam")
        iam.create_user(UserName="reconcile")
        made = iam.create_access_key(UserName="reconcile")["AccessKey"]
        iam.put_user_policy(UserName="reconcile", PolicyName="list", PolicyDocument=json.dumps(POLICY))
        self.keys = {
            "RECONCILE_AWS_ACCESS_KEY_ID": made["AccessKeyId"],
            "RECONCILE_AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"],
        }

    def run(self, count, **tags):
        """Start instances; gives id -> address."""
        ec2 = self.client("ec2")
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        specification = [{"ResourceType": "instance", "Tags": listed}] if listed else []
        made = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=count, MaxCount=count, TagSpecifications=specification
        )
        return {one["InstanceId"]: one["PrivateIpAddress"] for one in made["Instances"]}

    def check_signatures(self, count=0):
        """From now on every request must be signed by a key that may make it."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", str(count).encode(), method="POST"
        )
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request, timeout=5).close()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture
def moto(tmp_path):
    server = Moto(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def make_resolver(moto, folder=None, networks=("0.0.0.0/0",), **environment):
    rules = {"networks": list(networks), "endpoint": moto.url}
    config = HostConfig.model_validate({"aws": {"prod": {"region": REGION, "ec2": rules}}})
    cache = InventoryCache(folder, is_writable=True) if folder else None
    return InventoryResolver(Host(config, {**moto.keys, **environment}), cache)


async def resolve(resolver, text):
    query = InventoryQuery.of(parse_expression(text))
    return (await resolver.resolve([query])).find(query)


async def test_instances_with_a_tag_are_listed_over_several_pages(moto, monkeypatch):
    moto.make_user()
    edge, other = moto.run(7, type="edge", site="seoul"), moto.run(2, type="origin")
    moto.run(1)
    stopped = next(iter(edge))
    moto.client("ec2").stop_instances(InstanceIds=[stopped])
    moto.check_signatures()
    # EC2 gives at least five a page.
    monkeypatch.setattr(module, "_PAGE", 5)
    running = {number: address for number, address in edge.items() if number != stopped}
    found = await resolve(make_resolver(moto), "aws:vm:tag=site")
    assert isinstance(found, InventoryList), found
    assert found.addresses == running
    both = await resolve(make_resolver(moto), "aws:vm:tag=type=edge;type=origin;")
    assert both.addresses == running | other
    one = await resolve(make_resolver(moto), "aws:vm:tag=type=origin;")
    assert one.addresses == other
    none = await resolve(make_resolver(moto), "aws:vm:tag=type=nobody;")
    assert isinstance(none, UnreadInventory)
    assert "no running instance" in none.message


async def test_a_wrong_secret_is_refused_and_the_last_list_counts(moto, tmp_path):
    moto.make_user()
    edge = moto.run(2, type="edge")
    moto.check_signatures()
    good = await resolve(make_resolver(moto, tmp_path), "aws:vm:tag=type")
    assert good.addresses == edge
    wrong = {"RECONCILE_AWS_SECRET_ACCESS_KEY": "wrong/secret"}
    bare = await resolve(make_resolver(moto, **wrong), "aws:vm:tag=type")
    assert isinstance(bare, UnreadInventory)
    assert "answers 401" in bare.message
    kept = await resolve(make_resolver(moto, tmp_path, **wrong), "aws:vm:tag=type")
    assert kept.addresses == edge
    assert "answers 401" in kept.failure


async def test_addresses_outside_the_networks_of_the_host_do_not_count(moto):
    moto.make_user()
    edge = moto.run(2, type="edge")
    moto.check_signatures()
    (first, second) = sorted(edge)
    found = await resolve(make_resolver(moto, networks=[str(ip_network(edge[first]))]), "aws:vm:tag=type")
    assert found.addresses == {first: edge[first]}
    assert second in found.refused[0]
