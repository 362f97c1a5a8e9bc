"""Three hosts on one database, which are killed, or lose it, again and again: each change is made once."""

import asyncio
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.component("postgres", "initdb")

PROGRAM = Path(__file__).parents[2] / "benchmarks/hosts.py"
OPTIONS = {
    "--hosts": 3,
    "--clusters": 12,
    "--nodes": 3,
    "--seconds": 40,
    "--commit-every": 8,
    "--changed": 4,
    "--interval": 4,
    "--lease": 8,
    "--allowance": 30,
}


async def run_trial(folder, **more):
    """What a trial that found no breach says."""
    options = OPTIONS | {f"--{name.replace('_', '-')}": value for name, value in more.items()}
    arguments = [str(one) for pair in options.items() for one in pair]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), *arguments, "--keep", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert int(said.split(" uploads,")[0].rpartition(" ")[2]) >= 40, said
    return said


async def test_hosts_that_are_killed_again_and_again_do_everything_once(tmp_path):
    assert " 4 kills, 0 restarts of the database, 5 commits" in await run_trial(tmp_path / "t", kill_every=8)


async def test_hosts_whose_database_is_restarted_again_and_again_do_everything_once(tmp_path):
    said = await run_trial(tmp_path / "t", kill_every=0, restart_every=7)
    assert " 0 kills, 5 restarts of the database, 5 commits" in said
