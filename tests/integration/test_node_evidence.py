"""Nothing is sent to an address that does not show that the node is there, over real HTTP."""

import asyncio
import json
import ssl

import pytest
from support.simulated_nodes import m2_cluster, sora_cluster, stranger

from reconciler.adopt.importer import import_live_state
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.observation import Absent, Unidentified
from reconciler.diagnostic import Severity
from reconciler.drivers.m2.choices import Choices, VacantAnswer
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import StateError, UsageError
from reconciler.host.host import Host as HostSettings
from reconciler.ports.store import RunStart
from reconciler.secrets.local_resolver import LocalResolver
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

ENVELOPE = {"version": "1.1.0", "method": "setting", "status": "Fail", "result": "no"}
PAGE = "<!doctype html><title>nginx</title>"

STRANGERS = {
    "a plain 404": {},
    "a 404 page": {"body": PAGE, "content_type": "text/html"},
    "a JSON 404": {"body": '{"error": "not found"}', "content_type": "application/json"},
    "an error with 200": {"status": 200, "body": json.dumps(ENVELOPE), "content_type": "application/json"},
    "an empty object": {"status": 200, "body": "{}", "content_type": "application/json"},
    "a health check": {"status": 200, "body": '{"status": "ok"}', "content_type": "application/json"},
    "a list": {"status": 200, "body": "[]", "content_type": "application/json"},
    "text": {"status": 200, "body": '"ok"', "content_type": "application/json"},
    "a login page": {"status": 200, "body": PAGE, "content_type": "text/html"},
    "an error": {"status": 500, "body": "oops"},
    "a gateway": {"status": 502, "body": PAGE, "content_type": "text/html"},
    "a redirection": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    "teapot": {"status": 418},
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_another_server_in_the_place_of_an_m2_node_is_sent_nothing(host, kind):
    async with stranger(**STRANGERS[kind]) as other:
        fleet = host.fleet("/srv/f", m2_cluster("edge", {"edge-01": other.address}))
        assert await host.run(fleet) == {}
        (finding,) = (await host.look(fleet)).plan.findings()
        assert finding.code == "node-unidentified"
        assert f"{other.url}/setting/setting.json answered" in finding.message
        assert str(other.address) in finding.message
        assert "address" in finding.remedy or "proxy" in finding.remedy
        assert "start the node" not in finding.remedy
    assert not other.sent
    assert {method for method, _ in other.asked} == {"GET"}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_another_server_in_the_place_of_a_sora_node_is_sent_no_change(host, kind):
    async with stranger(**STRANGERS[kind]) as other:
        fleet = host.fleet("/srv/f", sora_cluster("it", {"n1@10.0.0.1": other.url}, initialise=True))
        assert await host.run(fleet) == {}
        answer = (await host.look(fleet)).guard_contexts[0].observed.nodes["n1@10.0.0.1"]
    if kind != "a redirection":  # 307 alone is documented; others are strangers
        assert isinstance(answer, Unidentified)
        assert f"{other.url}/ answered" in answer.reason
    assert not other.sent


@pytest.mark.parametrize("kind", STRANGERS)
async def test_what_another_server_shows_is_not_imported(kind):
    async with stranger(**STRANGERS[kind]) as other, open_transports() as transports:
        entry = await DRIVERS["m2"].read_cluster_entry("edge", [other.address], transports)
        with pytest.raises((UsageError, StateError), match="cannot import"):
            await import_live_state(
                None, [entry], drivers=DRIVERS, transports=transports, resolver=LocalResolver(HostSettings())
            )
    assert not other.sent


@pytest.mark.parametrize("vacant", VacantAnswer)
async def test_a_new_node_without_a_setting_is_known_by_its_metrics_and_gets_one(host, vacant):
    fleet = host.fleet("/srv/f", m2_cluster("edge", {"edge-01": str(find_free_addresses(1)[0])}))
    choices = {"m2": Choices(factory=False, vacant=vacant)}
    async with Simulation(fleet, DRIVERS, choices=choices) as simulation:
        assert isinstance((await host.look(fleet)).guard_contexts[0].observed.nodes["edge-01"], Absent)
        assert await host.run(fleet) == {"edge-01": "done"}
        assert simulation.world("edge").state("edge-01").running["meta"]["version"] == "1"


def trusted(name, address):
    cluster = m2_cluster(name, {"edge-01": address})
    cluster["nodes"][0]["first_delivery"] = True
    return cluster


async def test_a_word_for_a_first_delivery_counts_once_at_one_address(host):
    async with stranger() as other, stranger() as elsewhere:
        given = host.fleet("/srv/f", trusted("edge", other.address))
        step = next((await host.look(given)).plan.steps())
        assert "first_delivery" in step.risk_reason
        assert await host.run(given) == {"edge-01": "failed"}
        assert len(other.sent) == 1
        assert await host.run(given) == {}, "it was used, though nothing came of it"
        codes = [finding.code for finding in (await host.look(given)).plan.findings()]
        assert codes == ["node-unidentified", "first-delivery-used"]
        assert len(other.sent) == 1
        assert await host.run(host.fleet("/srv/f", trusted("edge", elsewhere.address))) == {
            "edge-01": "failed"
        }
        assert len(elsewhere.sent) == 1
        withdrawn = host.fleet("/srv/f", m2_cluster("edge", {"edge-01": other.address}))
        assert await host.run(withdrawn) == {}
        assert len(other.sent) == 1
        assert await host.run(host.fleet("/srv/f", trusted("edge", other.address))) == {"edge-01": "failed"}
        assert len(other.sent) == 2


async def test_a_new_node_that_shows_nothing_gets_its_setting_on_the_word_and_the_used_word_is_a_note(host):
    async with stranger() as node:
        node.keep = "/setting/setting.json"
        fleet = host.fleet("/srv/f", trusted("edge", node.address))
        assert await host.run(fleet) == {"edge-01": "done"}
        again = await host.look(fleet)
        assert again.plan.is_empty
        assert [(one.code, one.severity) for one in again.plan.findings()] == [
            ("first-delivery-used", Severity.NOTE)
        ]
        assert len(node.sent) == 1


async def test_a_word_is_used_from_the_moment_of_the_intent(host):
    async with stranger() as other:
        fleet = host.fleet("/srv/f", trusted("edge", other.address))
        plan = (await host.look(fleet)).plan
        (step,) = plan.steps()
        assert step.arguments.used_confirmations == {"first_delivery": other.url}
        with open_store(host.folder) as store:  # the run is killed before it writes how the step ended
            own = await store.enter_fleet(FleetIdentity("/srv/f"))
            await own.record_intent(await own.begin_run(RunStart("command", plan)), step)
        assert (await host.look(fleet)).plan.is_empty


async def test_a_tls_port_asked_without_tls_and_the_other_way_round_is_told(host, tmp_path):
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", "/CN=edge", "-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "c")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    secure = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = secure.sockets[0].getsockname()[1]
    async with secure, stranger() as plain:
        nodes = {
            "plain": f"127.0.0.1:{port}",
            "secure": f"https://{plain.address}",
            "distrusted": f"https://localhost:{port}",
        }
        seen = await host.look(host.fleet("/srv/f", m2_cluster("edge", nodes)))
        answers = seen.guard_contexts[0].observed.nodes
        assert "TLS" in answers["plain"].reason
        assert isinstance(answers["secure"], Unidentified)
        assert "does not speak TLS: is http:// meant?" in answers["secure"].reason
        assert isinstance(answers["distrusted"], Unidentified)
        assert "certificate not trusted" in answers["distrusted"].reason


async def test_a_setting_that_is_read_is_not_quoted_where_it_is_not_recognised(host):
    body = json.dumps({"meta": {}, "token": "s3cret"})
    async with stranger(200, body, "application/json") as other:
        (finding,) = (
            await host.look(host.fleet("/srv/f", m2_cluster("e", {"n": other.address})))
        ).plan.findings()
    assert "an object with meta, token" in finding.message
    assert "s3cret" not in finding.message
