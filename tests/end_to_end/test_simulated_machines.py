"""`reconcile simulate --machines`: a node that does not come back, and one simulation after another."""

import re

import pytest
from support.machine_sites import MachineSite


@pytest.fixture
def site(tmp_path):
    return MachineSite(tmp_path)


def test_a_node_that_does_not_come_back_gets_its_former_file_and_ends_the_chain(site):
    with site.simulated("--converged", "--fault", "node-01@sora-01.example.com=down"):
        site.commit("cluster_relay = false\n")
        failed = site.run("--yes")
        assert failed.returncode != 0
        assert not any("cluster_relay = false" in conf for conf in site.confs())
        assert "file-given-back" in failed.stdout or "restore-file" in failed.stdout


def test_a_later_simulation_begins_anew_with_the_state_of_the_earlier_one(site):
    """What the store knows of starts in the earlier one is true of no node of the later one."""
    fleet_file = site.fleet / "fleet.yaml"
    text = fleet_file.read_text()
    # Without a version: the upgrade would restart the nodes, too.
    text = re.sub(r"    (version|stop|upgrade|start): .*\n", "", text)
    fleet_file.write_text(text)
    for _ in range(2):
        with site.simulated("--converged"):
            site.commit("cluster_relay = false\n")
            done = site.run("--yes")
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("done          live  restart") == 3
            site.commit("cluster_relay = true\n")


def test_a_file_with_which_sora_does_not_start_is_refused_by_its_check(site):
    with site.simulated("--converged"):
        own = site.machines / next(iter(site.addresses)) / "sora-conf"
        own.write_text(own.read_text() + "api_port = 99999\n")
        site.commit("cluster_relay = false\n")
        refused = site.run("--yes")
        assert refused.returncode != 0
        assert "is refused by its check" in " ".join((refused.stdout + refused.stderr).split())
        assert "cluster_relay = true\n" in site.confs()[0]
