"""The image: its file is linted, it is built on a plain Debian, and the program runs in it without rights.

A build without an engine of containers shows neither a read-only root nor a health check at work.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "distribution/Containerfile"
USER = "10001:10001"

pytestmark = pytest.mark.component("buildah", "debootstrap", "hadolint", "uv")


def run(*command, **more):
    """Standard output of a program that succeeds."""
    ended = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=400, **more
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_file_has_no_fault_that_the_linter_knows(tmp_path):
    run("hadolint", FILE)
    worse = tmp_path / "Containerfile"
    worse.write_text(FILE.read_text().replace("USER 10001:10001", "USER root"))
    assert subprocess.run(["hadolint", worse], check=False, capture_output=True).returncode


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    """Runs buildah with a store of its own, in which the image is `reconcile`."""
    if os.geteuid() != 0:
        pytest.fail("debootstrap and buildah need root here")
    folder = tmp_path_factory.mktemp("images")
    options = ("--storage-driver", "vfs", "--root", folder / "root", "--runroot", folder / "run")

    def call(*arguments):
        return run("buildah", *options, *arguments)

    base = Path(os.environ.get("RECONCILE_CONTAINER_BASE") or folder / "base")
    if not base.exists():
        packages = "python3,python3-venv,git,ca-certificates"
        run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", base)
    container = call("from", "scratch").strip()
    call("add", "--quiet", container, base, "/")
    call("commit", "--quiet", container, "localhost/base:1")
    call("rm", container)
    # Wheels for the Python of Debian, which need no compiler and no network in the build.
    run("git", "clone", "--quiet", ROOT, folder / "context")
    run(sys.executable, "-m", "venv", folder / "pip")
    run(
        folder / "pip/bin/pip", "wheel", "--quiet", "--wheel-dir", folder / "context/dist", folder / "context"
    )
    arguments = ("--isolation", "chroot", "--format", "docker", "--pull-never")
    given = ("--build-arg", "BASE=localhost/base:1", "-t", "reconcile", "-f", FILE, folder / "context")
    call("bud", *arguments, *given)
    yield call
    shutil.rmtree(folder, ignore_errors=True)


def test_the_image_runs_the_program_as_a_user_without_rights(buildah):
    config = json.loads(buildah("inspect", "--type", "image", "reconcile"))["Docker"]["config"]
    assert config["User"] == USER
    assert config["Entrypoint"] == ["/opt/reconciler/bin/reconcile"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/reconciler/bin/reconcile", "health"]
    container = buildah("from", "--pull-never", "reconcile").strip()

    def inside(*command):
        return buildah("run", "--isolation", "chroot", container, "--", *command)

    assert inside("id", "-u").strip() == USER.partition(":")[0]
    program = config["Entrypoint"][0]
    assert inside(program, "version")
    assert "applied" in inside(program, "demo")
    # Only the state is writable for the program: its own files belong to root.
    writable = inside("find", "/opt", "/usr", "-writable", "-not", "-type", "l").splitlines()
    assert writable == []
    assert (
        inside("sh", "-c", "touch /var/lib/reconciler/x && stat -c %a /var/lib/reconciler").strip() == "700"
    )
