"""sora.conf reaches the nodes of a Sora cluster: planned, delivered, brought in node by node, and told."""

from dataclasses import replace

import pytest
from support.memory_files import snapshot_of
from support.sora_clusters import short
from support.sora_conf_sites import BEFORE, FLEET, NODES, Site, get_states, list_steps, make_fleet, refuse

from reconciler.cli.render.status import render_status
from reconciler.core.plan import Effect
from reconciler.core.secret import MASK
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.product import DRIVER, SoraDriver
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.drivers.sora.steps import undo_restart
from reconciler.errors import InputError
from reconciler.planning.status import compute_status
from reconciler.ports.store import OpenOrders
from reconciler.store.factory import open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "state") as opened:
        yield opened


async def test_each_node_gets_its_file_and_its_restart_before_the_next(store):
    site = Site(store)
    wanted = make_fleet("abc", "cluster_relay = false\n")
    seen = await site.plan(wanted)
    (plan,) = seen.plan.clusters
    assert list_steps(plan) == [
        f"{action} {letter}" for letter in "abc" for action in ("stage-file", "switch-file", "restart")
    ]
    switches = [step for step in plan.steps if step.action == "switch-file"]
    assert [step.effect for step in switches] == [Effect.NONE] * 3
    assert any(name.endswith("a@a.example.com/restart") for name in switches[1].after)
    report = await site.run(wanted)
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert site.restarts == ["a", "b", "c"]
    assert site.content("a") == (
        "# by hand\ncluster = true\ncluster_relay = false\nother = 1\nnode_name = a@a.example.com\n"
    )
    again = await site.plan(wanted)
    assert not list(again.plan.steps())


async def test_a_change_by_hand_to_other_lines_is_no_drift_and_to_ours_is(store):
    site = Site(store)
    wanted = make_fleet("abc", "cluster_relay = false\n")
    await site.run(wanted)
    file = site.machines["a@a.example.com"].files["sora-conf"]
    file.content = file.content.replace(b"other = 1", b"other = 2")
    assert not list((await site.plan(wanted)).plan.steps())
    file.content = file.content.replace(b"cluster_relay = false", b"cluster_relay = true")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan)[:2] == ["stage-file a", "switch-file a"]
    (change,) = plan.steps[0].changes
    assert (change.pointer, change.old, change.new) == ("/sora-conf/cluster_relay", True, False)


async def test_a_node_that_does_not_come_back_stops_the_chain_and_gets_its_file_back(store):
    site = Site(store)
    wanted = make_fleet("abc", "feature = broken\n", rollout="{on_failure: return}")
    report = await site.run(wanted)
    states = dict(get_states(report))
    assert states["restart a"] == states["switch-file a"] == "undone"
    assert site.restarts == ["a", "a"]
    assert site.content("a") == BEFORE
    assert site.world.running("a@a.example.com")
    assert site.content("b") == site.content("c") == BEFORE


async def test_while_a_node_is_away_no_running_node_gets_another_file(store):
    site = Site(store)
    site.world.kill("a@a.example.com")
    wanted = make_fleet("abc", "cluster_relay = false\n")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan) == ["stage-file a", "switch-file a"]
    waiting = [one.target for one in plan.findings if one.code == "restart-waits"]
    assert {"live/b@b.example.com", "live/c@c.example.com"} <= set(waiting)
    site.world.start("a@a.example.com")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert {"switch-file b", "switch-file c"} <= set(list_steps(plan))


async def test_a_restart_by_hand_after_the_switch_counts(store):
    site = Site(store)
    wanted = make_fleet("abc", "cluster_relay = false\n")
    for machine in site.machines.values():
        del machine.commands["restart-sora"]
    await site.run(wanted)
    assert site.content("a") != BEFORE
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert [one.code for one in plan.findings] == ["retry-later"]
    site.machines["a@a.example.com"].start()
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert not plan.findings
    assert "restart a" not in list_steps(plan)
    assert "restart b" in list_steps(plan)


async def test_a_file_that_cannot_be_read_is_never_taken_for_an_empty_one(store):
    site = Site(store)
    site.machines["b@b.example.com"].is_silent = True
    (plan,) = (await site.plan(make_fleet("abc", "cluster_relay = false\n"))).plan.clusters
    assert not any(step.node.startswith("b@") for step in plan.steps)
    assert any(one.code == "file-unreadable" and "b@b" in one.target for one in plan.findings)


async def test_secrets_of_the_file_are_not_shown(store):
    site = Site(store, content=BEFORE + "turn_secret = former-secret-value\n")
    (plan,) = (await site.plan(make_fleet("abc", "turn_secret = another-secret-value\n"))).plan.clusters
    text = str(plan.plain())
    assert "secret-value" not in text
    assert MASK in text


async def test_a_node_without_a_readable_start_waits(store):
    site = Site(store)
    for machine in site.machines.values():
        machine.commands["sora-started"] = refuse
    wanted = make_fleet("abc", "cluster_relay = false\n")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert "restart a" not in list_steps(plan)
    assert any(one.code == "restart-waits" for one in plan.findings)
    # Nor does it get its file: what is not known now could never be found out later, and it would go on with
    # the former one for good.
    assert list_steps(plan) == []
    site.machines["a@a.example.com"].commands["sora-started"] = lambda machine, _: f"start {machine.starts}"
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert [step for step in list_steps(plan) if step.endswith(" a")] == [
        "stage-file a",
        "switch-file a",
        "restart a",
    ]


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_a_restart_is_undone_only_with_its_file_or_to_start_a_node_that_is_down(store, is_delivered):
    site = Site(store)
    (plan,) = (await site.plan(make_fleet("abc", "cluster_relay = false\n"))).plan.clusters
    step = next(one for one in plan.steps if one.action == "restart")
    assert step.arguments.is_delivered
    step = replace(step, arguments=replace(step.arguments, is_delivered=is_delivered))
    shown = await DRIVER.observe_step(step, site.transports)
    assert (undo_restart(step, shown) is not None) is is_delivered
    site.world.kill(step.node)
    assert undo_restart(step, await DRIVER.observe_step(step, site.transports)) is not None


async def test_the_whole_file_is_kept_with_its_secrets_in_place(store):
    site = Site(store)
    urls = "external_signaling_url = wss://x/s\nexternal_api_url = https://x/a\n"
    text = FLEET.replace("file: sora-conf", "file: sora-conf, own: file") + (
        "  - {name: a@a.example.com, api: 'http://a.example.com:3000/'}\n"
    )
    conf = f"# all ours\n{urls}turn_secret = ${{env:RECONCILE_SECRET_TURN}}\n# end\n"
    wanted = load_fleet(snapshot_of({"fleet.yaml": text, "sora.conf": conf}), site.drivers, Resolver())
    (plan,) = (await site.plan(wanted)).plan.clusters
    stage = next(step for step in plan.steps if step.action == "stage-file")
    content = plan.payloads[stage.payload].resources["file"].decode()
    assert content == (
        f"# all ours\n{urls}turn_secret = secret-of-turn\n# end\n"
        "cluster = true\nnode_name = a@a.example.com\n"
    )
    assert "secret-of-turn" not in str(plan.plain())


class Resolver:
    """Knows one secret."""

    def resolve(self, scheme, name):
        return "secret-of-turn"


async def test_a_key_that_is_committed_no_more_leaves_if_a_run_had_added_it(store):
    site = Site(store)
    await site.run(make_fleet("abc", "cluster_relay = false\nnew_key = 1\n"))
    assert "new_key = 1\n" in site.content("a")
    (plan,) = (await site.plan(make_fleet("abc", "default_cluster_affinity = true\n"))).plan.clusters
    assert {one.code for one in plan.findings} == {"conf-key-released"}
    assert "cluster_relay in the sora.conf of a@a.example.com stays" in plan.findings[0].message
    await site.run(make_fleet("abc", "default_cluster_affinity = true\n"))
    assert site.content("a") == (
        "# by hand\ncluster = true\ncluster_relay = false\nother = 1\nnode_name = a@a.example.com\n"
        "default_cluster_affinity = true\n"
    )
    await site.run(make_fleet("abc", "default_cluster_affinity = true\n"))
    (plan,) = (await site.plan(make_fleet("abc", "default_cluster_affinity = true\n"))).plan.clusters
    assert not plan.findings


async def test_a_new_node_is_restarted_with_its_file_before_it_is_registered(store):
    site = Site(store, letters="abcd")
    site.world = SoraWorld.from_entry(
        make_fleet("abcd", "cluster_relay = false\n").cluster_inputs[0].entry,
        converged=True,
        outside=["d@d.example.com"],
    )
    site.transports.http.world = site.world
    wanted = make_fleet("abcd", "cluster_relay = false\n")
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan)[:4] == ["stage-file d", "switch-file d", "restart d", "register d"]
    assert list_steps(plan)[4:7] == ["stage-file a", "switch-file a", "restart a"]
    report = await site.run(wanted)
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert site.restarts == ["d", "a", "b", "c"]


async def test_nodes_are_restarted_with_their_files_before_they_become_a_cluster(store):
    site = Site(store)
    wanted = make_fleet("abc", "cluster_relay = false\n", initialise="true")
    site.world = SoraWorld.from_entry(wanted.cluster_inputs[0].entry, converged=False)
    site.transports.http.world = site.world
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan)[-2:] == ["restart c", "init a"]
    report = await site.run(wanted)
    assert {state for _, state in get_states(report)} == {"done"}, get_states(report)
    assert site.restarts == ["a", "b", "c"]
    assert not list((await site.plan(wanted)).plan.steps())


async def test_a_node_that_shows_another_url_than_its_file_is_restarted_once(store):
    site = Site(store)
    text = FLEET + "".join(
        f"  - {{name: {one}@{one}.example.com, api: 'http://{one}.example.com:3000/'}}\n" for one in "abc"
    ).replace("3000/'", "3000/', overlays: [a.conf]", 1)
    files = {
        "fleet.yaml": text,
        "sora.conf": "cluster_relay = true\n",
        "a.conf": "external_signaling_url = wss://other/signaling\n",
    }
    wanted = load_fleet(snapshot_of(files), site.drivers)
    for letter in "abc":
        content = f"{BEFORE}node_name = {letter}@{letter}.example.com\n"
        own = "external_signaling_url = wss://other/signaling\n" if letter == "a" else ""
        site.machines[f"{letter}@{letter}.example.com"].files[
            "sora-conf"
        ].content = f"{content}{own}".encode()
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert list_steps(plan) == ["restart a"]
    words = "external_signaling_url is wss://a.example.com/signaling in place of wss://other/signaling"
    assert words in plan.steps[0].reason
    await site.run(wanted)
    assert site.restarts == ["a"]
    (plan,) = (await site.plan(wanted)).plan.clusters
    assert not plan.steps
    (finding,) = plan.findings
    assert finding.code == "conf-not-used"
    assert f"although it was restarted with it: {words}" in finding.message


async def test_a_node_without_a_readable_file_has_a_problem_and_no_defect(store):
    files = {"fleet.yaml": FLEET + "  - {name: a@a.example.com, api: 'http://a.example.com:3000/'}\n"}
    with pytest.raises(InputError):
        load_fleet(snapshot_of(files), {**DRIVERS, "sora": SoraDriver()})


URLS = "external_signaling_url = wss://{0}/signaling\nexternal_api_url = https://{0}/api\n"


@pytest.mark.parametrize(
    ("content", "conf", "words"),
    [
        (None, "cluster_relay = true\n", "it has no external_signaling_url"),
        (URLS.format("a") + BEFORE + "node_name = {name}\n", "cluster_relay = true\n", ""),
        (BEFORE, "cluster_listen_min_port = 50000\n", "(50000 and 49020)"),
        (BEFORE + "cluster_listen_max_port = 50010\n", "cluster_listen_min_port = 50000\n", ""),
        (BEFORE, "api_port = 3001\n", "moves from port 3000 to 3001"),
        (BEFORE + "api_port = 3001\n", "api_port = 3000\n", ""),
        (BEFORE + "api_port = 3001\n", "api_port = 3001\nx = 1\n", ""),
    ],
)
async def test_a_file_with_which_the_node_would_not_come_back_is_not_delivered(store, content, conf, words):
    site = Site(store)
    for name, machine in site.machines.items():
        file = machine.files["sora-conf"]
        file.content = None if content is None else content.replace("{name}", name).encode()
    plan = (await site.plan(make_fleet("abc", conf))).plan.clusters[0]
    if words:
        assert plan.steps == ()
        assert plan.unchanged == 0
        assert {one.code for one in plan.findings} == {"conf-unfit"}
        assert words in plan.findings[0].message
    else:
        assert "conf-unfit" not in {one.code for one in plan.findings}


async def test_a_node_whose_file_is_not_known_is_not_as_desired(store):
    site = Site(store)
    await site.run(make_fleet("abc", "cluster_relay = true\n"))
    site.machines["b@b.example.com"].files["sora-conf"].content = b"\xff"
    plan = (await site.plan(make_fleet("abc", "cluster_relay = true\n"))).plan.clusters[0]
    assert [one.code for one in plan.findings] == ["file-unfit"]
    assert plan.unchanged == 2


async def read_file_statuses(site, wanted):
    result = await site.plan(wanted)
    (cluster,) = compute_status(result, OpenOrders(), None).clusters
    found = {short(node.node): (*node.files, None)[0] for node in cluster.nodes}
    text = render_status(compute_status(result, OpenOrders(), None))
    return {name: (one.match.value, one.use.value) for name, one in found.items()}, " ".join(text.split())


async def test_the_status_says_of_each_file_how_it_compares_and_whether_it_is_used(store):
    site = Site(store)
    wanted = make_fleet("abc", "cluster_relay = false\n")
    found, text = await read_file_statuses(site, wanted)
    assert found == dict.fromkeys("abc", ("differs", "not known"))
    assert "file sora-conf on all nodes: differs" in text
    await site.run(wanted)
    found, text = await read_file_statuses(site, wanted)
    assert found == dict.fromkeys("abc", ("as desired", "used"))
    assert "file sora-conf on all nodes: as desired; the running process uses it" in text
    # The process of one node is again the one of before, for the store; another file cannot be read.
    await store.store_facts("live", {"a@a.example.com": {"outdated_start": "start 2"}})
    site.machines["b@b.example.com"].files["sora-conf"].content = b"\xff"
    site.machines["c@c.example.com"].commands["sora-started"] = lambda machine, values: ""
    found, text = await read_file_statuses(site, wanted)
    assert found["a"] == ("as desired", "waits for a restart")
    assert found["b"] == ("differs", "not known")
    assert found["c"] == ("as desired", "not known")
    assert "sora-started shows no start" in text


async def test_without_a_restart_the_plan_and_the_status_say_what_is_left_to_do(store):
    site = Site(store)
    restart = "  restart: {command: restart-sora, started: {command: sora-started}}\n"
    files = {"fleet.yaml": FLEET.replace(restart, "") + NODES, "sora.conf": "cluster_relay = false\n"}
    wanted = load_fleet(snapshot_of(files), {**DRIVERS, "sora": SoraDriver()})
    plan = (await site.plan(wanted)).plan.clusters[0]
    (finding,) = plan.findings
    assert finding.code == "conf-restart-by-hand"
    assert "a@a.example.com, b@b.example.com, c@c.example.com" in finding.message
    await site.run(wanted)
    assert (await site.plan(wanted)).plan.clusters[0].findings == ()
    found, text = await read_file_statuses(site, wanted)
    assert found == dict.fromkeys("abc", ("as desired", "not known"))
    assert "the fleet file names no `restart`" in text
