"""`reconcile simulate` by its real entry point: write a fleet, serve it, disturb it, stop it."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run_process

from reconciler.cli.main import main
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.package import pack_files
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Share, Simulation
from reconciler.simulation.products import generate_fleet
from reconciler.sources.folder import FolderSource

RECONCILE = str(Path(sys.executable).parent / "reconcile")


def fleet(folder: Path, *nodes: str) -> Path:
    """A fleet of one Sora cluster, its nodes at these addresses."""
    lines = [
        f'      - {{name: node-{number:02}@sora-{number:02}.example.com, api: "http://{address}/"}}'
        for number, address in enumerate(nodes, start=1)
    ]
    text = "clusters:\n  - name: live\n    kind: sora\n    initialise: true\n    nodes:\n"
    (folder / "fleet.yaml").write_text(text + "\n".join(lines) + "\n")
    return folder


def in_a_row(count):
    """Free addresses whose ports follow each other."""
    while True:
        found = find_free_addresses(count)
        if found[-1].port - found[0].port == count - 1:
            return found


def ask(address, method="POST", path="/", body="", **headers):
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request(method, path, body, {"x-sora-target": "Sora_20211215.ListClusterNodes", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_written_fleet_is_served_until_a_signal(tmp_path, number):
    first, _, _, control = in_a_row(4)
    generated = ("--kind", "sora", "--nodes", 3, "--first", first, "--write", "fleet")
    written = run_process(RECONCILE, "simulate", *generated, cwd=tmp_path, check=True)
    assert written.stdout == "wrote 3 nodes to fleet; serve them with: reconcile simulate fleet\n"
    faults = ["--fault", "node-01@sora-01.example.com=killed", "--fault", "live-01=error:502*1"]
    options = ["--converged", *faults, "--control", str(control), "--ready-file", "ready"]
    with subprocess.Popen(
        [RECONCILE, "simulate", *options, "fleet"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready: 3 nodes of 1 cluster; stop with Ctrl-C\n"
            assert (tmp_path / "ready").exists()
            _, nodes = ask(control, "GET", "/nodes")
            assert [(node["up"], node["faults"]) for node in nodes] == [
                (False, ["error:502*1"]),
                (True, ["error:502*1"]),
                (True, ["error:502*1"]),
            ]
            ask(control, "DELETE", "/faults")
            second = (first.host, first.port + 1)
            assert [row["connected"] for row in ask(second)[1]] == [False, True, True]
            process.send_signal(number)
            assert process.wait(timeout=10) == 0
            assert process.stdout.read() == "stopped\n"
        finally:
            process.kill()
    assert not (tmp_path / "ready").exists()


def test_a_node_away_from_this_machine_is_refused(tmp_path, capsys):
    assert main(["simulate", str(fleet(tmp_path, "192.168.1.1:3000"))]) == 1
    output = capsys.readouterr().err
    assert (
        "node-01@sora-01.example.com: simulated nodes must have a loopback address, got 192.168.1.1:3000"
        in output
    )
    assert "127.0.0.0/8" in output


def test_an_address_in_use_is_named(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["simulate", str(fleet(tmp_path, where))]) == 1
    assert f"node-01@sora-01.example.com: {where} is already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fault", "node-09=cut"], "there is no node or cluster 'node-09'"),
        (["--fault", "live=tired"], "unknown fault 'tired'"),
        (["--fresh", "node-09"], "there is no node or cluster 'node-09'"),
        (["--choice", "sora.hue=blue"], "unknown choice 'hue' of sora"),
        (["--control", "8650"], "--control must be HOST:PORT, got '8650'"),
        (
            ["--control", "0.0.0.0:8650"],
            "the control endpoint: simulated nodes must have a loopback address, got 0.0.0.0:8650",
        ),
        (["--ready-file", "/proc/nowhere/ready"], "--ready-file: cannot write /proc/nowhere/ready"),
    ],
)
def test_what_cannot_be_simulated_is_said_before_or_instead_of_ready(tmp_path, capsys, options, words):
    (address,) = find_free_addresses(1)
    assert main(["simulate", *options, str(fleet(tmp_path, str(address)))]) == 1
    shown = capsys.readouterr()
    assert words in " ".join(shown.err.split())
    assert "ready" not in shown.out


def test_a_fleet_is_not_written_over_another(tmp_path, capsys):
    fleet(tmp_path, "127.0.0.1:3000")
    before = (tmp_path / "fleet.yaml").read_bytes()
    assert main(["simulate", "--write", str(tmp_path)]) == 1
    assert "fleet.yaml already exists" in capsys.readouterr().err
    assert (tmp_path / "fleet.yaml").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.yaml"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["simulate", "--write", str(tmp_path / "file" / "fleet")]) == 1
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "count"), [("m2", 1), ("m2", 120), ("sora", 3), ("sora", 37)])
async def test_a_made_up_fleet_is_a_fleet_that_can_be_served(tmp_path, kind, count):
    (first,) = find_free_addresses(1)
    for name, text in generate_fleet(kind, count, DRIVERS, first).items():
        (tmp_path / name).write_text(text)
    loaded = load_fleet(await FolderSource(tmp_path).snapshot(), DRIVERS)
    assert loaded.warnings == ()
    simulation = Simulation(loaded, DRIVERS, converged=True)
    assert len(simulation.nodes) == count
    assert next(iter(simulation.nodes.values())) == first


async def test_a_fleet_that_polls_is_written_and_served_in_parts(tmp_path, capsys):
    written = ["simulate", "--write", "--nodes", "5", "--poll", "http://127.0.0.1:8643", str(tmp_path)]
    assert await asyncio.to_thread(main, written) == 0
    loaded = load_fleet(await FolderSource(tmp_path).snapshot(), DRIVERS)
    assert loaded.warnings == ()
    assert Simulation(loaded, DRIVERS).nodes == {}
    parts = [list(Simulation(loaded, DRIVERS, share=Share(part, 2)).names) for part in (0, 1)]
    assert parts == [["edge-01", "edge-03", "edge-05"], ["edge-02", "edge-04"]]
    with pytest.raises(UsageError, match="edge-01: its token is not known"):
        Simulation(loaded, DRIVERS, converged=True)


def test_sora_nodes_do_not_poll(tmp_path, capsys):
    assert main(["simulate", "--write", "--kind", "sora", "--poll", "http://127.0.0.1:1", str(tmp_path)]) == 1
    assert "nodes of this kind do not poll" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(tmp_path, capsys, part):
    assert main(["simulate", "--part", part, str(tmp_path)]) == 1
    assert f"--part must be I/N, got '{part}'" in capsys.readouterr().err


async def test_a_package_is_installed_by_hand_and_a_bad_one_is_refused(tmp_path):
    for name, text in generate_fleet("m2", 2, DRIVERS, server="http://127.0.0.1:8643").items():
        (tmp_path / name).write_text(text)
    loaded = load_fleet(await FolderSource(tmp_path).snapshot(), DRIVERS)
    async with Simulation(loaded, DRIVERS) as simulation:
        await simulation.install("edge-01", pack_files(b'{"meta":{"version":"by hand"}}', {"a.pem": b"A"}))
        state = simulation.world("edge").state("edge-01")
        assert state.running == {"meta": {"version": "by hand"}}
        assert state.loaded.package.resources == {"a.pem": b"A"}
        with pytest.raises(UsageError, match="edge-02: the node refuses the package: E0002"):
            await simulation.install("edge-02", b"no package")
        assert simulation.is_up("edge-02")


def test_nodes_that_use_kafka_need_its_library_and_the_start_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    example = Path(__file__).parents[2] / "examples" / "kafka"
    assert main(["simulate", str(example)]) == 1
    message = capsys.readouterr().err
    assert "Simulated nodes that use Kafka need a library that is not installed here" in message
    assert "pip install 'fleet-reconciler[kafka]'" in message
