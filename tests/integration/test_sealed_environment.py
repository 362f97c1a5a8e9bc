"""Secrets of the environment: read once, and from then on in no other process's sight."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run_process

SECRETS = {
    "RECONCILE_GIT_TOKEN": "s3cret-token",
    "RECONCILE_SECRET_KEY": "s3cret-key",
    "AWS_SECRET_ACCESS_KEY": "s3cret-of-somebody-else",
}
PROBE = """
import ctypes, os, subprocess, sys
from reconciler.host.environment import seal_environment

def count(*command):
    return subprocess.run(command, capture_output=True).stdout.count(b"s3cret")

if sys.argv[1:] == ["nobody"]:
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a process is that began as this user
    print("begun", flush=True)
    sys.stdin.readline()
found = seal_environment()
print(found["RECONCILE_GIT_TOKEN"], found["RECONCILE_SECRET_KEY"])
print(sorted(name for name in os.environ if "s3cret" in os.environ[name]), os.environ["PATH"] != "")
print(count("env"), count("sh", "-c", "cat /proc/$PPID/environ"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def sealed():
    with subprocess.Popen(
        [sys.executable, "-c", PROBE],
        env={**os.environ, **SECRETS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_the_environment_is_read_once_and_then_empty_of_secrets(sealed):
    said = [sealed.stdout.readline().strip() for _ in range(3)]
    assert said == ["s3cret-token s3cret-key", "[] True", "0 0"]
    # also for root, who may read every process's
    shown = Path(f"/proc/{sealed.pid}/environ").read_bytes()
    assert b"s3cret" not in shown
    assert b"RECONCILE_GIT_TOKEN=\0" in shown
    assert f"PATH={os.environ['PATH']}".encode() in shown


def test_the_process_leaves_no_core_file(sealed):
    for _ in range(3):
        sealed.stdout.readline()
    sealed.send_signal(signal.SIGQUIT)
    sealed.wait(timeout=20)
    assert not os.WCOREDUMP(-sealed.returncode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_process_of_the_same_user_cannot_look_into_it():
    def look(process):
        path = f"/proc/{process.pid}/environ"
        return subprocess.run(["cat", path], user=65534, group=65534, capture_output=True, check=False)

    with subprocess.Popen(
        [sys.executable, "-c", PROBE, "nobody"],
        env={**os.environ, **SECRETS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        assert b"s3cret" in look(process).stdout
        process.stdin.write("\n")
        process.stdin.flush()
        for _ in range(3):
            process.stdout.readline()
        assert b"Permission denied" in look(process).stderr
        process.kill()


def test_a_command_that_failed_shows_nothing_of_its_secrets_and_reads_them_all_the_same(tmp_path):
    """The entry point itself is sealed: what it starts (here git) finds nothing in /proc."""
    spy = tmp_path / "bin/git"
    spy.parent.mkdir()
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\ncat /proc/$PPID/environ > {tmp_path}/parent\nexit 1\n")
    spy.chmod(0o755)
    command = (sys.executable, "-m", "reconciler.cli.main", "--dry-run", "--state", tmp_path / "state")
    environment = {**os.environ, **SECRETS, "PATH": f"{spy.parent}:{os.environ['PATH']}"}
    done = run_process(*command, "file:///no/such/repository.git", env=environment)
    assert done.returncode == 1, done.stderr
    for name in ("env", "parent"):
        assert b"s3cret" not in (tmp_path / name).read_bytes()
