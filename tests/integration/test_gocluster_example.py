"""The example with a Go cluster is planned as its expected plan says."""

import re
import shutil

import pytest
import yaml

from reconciler.cli.demo_fixtures import DemoNodes, find_examples
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

LOOPBACK = re.compile(r"127\.0\.0\.1:13\d{3}")
DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")
SECRET = "the-secret-of-all-nodes"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The example on free ports, whose nodes are files and commands of this machine, one change behind."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("RECONCILE_SECRET_CLUSTER_KEY", SECRET)
    monkeypatch.setenv("RECONCILE_SECRET_API_KEY", "the-key-of-the-tokens")
    folder = tmp_path / "gocluster"
    shutil.copytree(find_examples() / "gocluster", folder)
    fleet = folder / "fleet.yaml"
    places = iter(find_free_addresses(5))
    text = LOOPBACK.sub(lambda _: str(next(places)), fleet.read_text())
    text = re.sub(r"    windows:\n( {6}- .*\n)+", "", text)  # else it depends on the hour
    fleet.write_text(text)
    machines = tmp_path / "machines"
    nodes = yaml.safe_load(text)["clusters"][0]["nodes"]
    peers = [{"name": node["name"], "addr": node["addr"]} for node in nodes]
    for node in nodes:
        own = machines / node["name"]
        own.mkdir(parents=True)
        (own / "app.json").write_text(make_file(node, peers))
        (own / "started").write_text(f"InvocationID={node['name']}\n")
    write_host(tmp_path / "host.yaml", folder, machines)
    with DemoNodes() as nodes:
        nodes.serve(folder, converged=True)
        yield tmp_path


def make_file(node, peers):
    """The file of a node as it was before: with fewer workers."""
    listed = ", ".join(
        f'{{"name": "{one["name"]}", "addr": "{one["addr"]}"}}'
        for one in peers
        if one["name"] != node["name"]
    )
    return f"""{{
  "name": "{node["name"]}",
  "listen": "{node["addr"]}",
  "authKey": "{SECRET}",
  "tls": false,
  "api": {{"enabled": true, "signingKey": "the-key-of-the-tokens"}},
  "peers": [{listed}],
  "settings": {{"ping_interval": "5s", "join_delay": "500ms", "read_timeout": "11s", \
"connect_interval": "2s", "connect_timeout": "10s"}},
  "workers": 4
}}
"""


def write_host(path, folder, machines):
    """The entries of the example's host.yaml, for files and commands of this machine."""
    commands = yaml.safe_load((folder / "host.yaml").read_text())["commands"]
    own = {
        "files": {"app-config": {"path": f"{machines}/{{node}}/app.json"}},
        "commands": {
            **{name: {"run": ["/bin/false", name]} for name in commands},
            "app-started": {"run": ["cat", f"{machines}/{{node}}/started"], "reads": True},
        },
    }
    path.write_text(yaml.safe_dump(own))
    path.chmod(0o600)


def test_a_change_is_planned_as_expected(site, capsys, golden):
    host, state = str(site / "host.yaml"), str(site / "state")
    status = main(["--dry-run", "--host-config", host, "--state", state, str(site / "gocluster")])
    out = capsys.readouterr()
    assert status == 0, out
    assert SECRET not in out.out + out.err
    plan = out.out.partition("\n\n")[2]
    golden("examples/gocluster.txt", DIGEST.sub("DIGEST", plan))
