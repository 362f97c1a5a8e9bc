"""A revision's files in memory, read as a fleet of M2 and Sora."""

import json

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot


class MemoryFiles:
    """Files by path."""

    def __init__(self, files):
        self.files = {
            name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()
        }

    def names(self):
        return sorted(self.files)

    def read(self, path):
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]


def json_files(files):
    """Files by path, each value written as JSON; the text of a template as it is."""
    return MemoryFiles(
        {name: value if name.endswith(".tmpl") else json.dumps(value) for name, value in files.items()}
    )


def snapshot_of(files):
    return Snapshot(Revision("memory", "0" * 40, "0000000"), MemoryFiles(files))


def fleet_of(files, resolver=None):
    return load_fleet(snapshot_of(files), DRIVERS, resolver)


def problems_of(files, resolver=None):
    return read_fleet(snapshot_of(files), DRIVERS, resolver).problems
