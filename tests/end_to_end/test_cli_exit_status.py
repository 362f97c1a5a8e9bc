"""What a run counts is printed, and its JSON ends with the exit status of its process, over real HTTP."""

import json
import threading

import pytest
from support.waiting import block_until
from test_cli_reconcile import Site

from reconciler.cli.demo_fixtures import DemoNodes


@pytest.fixture
def site(tmp_path):
    with DemoNodes() as nodes:
        site = Site(tmp_path, nodes)
        yield site


def lose(site, node):
    """Take a node down once it shows what it was sent, while its wave soaks for two seconds."""

    def is_read_back():
        calls = [call.change for call in site.simulation.calls(node)]
        return True in calls and not calls[-1]

    def watch():
        block_until(is_read_back)
        site.nodes.kill(site.simulation, node)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


HELD = "    kind: m2\n    suspend: {reason: a test}\n"


def soaking(text):
    gates = "    rollout: {soak: 2, gates: {read_back: false}}\n"
    return text.replace("    kind: m2\n", f"    kind: m2\n{gates}", 1)


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_a_node_that_is_lost_at_the_end_is_named_and_the_json_ends_like_the_process(site, form):
    site.repository.edit("fleet.yaml", soaking)
    site.serve()
    thread = lose(site, "edge-02")
    output = site.run("--yes", "--format", form, "--only", "edge", status=5)
    thread.join()
    if form == "json":
        (lost,) = [
            one for one in json.loads(output)["remaining"]["clusters"][0]["findings"] if one["code"] != "note"
        ]
        assert lost["target"] == "edge/edge-02"
    else:
        after = " ".join(output.split("Done:")[-1 if form == "markdown" else 0].split())
        assert "edge-02" in after
        assert "connection refused" in after
        assert "1 of 3 nodes could not be read" in " ".join(output.split())


def test_every_outcome_has_the_same_status_in_json_and_in_the_process(site):
    """Site.run compares them: nothing could be read, done, nothing to do, refused, failed."""
    site.serve()
    only = ("--yes", "--format", "json", "--only", "edge")
    site.fault("edge-01", "error", 500, on="reads")
    site.run(*only, status=5)
    site.simulation.clear()
    site.run(*only)
    site.run(*only)
    site.nodes.kill(site.simulation, "edge-01")
    site.run(*only, status=1)
    site.repository.edit("fleet.yaml", lambda text: text.replace("    kind: m2\n", HELD, 1))
    site.repository.edit(
        "edge/setting.json", lambda text: text.replace("192.168.3.0/24", "192.168.3.0/25", 1)
    )
    site.repository.commit("A change that waits")
    site.run(*only, status=3)


def test_a_node_that_refused_is_stalled_everywhere_until_resume(site):
    site.serve()
    only = ("--yes", "--only", "edge")
    site.fault("edge-01", "refuse", count=1)
    assert "Applied in part: 2 done, 1 failed" in site.run(*only, status=5)
    sent = site.changes.count("edge-01")
    again = " ".join((site.run(*only, status=1) + site.error).split())
    assert "edge-01 is stalled: upload was sent once with a definite refusal" in again
    assert "[node-stalled]" in site.run("--dry-run", "--only", "edge", status=1)
    assert "stalled" in site.run("status", status=1)
    assert site.changes.count("edge-01") == sent
    with site.start("resume", "edge") as process:
        assert "Will be tried again: edge/edge-01" in process.communicate(timeout=60)[0]
    assert "Done: 1 change; verified" in site.run(*only)


def test_status_and_dry_run_say_alike_that_a_node_is_unread_and_that_changes_are_pending(site):
    site.serve()
    only = ("--only", "edge")
    site.run("--yes", *only)
    site.nodes.kill(site.simulation, "edge-01")
    for command in (("--dry-run",), ("status",)):
        site.run(*command, *only, status=1)
        site.run(*command, *only, "--detailed-exitcode", status=1)
        site.run(*command, *only, "--tolerate-unread", "1")
        site.run(*command, *only, "--tolerate-unread", "34%")
        site.run(*command, *only, "--tolerate-unread", "33%", status=1)
        assert (
            "--tolerate-unread" in site.run(*command, *only, "--tolerate-unread", "-1", status=1) + site.error
        )
    site.repository.edit(
        "edge/setting.json", lambda text: text.replace("192.168.3.0/24", "192.168.3.0/25", 1)
    )
    site.repository.commit("A change beside a node that is away")
    for command in (("--dry-run",), ("status",)):
        site.run(*command, *only, status=1)
        found = site.run(*command, *only, "--detailed-exitcode", "--format", "json", status=2)
        ended = json.loads(found)["exit"]
        assert (ended["status"], ended["pending"], ended["unread_nodes"]) == (2, 2, ["edge/edge-01"])
    site.run("--yes", *only, "--tolerate-unread", "1")
    site.run("--yes", *only, status=1)


def test_a_command_restricted_to_one_node_says_nothing_of_the_others(site):
    site.serve()
    only = ("--only", "edge/edge-01")
    left = "2 other nodes were not looked at"
    assert f"Done: 1 change; verified: no changes remain; {left}." in site.run("--yes", *only)
    assert f"1 node is as desired; {left}." in site.run("--dry-run", "--detailed-exitcode", *only)
    told = site.run("status", "--detailed-exitcode", *only)
    assert f"edge (m2): 1 of 1 node as desired; {left}\n" in told
    assert f"Converged: 1 node is as desired; {left}." in told
    assert json.loads(site.run("status", "--format", "json", *only))["clusters"][0]["left_out"] == 2
    (edge,) = json.loads(site.run("--dry-run", "--format", "json", *only))["plan"]["clusters"]
    assert (edge["nodes"], edge["unchanged"], edge["left_out"]) == (3, 1, 2)


def test_nodes_that_wait_for_a_restart_are_counted_alike_by_run_plan_and_status(site):
    site.repository.edit(
        "edge/setting.json",
        lambda text: text.replace('"env": {', '"env": {\n    "properties": { "memoryUsage": 71 },', 1),
    )
    site.serve()
    only = ("--only", "edge")
    site.run("--yes", *only)
    site.repository.edit("edge/setting.json", lambda text: text.replace("71", "72", 1))
    site.repository.commit("More memory")
    assert "verified: no changes remain; 3 nodes wait for a restart." in site.run("--yes", *only)
    told = site.run("--dry-run", *only)
    assert "No changes: 0 of 3 nodes are as desired; 3 nodes wait for a restart." in told
    for command in (("--dry-run",), ("status",)):
        found = site.run(*command, *only, "--detailed-exitcode", "--format", "json", status=2)
        assert json.loads(found)["exit"]["waiting"] == 3
