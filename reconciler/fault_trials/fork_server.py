"""Runs the reconciler in separate processes, each a fork of one that has everything loaded.

Started as `python -m reconciler.fault_trials.fork_server`, it reads a line of JSON for each run from
standard input, forks, and writes two lines: the process's number, and how the run ended, or null where it
was killed.
It has neither threads nor an event loop, whose locks and descriptors a fork would copy in any state.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from reconciler.core.timestamps import Clock
from reconciler.desired.fleet import Fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.clock import OffsetClock, run_skipping_waits
from reconciler.fault_trials.runner import CrashingWrites, Earlier, RunResult, WriteCounter, run_once
from reconciler.fault_trials.setup import load_trial_fleet
from reconciler.host.environment import make_child_environment
from reconciler.host.subprocesses import TERMINAL, Process, kill_group, run_blocking, start_program
from reconciler.store.factory import open_store

_KNOWN: Final[dict[str, Fleet]] = {}


def serve() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        folder = asked["fleet"]
        if folder not in _KNOWN:
            _KNOWN[folder] = load_trial_fleet(Path(folder))
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _run(asked, writing)
        os.close(writing)
        _write_line(child)
        with os.fdopen(reading, encoding="utf-8") as told:
            ended = told.read()
        os.waitpid(child, 0)
        _write_line(json.loads(ended) if ended else None)


def _run(asked: dict[str, Any], writing: int) -> None:
    """Be the reconciler once; never returns."""
    write_counter = WriteCounter(
        {int(write): after for write, after in asked["crashes"].items()}, writes=asked["writes"]
    )
    once = _run_reconciler(
        _KNOWN[asked["fleet"]],
        Path(asked["state"]),
        write_counter,
        asked["earlier"],
        OffsetClock(asked["ahead"]),
    )
    ran = run_skipping_waits(once, patience=None)
    os.write(writing, json.dumps({**asdict(ran), "writes": write_counter.writes}).encode())
    os._exit(0)


async def _run_reconciler(
    fleet: Fleet, state: Path, write_counter: WriteCounter, earlier: Earlier, clock: Clock
) -> RunResult:
    die = partial(os.kill, os.getpid(), signal.SIGKILL)
    with open_store(state, clock=clock, around=CrashingWrites(write_counter, die)) as store:
        return await run_once(fleet, DRIVERS, store, clock, earlier)


def _write_line(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class ForkServer:
    """The program above, as a process of this one; an asynchronous context manager."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        arguments = (sys.executable, "-m", "reconciler.fault_trials.fork_server")
        self._process = await run_blocking(
            partial(start_program, arguments, environment=make_child_environment(os.environ), stderr=TERMINAL)
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        process = self._started_process
        if kind is not None:
            kill_group(process)  # it may be in the middle of a run
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
        await run_blocking(process.wait, process)

    async def begin(self, asked: dict[str, Any]) -> int:
        """Begin a run; gives its process's number."""
        stdin = self._started_process.stdin
        assert stdin is not None
        stdin.write(json.dumps(asked).encode() + b"\n")
        stdin.flush()
        return int(await self._read_line())

    async def ended(self) -> dict[str, Any] | None:
        """How the run that was begun last ended; none where it was killed."""
        told: dict[str, Any] | None = await self._read_line()
        return told

    async def _read_line(self) -> Any:
        stdout = self._started_process.stdout
        assert stdout is not None
        line = await run_blocking(stdout.readline, self._started_process)
        if not line:
            raise EOFError("the process that runs the reconciler has ended")
        return json.loads(line)

    @property
    def _started_process(self) -> Process:
        assert self._process is not None
        return self._process


if __name__ == "__main__":
    serve()
