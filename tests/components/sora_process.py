"""The process of one Sora node under a supervisor: `check FILE`, or `run NODE FILE CONTROL LOG`.

What it answers over HTTP is the simulator's, which it starts and stops through its control endpoint. The
process, its start, its end and its file are real. Only the standard library, so that it starts at once.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

LEVELS = {"debug", "info", "warning"}


def read_conf(path):
    """The keys of a sora.conf; ends the process where a line is none, or a value is wrong by itself."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    values = {}
    for line in lines:
        key, equals, value = line.partition(" = ")
        if line and not line.startswith("#"):
            if not equals:
                sys.exit(f"not a line of sora.conf: {line}")
            values[key] = value
    if values.get("log_level", "info") not in LEVELS:
        sys.exit(f"unknown log_level {values['log_level']}")
    return values


def check(path):
    """The check of a file before it is put in place; it lasts as long as a file `hold` lies beside it."""
    read_conf(path)
    while Path(path).with_name("hold").exists():
        time.sleep(0.05)


def call(control, node, fault):
    body = json.dumps({"node": node, "fault": fault}).encode()
    urllib.request.urlopen(f"http://{control}/faults", body, timeout=20).close()


def run(node, path, control, log):
    def say(event, **more):
        with Path(log).open("a", encoding="utf-8") as file:
            line = {"event": event, "node": node, "pid": os.getpid(), "at": time.monotonic(), **more}
            file.write(json.dumps(line) + "\n")

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    values = read_conf(path)
    # What no check of the file alone can find: the machine lacks what the file names.
    if not Path(values.get("license_file", "/")).exists():
        say("refused", conf=values)
        sys.exit(f"no licence at {values['license_file']}")
    call(control, node, "started")
    say("started", conf=values)
    signal.sigwait({signal.SIGTERM})
    say("stopped")
    call(control, node, "killed")


if __name__ == "__main__":
    {"check": check, "run": run}[sys.argv[1]](*sys.argv[2:])
