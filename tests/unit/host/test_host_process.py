"""Running another program: its environment, its bounds, and that nothing of it is left."""

import asyncio
import os
import re
import time
from pathlib import Path

import pytest
from support.waiting import wait_until

import reconciler
from reconciler.host.environment import Environment, make_child_environment
from reconciler.host.subprocesses import (
    OutputTooLarge,
    ProgramMissing,
    ProgramTimeout,
    kill_group,
    run_blocking,
    run_program,
    run_program_async,
    start_program,
)

PLAIN = {"PATH": os.environ["PATH"]}


def sh(script, **options):
    options = {"environment": PLAIN, "seconds": 20.0, **options}
    return run_program_async(["sh", "-c", script], **options)


async def test_what_a_program_writes_and_how_it_ends():
    ended = await sh("echo out; echo error >&2; exit 7")
    assert (ended.status, ended.out, ended.error) == (7, b"out\n", b"error\n")


async def test_a_program_reads_what_it_is_given_and_else_nothing():
    assert (await sh("cat", data=b"x" * 300_000)).out == b"x" * 300_000
    assert (await sh("cat")).out == b""
    assert (await sh("exec <&-; exit 0", data=b"x" * 300_000)).status == 0  # it does not read it


async def test_a_program_gets_exactly_the_environment_that_is_given(monkeypatch):
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", "s3cret")
    ended = await run_program_async(["env"], environment={"PATH": os.environ["PATH"], "A": "1"}, seconds=20)
    assert sorted(ended.out.decode().splitlines()) == ["A=1", f"PATH={os.environ['PATH']}"]


async def test_it_inherits_no_file_descriptor():
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        assert (await sh(f"test -e /dev/fd/{writing}")).status == 1
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc"])
async def test_a_program_that_cannot_be_started(program):
    with pytest.raises(ProgramMissing):
        await run_program_async([program], environment=PLAIN, seconds=20)
    with pytest.raises(ProgramMissing):
        await run_program_async(["sh", "a\0b"], environment=PLAIN, seconds=20)


async def test_a_program_is_looked_for_on_its_own_path_and_never_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "planted").write_text("#!/bin/sh\necho planted\n")
    (tmp_path / "planted").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    environment = make_child_environment(Environment({"PATH": f".::bin:{os.environ['PATH']}"}))
    with pytest.raises(ProgramMissing):
        await run_program_async(["planted"], environment=environment, seconds=20)


async def gone(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_program_that_exceeds_its_time_is_killed_with_its_child_processes(tmp_path):
    with pytest.raises(ProgramTimeout):
        await sh(f"sleep 60 & echo $! > {tmp_path}/pid; wait", seconds=0.5)
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_a_cancelled_wait_leaves_no_process_behind(tmp_path):
    running = asyncio.ensure_future(
        sh(f"sleep 60 & echo $! > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait")
    )
    await wait_until((tmp_path / "pid").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_blocking_work_that_is_given_up_starts_no_further_program(tmp_path):
    def work():
        try:
            script = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 60 & wait"
            run_program(["sh", "-c", script], environment=PLAIN, seconds=20)
        finally:
            run_program(["touch", str(tmp_path / "further")], environment=PLAIN, seconds=20)

    running = asyncio.ensure_future(run_blocking(work))
    await wait_until((tmp_path / "pid").exists)
    began = time.monotonic()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - began < 1
    assert await gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "further").exists()


async def test_reading_from_a_program_started_before_can_be_given_up():
    process = start_program(["sh", "-c", "sleep 60 & wait"], environment=PLAIN)
    reading = asyncio.ensure_future(run_blocking(process.stdout.read, process))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await gone(process.pid)
    kill_group(process)  # again: nothing is left to kill
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_no_other_module_starts_a_program():
    package = Path(reconciler.__file__).parent
    starts = re.compile(
        rb"^\s*(import|from)"
        rb" (subprocess(?! import CompletedProcess\n)|pty|multiprocessing(?!\.connection\b))\b"
        rb"|create_subprocess_|subprocess_exec|subprocess_shell|\bos\.(system|popen|posix_spawn|spawn[lv]|exec[lv])",
        re.MULTILINE,
    )
    found = [file for file in package.rglob("*.py") if starts.search(file.read_bytes())]
    assert found == [package / "host/subprocesses.py"]


async def test_what_is_left_in_the_background_does_not_hold_up_its_caller(monkeypatch):
    monkeypatch.setattr("reconciler.host.subprocesses.GRACE", 0.2)
    began = time.monotonic()
    ended = await sh("sleep 60 & echo $!")
    assert time.monotonic() - began < 5
    assert await gone(int(ended.out))


async def test_output_is_bounded():
    with pytest.raises(OutputTooLarge):
        await sh("yes", limit=100_000)
    assert len((await sh("head -c 100000 /dev/zero", limit=100_000)).out) == 100_000
    ended = await sh("head -c 200000 /dev/zero >&2; printf end >&2")
    assert len(ended.error) == 64 * 1024
    assert ended.error.endswith(b"end")


async def test_of_a_program_that_writes_too_much_the_first_bytes_can_be_kept():
    ended = await sh("printf first; yes", limit=7, cut=True)
    assert ended.out == b"firsty\n"
    assert (await sh("printf all", limit=7, cut=True)).out == b"all"


async def test_the_end_of_a_long_output_can_be_kept():
    ended = await sh("head -c 500000 /dev/zero; echo last; echo words >&2", limit=20, tail=True)
    assert ended.out.endswith(b"last\nwords\n")
    assert len(ended.out) == 20


def test_a_child_starts_from_a_list_and_not_from_a_copy():
    environment = Environment(
        {
            "PATH": "/usr/bin:.:bin:/bin:",
            "HOME": "/root",
            "LC_MESSAGES": "C",
            "LC_EVIL; x": "1",
            "RECONCILE_GIT_TOKEN": "s",
            "RECONCILE_SECRET_A": "s",
            "AWS_SECRET_ACCESS_KEY": "s",
            "CREDENTIALS_DIRECTORY": "/run/credentials",
            "LD_PRELOAD": "/tmp/x.so",
            "LD_LIBRARY_PATH": "/tmp",
            "PYTHONPATH": "/tmp",
            "PYTHONSTARTUP": "/tmp/x.py",
            "GIT_DIR": "/tmp",
            "GIT_SSH_COMMAND": "x",
            "GIT_CONFIG_COUNT": "1",
            "BASH_ENV": "/tmp/x",
            "ENV": "/tmp/x",
            "IFS": "x",
            "SSH_AUTH_SOCK": "/tmp/agent",
            "HTTPS_PROXY": "http://user:password@proxy",
        }
    )
    assert make_child_environment(environment) == {
        "PATH": "/usr/bin:/bin",
        "HOME": "/root",
        "LC_MESSAGES": "C",
    }
    assert make_child_environment(environment, "SSH_AUTH_SOCK", "ABSENT")["SSH_AUTH_SOCK"] == "/tmp/agent"


def test_an_environment_never_shows_its_values():
    environment = Environment({"A": "s3cret"})
    assert "s3cret" not in f"{environment} {environment!r}"
    assert "s3cret" not in repr((environment, {"x": environment}))


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_while_it_is_being_started_nothing_of_it_is_left(tmp_path, turns):
    pids = tmp_path / "pids"
    task = asyncio.ensure_future(sh(f"sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"))
    for _ in range(turns):
        await asyncio.sleep(0)  # the further the loop has come, the further is the start
    end = time.monotonic() + 0.3
    while not pids.exists() and time.monotonic() < end:
        time.sleep(0.001)  # blocks the loop on purpose: the program may run, and its start is not done
    task.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await task
        stats = [Path(f"/proc/{pid}/stat") for pid in (pids.read_text().split() if pids.exists() else ())]
        while any(stat.exists() and ") Z " not in stat.read_text() for stat in stats):
            await asyncio.sleep(0.01)
