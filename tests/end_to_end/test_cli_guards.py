"""Guards by the entry point, over simulated nodes and real HTTP: refused, set aside, refused again."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.drivers.m2.guards import refuse_lockout_of_this_host
from reconciler.drivers.m2.product import M2Driver
from reconciler.simulation.addresses import find_free_addresses
from reconciler.store.factory import open_store

NOW = datetime.now(UTC)


def setting(version="1", *, hostings=("a.example",), feed="127.0.0.9:9000", port=9900, api=None):
    management = {
        "api": {"allowList": [{"role": "admin", "addr": "127.0.0.1"}], **(api or {})},
        "roles": [{"name": "admin", "permissions": {"enableSetting": True, "enableGet": True}}],
        "cluster": {"meta": {"enable": True}, "discover": {"port": port}},
        "server": {
            "enable": True,
            "features": {
                "setting": {
                    "enable": True,
                    "feed": {
                        "type": "apiPolling",
                        "info": {"url": f"http://{feed}/", "schedule": "0 * * * * *"},
                    },
                }
            },
        },
    }
    hosting = [{"name": name, "listen": "*:80"} for name in hostings]
    return json.dumps({"meta": {"version": version}, "env": {"management": management}, "hosting": hosting})


class Fleet:
    """A folder with a fleet file, its simulated nodes, and the state of a management host."""

    def __init__(self, folder):
        self.folder, self.state = folder / "fleet", folder / "state"
        self.folder.mkdir()
        self.places = sorted(find_free_addresses(3), key=lambda place: place.port)
        self.write()

    def write(
        self, text=None, *, policy="{}", overrides=(), names=("edge", "lab"), renamed=None, former="", **more
    ):
        where = list(zip(("n0", "n1", "n2"), self.places, ("r1", "r2", "r3"), strict=True))
        nodes = [f"{{name: {name}, address: '{place}', domain: {rack}}}" for name, place, rack in where]
        parts = {"edge": ", ".join(nodes[:2]), "lab": nodes[2]}
        clusters = "".join(
            f"  - {{name: {(renamed or {}).get(name, name)}, kind: m2, setting: {name}.json, concurrency: 1,"
            f" nodes: [{parts[name]}],"
            f"{f' renamed_from: {former},' if former == name else ''} timeouts: {{read: 5, settle: 5}}}}\n"
            for name in names
        )
        told = "".join(f"  - {json.dumps(one)}\n" for one in overrides) or "  []\n"
        top = "".join(f"{key}: {json.dumps(value)}\n" for key, value in more.items())
        file = f"{top}policy: {policy}\noverrides:\n{told}clusters:\n{clusters}"
        (self.folder / "fleet.yaml").write_text(file)
        (self.folder / "lab.json").write_text(setting())
        (self.folder / "edge.json").write_text(text or setting())

    def run(self, *arguments):
        return main([*arguments, "--state", str(self.state), str(self.folder)])


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path)
    with DemoNodes() as served:
        served.serve(made.folder)
        yield made


def override(guard, target="edge", days=0):
    until = (NOW.date() + timedelta(days=days)).isoformat()
    return {"guard": guard, "target": target, "until": until, "reason": "agreed by everybody"}


WHOLE = "{max_risky: 100%, max_cache_lost: 100%}"


HERE = {"management": ["127.0.0.8", "127.0.0.1"]}
DOMAINS = {"rollout": {"by": "domain"}}


@pytest.mark.parametrize(
    ("code", "written", "remedy"),
    [
        ("feed-detached", {"text": setting("2", feed="127.0.0.8:9000")}, HERE),
        ("uniformity", {"text": setting("2", port=9901)}, None),
        (
            "hosting-deleted",
            {"text": setting("2", hostings=()), "policy": "{max_risky: 100%, max_domains: 2}"},
            None,
        ),
        ("failure-domain", {"text": setting("2", hostings=()), "policy": WHOLE}, DOMAINS),
        (
            "lock-out",
            {
                "text": setting("2", api={"allowList": [{"addr": "10.0.0.1"}]}),
                "policy": "{max_risky: 100%, max_domains: 2}",
            },
            None,
        ),
    ],
)
def test_a_guard_refuses_a_run_until_the_fleet_file_sets_it_aside(fleet, capsys, code, written, remedy):
    assert fleet.run("--yes") == 0
    fleet.write(**written)
    capsys.readouterr()
    assert fleet.run("--yes") == 3
    refused = capsys.readouterr()
    assert f"[{code}]" in refused.out + refused.err
    assert fleet.run("--dry-run", "--detailed-exitcode") == 3
    if remedy:
        fleet.write(**written, **remedy)
        assert fleet.run("--dry-run", "--detailed-exitcode") == 2
    fleet.write(**written, overrides=[override(code)])
    assert fleet.run("--dry-run", "--detailed-exitcode") == 2


def test_an_override_is_in_force_until_its_last_day_and_then_reported(fleet, capsys, monkeypatch):
    """The refused run leaves the nodes as they are; the same file is refused again when the day is over."""
    assert fleet.run("--yes") == 0
    without, aside = (), [override("hosting-deleted")]
    policy = "{max_risky: 100%, max_domains: 100%}"
    fleet.write(setting("2", hostings=()), policy=policy, overrides=without)
    assert fleet.run("--yes") == 3
    fleet.write(setting("1"), overrides=without)
    assert fleet.run("--dry-run", "--detailed-exitcode") == 0
    fleet.write(setting("2", hostings=()), policy=policy, overrides=aside)
    assert fleet.run("--yes") == 0
    fleet.write(setting("3", hostings=("b.example",)), policy=policy, overrides=aside)
    assert fleet.run("--yes") == 0
    monkeypatch.setitem(open_store.__kwdefaults__, "clock", lambda: NOW + timedelta(days=1))
    fleet.write(setting("4", hostings=()), policy=policy, overrides=aside)
    capsys.readouterr()
    assert fleet.run("--yes") == 3
    said = capsys.readouterr()
    assert "[hosting-deleted]" in said.out + said.err
    assert "[expired-override]" in said.out + said.err


def test_a_cluster_that_the_file_loses_is_refused_until_it_is_let_go(fleet, capsys):
    assert fleet.run("--yes") == 0
    fleet.write(names=("edge",))
    capsys.readouterr()
    assert fleet.run("--yes") == 3
    said = capsys.readouterr()
    assert "lab: the fleet file no longer names this cluster" in said.out + said.err
    assert "No changes: 2 nodes are as desired; 1 cluster is on hold." in said.out
    more = setting("2", hostings=("a.example", "b.example"))
    fleet.write(more, names=("edge",))
    assert fleet.run("--dry-run", "--detailed-exitcode") == 3
    capsys.readouterr()
    assert fleet.run("--yes", "-q") == 5, "the other cluster goes on"
    told = capsys.readouterr().out
    assert "Done: 2 changes" in told
    assert "on hold: lab was left out of this run [cluster-vanished]" in told
    fleet.write(more, names=("edge",))
    assert fleet.run("status", "--detailed-exitcode") == 2
    assert "Not converged: 2 as desired, 1 cluster missing from the fleet file." in capsys.readouterr().out
    assert fleet.run("status", "--format", "json") == 0
    assert [one["target"] for one in json.loads(capsys.readouterr().out)["vanished"]] == ["lab"]
    assert fleet.run("--yes", "--only", "edge") == 0
    fleet.write(more, names=("edge", "lab"), renamed={"lab": "mesh"})
    assert fleet.run("--yes") == 3
    assert "add `renamed_from: lab` to mesh" in " ".join(capsys.readouterr().out.split())
    fleet.write(more, names=("edge",), overrides=[override("cluster-vanished", "lab")])
    assert fleet.run("--yes") == 0
    fleet.write(more, names=("edge",))
    assert fleet.run("--yes") == 0


def test_a_renamed_cluster_keeps_its_past_and_status_and_history_tell(fleet, capsys):
    assert fleet.run("--yes") == 0
    fleet.write(renamed={"lab": "mesh"}, former="lab")
    assert fleet.run("--dry-run", "--detailed-exitcode") == 0
    assert fleet.run("--yes") == 0
    assert fleet.run("status", "--detailed-exitcode") == 0
    assert "mesh (m2, renamed from lab): 1 of 1 node as desired" in capsys.readouterr().out
    assert main(["history", "orders", "--state", str(fleet.state)]) == 0
    assert "renamed from lab" in capsys.readouterr().out


def test_a_file_without_clusters_or_nodes_is_wrong_before_anything_is_asked(fleet, capsys):
    assert fleet.run("--yes") == 0
    (fleet.folder / "fleet.yaml").write_text("clusters: []\n")
    assert fleet.run("--yes") == 1
    assert "[no-clusters]" in capsys.readouterr().err
    (fleet.folder / "fleet.yaml").write_text(
        "clusters: [{name: edge, kind: m2, setting: edge.json, nodes: []}]\n"
    )
    assert fleet.run("--yes") == 1
    assert "nodes" in capsys.readouterr().err


def test_without_the_guard_a_lock_out_is_permanent(fleet, capsys, monkeypatch):
    """What the guard is for: the same change without it leaves nodes that nobody can mend from here."""
    assert fleet.run("--yes") == 0
    shut = setting("2", api={"allowList": [{"addr": "10.0.0.1"}]})
    free = "{max_risky: 100%, max_domains: 2}"
    fleet.write(shut, policy=free)
    assert fleet.run("--yes") == 3
    fleet.write()
    assert fleet.run("status", "--detailed-exitcode") == 0
    fleet.write(shut, policy=free)
    left = tuple(guard for guard in M2Driver.guards if guard is not refuse_lockout_of_this_host)
    monkeypatch.setattr(M2Driver, "guards", left)
    assert fleet.run("--yes") == 5
    monkeypatch.undo()
    fleet.write()
    capsys.readouterr()
    assert fleet.run("status", "--detailed-exitcode") == 1
    assert "2 unauthorized" in capsys.readouterr().out
