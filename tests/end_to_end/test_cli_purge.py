"""`reconcile purge` by the entry point: simulated nodes, a real store, and a running watch."""

import asyncio
import io
import json
import os
import subprocess
import sys

import jsonschema_rs
import pytest
from support.git_repositories import ALONE, Repository, alone
from support.m2_settings import MANAGEMENT
from support.watch_process import Stage

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.cli.schema_table import SCHEMAS
from reconciler.errors import StateError
from reconciler.host.control_socket import send_request
from reconciler.simulation.addresses import find_free_addresses

PERMISSIONS = {"enableSetting": True, "enableGet": True, "enablePurge": True}
ACCESS = {**MANAGEMENT, "roles": [{"name": "admin", "permissions": PERMISSIONS}]}
SETTING = json.dumps({"env": {"management": ACCESS}, "hosting": [{"name": "a.example", "listen": "*:80"}]})


def write_fleet(places, more=""):
    text = f"{more}clusters:\n  - name: edge\n    kind: m2\n    setting: s.json\n"
    text += "    timeouts: {connect: 0.5, read: 2}\n    nodes:\n"
    return text + "".join(
        f"      - {{name: n{number}, address: '{place}'}}\n" for number, place in enumerate(places, 1)
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    files = {"fleet.yaml": write_fleet(find_free_addresses(5)), "s.json": SETTING}
    made = Repository.make(tmp_path / "repo", files)
    with DemoNodes() as served:
        served.serve(made.folder)
        assert main([str(made.folder), "--yes", "--state", str(tmp_path / "state")]) == 0
        yield made


def run(repository, *arguments):
    return main([*arguments, "--state", str(repository.folder.parent / "state")])


def purge(repository, *arguments):
    return run(repository, "purge", *arguments, "--source", str(repository.folder))


def is_documented(output):
    """Whether an output fits `schemas/operations.schema.json`, with every key of it."""
    validator = jsonschema_rs.validator_for(SCHEMAS["operations"]())
    validator.validate(output)
    operation = output["operations"][0] if isinstance(output, dict) else output[0]
    named = set(SCHEMAS["operations"]()["$defs"]["OperationShape"]["properties"])
    return set(operation) == named and set(operation["actor"]) == {
        *("user", "host", "terminal", "claim", "why")
    }


def shown(capsys):
    """All that the command wrote."""
    output = capsys.readouterr()
    return output.out + output.err


def test_a_purge_reaches_each_node_once_and_is_in_the_history(repository, capsys):
    capsys.readouterr()
    status = purge(
        repository, "http://A.example/x.jpg", "a.example/img/*", "--yes", "--reason", "a wrong logo"
    )
    output = shown(capsys)
    assert status == 0, output
    assert "edge: 5 nodes, called directly" in output
    assert "5 done" in output
    assert "in all        count " in output
    assert run(repository, "history", "operations", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["targets"] == ["http://a.example/x.jpg", "a.example/img/*"]
    assert found["counts"] == {"done": 5}
    assert found["actor"]["why"] == "a wrong logo"
    assert is_documented([found])
    assert run(repository, "history") == 0
    assert f"{found['id']}  " in capsys.readouterr().out
    assert run(repository, "history", "show", found["id"]) == 0
    assert "done: n1 … n5 (5 nodes)" in capsys.readouterr().out
    assert run(repository, "history", "show", found["id"], "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["is_over"] is True


def test_nothing_is_sent_without_consent(repository, capsys):
    assert purge(repository, "a.example/x") == 1
    assert "cannot ask whether to purge this" in capsys.readouterr().err
    assert run(repository, "history", "operations") == 0
    assert capsys.readouterr().out == "No operations yet.\n"


def test_a_whole_host_needs_more_than_yes_and_goes_in_waves(repository, capsys):
    assert purge(repository, "a.example/*", "--yes") == 1
    error = shown(capsys)
    assert "high risk: everything on a.example" in error
    assert "in 5 waves: 1, 1, 1, 1, 1" in error
    digest = error.rpartition("id: ")[2].split()[0]
    assert run(repository, "approve", digest, "--reason", "the logo is wrong everywhere") == 0
    capsys.readouterr()
    assert purge(repository, "a.example/*", "--yes", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exit_status"] == 0
    assert found["plan"]["high_risk"] is True
    assert [len(wave) for wave in found["operations"][0]["waves"]] == [1, 1, 1, 1, 1]
    assert purge(repository, "a.example/*", "--yes") == 1, "the approval was for one time"


class Keyboard(io.StringIO):
    """A terminal at which somebody answers."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_a_whole_host_is_confirmed_on_a_terminal_even_with_yes(
    repository, capsys, monkeypatch, answer, status
):
    monkeypatch.setattr(sys, "stdin", Keyboard(answer))
    assert purge(repository, "a.example/*", "--yes") == status
    output = shown(capsys)
    assert "High risk. Purge this on 5 nodes? [y/N]" in output
    assert ("Nothing was done" in output) == bool(status)


def test_the_policy_can_demand_an_approval(repository, capsys):
    repository.commit(
        {"fleet.yaml": "policy: {approve: [high]}\n" + (repository.folder / "fleet.yaml").read_text()}
    )
    assert purge(repository, "a.example/*", "--yes") == 3
    assert "[approval-needed]" in shown(capsys)
    assert purge(repository, "a.example/x", "--yes") == 0


def test_a_suspension_holds_it_and_a_closed_window_only_a_high_risk(repository, capsys):
    assert run(repository, "suspend", "--reason", "a storm") == 0
    assert purge(repository, "a.example/x", "--yes") == 3
    assert "[suspended]" in shown(capsys)
    assert run(repository, "resume") == 0
    text = (repository.folder / "fleet.yaml").read_text()
    repository.commit({"fleet.yaml": 'windows: [{cron: "0 0 31 12 *", duration: 1m}]\n' + text})
    assert purge(repository, "a.example/x", "--yes") == 0, capsys.readouterr()
    assert purge(repository, "a.example/*", "--yes") == 3
    assert "[outside-window]" in shown(capsys)


def test_markdown_for_a_comment(repository, capsys):
    capsys.readouterr()
    assert purge(repository, "a.example/x|", "--yes", "--format", "markdown") == 1
    assert purge(repository, "a.example/x", "c.example/y", "--yes", "--format", "markdown") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("### Purge of 2 targets on 5 nodes")
    assert "| edge | 5 | called directly | 1 | 5 done" in shown


def test_a_host_that_nobody_has_is_told(repository, capsys):
    assert purge(repository, "c.example/y", "--yes") == 0
    assert "a host that no hosting or alias has: c.example" in shown(capsys)


def test_targets_from_a_file_and_from_standard_input(repository, tmp_path, capsys, monkeypatch):
    file = tmp_path / "urls"
    file.write_text("# wrong logos\na.example/x\n\n  a.example/y  \na.example/x\n")
    assert purge(repository, "--file", str(file), "--yes", "--format", "json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["operations"][0]["targets"] == ["a.example/x", "a.example/y"]
    assert is_documented(output)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.example/z\n")))
    assert purge(repository, "--file", "-", "--yes", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["operations"][0]["targets"] == ["a.example/z"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a.example/x\n" * 1_500_000, "is larger than 16 MB"),
        (b"".join(b"a.example/%d\n" % number for number in range(20_000)), "at most 10,000 targets"),
        (b"# nothing\n", "a purge needs a target"),
        (b"a.example/x\x1b[2J\n", "a control character"),
    ],
)
def test_files_that_are_no_lists_of_targets(repository, tmp_path, capsys, content, words):
    file = tmp_path / "urls"
    file.write_bytes(content)
    assert purge(repository, "--file", str(file), "--yes") == 1
    error = capsys.readouterr().err
    assert words in error
    assert "\x1b" not in error


def test_unknown_clusters_and_files(repository, tmp_path, capsys):
    assert purge(repository, "a.example/x", "--cluster", "egde", "--yes") == 1
    assert "no cluster 'egde'" in capsys.readouterr().err
    assert purge(repository, "--file", str(tmp_path / "none"), "--yes") == 1
    assert "cannot read" in capsys.readouterr().err
    assert purge(repository, "--yes") == 1


def test_a_node_without_permission_fails_and_the_others_are_purged(repository, capsys):
    narrow = json.loads(SETTING)
    narrow["env"]["management"]["roles"][0]["permissions"]["enablePurge"] = False
    repository.commit({"narrow.json": json.dumps(narrow)})
    text = (
        (repository.folder / "fleet.yaml")
        .read_text()
        .replace("{name: n2,", "{name: n2, setting: narrow.json,")
    )
    repository.commit({"fleet.yaml": text})
    assert run(repository, str(repository.folder), "--yes") == 0
    capsys.readouterr()
    assert purge(repository, "a.example/x", "--yes") == 5
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 done" in shown
    assert "failed: n2: this host may not purge (401)" in shown


def test_a_killed_command_is_continued_by_the_next_one(repository, capsys):
    """Killed between the record and the calls: the next purge of the cluster performs both."""
    code = (
        "import os, signal\n"
        "from reconciler.cli.main import main\n"
        "from reconciler.rollout.operation_runner import OperationRunner\n"
        "async def kill(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
        "OperationRunner._call = kill\n"
        f"main(['purge', 'a.example/killed', '--yes', '--source', {str(repository.folder)!r},"
        f" '--state', {str(repository.folder.parent / 'state')!r}])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **ALONE}, capture_output=True, check=False
    )
    assert done.returncode == -9, done.stderr
    assert run(repository, "history", "operations", "--format", "json") == 0
    (left,) = json.loads(capsys.readouterr().out)
    assert left["counts"] == {"pending": 5}
    assert run(repository, "status", str(repository.folder)) == 0
    assert f"edge: purge {left['id']}, 5 pending" in capsys.readouterr().out
    assert run(repository, "status", str(repository.folder), "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["operations"][0]["counts"] == {"pending": 5}
    backup = str(repository.folder.parent / "backup")
    assert run(repository, "state", "backup", backup) == 0
    assert "1 open operation" in shown(capsys)
    assert purge(repository, "a.example/other", "--yes") == 0
    capsys.readouterr()
    assert run(repository, "history", "operations", "--format", "json") == 0
    assert [one["counts"] for one in json.loads(capsys.readouterr().out)] == [{"done": 5}, {"done": 5}]
    # A restored backup does not ask for it again.
    assert run(repository, "state", "restore", backup) == 0
    assert run(repository, "resume") == 0
    assert purge(repository, "a.example/third", "--yes") == 0
    capsys.readouterr()
    assert run(repository, "history", "operations", "--format", "json") == 0
    assert [one["counts"] for one in json.loads(capsys.readouterr().out)] == [{"done": 5}, {"pending": 5}]


def attack(state):
    """Requests that no command sends; the watch refuses each and goes on."""
    (path,) = state.glob("watch-*.socket")
    operate = {"do": "operate", "kind": "purge", "plan": ""}
    bodies = [
        (operate, b""),
        (operate, b"{}"),
        (operate, b'["a.example/x", 3]'),
        (operate, b"[" * 50_000),
        (operate, b'["*' + b"*" * 100_000 + b'"]'),
        (operate, b'["a.example/\\u001b[2J"]'),
        (operate | {"kind": "format disks"}, b'["a.example/x"]'),
        (operate | {"cluster": "none"}, b'["a.example/x"]'),
        (operate | {"plan": "f" * 64}, b'["a.example/x"]'),
        ({"do": "look at operations", "ids": "none"}, b""),
        ({"do": "look at operations", "ids": " ".join(["x"] * 2000)}, b""),
        ({"do": "operate", "bytes": "-1"}, b""),
        ({"do": "operate", "bytes": "999999999999"}, b""),
        ({"do": "operate", "bytes": "many"}, b""),
    ]
    for request, body in bodies:
        with pytest.raises(StateError, match="the watch refuses") as caught:
            send_request(path, request, body=body)
        assert "unexpected" not in caught.value.message
        assert "\x1b" not in caught.value.message


async def test_a_running_watch_performs_it_also_after_the_command(tmp_path):
    stage = Stage(tmp_path)
    stage.repository.commit({"fleet.yaml": write_fleet(stage.addresses), "s.json": SETTING})
    async with stage.nodes(), stage.watch("--interval", "60s") as watch:
        await watch.said("pass ended", cluster="edge")

        def command(*arguments):
            return subprocess.run(
                [sys.executable, "-m", "reconciler.cli.main", *arguments, "--state", str(stage.state)],
                env={**os.environ, **ALONE, "HOME": str(tmp_path)},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )

        done = await asyncio.to_thread(command, "purge", "a.example/x", "--yes", "--format", "json")
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)["operations"]
        assert found["counts"] == {"done": 6}
        assert (await watch.said("order accepted", order="purge"))["plan"]
        over = await watch.said("operation over", operation=found["id"])
        assert over["nodes"] == {"done": 6}
        # The watch's source, named otherwise: by a relative path, as a URL, through a link.
        link = tmp_path / "link"
        link.symlink_to(stage.repository.folder)
        for source in ("fleet", f"file://{stage.repository.folder}/.git", str(link)):
            other = await asyncio.to_thread(command, "purge", "a.example/x", "--yes", "--source", source)
            assert other.returncode == 0, other.stderr
        assert len([line for line in watch.lines if line["event"] == "order accepted"]) == 4
        # Both at once: each node gets both, and each counts once.
        both = await asyncio.gather(
            *(
                asyncio.to_thread(command, "purge", "a.example/x", "--yes", "--format", "json")
                for _ in range(2)
            )
        )
        assert [one.returncode for one in both] == [0, 0], [one.stderr for one in both]
        risky = await asyncio.to_thread(command, "purge", "*", "--yes")
        assert risky.returncode == 1
        assert "everything on all hosts" in risky.stdout
        metrics = (await watch.get("/metrics")).text
        assert "# TYPE reconciler_operation_nodes gauge" in metrics
        await asyncio.to_thread(attack, stage.state)
        many = tmp_path / "many"
        many.write_text("".join(f"a.example/{number:05}\n" for number in range(9_000)))
        large = await asyncio.to_thread(command, "purge", "--file", str(many), "--yes", "--format", "json")
        assert large.returncode == 0, large.stderr
        assert len(json.loads(large.stdout)["operations"][0]["targets"]) == 9_000
