"""`reconcile hold` and `release` by the entry point, over simulated nodes and real HTTP."""

import json

import pytest
from support.commands import run_program
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

FLEET = """\
policy: {max_risky: 100%, max_cache_lost: 100%}
clusters:
  - name: CLUSTER
    kind: m2
    setting: s.json
    timeouts: {read: 5, settle: 5}
    nodes:
"""


HOSTS = ("one.example", "two.example", "three.example")


class Fleet:
    """A fleet of two nodes, and commands about it."""

    def __init__(self, root, capture):
        self.folder, self.capture = root / "fleet", capture
        self.state = ["--state", str(root / "state")]
        self.places = sorted(find_free_addresses(2), key=lambda place: place.port)
        self.folder.mkdir()
        self.write(1)

    def write(self, version, names=("n0", "n1"), cluster="edge"):
        nodes = "".join(
            f"      - {{name: {name}, address: '{place}'}}\n"
            for name, place in zip(names, self.places, strict=True)
        )
        (self.folder / "fleet.yaml").write_text(FLEET.replace("CLUSTER", cluster) + nodes)
        (self.folder / "s.json").write_text(managed_setting(*HOSTS[:version], version=str(version)))

    def run(self, *arguments, status=0):
        return run_program(self.capture, *arguments, *self.state, status=status)

    def apply(self, status=0):
        return self.run("--yes", str(self.folder), status=status)


@pytest.fixture
def fleet(tmp_path, capsys):
    found = Fleet(tmp_path, capsys)
    with DemoNodes() as served:
        served.serve(found.folder)
        found.apply()
        yield found


def test_a_held_node_is_left_alone_and_everybody_is_told(fleet):
    shown = fleet.run("hold", "n0", "--until", "4h", "--reason", "the card is replaced", "--by", "kim")
    assert "edge/n0 is held until" in shown
    assert "reconcile release edge/n0" in shown
    fleet.write(2)
    plan = " ".join(fleet.run("--dry-run", str(fleet.folder)).split())
    assert "nothing is sent (upload): it is held until" in plan
    assert "on behalf of kim (not checked): the card is replaced" in plan
    done = fleet.apply()
    assert "Done: 1 change" in done
    status = json.loads(fleet.run("status", "--format", "json", str(fleet.folder)))
    assert [one["state"] for one in status["clusters"][0]["nodes"]] == ["held", "as desired"]
    assert status["clusters"][0]["nodes"][0]["hold"]["reason"] == "the card is replaced"
    assert [(one["node"], one["in_file"]) for one in status["holds"]] == [("n0", False)]
    text = fleet.run("status", str(fleet.folder))
    assert "Held nodes" in text
    assert "→ `reconcile release n0` ends it" in text
    assert "hold  edge/n0 until" in fleet.run("history", "orders")
    assert "edge/n0 is changed again by the next run" in fleet.run("release", "n0")
    assert "Done: 1 change" in fleet.apply()
    assert "release  edge/n0" in fleet.run("history", "orders")


def test_the_machine_stays_held_when_the_file_gives_it_another_name(fleet):
    fleet.run("hold", "edge/n0", "--until", "2126-01-01", "--reason", "long work", status=1)
    fleet.run("hold", "edge/n0", "--until", "4h", "--reason", "long work")
    fleet.write(2, names=("renamed", "n1"))
    fleet.apply()
    status = json.loads(fleet.run("status", "--format", "json", str(fleet.folder)))
    assert [(one["node"], one["ordered_as"]) for one in status["holds"]] == [("renamed", "edge/n0")]
    assert [one["state"] for one in status["clusters"][0]["nodes"]] == ["held", "as desired"]
    assert "edge/n0" in fleet.run("release", "edge/n0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["n0", "--until", "4h"], "a hold needs a reason"),
        (["n0", "--reason", "why not"], "a hold needs an end"),
        (["n00", "--until", "4h", "--reason", "x y"], "similar names: n0"),
        (["n0", "--until", "soon", "--reason", "x y"], "is no end of a hold"),
        (["n0", "--until", "2020-01-01", "--reason", "x y"], "is over"),
        (["a/b/c", "--until", "4h", "--reason", "x y"], "is no name of a node"),
    ],
)
def test_a_hold_that_cannot_be_is_refused_with_what_to_write(fleet, arguments, words):
    assert words in fleet.run("hold", *arguments, status=1)


def test_a_name_that_two_clusters_have_is_asked_for_and_a_new_one_is_accepted(fleet):
    fleet.write(2, cluster="edge")
    shown = fleet.run("hold", "lab/n0", "--until", "1h", "--reason", "comes tomorrow")
    assert "No run on this host has seen lab/n0: check the name" in shown
    fleet.run("hold", "n0", "--until", "1h", "--reason", "the card")
    assert "several clusters have a held node" in fleet.run("release", "n0", status=1)
    shown = fleet.run("release", "lab/n0")
    assert "lab/n0 is changed again" in shown
    assert "Still held until" in shown
    assert "is not held by `reconcile hold`" in fleet.run("release", "n1")


def test_the_model_checker_explores_a_plan_beside_a_held_node(fleet):
    fleet.write(2)
    before = fleet.run("check", str(fleet.folder))
    fleet.run("hold", "n0", "--until", "4h", "--reason", "the card is replaced")
    held = fleet.run("check", str(fleet.folder))
    states = [int(text.partition(" states")[0].split()[-1].replace(",", "")) for text in (before, held)]
    assert all("all invariants hold" in text for text in (before, held))
    assert states[1] < states[0], "the held node is no part of any execution"
    fleet.run("hold", "n1", "--until", "4h", "--reason", "its disk")
    plan = " ".join(fleet.run("--dry-run", str(fleet.folder)).split())
    assert "nothing is sent (upload): it is held until" in plan
    assert "nothing is planned" in fleet.run("check", str(fleet.folder))
