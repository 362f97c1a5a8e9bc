"""A PostgreSQL server, and processes that are hosts of it, for benchmarks of the store."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the server is that of the tests

from support.postgres_servers import PostgresServer

KINDS = ("Lock", "IO", "Client", "none")
"""What a backend waits for; `none` for one that works."""

_WAITS = (
    "SELECT coalesce(wait_event_type, 'none') FROM pg_stat_activity"
    " WHERE datname = current_database() AND state != 'idle' AND pid != pg_backend_pid()"
)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server whose commits are on disk."""
    server = PostgresServer("fsync=on")
    try:
        server.start()
        yield server
    finally:
        server.close()


def start_hosts(script: str, hosts: int, **given: object) -> list[subprocess.Popen[str]]:
    """Start hosts of a benchmark one by one; each says `ready`, and begins with `tell_hosts`.

    Args:
        script: the file of the benchmark.
        hosts: how many.
        given: option of the script -> its value.
    """
    command = [sys.executable, script]
    for name, value in given.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    processes = []
    for number in range(hosts):
        process = subprocess.Popen([*command, "--host", f"h{number}"], stdin=-1, stdout=-1, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return processes


def tell_hosts(processes: list[subprocess.Popen[str]]) -> None:
    """Let the hosts begin, or end."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def read_results(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """What each host prints at its end."""
    return [json.loads(process.communicate()[0]) for process in processes]


def sample_waits(watcher: Any, end: float, pause: float) -> tuple[dict[str, float], int]:
    """What backends waited for on average until a monotonic time, and the number of samples.

    Args:
        watcher: a connection to the database.
        end: the monotonic time.
        pause: seconds between two samples.
    """
    waits: Counter[str] = Counter()
    samples = 0
    while time.monotonic() < end:
        samples += 1
        waits.update(kind for (kind,) in watcher.execute(_WAITS))
        time.sleep(pause)
    return {kind: waits[kind] / max(1, samples) for kind in KINDS}, samples
