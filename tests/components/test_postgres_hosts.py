"""Three hosts on one database, of which one is killed every 8 s: nothing is done twice, nothing is lost."""

import asyncio
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.component("postgres", "initdb")

PROGRAM = Path(__file__).parents[2] / "benchmarks/hosts.py"


async def test_hosts_that_are_killed_again_and_again_do_everything_once(tmp_path):
    options = {
        "--hosts": 3,
        "--clusters": 12,
        "--nodes": 3,
        "--seconds": 40,
        "--kill-every": 8,
        "--commit-every": 4,
        "--changed": 2,
        "--interval": 4,
        "--lease": 8,
        "--allowance": 20,
    }
    arguments = [str(one) for pair in options.items() for one in pair]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), *arguments, "--keep", str(tmp_path / "trial")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert " 4 kills, 10 commits" in said, said
    assert int(said.split(" uploads,")[0].rpartition(" ")[2]) >= 36, said
