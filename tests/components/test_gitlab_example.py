"""The example for GitLab CI run by gitlab-ci-local: a wheel by URL and hash, nodes that answer, a note."""

import os
import re
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from ci_site import ROOT, fleet_in, nodes_of, wheel_in
from support.forges import OWN, TOKEN, serving_forge
from support.git_repositories import ALONE, git

PATIENCE = 400
MARKER = "<!-- reconcile: plan -->"
pytestmark = pytest.mark.component("gitlab-ci-local", "rsync", "git")


@contextmanager
def served(folder):
    with HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def checkout(tmp_path):
    """A repository with a fleet, the example as its .gitlab-ci.yml, and an origin."""
    made = fleet_in(
        tmp_path / "checkout", **{".gitlab-ci.yml": (ROOT / "examples/ci/gitlab.yml").read_bytes()}
    )
    git(made.folder, "remote", "add", "origin", str(made.bare(tmp_path / "origin.git")))
    git(made.folder, "fetch", "--quiet", "origin")
    git(made.folder, "remote", "set-head", "origin", "main")
    return made


def job(checkout, *names, **variables):
    """A pipeline of these jobs for a merge request, each in an isolated copy of the repository."""
    told = {
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "3",
        "CI_PROJECT_ID": "3",
        **variables,
    }
    given = [word for name, value in told.items() for word in ("--variable", f"{name}={value}")]
    command = ["gitlab-ci-local", "--force-shell-executor", "--shell-isolation", "--no-artifacts-to-source"]
    return subprocess.run(
        [*command, *given, *names],
        cwd=checkout.folder,
        env={**os.environ, **ALONE},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_jobs_install_by_hash_plan_post_a_note_and_leave_nothing_in_the_checkout(checkout, tmp_path):
    wheels = tmp_path / "wheels"
    wheel, digest = wheel_in(wheels)
    with (
        serving_forge("gitlab") as stand_in,
        served(wheels) as place,
        nodes_of(checkout.folder, tmp_path / "ready"),
    ):
        stand_in.add("kim", "looks fine")
        told = {"WHEEL_URL": f"{place}/{wheel.name}", "CI_API_V4_URL": stand_in.api}
        told["RECONCILE_FORGE_TOKEN"] = TOKEN
        other = job(checkout, "fleet validate", **told, WHEEL_SHA256="0" * 64)
        assert other.returncode == 1
        assert "DO NOT MATCH THE HASHES" in other.stdout + other.stderr
        done = job(checkout, "fleet validate", "fleet plan", **told, WHEEL_SHA256=digest)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Changes are pending; the note lists them." in done.stdout
    assert [note["author"] for note in stand_in.comments] == ["kim", OWN["gitlab"]]
    body = stand_in.bodies()[-1]
    assert body.startswith(f"{MARKER}\n")
    assert re.search(rf"`{checkout.head[:12]}`", body), (
        "the commit itself, with nothing uncommitted beside it"
    )
    assert stand_in.faults == []
    assert TOKEN not in done.stdout + done.stderr
    left = git(checkout.folder, "status", "--porcelain", "--ignored").splitlines()
    assert [line for line in left if ".gitlab-ci-local/" not in line] == []
