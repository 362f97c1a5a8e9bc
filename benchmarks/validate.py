"""How long it takes to validate settings with no error, against parsing them with positions.

    python benchmarks/validate.py [SETTINGS]

Each setting has 26 KB and uses every part that the program knows; no two are alike, and each is that of
one node. Parsing with positions reads a file and finds the place of every value in it. Validating is
what `reconcile validate` does with all of them, lints included. Each figure is the best of three.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from reconciler.core.plan import Revision
from reconciler.desired.validation import validate_files
from reconciler.documents.document import parse_document
from reconciler.documents.json_parser import locate_values
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot

SIZE = 26_000
ROUNDS = 3


class Memory:
    """A revision's files in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def names(self) -> list[str]:
        """Paths of all files."""
        return sorted(self.files)

    def read(self, path: str) -> bytes:
        """The bytes of one file."""
        return self.files[path]


def setting(number: int) -> bytes:
    """A setting of `SIZE` bytes with roles, addresses, features, a cluster in groups and virtual hosts."""
    poll = {"url": f"https://central.example.com/{number}", "schedule": "*/30 * * * * *", "timeout": 10}
    members = [f"10.{number >> 8}.{number & 255}.{last}" for last in range(1, 9)]
    management = {
        "api": {
            "port": 10040,
            "defaultRole": "reader",
            "allowList": [
                {"role": "admin", "addr": f"10.200.{number >> 8}.{number & 255}"},
                *(
                    {"role": "reader", "addr": f"10.{201 + n}.{number >> 8}.{number & 255}"}
                    for n in range(40)
                ),
                {"addr": f"10.250.{number >> 8}.{number & 255}"},
            ],
        },
        "roles": [
            {"name": "admin", "permissions": {"enableSetting": True, "enablePurge": True}},
            {"name": "reader", "permissions": {"enableMetric": True, "enableGraph": True}},
        ],
        "server": {
            "enable": True,
            "connection": [
                {
                    "name": "events",
                    "type": "kafka",
                    "info": {"clientId": f"m2-{number}", "brokers": ["kafka-1.example.com:9092"]},
                }
            ],
            "features": {
                "setting": {
                    "enable": True,
                    "feed": {"type": "apiPolling", "info": poll},
                    "feedback": {
                        "type": "kafkaPub",
                        "uploadSetting": True,
                        "info": {"connect": "events", "topic": "settings"},
                    },
                },
                "purge": {
                    "enable": True,
                    "workerCount": 4,
                    "feed": {
                        "type": "kafkaSub",
                        "info": {"connect": "events", "groupId": "m2", "subscribe": {"topic": "purges"}},
                    },
                },
            },
        },
        "cluster": {
            "meta": {"enable": True, "baseHostingPort": 9000},
            "discover": {
                "port": 9900,
                "members": [{"nodes": members[:4]}, {"functions": ["all"], "nodes": members[4:]}],
            },
            "balance": {"mode": "hash"},
            "stats": {"enable": True, "listen": "127.0.0.1:10038"},
        },
    }
    hosting: list[dict[str, Any]] = []
    whole = {"meta": {"version": str(number)}, "env": {"management": management}, "hosting": hosting}
    while (left := SIZE - len(json.dumps(whole, indent=2))) > 600:
        name = f"www-{len(hosting)}.site-{number}.example.com"
        origin = {"address": ["198.51.100.10", "198.51.100.11"]}
        hosting.append({"name": name, "listen": "*:80", "aliases": [f"alias.{name}"], "origin": origin})
    return (json.dumps(whole, indent=2) + " " * left).encode()


def fleet(count: int) -> dict[str, bytes]:
    """A fleet of one cluster whose nodes have a setting each."""
    nodes = [
        {
            "name": f"edge-{number}",
            "address": f"10.{number >> 8}.{number & 255}.1",
            "setting": f"edge/{number}.json",
        }
        for number in range(count)
    ]
    file = {"clusters": [{"name": "edge", "kind": "m2", "nodes": nodes}]}
    return {"fleet.json": json.dumps(file).encode()} | {
        f"edge/{number}.json": setting(number) for number in range(count)
    }


def best(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes, the best of some rounds."""
    figures = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        figures.append(time.perf_counter() - began)
    return min(figures)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    files = fleet(count)
    settings = [(name, data) for name, data in files.items() if name != "fleet.json"]
    assert {len(data) for _, data in settings} == {SIZE}
    snapshot = Snapshot(Revision("benchmark", "0" * 40, "0000000"), Memory(files))
    found = validate_files(snapshot, DRIVERS)
    assert (found.problems, found.nodes) == ((), count)

    def parsed() -> None:
        for name, data in settings:
            locate_values(name, parse_document(name, data).text)

    positions = best(parsed)
    values = best(lambda: [parse_document(name, data) for name, data in settings])
    seconds = best(lambda: validate_files(snapshot, DRIVERS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{count:,} settings of {SIZE:,} bytes: parsed with positions in {positions:.2f} s", end=" ")
    print(f"(values alone {values:.2f} s), validated in {seconds:.2f} s:", end=" ")
    print(f"{seconds / positions:.2f} times; peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
