"""Pins and drift of Collaboration Servers and Go clusters, over real git and simulated machines."""

import re

import pytest
from support.git_repositories import alone
from support.machine_products import ProductsSite

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

EDITED = {"collab-2": ("collab-config", "true", "false"), "scores-2": ("app-config", "info", "debug")}


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as nodes:
        yield ProductsSite(tmp_path, nodes, capsys)


def edit_all(site):
    for node, change in EDITED.items():
        site.edit(node, *change)


def drifted(site):
    return {node: drift for node, (state, drift) in site.nodes().items() if state == "drifted"}


def test_drift_has_its_own_name_and_a_run_undoes_it_and_says_so(site):
    edit_all(site)
    assert drifted(site).keys() == EDITED.keys()
    for told in (site.plan(), site.plan("--format", "markdown")):
        for node in EDITED:
            assert f"changed behind our back since last as desired: {node}; a run undoes that" in told
    told = site.apply()
    for node, (entry, old, _) in EDITED.items():
        assert f"undid drift of {node}" in told
        assert old in site.read(node, entry)
    assert not drifted(site)


def test_where_drift_is_only_reported_nothing_is_sent_until_a_commit_changes_the_cluster(site):
    site.commit(drift="report", logging=False, level="warn")
    site.apply()
    site.edit("collab-2", "collab-config", "false", "true")
    site.edit("scores-2", "app-config", "warn", "debug")
    told = site.apply()
    assert "No changes: 6 of 8 nodes are as desired" in told, "a run found them as desired after its changes"
    assert "/collab-config/logging: shows true, desired false" in told
    assert '/app-config/lines/6: shows "level": "debug", desired "level": "warn"' in told
    site.plan("--detailed-exitcode", status=2)
    site.run("status", site.source, "--detailed-exitcode", status=2)
    found = drifted(site)
    assert {drift["only_reported"] for drift in found.values()} == {True}
    assert all(drift["since"] for drift in found.values())
    site.commit(drift="report", level="error")
    assert "Done:" in site.apply()
    assert "error" in site.read("scores-2", "app-config")
    assert drifted(site).keys() == {"collab-2"}
    assert "true" in site.read("collab-2", "collab-config")


def test_commits_and_other_values_of_secrets_are_no_drift(site, monkeypatch):
    site.commit(logging=False, level="warn")
    assert {state for state, _ in site.nodes().values()} == {"as desired", "differs"}
    site.apply()
    (site.folder / "repo" / "scores" / "values.yaml").write_text("level: ${env:RECONCILE_SECRET_LEVEL}\n")
    config = site.folder / "repo" / "collab" / "config.json"
    config.write_text(
        config.read_text().replace(
            '"logging": false', '"region": "${env:RECONCILE_SECRET_LEVEL}", "logging": false'
        )
    )
    site.commit(drift="report")
    for value in ("the-first-secret-value", "another-secret-value"):
        monkeypatch.setenv("RECONCILE_SECRET_LEVEL", value)
        assert "behind our back" not in site.plan()
        assert "Done:" in site.apply()
        assert value in site.read("scores-1", "app-config")
        assert value in site.read("collab-1", "collab-config")
    site.commit(drift="report", version="commit")
    assert "No changes: 8 nodes are as desired" in site.apply()


def test_a_rollback_pins_both_until_a_commit_changes_what_they_get(site):
    first = site.repository.head
    second = site.commit(logging=False, level="warn")
    site.apply()
    told = site.run("rollback", first, site.source, "--yes", "--reason", "it broke", "--by", "kim")
    for name in ("collab", "scores"):
        assert f"this rollback pins {name} at {first[:12]}" in told
    site.repository.commit({"README": "words"})
    told = site.apply()
    assert "No changes: 8 nodes are as desired" in told
    for told in (site.plan(), site.run("status", site.source), site.plan("--format", "markdown")):
        for name in ("collab", "scores"):
            words = rf"{name} is pinned at {first[:12]} since [-0-9: ]+ UTC by .*kim.*, rolled back from "
            words += second[:12]
            assert re.search(words, told.replace("\\", "")), told
    edit_all(site)
    assert "undid drift of collab-2" in site.apply(), "it is put back to where it is pinned"
    site.commit(level="error")
    assert "that pin ends" in site.plan()
    assert "Done:" in site.apply()
    assert "error" in site.read("scores-1", "app-config")
    assert "true" in site.read("collab-1", "collab-config"), "the other one stays pinned"
    site.run("unpin", "collab", "--reason", "fixed elsewhere")
    assert "Done:" in site.apply()
    assert "false" in site.read("collab-1", "collab-config")


def test_a_held_node_makes_no_run_fail_and_nothing_is_sent_to_it_or_what_depends_on_it(site):
    for node in ("scores-3", "collab-2"):
        site.run("hold", node, "--until", "4h", "--reason", "a card")
    assert "No changes: 8 nodes are as desired." in site.plan("--detailed-exitcode"), "nothing waits"
    site.commit(logging=False, level="warn")
    told = site.apply()
    assert "scores-3 differs, and nothing is sent to it: it is held until" in told
    assert "`reconcile release scores-3` ends it" in told
    states = {node: state for node, (state, _) in site.nodes().items()}
    assert (states["scores-3"], states["scores-1"], states["collab-2"]) == ("held", "differs", "held")
    assert "info" in site.read("scores-3", "app-config")
    assert "true" in site.read("collab-2", "collab-config")
    site.plan("--detailed-exitcode", status=2)
    for node in ("scores-3", "collab-2"):
        site.run("release", node)
    assert "no changes remain" in site.apply()


def test_a_node_of_a_mesh_that_is_away_is_tolerated_since_the_others_only_miss_it(site):
    site.stop("scores-2")
    only = ("--only", "scores")
    for command in (("--dry-run",), ("status",)):
        site.run(*command, *only, site.source, "--detailed-exitcode", status=1)
        told = site.run(*command, *only, site.source, "--detailed-exitcode", "--tolerate-unread", "1")
        assert "scores/scores-2 could not be read is no error" in told


def test_what_is_left_of_a_move_to_another_port_is_no_drift_and_is_done_where_drift_is_only_reported(site):
    (server,) = [node for node in site.fleet["clusters"][0]["nodes"] if node["name"] == "collab-3"]
    (place,) = find_free_addresses(1)
    server["port"] = place.port
    server["overlays"] = [{"merge": {"port": place.port}}]
    site.commit(drift="report")
    assert "still to do" in site.apply("--only", "collab", status=5)
    assert "behind our back" not in site.plan("--only", "collab")
    assert "no changes remain" in site.apply("--only", "collab")
