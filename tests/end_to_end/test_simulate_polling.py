"""Simulated M2 nodes that poll a central server: over real HTTP, by their own schedules."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from support.central_server import serve_central
from support.waiting import wait_until

from reconciler.cli.commands.simulate import _install_packages
from reconciler.drivers.m2.choices import (
    Choices,
    FirstPoll,
    RememberedTime,
    RepeatedPurge,
    UploadBehaviour,
)
from reconciler.drivers.m2.package import pack_files
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.call_sender import CallSender
from reconciler.simulation.fault_control import FaultControl
from reconciler.simulation.node_host import Simulation


def setting(server, version, **more):
    """A setting whose node polls and reports to `server`."""
    api = {"port": 10040, "allowList": [{"addr": "127.0.0.0/8"}]}
    management = {"api": api, "server": server}
    return {"meta": {"version": version}, "env": {"management": management}, "hosting": [], **more}


@pytest.fixture
async def central():
    async with serve_central() as server:
        yield server


@asynccontextmanager
async def polling(central, names=("n1", "n2"), choices=None, make=None, addresses=(), **options):
    """Nodes with version A that poll `central`; gives the simulation."""
    make = make or (lambda name: setting(central.settings(name), "A"))
    nodes = [
        {"name": name, "address": str(address)}
        for name, address in zip(names, addresses or find_free_addresses(len(names)), strict=True)
    ]
    entry = M2Cluster.model_validate(
        {"name": "edge", "kind": "m2", "setting": "setting.json", "nodes": nodes}
    )
    documents = {name: SimpleNamespace(value=make(name)) for name in names}
    fleet = SimpleNamespace(cluster_inputs=[SimpleNamespace(entry=entry, documents=documents, resources={})])
    chosen = {"m2": choices} if choices else None
    take = options.pop("take_sender", lambda sender: None)
    async with (
        Simulation(fleet, DRIVERS, converged=True, choices=chosen) as simulation,
        CallSender(simulation, **options) as sender,
    ):
        take(sender)
        yield simulation


def version(simulation, node):
    return simulation.world("edge").state(node).running["meta"]["version"]


async def test_a_node_polls_with_both_headers_loads_and_reports_with_the_userdata(central):
    async with polling(central) as simulation:
        offered = setting(central.settings("n1"), "B")
        central.offer("n1", offered, {"offer": "o1", "run": "r1"})
        await wait_until(lambda: version(simulation, "n1") == "B")
        await wait_until(lambda: [p for p in central.polls_of("n1", "setting") if p.label == "B"])
        await wait_until(lambda: central.report_of("n1", "/setting/upload"))
        assert version(simulation, "n2") == "A"
        assert not simulation.world("edge").complaints
    first, *_, last = central.polls_of("n1", "setting")
    assert (first.asked, first.label) == (None, "A")
    assert (last.asked, last.label, last.status) == ("Thu, 01 Jan 2026 00:00:01 GMT", "B", 304)
    report = [one for one in central.report_of("n1", "/setting/upload") if one["userdata"]][-1]
    assert report["userdata"] == {"offer": "o1", "run": "r1"}
    assert report["action"]["event"] == "/env/management/server/apiPolling/setting"
    (parameter,) = report["parameters"]
    assert parameter["url"] == f"{central.url}/n1/package"
    assert parameter["result"] == {
        "version": ["22.02.0", "B"],
        "method": "deploy",
        "status": "ok",
        "lastModified": "Thu, 01 Jan 2026 00:00:01 GMT",
    }
    assert report["setting"] == offered
    assert report["node"]["hostname"] == "n1"
    assert report["node"]["settingVer"] == "B"


async def test_a_node_without_an_offer_reports_its_setting_at_its_first_connection(central):
    async with polling(central, names=("n1",)):
        await wait_until(lambda: len(central.polls_of("n1", "setting")) >= 3)
    (report,) = central.report_of("n1", "/setting/upload")
    assert report["userdata"] is None
    assert report["setting"]["meta"]["version"] == "A"


async def test_tgz_polling_is_answered_by_the_package_and_tied_by_its_time(central):
    def make(name):
        return setting(central.settings(name, feed="tgzPolling"), "A")

    async with polling(central, names=("n1",), make=make) as simulation:
        central.offer_tgz("n1", setting(central.settings("n1", feed="tgzPolling"), "B"))
        await wait_until(lambda: version(simulation, "n1") == "B")
        await wait_until(
            lambda: any(one["parameters"][0].get("url") for one in central.report_of("n1", "/setting/upload"))
        )
    report = central.report_of("n1", "/setting/upload")[-1]
    assert report["parameters"][0]["result"]["lastModified"] == "Thu, 01 Jan 2026 00:00:01 GMT"
    assert report["userdata"] is None
    assert report["action"]["event"] == "/env/management/server/tgzPolling/setting"
    assert central.downloads == []


async def test_a_node_whose_download_fails_is_stranded_until_a_later_offer(central):
    async with polling(central, names=("n1",)) as simulation:
        central.broken.add("n1/package")
        central.broken.add("package")
        central.offer("n1", setting(central.settings("n1"), "B"), "o1")
        await wait_until(
            lambda: [one for one in central.report_of("n1", "/setting/upload") if one["userdata"] == "o1"]
        )
        central.broken.clear()
        polls = len(central.polls_of("n1", "setting"))
        await wait_until(lambda: len(central.polls_of("n1", "setting")) > polls + 1)
        assert version(simulation, "n1") == "A"
        central.offer("n1", setting(central.settings("n1"), "C"), "o2")
        await wait_until(lambda: version(simulation, "n1") == "C")
    failed = next(one for one in central.report_of("n1", "/setting/upload") if one["userdata"] == "o1")
    assert failed["parameters"][0]["result"]["status"] == "the download failed with status 503"
    assert failed["parameters"][0]["result"]["version"] == ["22.02.0", "A"]


async def test_a_setting_that_the_node_refuses_is_reported_with_the_reason(central):
    choices = Choices(takes=UploadBehaviour.REFUSES)
    async with polling(central, names=("n1",), choices=choices) as simulation:
        central.offer("n1", setting(central.settings("n1"), "B"), "o1")
        await wait_until(
            lambda: [one for one in central.report_of("n1", "/setting/upload") if one["userdata"] == "o1"]
        )
        assert version(simulation, "n1") == "A"
    result = central.report_of("n1", "/setting/upload")[-1]["parameters"][0]["result"]
    assert result["status"] == "E0004 the content is not accepted"


@pytest.mark.parametrize(("kind", "loaded", "reported"), [("refuse", 0, 1), ("lost", 1, 0), ("cut", 0, 0)])
async def test_faults_of_changes_apply_to_what_a_node_loads_itself(central, kind, loaded, reported):
    async with polling(central, names=("n1",)) as simulation:
        await simulation.fault("n1", kind, count=1, on="changes")
        central.offer("n1", setting(central.settings("n1"), "B"), "o1")
        await wait_until(lambda: [poll for poll in central.polls_of("n1", "setting") if poll.status == 200])
        polls = len(central.polls_of("n1", "setting"))
        await wait_until(lambda: len(central.polls_of("n1", "setting")) > polls)
        assert version(simulation, "n1") == ("B" if loaded else "A")
    reports = [one for one in central.report_of("n1", "/setting/upload") if one["userdata"] == "o1"]
    assert len(reports) == reported


async def test_a_node_whose_calls_fail_polls_on_when_they_work_again(central):
    async with polling(central, names=("n1",)) as simulation:
        await wait_until(lambda: central.polls_of("n1", "setting"))
        await simulation.fault("n1", "silent", on="calls")
        central.offer("n1", setting(central.settings("n1"), "B"))
        polls = len(central.polls["n1"])
        with pytest.raises(AssertionError, match="not within"):
            await wait_until(lambda: len(central.polls["n1"]) > polls + 1, seconds=2.5)
        simulation.clear()
        await wait_until(lambda: version(simulation, "n1") == "B")


async def test_a_purge_is_executed_and_reported_with_counts(central):
    def make(name):
        hosting = [{"name": "www.site1.com"}, {"name": "www.site2.com"}]
        return setting(central.settings(name), "A", hosting=hosting)

    choices = Choices(cached_files=12)
    async with polling(central, names=("n1",), choices=choices, make=make) as simulation:
        central.purge(
            "n1", "http://www.site1.com/1*.jpg", "www.site2.com/2.jpg", "x.org/*", userdata={"offer": "p"}
        )
        await wait_until(lambda: central.report_of("n1", "/command/purge"))
        assert [call.asked for call in simulation.calls("n1", changes=True)] == ["/command/purge"] * 3
    (report,) = central.report_of("n1", "/command/purge")
    assert report["userdata"] == {"offer": "p"}
    results = [one["result"]["result"] for one in report["parameters"]]
    assert [(one["count"], one["size"]) for one in results] == [(4, 4096), (1, 1024), (0, 0)]
    assert {one["result"]["status"] for one in report["parameters"]} == {"OK"}


@pytest.mark.parametrize(
    ("behaviour", "counts"), [(RepeatedPurge.AGAIN, [3, 0]), (RepeatedPurge.ONCE, [3, 3])]
)
async def test_a_purge_that_comes_again_is_reported_again(central, behaviour, counts):
    def make(name):
        return setting(central.settings(name), "A", hosting=[{"name": "a.com"}])

    choices = Choices(cached_files=3, repeated_purge=behaviour)
    async with polling(central, names=("n1",), choices=choices, make=make):
        for number in (1, 2):
            central.purge("n1", "a.com/*", userdata={"offer": "p"})
            await wait_until(lambda number=number: len(central.report_of("n1", "/command/purge")) == number)
    reports = central.report_of("n1", "/command/purge")
    assert [one["parameters"][0]["result"]["result"]["count"] for one in reports] == counts


async def test_heartbeats_come_by_their_schedule(central):
    async with polling(central, names=("n1",)):
        await wait_until(lambda: len(central.report_of("n1", "heartbeat")) >= 2)
    report = central.report_of("n1", "heartbeat")[0]
    assert set(report) == {"messageVer", "node"}


async def test_a_restart_is_reported_and_forgets_the_remembered_time(central):
    async with polling(central, names=("n1",)) as simulation:
        central.offer("n1", setting(central.settings("n1"), "B"), "o1")
        await wait_until(lambda: [p for p in central.polls_of("n1", "setting") if p.status == 304])
        await simulation.fault("n1", "restarted")
        await wait_until(
            lambda: [
                one
                for one in central.report_of("n1", "/setting/upload")
                if one["action"]["event"] == "/_sys_/bootup"
            ]
        )
        polls = len(central.polls_of("n1", "setting"))
        await wait_until(lambda: len(central.polls_of("n1", "setting")) > polls)
    poll = central.polls_of("n1", "setting")[polls]
    assert (poll.asked, poll.label, poll.status) == (None, "B", 200)


@pytest.mark.parametrize("remembered", RememberedTime)
async def test_the_remembered_time_belongs_to_a_url_or_to_the_feature(central, remembered):
    choices = Choices(remembered=remembered, first_poll=FirstPoll.EMPTY)
    async with polling(central, names=("n1",), choices=choices) as simulation:
        central.offer("n1", setting(central.settings("moved"), "B"))
        await wait_until(lambda: version(simulation, "n1") == "B")
        await wait_until(lambda: central.polls_of("moved", "setting"))
    assert central.polls_of("n1", "setting")[0].asked == ""
    expected = "" if remembered is RememberedTime.URL else "Thu, 01 Jan 2026 00:00:01 GMT"
    assert central.polls_of("moved", "setting")[0].asked == expected


def propagating(central, targets):
    """Makes settings whose nodes propagate purges to `targets`."""
    events = {"onPurgeRequest": {"propagation": {"enable": True, "nodelist": targets}}}

    def make(name):
        return setting({**central.settings(name), "events": events}, "A", hosting=[{"name": "a.com"}])

    return make


@pytest.mark.parametrize("count", [3, 10])
async def test_a_called_purge_is_propagated_once_to_at_most_eight_others(central, count):
    addresses = find_free_addresses(count)
    names = [f"n{number}" for number in range(1, count + 1)]
    make = propagating(central, [str(address) for address in addresses])

    def with_port(name):
        document = make(name)
        document["env"]["management"]["api"]["port"] = addresses[names.index(name)].port
        return document

    choices = Choices(cached_files=2)
    async with polling(
        central, names=names, choices=choices, make=with_port, addresses=addresses
    ) as simulation:
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"http://{addresses[0]}/command/purge?url=a.com/*")
            assert (await answer.json())["result"] == {"Count": 2, "Size": 2048, "Time": 0}
        reached = names[: min(count, 8)]
        await wait_until(lambda: all(central.report_of(name, "/command/purge") for name in reached))
        polls = len(central.polls_of("n1", "purge"))
        await wait_until(lambda: len(central.polls_of("n1", "purge")) > polls)
        calls = {name: len(simulation.calls(name, changes=True)) for name in names}
    assert calls == {name: int(name in reached) for name in names}
    (report,) = central.report_of("n2", "/command/purge")
    assert report["action"]["event"] == "/_api_/command/purge"
    assert report["parameters"][0]["result"]["result"]["count"] == 2


@pytest.mark.parametrize("propagates", [True, False])
async def test_a_purge_from_a_feed_is_propagated_if_chosen(central, propagates):
    addresses = find_free_addresses(2)
    make = propagating(central, [str(address) for address in addresses])
    choices = Choices(propagates_feed=propagates)
    async with polling(
        central, names=("n1", "n2"), choices=choices, make=make, addresses=addresses
    ) as simulation:
        central.purge("n1", "a.com/1.jpg")
        await wait_until(lambda: central.report_of("n1", "/command/purge"))
        if propagates:
            await wait_until(lambda: simulation.calls("n2", changes=True))
        assert len(simulation.calls("n2", changes=True)) == int(propagates)


async def test_a_changed_list_of_nodes_changes_running_origins_only_and_is_reported(central):
    def make(name):
        info = {"connect": "c", "tag": "type=parent;type=child;", "schedule": "* * * * * *"}
        feedback = {
            "type": "setting;api;",
            "info": {"hosting": [{"name": "a.com"}], "url": f"{central.url}/{name}/report"},
        }
        nodelist = {"enable": True, "feed": {"type": "awssdk3", "info": info}, "feedback": feedback}
        hosting = [{"name": name, "origin": {"address": ["10.0.0.1"]}} for name in ("a.com", "b.com")]
        return setting(central.settings(name, nodelist=nodelist), "A", hosting=hosting)

    async with polling(central, names=("n1",), make=make) as simulation:
        world = simulation.world("edge")
        await wait_until(lambda: len(central.report_of("n1", "heartbeat")) >= 2)
        assert central.report_of("n1", "nodelist") == []  # an empty cloud takes no origin away
        world.instances["type=parent"] = ("5.5.5.5",)
        world.instances["type=child"] = ("6.6.6.6",)
        await wait_until(lambda: central.report_of("n1", "nodelist"))
        beats = len(central.report_of("n1", "heartbeat"))
        await wait_until(lambda: len(central.report_of("n1", "heartbeat")) > beats + 1)
        state = world.state("n1")
    (report,) = central.report_of("n1", "nodelist")
    assert report["nodelist"] == ["5.5.5.5", "6.6.6.6"]
    assert report["hosting"] == [
        {"name": "a.com", "updated": {"field": "origin.address", "values": ["10.0.0.1"]}}
    ]
    running = [host["origin"]["address"] for host in state.running["hosting"]]
    assert running == [["5.5.5.5", "6.6.6.6"], ["10.0.0.1"]]
    loaded = [host["origin"]["address"] for host in state.loaded.document["hosting"]]
    assert loaded == [["10.0.0.1"], ["10.0.0.1"]]


async def test_a_feed_that_is_not_as_in_the_manual_is_complained_of_and_not_followed(central):
    async with polling(central, names=("n1",)) as simulation:
        central.offer("n1", setting(central.settings("n1"), "B"))
        offer = central.offers["n1", "setting"]
        offer.body = offer.body.replace(b'"messageVer":"1"', b'"messageVer":1')
        world = simulation.world("edge")
        await wait_until(lambda: world.complaints)
        assert world.complaints[0] == ("n1", "the feed has no messageVer 1")
        assert version(simulation, "n1") == "A"


async def test_a_heartbeat_that_waited_for_a_load_is_not_sent_by_the_new_setting(central):
    async with polling(central, names=("n1",)) as simulation:
        await wait_until(lambda: central.polls_of("n1", "setting"))
        await simulation.fault("n1", "works", 2.5, count=1, on="changes")
        server = central.settings("n1")
        server["features"]["heartbeat"]["feedback"]["info"]["schedule"] = "0 0 0 1 1 *"
        central.offer("n1", setting(server, "B"))
        await wait_until(lambda: version(simulation, "n1") == "B")
        polls = len(central.polls_of("n1", "setting"))
        await wait_until(lambda: len(central.polls_of("n1", "setting")) > polls + 1)
    assert {one["node"]["settingVer"] for one in central.report_of("n1", "heartbeat")} == {"A"}


async def test_the_control_endpoint_counts_calls_and_acknowledged_reports_are_recorded(central, tmp_path):
    record = tmp_path / "reports"
    (port,) = find_free_addresses(1)
    senders = []
    async with (
        polling(central, ("n1",), record=record, take_sender=senders.append) as simulation,
        FaultControl(simulation, port, *senders),
        aiohttp.ClientSession() as session,
    ):

        async def read_calls():
            async with session.get(f"http://{port}/calls") as answer:
                assert answer.status == 200
                found = await answer.json()
            return found if record.exists() and "setting feed" in found["calls"] else None

        found = await wait_until(read_calls)
    assert found["complaints"] == []
    # This central server has no offer.
    assert set(found["calls"]["setting feed"]["statuses"]) == {"503"}
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert lines
    assert {line["node"] for line in lines} == {"n1"}


async def test_packages_of_a_folder_are_installed_at_the_start_and_others_are_left(central, tmp_path):
    package = json.dumps({"meta": {"version": "by hand"}}).encode()
    (tmp_path / "n2.tgz").write_bytes(pack_files(package, {}))
    (tmp_path / "other.tgz").write_bytes(b"of no node")
    async with polling(central) as simulation:
        await _install_packages(simulation, tmp_path)
        world = simulation.world("edge")
        versions = {name: world.state(name).running["meta"]["version"] for name in world.names}
    assert versions == {"n1": "A", "n2": "by hand"}
