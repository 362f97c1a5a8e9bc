"""What is known of the nodes that poll, in metrics and `/readyz`."""

from collections import Counter
from datetime import timedelta

from support.node_servers import RECENT, MemoryNodes, NodeSite, http_date
from support.waiting import wait_until
from support.web_server import Site

from reconciler.server.health import check_readiness
from reconciler.server.metrics import Metrics
from reconciler.server.nodes import node_server
from reconciler.server.nodes.summary import VERSIONS, PolledCluster
from reconciler.server.watch_state import WatchState


async def test_who_called_with_which_version_and_who_did_not(monkeypatch):
    monkeypatch.setattr(node_server, "SUMMARY_SECONDS", 0.05)
    store = MemoryNodes()
    for name in ("n1", "n2", "n3"):
        store.add(f"t{name}", name)
    store.offer("n1", b"content")
    state = WatchState()
    async with NodeSite(store, fresh=0.5) as site:
        state.node_server = site.server
        headers = {"If-Modified-Since": http_date(RECENT + timedelta(days=1)), "X-Label": "v7"}
        await site.client.get("/tn1/setting", headers=headers)
        await site.client.post("/tn2/report", json={"label": "v8"})

        def told():
            _, detail = check_readiness(state, dry_run=False)
            (cluster,) = detail["nodes"]["clusters"] or [{}]
            return cluster if cluster.get("silent_in_all") == 2 else None

        cluster = await wait_until(told)
        assert cluster["never_heard"] == 1
        assert cluster["silent"] == ["n1", "n2"]
        assert cluster["waiting"] == ["n1"]
        assert cluster["versions"] == {"v7": 1, "v8": 1, "": 1}
        registry = Metrics(state, dry_run=False).registry
        values = {
            name: registry.get_sample_value(f"reconciler_{name}", {"cluster": "c"})
            for name in ("polled_nodes", "polled_nodes_never_heard", "polled_nodes_silent")
        }
        assert values == {"polled_nodes": 3, "polled_nodes_never_heard": 1, "polled_nodes_silent": 2}
        polls = {"answer": "unchanged"}
        assert registry.get_sample_value("reconciler_node_polls_total", polls) == 1
        assert registry.get_sample_value("reconciler_node_reports_total", {"kind": "heartbeat"}) == 1


async def test_a_store_that_fails_makes_the_watch_unready():
    store = MemoryNodes()
    store.add("t1", "n1")
    async with NodeSite(store) as site:
        store.broken = "the disk is full"
        await wait_until(lambda: site.server.problem)
        reasons = check_readiness(WatchState(node_server=site.server), dry_run=False)[1]["reasons"]
        assert "the node server cannot use the store: the disk is full" in reasons
        assert site.logged("offers cannot be read")
        store.broken = None
        await wait_until(lambda: not site.server.problem)
        assert site.logged("offers are read again")


def test_versions_beyond_the_limit_count_together():
    cluster = PolledCluster(versions=Counter({f"v{number}": number for number in range(1, VERSIONS + 6)}))
    counted = cluster.count_versions()
    assert len(counted) == VERSIONS + 1
    assert counted["other"] == 1 + 2 + 3 + 4 + 5


def test_a_watch_without_a_node_server_says_nothing_of_nodes():
    state = WatchState()
    assert "nodes" not in check_readiness(state, dry_run=False)[1]
    registry = Metrics(state, dry_run=False).registry
    assert registry.get_sample_value("reconciler_node_server_up") is None


async def test_operators_get_the_openapi_document():
    store = MemoryNodes()
    store.add("t1", "n1")
    async with NodeSite(store) as nodes, Site() as site:
        assert (await site.client.get("/nodes/openapi.json")).status_code == 404
        site.watch_state.node_server = nodes.server
        document = (await site.client.get("/nodes/openapi.json")).json()
        assert "/{token}/setting" in document["paths"]
        assert "t1" not in str(document)
