"""A watch whose log cannot be written goes on with its work, and says so where it can."""

import os
import re
import subprocess
from pathlib import Path

from support.watch_process import fleet_file, told, unread_watch

LIVE = "live-1@127.0.0.1"


def is_applied(stage, found):
    states = {one["cluster"]: one for one in found["clusters"]}
    return (
        states
        and states["live"]["state"] == "converged"
        and states["live"]["revision"]["id"] == stage.repository.head
    )


async def assert_watch_works(stage, client, problem):
    await told(client, lambda found: found["ready"] and is_applied(stage, found))
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    found = await told(client, lambda found: is_applied(stage, found))
    assert await stage.mode(LIVE) == "block_new_session"
    assert found["log"]["writable"] is (problem is None)
    assert found["log"]["problem"] == problem
    assert (found["log"]["lines_lost"] > 0) is (problem is not None)
    assert found["ready"] is True
    figures = (await client.get("/metrics")).text
    assert f"reconciler_log_writable {0.0 if problem else 1.0}" in figures
    lost = re.search(r"^reconciler_log_lines_lost_total (\S+)$", figures, re.MULTILINE)
    assert float(lost[1]) >= found["log"]["lines_lost"]


async def test_the_disk_of_the_log_is_full(stage):
    with Path("/dev/full").open("w") as full:
        async with unread_watch(stage, full) as (client, _process):
            await assert_watch_works(stage, client, "the disk of the log is full")


async def test_the_reader_of_the_log_ends(stage):
    reader, writer = os.pipe()
    async with unread_watch(stage, writer) as (client, _process):
        os.close(writer)
        await told(client, lambda found: found["ready"])
        os.close(reader)
        await assert_watch_works(stage, client, "the reader of the log has closed the pipe")


async def test_standard_error_is_closed(stage):
    shell = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    async with unread_watch(stage, subprocess.DEVNULL, shell) as (client, _process):
        await assert_watch_works(stage, client, "standard error is closed")
