"""One-shot commands that are interrupted while they read: at once, in words, with nothing left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.git_repositories import ALONE, Repository
from support.waiting import block_until
from support.watch_process import fleet_file, hung_git, is_alive

PATIENCE = 30

HANGING_NAMES = """
import socket, time
real = socket.getaddrinfo
def slow(host, *more, **named):
    if "hangs" in str(host):
        open({mark!r}, "w").write("asked")
        time.sleep(600)
    return real(host, *more, **named)
socket.getaddrinfo = slow
"""


@pytest.fixture
def repository(tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in range(9, 15)]
    return Repository.make(tmp_path / "fleet", {"fleet.yaml": fleet_file(addresses)})


def begun(tmp_path, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli.main", *arguments],
        env={**os.environ, **ALONE, "HOME": str(tmp_path), "NO_COLOR": "1", **environment},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def appeared(path):
    return block_until(lambda: path.exists() and path.read_text())


def interrupted(process, number):
    began = time.monotonic()
    process.send_signal(number)
    out, complaint = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 20
    assert process.returncode == 128 + number
    assert "Traceback" not in complaint
    assert "Stopped on request" in complaint
    return out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_fetch_that_hangs_is_ended_with_all_it_started(tmp_path, repository, number):
    # The state folder is relative, as people write it: git stands in another folder.
    folder = hung_git(tmp_path / "bin")
    source = f"file://{repository.folder}"
    process = begun(
        *(tmp_path, "--dry-run", "--ref", "main", "--state", "state", source),
        PATH=f"{folder}:{os.environ['PATH']}",
    )
    processes = [int(found) for found in appeared(folder / "pids").split()]
    interrupted(process, number)
    assert [is_alive(one) for one in processes] == [False, False]


@pytest.mark.parametrize("command", ["--dry-run", "watch"])
def test_a_lookup_of_a_host_name_that_hangs_holds_up_no_end(tmp_path, command):
    mark = tmp_path / "asked"
    (tmp_path / "sitecustomize.py").write_text(HANGING_NAMES.format(mark=str(mark)))
    more = ("--listen", "off") if command == "watch" else ()
    process = begun(
        *(tmp_path, command, *more, "--state", str(tmp_path / "state"), "http://hangs.invalid/fleet.tgz"),
        PYTHONPATH=str(tmp_path),
    )
    appeared(mark)
    if command == "watch":
        began = time.monotonic()
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 20
        assert process.returncode == 0
        assert "watch stopped" in log
    else:
        interrupted(process, signal.SIGTERM)


def test_a_stop_at_any_moment_of_the_start_ends_in_good_order_or_by_the_signal(tmp_path, repository):
    for delay in (0.1, 0.4, 0.8):
        options = ("--listen", "off", "--log-format", "json", "--state", "state")
        process = begun(tmp_path, "watch", *options, str(repository.folder))
        time.sleep(delay)
        process.terminate()
        _, log = process.communicate(timeout=PATIENCE)
        assert process.returncode in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
        assert "Traceback" not in log
