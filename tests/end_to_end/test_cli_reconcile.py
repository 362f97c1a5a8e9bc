"""`reconcile` by its entry point, as a process where that matters, against simulated nodes over real HTTP."""

import contextlib
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import pytest
from support.commands import run_process
from support.waiting import block_until

from reconciler.cli.demo_fixtures import DemoNodes, DemoRepository, DemoSink, find_examples
from reconciler.cli.main import main

PROGRAM = [sys.executable, "-m", "reconciler.cli.main"]
LIVE = "node-{}@sora-{}.example.com"


class Site:
    """A repository of desired state, its nodes, and a way to run the program as a person would."""

    def __init__(self, folder: Path, nodes: DemoNodes) -> None:
        self.folder = folder
        self.repository = DemoRepository(folder / "fleet", find_examples() / "demo")
        self.nodes = nodes
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("GIT_", "RECONCILE_"))
            },
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }

    def serve(self):
        self.repository.commit("All of it")
        self.simulation = self.nodes.serve(self.repository.folder)

    def fault(self, node: str, kind: str, argument: float | None = None, **more) -> None:
        self.nodes.run_on_loop(self.simulation.fault(node, kind, argument, **more))

    @property
    def changes(self) -> list[str]:
        return [call.node for call in self.simulation.calls(changes=True)]

    def start(self, *arguments: str, **more) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *arguments, *self._source(arguments)],
            env={**self.environment, **more.pop("env", {})},
            cwd=self.folder,
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            text=True,
        )

    def _source(self, arguments: Sequence[str]) -> list[str]:
        return [] if arguments and arguments[0] in {"history", "resume"} else [str(self.repository.folder)]

    def run_apart(self, *arguments: str, status: int = 0, env: dict[str, str] | None = None) -> str:
        """Standard output of a process, which has to end with this status and without a traceback."""
        with self.start(*arguments, env=env or {}) as process:
            out, error = process.communicate(timeout=60)
        return self._checked(arguments, (process.returncode, out, error), status)

    def run(self, *arguments: str, status: int = 0) -> str:
        """The same in the process of the test, which has all loaded already."""
        out, error = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(error),
        ):
            ended = main([*arguments, *self._source(arguments)])
        return self._checked(arguments, (ended, out.getvalue(), error.getvalue()), status)

    def _checked(self, arguments: Sequence[str], ended: tuple[int, str, str], status: int) -> str:
        found, out, error = ended
        assert found == status, out + error
        assert "Traceback" not in out + error
        if "json" in arguments and '"exit"' in out:
            shown = json.loads(out)
            assert shown["exit"]["status"] == shown.get("report", {}).get("exit_status", status) == status
        self.error = error
        return out


@pytest.fixture
def site(tmp_path):
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes)


@pytest.fixture
def fleet(site):
    site.serve()
    return site


def test_from_a_commit_to_a_converged_fleet(fleet):
    plan = fleet.run_apart("--dry-run", "--detailed-exitcode", status=2)
    assert re.search(r"upload +edge-01, edge-02, edge-03 \(3 nodes\)", plan)
    assert re.search(r"init +node-01@", plan)
    assert fleet.changes == []
    assert not (fleet.folder / "state/reconciler/state.sqlite").exists()

    done = fleet.run_apart("--yes")
    assert "verified: no changes remain." in done
    assert sorted(set(fleet.changes)) == ["edge-01", "edge-02", "edge-03", LIVE.format("01", "01")]

    again = fleet.run_apart("--dry-run", "--detailed-exitcode")
    assert again.splitlines()[-1] == "No changes: 6 nodes are as desired."
    runs = fleet.run("history")
    (name,) = re.findall(r"^(\d{8}-\d{6}-\w{4}) ", runs, re.MULTILINE)
    output = fleet.run("history", "show", name[:17])
    assert "edge/edge-01/upload: stored only, no sink is configured" in output
    assert '"messageVer": "1"' in output


def test_messages_reach_the_sink_and_the_history_says_so(site):
    with DemoSink() as sink:
        feedback = f"feedback: {{url: '{sink.url}'}}\n\nclusters:"
        site.repository.edit("fleet.yaml", lambda text: text.replace("clusters:", feedback, 1))
        site.serve()
        site.run("--yes")
        output = json.loads(site.run("history", "--format", "json"))
        record = json.loads(site.run("history", "show", output[0]["id"], "--format", "json"))
        assert [message["body"] for message in record["messages"]] == sink.messages
    assert [message for message in record["messages"] if not message["delivered"]] == []
    assert len(sink.messages) == 4


def test_the_same_inputs_give_the_same_plan_byte_for_byte(fleet):
    one = fleet.run_apart("--dry-run", "--format", "json", env={"PYTHONHASHSEED": "1"})
    two = fleet.run_apart("--dry-run", "--format", "json", env={"PYTHONHASHSEED": "2"})
    assert one == two
    assert json.loads(one)["plan"]["clusters"][0]["cluster"] == "edge"


def test_a_pull_request_gets_one_comment_and_no_secret(site):
    def with_secret(text: str) -> str:
        setting = json.loads(text)
        keys = {
            "accessKeyId": "AKIAPLANTED",
            "secretAccessKey": "planted-secret",
            "region": "r",
            "bucket": "b",
        }
        connection = {"name": "s3", "type": "httpAwsSig4", "info": keys}
        setting["env"]["management"]["server"]["connection"] = [connection]
        return json.dumps(setting)

    site.repository.edit("edge/setting.json", with_secret)
    site.serve()
    output = site.run("--dry-run", "--format", "markdown")
    assert output.startswith("<!-- reconcile: plan -->\n### 4 changes on 2 clusters")
    assert "| `edge` | m2 | 3 | 0 | 3 |" in output
    site.run("--yes")
    site.repository.edit("edge/setting.json", lambda text: text.replace("planted-secret", "planted-other"))
    site.repository.commit("Another key")
    rest = [site.run("--dry-run", "--format", form) for form in ("text", "json", "markdown")]
    rest += [site.run("--yes"), site.run("history")]
    name = rest[-1].splitlines()[1].split()[0]
    rest += [site.run("history", "show", name), site.run("history", "show", name, "--format", "json")]
    for text in [output, *rest]:
        assert "planted-" not in text
    store = site.folder / "state/reconciler"
    assert all(
        b"planted-" not in path.read_bytes()
        for path in store.rglob("*")
        if "sources" not in path.parts
        if path.is_file()
    )


@pytest.mark.parametrize(
    ("kind", "argument"),
    [("error", 401), ("error", 500), ("half", None), ("garbage", None), ("killed", None)],
)
def test_a_node_that_cannot_be_read_is_named_and_the_others_are_done(fleet, kind, argument):
    fleet.fault("edge-02", kind, argument)
    plan = fleet.run("--dry-run", status=1)
    assert re.search(r"error: edge-02", plan), plan
    done = fleet.run("--yes", status=5)
    assert "edge-02" in done
    assert "edge-02" not in fleet.changes
    assert {"edge-01", "edge-03"} < set(fleet.changes)


def test_a_node_that_knows_no_page_at_all_fails_alone(fleet):
    """Every web server answers 404: without other evidence nothing is sent."""
    fleet.fault("edge-02", "error", 404)
    assert re.search(r"error: edge-02 was not identified", fleet.run("--dry-run", status=1))
    assert "edge-02" in fleet.run("--yes", status=5)
    assert "edge-02" not in fleet.changes
    assert {"edge-01", "edge-03"} < set(fleet.changes)


def test_a_sora_cluster_with_a_silent_node_is_not_founded(fleet):
    fleet.fault(LIVE.format("03", "03"), "killed")
    plan = fleet.run("--dry-run", status=1)
    assert not re.search(r"^ +\d+ +init ", plan, re.MULTILINE)
    assert re.search(r"error: node-03@.* connection refused", plan)


def test_a_dead_member_and_an_addition_that_waits_for_it_never_end_with_success(site):
    fourth = f'      - {{name: {LIVE.format("04", "04")}, api: "http://127.0.0.1:13004/"}}\n'
    site.repository.edit("fleet.yaml", lambda text: text.rstrip("\n") + "\n" + fourth)
    site.serve()
    site.repository.edit("fleet.yaml", lambda text: text.replace(fourth, ""))
    site.repository.commit("Three")
    site.run("--yes", "--only", "live")
    site.fault(LIVE.format("03", "03"), "killed")
    site.repository.edit("fleet.yaml", lambda text: text + fourth)
    site.repository.commit("Four")
    only = ("--only", "live")
    output = site.run("--dry-run", "--detailed-exitcode", *only, status=1)
    assert "[node-away]" in output
    assert "[register-waits]" in output
    assert "2 of 4 nodes are as desired; 2 errors" in " ".join(output.split())
    site.run("--yes", *only, status=1)
    assert len(site.changes) == 1


def test_a_refused_plan_touches_nothing_and_is_in_the_history(fleet):
    fleet.run("--yes")
    before = fleet.changes
    keep = LIVE.format("01", "01")
    fleet.repository.edit(
        "fleet.yaml",
        lambda text: "".join(
            line for line in text.splitlines(keepends=True) if "node-0" not in line or keep in line
        ),
    )
    fleet.repository.commit("Save some money")
    output = fleet.run("--yes", status=3)
    assert "refused: live" in output
    assert fleet.changes == before
    assert "refused: live" in fleet.run("history")


def test_a_stop_between_steps_is_orderly(site):
    """Three uploads, one at a time and slow: the first signal ends the run after the step under way."""
    site.repository.edit("fleet.yaml", lambda text: text.replace("concurrency: 2", "concurrency: 1"))
    site.serve()
    site.fault("edge", "slow", 1.0, on="changes")
    with site.start("--yes", "--only", "edge") as process:
        block_until(lambda: "edge-01" in site.changes)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 5, out + error
    assert "Stopping: running steps finish" in out
    assert "not done: edge: upload edge-02, edge-03 (2 nodes): the run was asked to stop" in out
    assert site.changes == ["edge-01"]


def test_a_killed_run_is_settled_by_reading(site):
    site.repository.edit("fleet.yaml", lambda text: text.replace("concurrency: 2", "concurrency: 1"))
    site.serve()
    site.fault("edge-01", "slow", 5.0, on="changes")
    with site.start("--yes", "--only", "edge") as process:
        block_until(lambda: "edge-01" in site.changes)
        process.kill()
        process.communicate(timeout=60)
    site.nodes._loop.call_soon_threadsafe(site.simulation.clear)
    out = site.run("--yes", "--only", "edge")
    assert "An earlier run did not finish" in out
    assert "verified: no changes" in out
    assert sorted(site.changes) == ["edge-01", "edge-02", "edge-03"]


def test_a_reader_that_closes_the_pipe_is_no_error(fleet):
    with fleet.start("--dry-run", "--format", "json") as process:
        process.stdout.close()
        error = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode in {0, 141}
    assert error == ""


def test_a_user_at_a_terminal_is_asked_for_confirmation(fleet):
    master, slave = pty.openpty()
    with fleet.start(
        "--only", "edge", stdin=slave, stdout=slave, stderr=slave, env={"TERM": "xterm"}
    ) as process:
        os.close(slave)
        shown = _read_until(master, b"[y/N] ")
        os.write(master, b"y\n")
        shown += _read_until(master, b"verified: no changes")
        process.wait(timeout=60)
    os.close(master)
    assert process.returncode == 0
    assert b"Apply 3 changes on 1 cluster?" in shown
    assert b"\x1b[" in shown


def test_nodes_that_changed_before_the_answer_are_left_alone(fleet):
    """Somebody else uploads to every node between the plan and the answer: nothing is overwritten."""
    master, slave = pty.openpty()
    with fleet.start("--only", "edge", stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        _read_until(master, b"[y/N] ")
        for node in ("edge-01", "edge-02", "edge-03"):
            foreign = urllib.request.Request(
                f"http://{fleet.simulation.nodes[node]}/setting/upload",
                data=b'{"meta": {"version": "by hand"}}',
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(foreign).close()
        before = len(fleet.changes)
        os.write(master, b"y\n")
        shown = _read_until(master, b"by hand")
        process.wait(timeout=60)
    os.close(master)
    assert process.returncode == 4, shown
    assert len(fleet.changes) == before


def test_without_a_terminal_and_without_yes_nothing_is_done(fleet):
    fleet.run_apart(status=1)
    assert "add --yes" in fleet.error
    assert fleet.changes == []


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--version"], {"typer", "asyncio", "pydantic", "dataclasses"}),
        (
            ["--help"],
            {"pydantic", "rich", "httpx", "aiohttp", "git", "ruamel.yaml", "sqlite3", "asyncio"},
        ),
        (["history", "--help"], {"pydantic", "rich", "sqlite3", "asyncio"}),
        (["watch", "--help"], {"pydantic", "rich", "starlette", "uvicorn", "asyncio"}),
        (["simulate", "--help"], {"rich", "aiohttp", "httpx"}),
    ],
)
def test_help_and_version_load_nothing_heavy(arguments, absent):
    begin = "import sys\nfrom reconciler.cli.main import main\n"
    script = f"{begin}assert main({arguments}) == 0\nprint(*sys.modules)"
    done = run_process(sys.executable, "-c", script, check=True)
    assert absent.isdisjoint(done.stdout.splitlines()[-1].split())


def test_a_dry_run_does_not_even_load_what_writes(fleet):
    script = (
        "import sys\nfrom reconciler.cli.main import main\n"
        f"main(['--dry-run', {str(fleet.repository.folder)!r}])\nprint(*sys.modules)"
    )
    done = run_process(sys.executable, "-c", script, check=True, env=fleet.environment)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "reconciler.planning.plan_pass" in loaded
    assert loaded.isdisjoint(
        {"reconciler.rollout.apply_pass", "reconciler.store.sqlite.store", "reconciler.feedback.sender"}
    )
    # Nor what other commands, other formats and other fleets need: half of its time is for loading.
    unused = {
        "httpx",
        "reconciler.api.acts",
        "reconciler.cli.render.json",
        "reconciler.cli.render.markdown",
        "reconciler.cli.server_client",
        "reconciler.inventory.accounts",
        "rich",
    }
    assert unused & loaded == set()


def test_the_installed_script_is_the_same_program():
    script = shutil.which("reconcile", path=str(Path(sys.executable).parent))
    assert script
    done = run_process(script, "--version", check=True)
    assert re.fullmatch(r"reconcile \d+\.\d+\.\d+\S*\n", done.stdout)


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    shown = b""
    end = time.monotonic() + 30
    while wanted not in shown:
        ready, _, _ = select.select([descriptor], [], [], max(0, end - time.monotonic()))
        assert ready, shown
        shown += os.read(descriptor, 65536)
    return shown
