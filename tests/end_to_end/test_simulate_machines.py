"""`reconcile simulate --machines`: real files of simulated nodes, and commands that reach the simulation."""

import pytest
from support.machine_sites import MachineSite

from reconciler.cli.main import main


@pytest.fixture
def site(tmp_path):
    return MachineSite(tmp_path)


def test_a_cluster_is_configured_and_upgraded(site):
    with site.simulated("--converged"):
        fleet_file = site.fleet / "fleet.yaml"
        fleet_file.write_text(fleet_file.read_text().replace("2024.2.0", "2024.2.1"))
        by_hand = site.machines / next(iter(site.addresses)) / "sora-conf"
        by_hand.write_text(by_hand.read_text() + "# a person was here\n")
        site.commit("cluster_relay = false\n")
        done = site.run("--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "upgrade" in done.stdout
        assert all("cluster_relay = false\n" in conf for conf in site.confs())
        assert "# a person was here\n" in site.confs()[0]
        assert all("signaling_port = 5000\n" in conf for conf in site.confs())
        assert not list(site.machines.glob("*/.*reconciler-new"))
        assert site.run("--dry-run", "--detailed-exitcode").returncode == 0, "a second pass finds nothing"


def test_a_folder_with_something_else_is_left_alone(site, capsys):
    site.machines.mkdir()
    (site.machines / "precious").write_text("x")
    assert main(["simulate", "--machines", str(site.machines), str(site.fleet)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [one.name for one in site.machines.iterdir()] == ["precious"]
