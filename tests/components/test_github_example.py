"""The example for GitHub Actions run as a whole: its jobs and steps in order, on the merge of a pull request.

A runner of a few lines stands in for GitHub's: it does the four actions that the example uses, gives each
step the environment that GitHub documents, and hands outputs and artifacts on. An action, expression or
condition that it does not know fails the test.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from ci_site import ROOT, fleet_in, nodes_of, wheel_in
from ruamel.yaml import YAML
from support.forges import REPOSITORY, TOKEN, serving_forge
from support.git_repositories import ALONE, git

MARKER = "<!-- reconcile: plan -->"
pytestmark = pytest.mark.component("git", "bash")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Forge:
    """A repository with the workflow in it, a pull request, and what runs its jobs."""

    def __init__(self, folder, api):
        self.folder, self.api = folder, api
        workflow = (ROOT / "examples/ci/github.yml").read_bytes()
        self.repository = fleet_in(folder / "work", **{".github/workflows/fleet-plan.yml": workflow})
        self.workflow = YAML(typ="safe").load(workflow.decode())
        self.bare = self.repository.bare(folder / "origin.git")
        (folder / "artifacts").mkdir()

    def propose(self, change):
        """A branch with a changed fleet file, and the merge of it with main that GitHub makes."""
        folder = self.repository.folder
        git(folder, "checkout", "--quiet", "-B", "topic", "main")
        text = (folder / "fleet.yaml").read_text()
        assert change(text) != text
        self.repository.commit({"fleet.yaml": change(text)})
        git(folder, "checkout", "--quiet", "--detach", "main")
        git(folder, "merge", "--quiet", "--no-ff", "-m", "Merge topic into main", "topic")
        git(folder, "push", "--quiet", "--force", str(self.bare), "main", "HEAD:refs/pull/7/merge")
        self.merge = self.repository.head
        git(folder, "checkout", "--quiet", "main")

    def run(self, *, wheel, head=REPOSITORY):
        """Each job's result: success, failure or skipped."""
        self.results, self.log = {}, ""
        for name, job in self.workflow["jobs"].items():
            self.results[name] = self._job(name, job, wheel, head)
        return self.results

    def _job(self, name, job, wheel, head):
        conditions = {
            None: True,
            "github.event.pull_request.head.repo.full_name == github.repository": head == REPOSITORY,
            "${{ !cancelled() && needs.plan.result != 'skipped' }}": self.results.get("plan") != "skipped",
        }
        if not conditions[job.get("if")]:
            return "skipped"
        workspace, temporary = self.folder / f"{name}-workspace", self.folder / f"{name}-temp"
        for made in (workspace, temporary):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
        known = {
            "github.event.pull_request.number": "7",
            "github.repository": REPOSITORY,
            "github.token": TOKEN,
            "runner.temp": str(temporary),
        }
        environment = {**self._environment(workspace, temporary), **self.workflow["env"], **wheel}
        result = "success"
        for step in job["steps"]:
            told = {key: filled(value, known) for key, value in (step.get("env") or {}).items()}
            if "uses" in step:
                action = step["uses"].partition("@")[0]
                with_ = {key: filled(value, known) for key, value in (step.get("with") or {}).items()}
                try:
                    getattr(self, action.replace("/", "_").replace("-", "_"))(workspace, with_)
                except FileNotFoundError:  # an artifact that no job left
                    result = "failure"
                    break
                continue
            script = temporary / "step.sh"
            script.write_text(step["run"])
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
                cwd=workspace,
                env={**environment, **told},
                capture_output=True,
                text=True,
                check=False,
            )
            self.log += f"== {name}: {step.get('name')}\n{done.stdout}{done.stderr}"
            if done.returncode:
                result = "failure"
                break
            lines = (temporary / "output").read_text().splitlines() if (temporary / "output").exists() else []
            for key, _, value in (line.partition("=") for line in lines):
                known[f"steps.{step.get('id')}.outputs.{key}"] = value
        if (workspace / ".git").exists():
            assert git(workspace, "status", "--porcelain", "--ignored") == "", (
                "the checkout is as it was fetched"
            )
        return result

    def _environment(self, workspace, temporary):
        kept = ("HOME", "LANG", "PIP_CONFIG_FILE", "XDG_CONFIG_DIRS")
        return {
            **{key: os.environ[key] for key in kept if key in os.environ},
            **{key: value for key, value in os.environ.items() if key.startswith("PIP_")},
            **{key: value for key, value in ALONE.items() if key.startswith("GIT_CONFIG")},
            "PATH": f"{self.folder / 'python/bin'}:{os.environ['PATH']}",
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.api,
            "GITHUB_BASE_REF": "main",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_HEAD_REF": "topic",
            "GITHUB_OUTPUT": str(temporary / "output"),
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SHA": self.merge,
            "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
            "GITHUB_WORKSPACE": str(workspace),
            "RUNNER_TEMP": str(temporary),
        }

    def actions_checkout(self, workspace, options):
        """As actions/checkout fetches the merge of a pull request: alone, or with all branches."""
        assert options.pop("persist-credentials") is False
        depth = options.pop("fetch-depth", 1)
        assert not options
        merge = f"+{self.merge}:refs/remotes/pull/7/merge"
        fetched = [merge, "+refs/heads/*:refs/remotes/origin/*"] if depth == 0 else ["--depth=1", merge]
        git(workspace, "init", "--quiet", ".")
        git(workspace, "fetch", "--quiet", "--no-tags", "--prune", f"file://{self.bare}", *fetched)
        git(workspace, "checkout", "--quiet", "--force", "refs/remotes/pull/7/merge")

    def actions_setup_python(self, _, options):
        assert set(options) == {"python-version"}
        if not (self.folder / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", self.folder / "python"], check=True)

    def actions_upload_artifact(self, _, options):
        shutil.copy(options["path"], self.folder / "artifacts" / "plan.md")

    def actions_download_artifact(self, _, options):
        shutil.copy(self.folder / "artifacts" / "plan.md", options["path"])


def filled(value, known):
    """A value with its expressions, each of which has to be known."""
    return (
        re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found[1]], value)
        if isinstance(value, str)
        else value
    )


def test_the_workflow_plans_the_merge_keeps_one_comment_and_fails_where_a_guard_refuses(tmp_path):
    wheel, digest = wheel_in(tmp_path / "wheels")
    with serving_forge("github") as stand_in, served(wheel.parent) as place:
        stand_in.add("kim", MARKER)
        forge = Forge(tmp_path, stand_in.api)
        run_workflow(forge, stand_in, wheel, digest, place)


def run_workflow(forge, stand_in, wheel, digest, place):
    with nodes_of(forge.repository.folder, forge.folder / "ready"):
        given = {"WHEEL_URL": f"{place}/{wheel.name}", "WHEEL_SHA256": digest}
        forge.propose(lambda text: f"{text}# looked at\n")
        other = forge.run(wheel={**given, "WHEEL_SHA256": "0" * 64})
        assert other == {"validate": "failure", "plan": "failure", "comment": "failure"}
        assert "DO NOT MATCH THE HASHES" in forge.log
        assert forge.run(wheel=given) == dict.fromkeys(("validate", "plan", "comment"), "success"), forge.log
        first = stand_in.bodies()
        assert len(first) == 2
        assert first[1].startswith(f"{MARKER}\n")
        assert f"`{forge.merge[:12]}` Merge topic into main" in first[1]
        assert "base-unknown" not in first[1]

        forge.propose(lambda text: re.sub(r"(?s)  - name: live.*", "", text))
        results = forge.run(wheel=given)
        assert results == {"validate": "success", "plan": "failure", "comment": "success"}, forge.log
        then = stand_in.bodies()
        assert len(then) == 2, "the one comment is kept up to date"
        assert "cluster-vanished" in then[1]
        assert "no longer managed" in then[1]

        fork = forge.run(wheel=given, head="somebody/fleet")
        assert fork == {"validate": "success", "plan": "skipped", "comment": "skipped"}
        assert stand_in.bodies() == then
