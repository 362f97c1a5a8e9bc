"""Instances of a server that speaks EC2's protocol and checks each signature by the key's own policy."""

import shutil
from ipaddress import ip_network

import pytest
from moto_process import MotoServer

from reconciler.cli.demo_fixtures import find_examples
from reconciler.cli.main import main
from reconciler.core.cloud_expressions import parse_expression
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.inventory import ec2 as module
from reconciler.inventory.cache import InventoryCache
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.inventory import InventoryList, InventoryQuery, UnreadInventory

pytestmark = pytest.mark.component("moto_server")

REGION = "eu-central-1"
LISTING = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}


class Moto(MotoServer):
    """The server, with one user who may list instances and nothing else."""

    def make_lister(self):
        key_id, key = self.make_user("reconcile", LISTING)
        self.keys = {"RECONCILE_AWS_ACCESS_KEY_ID": key_id, "RECONCILE_AWS_SECRET_ACCESS_KEY": key}

    def run(self, count, **tags):
        """Start instances; gives id -> address."""
        ec2 = self.client("ec2")
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        specification = [{"ResourceType": "instance", "Tags": listed}] if listed else []
        made = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=count, MaxCount=count, TagSpecifications=specification
        )
        return {one["InstanceId"]: one["PrivateIpAddress"] for one in made["Instances"]}


@pytest.fixture
def moto(tmp_path):
    server = Moto(tmp_path, REGION)
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
    moto.make_lister()
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
    moto.make_lister()
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
    moto.make_lister()
    edge = moto.run(2, type="edge")
    moto.check_signatures()
    (first, second) = sorted(edge)
    found = await resolve(make_resolver(moto, networks=[str(ip_network(edge[first]))]), "aws:vm:tag=type")
    assert found.addresses == {first: edge[first]}
    assert second in found.refused[0]


def test_the_example_asks_the_server_by_the_keys_of_the_host(moto, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    moto.make_lister()
    edge = moto.run(2, **{"m2-edge": "seoul"})
    moto.check_signatures()
    fleet, host, keys = tmp_path / "fleet", tmp_path / "host.yaml", tmp_path / "credentials"
    shutil.copytree(find_examples() / "inventory", fleet)
    number, secret = moto.keys.values()
    keys.write_text(f"[default]\naws_access_key_id={number}\naws_secret_access_key={secret}\n")
    keys.chmod(0o600)
    text = (fleet / "host.yaml").read_text()
    for old, new in {
        "eu-central-1": REGION,
        "/etc/reconciler/aws/credentials": str(keys),
        "networks: [10.20.0.0/16]": f"networks: [10.0.0.0/8]\n      endpoint: {moto.url}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    host.write_text(text)
    host.chmod(0o600)
    # Nothing answers at the addresses of these instances; which they are is known all the same.
    assert main(["--dry-run", "--no-state", "--host-config", str(host), str(fleet)]) == 1
    shown = capsys.readouterr().out
    assert "inventory: edge: 2 instances of aws:vm:tag=m2-edge of prod, read" in shown
    assert all(instance in shown for instance in edge)
    assert main(["render", "--node", min(edge), "--explain", "--host-config", str(host), str(fleet)]) == 0
    assert f"at {edge[min(edge)]}, by the list of" in capsys.readouterr().out
