import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.cloud_servers import COMPARTMENT, FINGERPRINT, REGION, TENANCY, USER, Ec2Server, OciServer, Vm

from reconciler.core.cloud_expressions import parse_expression
from reconciler.errors import InventoryError
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.host.instance_rules import InstanceRules
from reconciler.inventory import resolver as module
from reconciler.inventory.accounts import InventoryAccount, find_account
from reconciler.inventory.cache import FOLDER, InventoryCache
from reconciler.inventory.resolver import InventoryResolver
from reconciler.ports.inventory import Instance, InventoryList, InventoryQuery, UnreadInventory

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
QUERY = InventoryQuery.of(parse_expression("aws:vm:tag=edge"))
GOOD = (Instance("i-1", "10.20.0.1"), Instance("i-2", "10.20.0.2"))


class Cloud:
    """An account that gives the next of its answers: instances, an exception, or seconds of silence."""

    def __init__(self, *answers, networks=("10.20.0.0/16",)):
        self.answers, self.asked, self.now = list(answers), 0, NOW
        self.rules = InstanceRules(networks=networks)

    async def list_instances(self, expression):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        return answer

    @asynccontextmanager
    async def connect(self):
        yield self

    def make(self, folder=None, **more):
        account = InventoryAccount(
            "prod", "aws.prod.ec2", "EC2 of `prod`", "aws prod", self.rules, self.connect
        )
        cache = InventoryCache(folder, is_writable=True, **more) if folder else None
        return InventoryResolver(Host(), cache, lambda: self.now, lambda *_: account)


async def resolve(resolver, query=QUERY):
    return (await resolver.resolve([query])).find(query)


async def test_a_complete_list_counts_and_is_kept(tmp_path):
    cloud = Cloud(GOOD, InventoryError("it does not answer"))
    first = await resolve(cloud.make(tmp_path))
    assert first == InventoryList(GOOD, NOW, account="prod")
    cloud.now += timedelta(minutes=14)
    second = await resolve(cloud.make(tmp_path))
    assert second == InventoryList(GOOD, NOW, failure="it does not answer", account="prod")


@pytest.mark.parametrize("answer", [InventoryError("it does not answer"), ()])
async def test_neither_an_error_nor_nothing_means_no_nodes(tmp_path, answer):
    cloud = Cloud(answer)
    found = await resolve(cloud.make(tmp_path))
    assert isinstance(found, UnreadInventory)
    assert "no earlier list" in found.message
    assert not (tmp_path / FOLDER).exists()


async def test_an_old_list_does_not_count(tmp_path):
    cloud = Cloud(GOOD, ())
    await resolve(cloud.make(tmp_path))
    cloud.now += timedelta(minutes=16)
    found = await resolve(cloud.make(tmp_path))
    assert isinstance(found, UnreadInventory)
    assert "16 min old" in found.message
    assert "max_age" in found.message


async def test_a_dry_run_reads_the_last_list_and_writes_none(tmp_path):
    cloud = Cloud(GOOD)
    resolver = cloud.make(tmp_path)
    dry = InventoryResolver(Host(), InventoryCache(tmp_path), resolver.clock, resolver.find)
    await resolve(dry)
    assert not any(tmp_path.iterdir())
    await resolve(resolver)
    cloud.answers = [InventoryError("away")]
    assert (await resolve(dry)).failure == "away"


async def test_silence_ends(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 0.05)
    found = await resolve(Cloud(30.0).make())
    assert "within 0.05 s" in found.message


async def test_only_addresses_in_the_allowed_networks_count(tmp_path):
    outside = Instance("i-3", "10.21.0.1")
    cloud = Cloud((*GOOD, outside))
    found = await resolve(cloud.make(tmp_path))
    assert found.instances == GOOD
    assert found.refused == ("the instance i-3 at 10.21.0.1 is outside `aws.prod.ec2.networks`",)
    # Also of what was kept while more was allowed.
    cloud.answers, cloud.rules = [InventoryError("away")], InstanceRules(networks=["10.20.0.2/32"])
    assert (await resolve(cloud.make(tmp_path))).instances == GOOD[1:]
    cloud.rules = InstanceRules(networks=["192.0.2.0/24"])
    assert isinstance(await resolve(cloud.make(tmp_path)), UnreadInventory)


async def test_only_instances_outside_are_no_nodes_either():
    found = await resolve(Cloud((Instance("i-3", "10.21.0.1"),)).make())
    assert "only instances outside" in found.message


def change(folder, **values):
    (file,) = (folder / FOLDER).iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    "values",
    [
        {"version": 2},
        {"instances": []},
        {"instances": [{"id": "i-1", "address": "10.20.0.1", "more": 1}]},
        {"instances": [{"id": "../x", "address": "10.20.0.1"}]},
        {"instances": [{"id": "i-1", "address": "example.com"}]},
        {"query": "another one"},
        {"read_at": "2026-11-30T12:30:00.000Z"},
        {"read_at": "2026-11-30"},
        {"read_at": "never"},
    ],
)
async def test_a_list_at_rest_is_not_trusted(tmp_path, values):
    cloud = Cloud(GOOD, InventoryError("away"))
    await resolve(cloud.make(tmp_path))
    change(tmp_path, **values)
    assert isinstance(await resolve(cloud.make(tmp_path)), UnreadInventory)


@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"[" * 100_000, b"{}", None])
async def test_a_damaged_list_does_not_count(tmp_path, data):
    cloud = Cloud(GOOD, InventoryError("away"))
    await resolve(cloud.make(tmp_path))
    (file,) = (tmp_path / FOLDER).iterdir()
    file.unlink()
    if data is None:
        file.mkdir()
    else:
        file.write_bytes(data)
    assert isinstance(await resolve(cloud.make(tmp_path)), UnreadInventory)


async def test_a_folder_that_cannot_be_written_stops_no_pass(tmp_path):
    (tmp_path / FOLDER).write_text("in the way")
    assert (await resolve(Cloud(GOOD).make(tmp_path))).instances == GOOD


async def test_each_query_is_asked_once():
    cloud = Cloud(GOOD)
    other = InventoryQuery.of(parse_expression("aws:vm:tag=other"))
    same = InventoryQuery.of(parse_expression("#aws:vm:tag=edge#:9900"))
    await cloud.make().resolve([QUERY, other, same, QUERY])
    assert cloud.asked == 2


async def test_too_many_queries_are_not_asked(monkeypatch):
    monkeypatch.setattr(module, "MOST_QUERIES", 1)
    cloud = Cloud(GOOD)
    other = InventoryQuery.of(parse_expression("aws:vm:tag=other"))
    found = await cloud.make().resolve([QUERY, other])
    assert cloud.asked == 1
    assert "more than 1" in found.find(other).message


EC2 = {"region": REGION, "ec2": {"networks": ["10.20.0.0/16"]}}


def find(config, text="aws:vm:tag=edge", account="", file="/etc/reconciler/host.yaml"):
    host = Host(HostConfig.model_validate(config), {}, file and object())
    return find_account(host, InventoryQuery.of(parse_expression(text), account))


@pytest.mark.parametrize(
    ("config", "more", "reason"),
    [
        ({}, {}, "no account with `ec2` in `aws`"),
        ({}, {"account": "prod"}, "no account `prod` in `aws`"),
        ({"aws": {"prod": EC2}}, {"account": "test"}, "no account `test` in `aws`"),
        ({"aws": {"prod": {"region": REGION}}}, {"account": "prod"}, "may not be asked"),
        ({"aws": {"prod": {"region": REGION}}}, {}, "no account with `ec2`"),
        ({"aws": {"a": EC2, "b": EC2}}, {}, "several accounts"),
        ({"aws": {"prod": EC2}}, {"text": "oci:vm:tag=edge"}, "no account with `compute` in `oci`"),
        ({"aws": {"prod": EC2}}, {"text": "aws:vip:tag=edge"}, "load balancers"),
    ],
)
def test_an_account_that_cannot_be_asked_says_why(config, more, reason):
    found = find(config, **more)
    assert isinstance(found, UnreadInventory)
    assert reason in found.message
    assert found.remedy
    assert not found.is_elsewhere


def test_a_machine_without_a_host_configuration_knows_that_another_one_decides():
    assert find({}, file=None).is_elsewhere
    assert not find({"aws": {"prod": EC2}}, account="test", file=None).is_elsewhere


async def test_the_real_accounts_are_asked_with_their_keys(tmp_path, monkeypatch):
    key = tmp_path / "key.pem"
    ocid = "ocid1.instance.oc1.eu.one"
    async with (
        Ec2Server([Vm("i-00000001", "10.20.0.1")]).running() as ec2,
        OciServer([Vm(ocid, "10.30.0.1")]).running() as oci,
    ):
        key.write_bytes(oci.pem)
        key.chmod(0o600)
        config = {
            "aws": {"prod": {**EC2, "ec2": {**EC2["ec2"], "endpoint": ec2.url}}},
            "oci": {
                "prod": {
                    "region": REGION,
                    "tenancy": TENANCY,
                    "user": USER,
                    "fingerprint": FINGERPRINT,
                    "key": str(key),
                    "compute": {
                        "networks": ["10.30.0.0/16"],
                        "endpoint": oci.url,
                        "compartments": [COMPARTMENT],
                    },
                }
            },
        }
        environment = {
            "RECONCILE_AWS_ACCESS_KEY_ID": ec2.keys.id,
            "RECONCILE_AWS_SECRET_ACCESS_KEY": ec2.keys.secret,
        }
        host = Host(HostConfig.model_validate(config), environment)
        queries = [QUERY, InventoryQuery.of(parse_expression("oci:vm:tag=edge"), "prod")]
        found = await InventoryResolver(host).resolve(queries)
        assert [found.find(query).addresses for query in queries] == [
            {"i-00000001": "10.20.0.1"},
            {ocid: "10.30.0.1"},
        ]
        # Without keys nothing is sent, and what is missing is named.
        asked = len(ec2.requests)
        bare = await InventoryResolver(Host(host.config, {})).resolve(queries[:1])
        assert "RECONCILE_AWS_ACCESS_KEY_ID" in bare.find(QUERY).message
        assert len(ec2.requests) == asked
        key.chmod(0o644)
        open_key = await InventoryResolver(host).resolve(queries[1:])
        assert "every user" in open_key.find(queries[1]).message
