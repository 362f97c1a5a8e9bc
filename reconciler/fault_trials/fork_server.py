"""Runs the reconciler in separate processes, each a fork of one that has everything loaded.

Started as `python -m reconciler.fault_trials.fork_server`, it reads a line of JSON for each run from
standard input, forks, and writes two lines: the process id, and the result of the run, or null if it was
killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.clock import OffsetClock, run_skipping_waits
from reconciler.fault_trials.runner import CrashingWrites, RunResult, WriteCounter, run_once
from reconciler.fault_trials.setup import load_trial_fleet
from reconciler.host.environment import make_child_environment
from reconciler.host.subprocesses import TERMINAL, Process, kill_group, run_blocking, start_program
from reconciler.store.factory import open_store

_FLEETS: Final[dict[str, Fleet]] = {}
"""Folder -> its fleet; loaded once, and inherited by every fork."""


def serve() -> None:
    """Serve until standard input ends."""
    # Without threads and without an event loop: a fork would copy their locks and descriptors in any state.
    for line in sys.stdin:
        request = json.loads(line)
        folder = request["fleet"]
        if folder not in _FLEETS:
            _FLEETS[folder] = load_trial_fleet(Path(folder))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(request, writing)
        # Only the child holds the writing end now: the pipe ends when it dies, however it dies.
        os.close(writing)
        _write_line(child)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            result = pipe.read()
        os.waitpid(child, 0)
        _write_line(json.loads(result) if result else None)


def _run(request: dict[str, Any], writing: int) -> None:
    """Run the reconciler once, and end the process."""
    crashes = {int(write): after for write, after in request["crashes"].items()}
    write_counter, clock = WriteCounter(crashes, writes=request["writes"]), OffsetClock(request["ahead"])
    die = partial(os.kill, os.getpid(), signal.SIGKILL)

    async def run() -> RunResult:
        around = CrashingWrites(write_counter, die)
        with open_store(Path(request["state"]), clock=clock, around=around) as store:
            fleet = _FLEETS[request["fleet"]]
            earlier, machines = request["earlier"], request["machines"]
            return await run_once(fleet, DRIVERS, store, clock, earlier, machines=machines)

    result = run_skipping_waits(run(), patience=None)
    os.write(writing, json.dumps({**asdict(result), "writes": write_counter.writes}).encode())
    os._exit(0)  # not sys.exit: the exit handlers of the parent must not run in its copy


def _write_line(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class ForkServer:
    """The program above, as a process of this one."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Start the program; it ends with the context."""
        arguments = (sys.executable, "-m", "reconciler.fault_trials.fork_server")
        environment = make_child_environment(os.environ)
        server = cls(
            await run_blocking(partial(start_program, arguments, environment=environment, stderr=TERMINAL))
        )
        try:
            yield server
        except BaseException:
            kill_group(server._process)  # it may be in the middle of a run
            raise
        finally:
            server._stdin.close()
            server._stdout.close()
            await run_blocking(server._process.wait, server._process)

    async def begin(self, request: dict[str, Any]) -> int:
        """Begin a run; returns its process id."""
        self._stdin.write(json.dumps(request).encode() + b"\n")
        self._stdin.flush()
        return int(await self._read_line())

    async def read_result(self) -> dict[str, Any] | None:
        """The result of the run that began last; None if it was killed."""
        result: dict[str, Any] | None = await self._read_line()
        return result

    async def _read_line(self) -> Any:
        line = await run_blocking(self._stdout.readline, self._process)
        if not line:
            raise EOFError("the process that runs the reconciler has ended")
        return json.loads(line)


if __name__ == "__main__":
    serve()
