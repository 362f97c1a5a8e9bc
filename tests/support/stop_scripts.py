"""Scripts that ask `reconcile allow-stop`, in processes of their own, with nodes and maybe a watch."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager

from support.git_repositories import ALONE
from support.watch_process import Stage

NODE = "live-{}@127.0.0.1"


class Scripts:
    """Commands in processes of their own, as scripts start them."""

    def __init__(self, stage):
        self.stage = stage

    async def run(self, *arguments, source=True, state=None):
        command = [sys.executable, "-m", "reconciler.cli.main", *arguments]
        command += ["--state", str(state or self.stage.state)]
        command += ["--source", str(self.stage.repository.folder)] if source else []
        environment = {**os.environ, **ALONE, "HOME": str(self.stage.folder), "NO_COLOR": "1"}
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=self.stage.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 90)
        return process.returncode, output.decode()

    async def ask(self, number, *options, **more):
        return await self.run("allow-stop", NODE.format(number), *options, **more)

    async def apply(self):
        return await self.run(str(self.stage.repository.folder), "--yes", source=False)


@asynccontextmanager
async def open_scripts(folder):
    """Scripts on a host that has applied the fleet of simulated nodes."""
    stage = Stage(folder)
    async with stage.nodes():
        found = Scripts(stage)
        status, output = await found.apply()
        assert status == 0, output
        yield found
