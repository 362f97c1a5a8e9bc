"""The M2 driver against simulated nodes: observe, plan, act, look, judge, in every way a node may behave."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.m2_wire import BASE, REVISION, WorldWire, cluster_input, content, desired, loaded, setting, world

from reconciler.core.diagnostic_json import to_plain_finding
from reconciler.core.observation import Absent, Observed, Present, Unauthorized, Unreachable
from reconciler.core.plan import Plan, load_plan, restore_exact_arguments
from reconciler.core.step_status import StepStatus
from reconciler.documents.document import parse_document
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.choices import (
    BackupBehaviour,
    Choices,
    PortChange,
    SettingAnswer,
    UnlistedAnswer,
)
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.schema import M2Cluster
from reconciler.drivers.m2.simulator import answers
from reconciler.drivers.m2.simulator.answers import make_failure
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import InputError, NodeRefused, NodeUnauthorized, NodeUnreachable
from reconciler.ports.transport import Transports

MEMORY = "env.properties.memoryUsage"
FILES = {"certs/a.pem": b"A"}
CHANGED = setting(
    meta__version="B", env__properties__memoryUsage=70, hosting=[*BASE["hosting"], {"name": "b.com"}]
)


async def plan(where, wire, recalled=None):
    wanted = desired(where, recalled)
    return DRIVER.plan(wanted, await DRIVER.observe(wanted, Transports(wire)))


async def standing(step, wire):
    return DRIVER.judge(step, await DRIVER.observe_step(step, Transports(wire))).status


def reloaded(cluster):
    """The steps as they come back from the journal."""
    exact = {step.id: step.arguments.exact_values() for step in cluster.steps}
    plan = load_plan(json.loads(Plan(REVISION, "0", (cluster,)).encode()))
    return restore_exact_arguments(plan, exact).clusters[0].steps


async def converge(where, wire):
    """Carry a plan out, each step judged ready before and done after; the answers."""
    cluster = await plan(where, wire)
    answers = []
    for step in reloaded(cluster):
        assert await standing(step, wire) is StepStatus.READY
        answers.append(await DRIVER.act(step, Transports(wire), cluster.payloads))
        for _ in range(10):
            if await standing(step, wire) is StepStatus.DONE:
                break
        assert await standing(step, wire) is StepStatus.DONE
    return answers


def test_the_registry_has_the_driver():
    assert DRIVERS["m2"] is DRIVER
    assert DRIVER.entry is M2Cluster


CHOICES = {
    "as the pages say": Choices(),
    "without a setting": Choices(factory=False),
    "showing what is in effect": Choices(shown=SettingAnswer.SERVICE),
    "late": Choices(late=3),
    "without a backup": Choices(backup=BackupBehaviour.DISABLED),
}


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("resources", [{}, FILES], ids=["alone", "with files"])
async def test_a_life_ends_each_time_in_nothing_to_do(choices, resources):
    nodes = ("edge-01", "edge-02")
    wire = WorldWire(world(nodes=nodes, choices=choices, converged=False))
    for document in (BASE, CHANGED, setting(meta__version="C"), CHANGED):
        where = cluster_input(document, nodes=nodes, resources=resources)
        assert len(await converge(where, wire)) == 2
        again = await plan(where, wire)
        assert (again.steps, again.unchanged) == ((), 2)
    for node in nodes:
        assert json.loads(wire.nodes.state(node).loaded.package.text) == CHANGED


@pytest.mark.parametrize("shown", SettingAnswer)
async def test_waiting_fields_are_in_the_answer_and_in_later_readings(shown):
    wire = WorldWire(world(choices=Choices(shown=shown)))
    where = cluster_input(CHANGED)
    (answer,) = await converge(where, wire)
    assert answer.waiting_for_restart == (MEMORY,)
    later = await plan(where, wire)
    assert [finding.code for finding in later.findings] == ["waits-for-restart"]
    assert MEMORY in later.findings[0].message
    wire.nodes.kill("edge-01")
    wire.nodes.start("edge-01")
    assert (await plan(where, wire)).findings == ()


TUNED = "env.properties.tuned"


@pytest.fixture
def tuned(monkeypatch):
    """Nodes on which a field waits for a restart of which the manual does not say so."""
    monkeypatch.setattr(machine, "RESTART_ONLY", (*machine.RESTART_ONLY, TUNED))
    return cluster_input(setting(meta__version="B", env__properties__tuned=7))


@pytest.mark.parametrize("shown", SettingAnswer)
async def test_a_field_that_no_list_names_waits_until_it_runs(tuned, shown):
    wire = WorldWire(world(choices=Choices(shown=shown)))
    (answer,) = await converge(tuned, wire)
    assert answer.waiting_for_restart == (TUNED,)
    later = await plan(tuned, wire, {"edge-01": dict(answer.facts)})
    assert later.steps == ()
    assert [finding.code for finding in later.findings] == ["waits-for-restart"]
    assert "/env/properties/tuned takes effect" in later.findings[0].message
    wire.nodes.kill("edge-01")
    wire.nodes.start("edge-01")
    again = await plan(tuned, wire, {"edge-01": dict(answer.facts)})
    assert (again.steps, again.findings, again.unchanged) == ((), (), 1)


async def test_a_field_that_a_node_named_stays_known_where_it_does_not_show_what_runs(tuned, monkeypatch):
    wire = WorldWire(world())
    (answer,) = await converge(tuned, wire)
    refused = (("GET",), lambda call: (call.node, make_failure(403, "Forbidden", "setting")))
    monkeypatch.setattr(answers, "_PREFIXES", {**answers._PREFIXES, "/get/setting": refused})
    (found,) = (await plan(tuned, wire, {"edge-01": dict(answer.facts)})).findings
    assert found.code == "waits-for-restart"
    assert f"what waits for a restart ({TUNED})" in found.message
    assert "enableGet" in found.remedy


async def test_a_value_that_moves_by_itself_does_not_wait_for_a_restart():
    wire = WorldWire(world())
    seconds = iter(range(1, 1000))

    def moving(node):
        document = {**BASE, "env": {**BASE["env"], "uptime": next(seconds)}}
        return replace(node, running=document, loaded=replace(node.loaded, document=document))

    def move(method, path):
        wire.nodes._nodes["edge-01"] = moving(wire.nodes.state("edge-01"))

    wire.before = move
    observed = await DRIVER.observe(desired(cluster_input()), Transports(wire))
    assert observed.present()["edge-01"].waiting == ()


async def test_a_value_that_moves_at_every_reading_is_named():
    wire = WorldWire(world())
    seconds = iter(range(1, 1000))

    def move(method, path):
        document = {**BASE, "env": {**BASE["env"], "uptime": next(seconds)}}
        setting = machine.AcceptedSetting(document, machine.NodePackage(json.dumps(document).encode()))
        state = wire.nodes.state("edge-01")
        wire.nodes._nodes["edge-01"] = replace(state, running=document, loaded=setting)

    wire.before = move
    (step,) = (await plan(cluster_input(), wire)).steps
    verdict = DRIVER.judge(step, await DRIVER.observe_step(step, Transports(wire)))
    assert verdict.status is StepStatus.CHANGED
    assert "/env/uptime (was " in verdict.reason
    assert "changes from one reading to the next" in verdict.reason
    assert "`unmanaged`" in verdict.reason


async def test_a_dry_run_only_reads():
    wire = WorldWire(world())
    await plan(cluster_input(CHANGED, resources=FILES), wire)
    assert wire.writes() == []


async def test_files_alone_are_delivered_and_read_back():
    wire = WorldWire(world(resources={"certs/a.pem": b"older"}))
    where = cluster_input(resources=FILES)
    (answer,) = await converge(where, wire)
    assert wire.nodes.state("edge-01").loaded.package.resources == FILES
    files = DRIVER.desire(where).files
    assert answer.facts == {"base": "http://edge-01.example.com:10040", "files": files, "waits": ""}
    assert (await plan(where, wire)).steps == ()


async def test_files_that_a_node_does_not_show_are_not_delivered_blindly():
    wire = WorldWire(world(choices=Choices(backup=BackupBehaviour.DISABLED)))
    cluster = await plan(cluster_input(resources=FILES), wire)
    assert cluster.steps == ()
    assert [finding.code for finding in cluster.findings] == ["resources-unseen"]


async def test_a_file_that_vanishes_between_plan_and_look_leaves_the_step_unknown():
    wire = WorldWire(world(resources={"certs/a.pem": b"older"}))
    (step,) = (await plan(cluster_input(resources=FILES), wire)).steps
    wire.nodes.choices = Choices(backup=BackupBehaviour.LOST)
    assert await standing(step, wire) is StepStatus.UNKNOWN


@pytest.mark.parametrize(("deliver", "path"), [("local", "local"), ("checkout", "checkout")])
async def test_a_node_applies_the_setting_on_its_disk_or_in_its_repository(deliver, path):
    nodes = world(deliver=deliver)
    package = machine.NodePackage(json.dumps(CHANGED).encode())
    nodes.place("edge-01", package)
    nodes.connect("edge-01", package)
    wire = WorldWire(nodes)
    where = cluster_input(CHANGED, deliver=deliver)
    (answer,) = await converge(where, wire)
    assert wire.writes() == [("GET", f"/setting/deploy/{path}")]
    assert wire.headers[wire.sent.index(("GET", f"/setting/deploy/{path}"))]["connection"] == "close"
    assert answer.waiting_for_restart == (MEMORY,)


async def test_another_setting_on_the_nodes_disk_is_not_what_was_wanted():
    nodes = world(deliver="local")
    nodes.place("edge-01", machine.NodePackage(json.dumps(setting(meta__version="X")).encode()))
    wire = WorldWire(nodes)
    cluster = await plan(cluster_input(CHANGED, deliver="local"), wire)
    (step,) = cluster.steps
    await DRIVER.act(step, Transports(wire), cluster.payloads)
    verdict = DRIVER.judge(step, await DRIVER.observe_step(step, Transports(wire)))
    assert verdict.status is StepStatus.CHANGED
    assert "version X" in verdict.reason


@pytest.mark.parametrize(("deliver", "status"), [("local", 200), ("checkout", 500)])
async def test_a_node_without_a_delivered_setting_refuses(deliver, status):
    wire = WorldWire(world(choices=Choices(factory=False), converged=False))
    cluster = await plan(cluster_input(CHANGED, deliver=deliver), wire)
    with pytest.raises(NodeRefused) as caught:
        await DRIVER.act(cluster.steps[0], Transports(wire), cluster.payloads)
    assert (caught.value.status, caught.value.code) == (status, "E0001")


@pytest.mark.parametrize(("lost", "status"), [("after", StepStatus.DONE), ("before", StepStatus.READY)])
async def test_a_lost_answer_or_request_is_settled_by_a_reading(lost, status):
    wire = WorldWire(world())
    cluster = await plan(cluster_input(CHANGED), wire)
    (step,) = reloaded(cluster)

    def lose(method, path):
        if method == "POST":
            raise NodeUnreachable("edge-01", "the connection was closed")

    setattr(wire, lost, lose)
    with pytest.raises(NodeUnreachable):
        await DRIVER.act(step, Transports(wire), cluster.payloads)
    assert await standing(step, wire) is status


async def test_a_node_that_somebody_else_changed_is_left_alone():
    wire = WorldWire(world(nodes=("edge-01",), choices=Choices(factory=False), converged=False))
    for between in (setting(meta__version="X"), setting(meta__version="Y")):
        (step,) = (await plan(cluster_input(CHANGED), wire)).steps
        assert await standing(step, wire) is StepStatus.READY
        (theirs,) = (await plan(cluster_input(between), wire)).steps
        await DRIVER.act(theirs, Transports(wire), DRIVER.desire(cluster_input(between)).payloads)
        assert await standing(step, wire) is StepStatus.CHANGED


async def test_a_node_that_lost_its_setting_is_not_as_planned():
    (step,) = (await plan(cluster_input(CHANGED), WorldWire(world()))).steps
    verdict = DRIVER.judge(step, Observed({"edge-01": Absent("404")}))
    assert verdict.status is StepStatus.CHANGED


@pytest.mark.parametrize("answer", [Unreachable("no answer"), Unauthorized("401")])
async def test_a_node_that_does_not_tell_leaves_the_step_unknown(answer):
    (step,) = (await plan(cluster_input(CHANGED), WorldWire(world()))).steps
    verdict = DRIVER.judge(step, Observed({"edge-01": answer}))
    assert (verdict.status, verdict.reason) == (StepStatus.UNKNOWN, answer.reason)


async def test_permissions_limit_readings_and_changes():
    wire = WorldWire(world(), peer="192.168.3.7")
    observed = await DRIVER.observe(DRIVER.desire(cluster_input()), Transports(wire))
    assert isinstance(observed.nodes["edge-01"], Unauthorized)
    closed = WorldWire(world(choices=Choices(unlisted=UnlistedAnswer.CLOSED)), peer="10.9.9.9")
    observed = await DRIVER.observe(DRIVER.desire(cluster_input()), Transports(closed))
    assert isinstance(observed.nodes["edge-01"], Unreachable)
    (step,) = (await plan(cluster_input(CHANGED), WorldWire(world()))).steps
    with pytest.raises(NodeUnauthorized):
        await DRIVER.act(step, Transports(wire), DRIVER.desire(cluster_input(CHANGED)).payloads)


async def test_one_silent_node_does_not_hide_the_others():
    nodes = ("edge-01", "edge-02", "edge-03")
    wire = WorldWire(world(nodes=nodes))
    wire.nodes.kill("edge-02")
    cluster = await plan(cluster_input(CHANGED, nodes=nodes), wire)
    assert [step.node for step in cluster.steps] == ["edge-01", "edge-03"]
    assert [finding.target for finding in cluster.findings] == ["edge/edge-02"]


async def test_a_node_whose_api_moves_is_found_at_its_new_port():
    wire = WorldWire(world(choices=Choices(port=PortChange.RESTART)))
    moved = setting(meta__version="B", env__management__api__port=10041)
    where, known = cluster_input(moved), {"edge-01": {"base": "http://edge-01.example.com:10040"}}

    def only_at(port):
        def check(method, path):
            if not wire.urls[-1].startswith(f"http://edge-01.example.com:{port}/"):
                raise NodeUnreachable("edge-01", "connection refused")

        return check

    wire.before = only_at(10040)
    cluster = await plan(where, wire, known)
    (step,) = reloaded(cluster)
    await DRIVER.act(step, Transports(wire), cluster.payloads)
    assert await standing(step, wire) is StepStatus.DONE
    wire.before = only_at(10041)
    assert await standing(step, wire) is StepStatus.DONE
    assert (await plan(where, wire, known)).unchanged == 1


def test_the_commit_is_stamped_into_what_is_uploaded_only():
    stamped = DRIVER.desire(cluster_input(version="commit"))
    (payload,) = stamped.payloads.values()
    assert payload.document["meta"] == {"version": "c0ffee1"}
    assert stamped.targets[0].content.version == "c0ffee1"
    assert {**payload.document, "meta": BASE["meta"]} == BASE
    assert (
        DRIVER.desire(cluster_input(version="commit", deliver="checkout")).targets[0].content.version == "A"
    )
    assert DRIVER.desire(cluster_input({}, version="commit")).targets[0].content.version == "c0ffee1"


@pytest.mark.parametrize("shown", SettingAnswer)
@pytest.mark.parametrize("resources", [{}, FILES], ids=["alone", "with files"])
async def test_another_commit_with_the_same_content_changes_no_node(shown, resources):
    wire = WorldWire(world(choices=Choices(shown=shown)))
    first = cluster_input(CHANGED, version="commit", resources=resources)
    await converge(first, wire)
    later = replace(first, revision=replace(REVISION, id="d" * 40, short="d" * 12))
    sent = len(wire.writes())
    again = await plan(later, wire)
    assert (again.steps, again.unchanged) == ((), 1)
    assert [finding.code for finding in again.findings] == ["waits-for-restart"]
    assert len(wire.writes()) == sent
    wanted = desired(later)
    stamps = DRIVER.stamps(wanted, await DRIVER.observe(wanted, Transports(wire)))
    assert stamps.get("edge-01") != later.revision.short


async def test_another_version_is_a_change_where_no_commit_is_stamped_into_it():
    wire = WorldWire(world())
    await converge(cluster_input(CHANGED), wire)
    (step,) = (await plan(cluster_input({**CHANGED, "meta": {"version": "C"}}), wire)).steps
    assert step.reason == "only the version differs; version B becomes C"


async def test_files_that_changed_with_a_commit_are_delivered_also_where_no_node_shows_its_package():
    wire = WorldWire(world(choices=Choices(backup=BackupBehaviour.DISABLED)))
    first = cluster_input(version="commit", resources=FILES)
    await converge(first, wire)
    known = {"edge-01": {"files": DRIVER.desire(first).files}}
    later = {"revision": replace(REVISION, id="d" * 40, short="d" * 12)}
    assert (await plan(replace(first, **later), wire, known)).steps == ()
    other = cluster_input(version="commit", resources={"certs/a.pem": b"other"})
    (step,) = (await plan(replace(other, **later), wire, known)).steps
    assert step.reason == "the files of its setting differ, or the node does not show them"


def test_one_file_for_many_nodes_is_one_content_and_one_payload():
    desired = DRIVER.desire(cluster_input(nodes=[f"edge-{n}" for n in range(50)]))
    assert len({id(target.content) for target in desired.targets}) == 1
    assert len(desired.payloads) == 1


def entry_at(*addresses):
    """A cluster with nodes `a`, `b` and so on at these addresses."""
    nodes = [{"name": name, "address": address} for name, address in zip("abcd", addresses, strict=False)]
    return M2Cluster.model_validate({"name": "edge", "kind": "m2", "nodes": nodes})


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("10.0.0.1", "http://10.0.0.1:10099"),
        ("10.0.0.1:1", "http://10.0.0.1:1"),
        ("https://[::1]", "https://[::1]:10099"),
    ],
)
def test_an_address_without_a_port_gets_that_of_the_setting(address, base):
    where = cluster_input(setting(env__management__api__port=10099), nodes=("a",))
    assert DRIVER.desire(replace(where, entry=entry_at(address))).targets[0].bases == (base,)


def moved_to(address, base):
    """The desired state of one node at an address, of which the store has a URL."""
    where = replace(cluster_input(nodes=("a",)), entry=entry_at(address))
    return desired(where, {"a": {"base": base}} if base else {})


@pytest.mark.parametrize(
    ("address", "base", "asked"),
    [
        ("10.0.0.2", "http://10.0.0.1:10041", ()),
        ("10.0.0.2:1", "http://10.0.0.2:10041", ()),
        ("https://10.0.0.2", "http://10.0.0.2:10041", ()),
        ("edge-01", "http://edge-01.example.com:10041", ()),
        ("10.0.0.2", "http://10.0.0.2@10.0.0.1:10041", ()),
        ("10.0.0.2", "http://10.0.0.2:x", ()),
        ("10.0.0.2", "http://10.0.0.2:10041", ("http://10.0.0.2:10041",)),
        ("Edge-01.", "http://edge-01:10041", ("http://edge-01:10041",)),
    ],
)
def test_a_remembered_port_counts_on_the_very_host_of_the_fleet_file_alone(address, base, asked):
    first, *others = moved_to(address, base).targets[0].bases
    assert first == moved_to(address, "").targets[0].bases[0]
    assert tuple(others) == asked


@pytest.mark.parametrize("address", ["0.0.0.0:10040", "[::]", "224.0.0.1"])
def test_an_address_that_is_no_single_machine_is_refused(address):
    with pytest.raises(InputError, match="one machine"):
        moved_to(address, "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("127.0.0.1", "127.0.0.1:10040"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("http://edge:10040", "https://EDGE.:10040/"),
        ("[::1]:10040", "0:0:0:0:0:0:0:1"),
    ],
)
def test_two_nodes_at_two_spellings_of_one_address_are_refused(first, second):
    where = replace(cluster_input(nodes=("a", "b")), entry=entry_at(first, second))
    with pytest.raises(InputError, match=r"have the same address"):
        DRIVER.desire(where)


def test_all_problems_of_a_cluster_are_reported_together():
    broken = setting(env__management__api__port=0, env__management__cluster__balance__mode="x")
    where = replace(
        cluster_input(broken, nodes=("a", "b", "c"), resources={"setting.json": b""}),
        entry=entry_at("10.0.0.1", "bad address", "http://10.0.0.1", "10.0.0.4"),
    )
    with pytest.raises(InputError) as caught:
        DRIVER.desire(where)
    found = [(problem.code, problem.pointer, problem.position.file) for problem in caught.value.problems]
    assert found == [
        ("out-of-range", "/env/management/api/port", "setting.json"),
        ("unknown-value", "/env/management/cluster/balance/mode", "setting.json"),
        ("bad-address", "/clusters/0/nodes/1/address", "fleet.json"),
        ("duplicate-node", "/clusters/0/nodes/2/address", "fleet.json"),
        ("no-setting", "/clusters/0/nodes/3", "fleet.json"),
        ("bad-resource", "/clusters/0/resources", "fleet.json"),
    ]


def test_warnings_of_the_files_go_with_the_plan():
    members = setting(env__management__cluster__discover__members=["edge-01.example.com"])
    desired = DRIVER.desire(cluster_input(members, deliver="local", resources=FILES))
    cluster = DRIVER.plan(desired, Observed({"edge-01": Present(loaded(members))}))
    assert [finding.code for finding in cluster.findings] == ["named-member", "unused-resources"]
    first = cluster.findings[0]
    assert (first.position.file, first.target) == ("setting.json", "edge")
    assert to_plain_finding(first)["message"].startswith(f"setting.json:{first.position.line}:")
    assert cluster.steps == ()


def lone(members, **changes):
    text = json.dumps(setting(env__management__cluster__discover__members=members, **changes), indent=1)
    return parse_document("setting.json", text.encode())


def test_a_lone_setting_names_its_nodes():
    groups = [{"functions": ["all"], "nodes": ["10.0.0.1"]}, {"nodes": ["10.0.0.1", "10.0.0.2"]}]
    for members in (["10.0.0.1:9900", "10.0.0.2"], groups):
        assert DRIVER.build_lone_entry(lone(members)) == {
            "name": "m2",
            "kind": "m2",
            "setting": "setting.json",
            "nodes": [
                {"name": "10.0.0.1", "address": "10.0.0.1"},
                {"name": "10.0.0.2", "address": "10.0.0.2"},
            ],
        }
    assert M2Cluster.model_validate(DRIVER.build_lone_entry(lone(["::1"]))).nodes[0].address == "[::1]"


@pytest.mark.parametrize(
    ("members", "pointer", "words"),
    [
        (None, "/env/management/cluster/discover/members", "null"),
        ([], "/env/management/cluster/discover/members", "empty"),
        (["10.0.0.1", "#aws:vip:tag=x"], "/env/management/cluster/discover/members/1", "#aws:vip:tag=x"),
        ([{"nodes": ["10.0.0.999"]}], "/env/management/cluster/discover/members/0/nodes/0", "10.0.0.999"),
    ],
)
def test_a_single_setting_without_nodes_is_refused_with_all_its_problems(members, pointer, words):
    with pytest.raises(InputError) as caught:
        DRIVER.build_lone_entry(lone(members, env__management__api__port=0))
    first, *others = caught.value.problems
    assert (first.code, first.pointer) == ("no-nodes", pointer)
    assert words in first.message
    assert "fleet.yaml" in first.remedy
    assert "out-of-range" in {problem.code for problem in others}


def test_a_content_is_the_same_however_it_was_read():
    assert content(json.loads(json.dumps(CHANGED))).fingerprint == content(CHANGED).fingerprint
