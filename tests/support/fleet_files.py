"""Files in memory and two small products, for tests of the fleet file."""

from typing import Literal

from pydantic import Field

from reconciler.core.entries import ClusterEntry, NodeEntry
from reconciler.core.guard import Guard
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.errors import InputError
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot

REVISION = Revision("memory", "0123456789", "0123456")


class Lamp(NodeEntry):
    address: str = Field(description="Where the lamp answers.", examples=["127.0.0.1:1"])
    setting: str = ""

    def endpoint(self):
        return self.address


class Lamps(ClusterEntry):
    fleet_defaults = frozenset({"version"})

    setting: str = Field(default="", description="Settings file of the lamps.")
    resources: tuple[str, ...] = ()
    deliver: Literal["upload", "checkout"] = "upload"
    version: Literal["commit"] | None = None
    nodes: tuple[Lamp, ...] = Field(min_length=1)

    def get_setting_path(self, node):
        return node.setting or self.setting

    def list_resource_patterns(self):
        return self.resources


class Bell(NodeEntry):
    api: str
    pitch: int | str | None = None

    def endpoint(self):
        return self.api


class Bells(ClusterEntry):
    nodes: tuple[Bell, ...] = ()


class FileDriver(Driver):
    """A product of which only the files are looked at."""

    def desire(self, cluster_input):
        raise NotImplementedError

    async def observe(self, desired, transports):
        raise NotImplementedError

    def plan(self, desired, observed):
        raise NotImplementedError

    async def observe_step(self, step, transports):
        raise NotImplementedError

    def judge(self, step, seen):
        raise NotImplementedError

    async def act(self, step, transports, payloads):
        raise NotImplementedError


class LampDriver(FileDriver):
    kind = "lamp"
    title = "Lamp"
    entry = Lamps
    lone_file = "lamp.json"

    def build_lone_entry(self, document):
        if "lamps" not in document.value:
            where = document.position("")
            raise InputError(
                [Diagnostic(Severity.ERROR, "no-lamps", "no lamps", "name them", position=where)]
            )
        nodes = [{"name": f"l{n}", "address": lamp} for n, lamp in enumerate(document.value["lamps"])]
        return {"name": "lamps", "setting": document.name, "nodes": nodes}


class BellDriver(FileDriver):
    kind = "bell"
    title = "Bell"
    entry = Bells
    guards = (Guard(("quorum",), lambda _: ()),)


DRIVERS = {"lamp": LampDriver(), "bell": BellDriver()}


class Memory:
    """Files that count how often each is read."""

    def __init__(self, files):
        self.files = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
        self.reads = []

    def names(self):
        return sorted(self.files)

    def read(self, path):
        self.reads.append(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]


def fleet(files, drivers=DRIVERS):
    memory = files if isinstance(files, Memory) else Memory(files)
    return load_fleet(Snapshot(REVISION, memory), drivers)


def locate(files, drivers=DRIVERS):
    """Position, pointer and code of every problem."""
    reading = read_fleet(Snapshot(REVISION, files if not isinstance(files, dict) else Memory(files)), drivers)
    assert (reading.fleet is None) == any(each.severity is Severity.ERROR for each in reading.problems)
    return [(str(each.position), each.pointer, each.code) for each in reading.problems]


def get_problem(files, drivers=DRIVERS):
    """Message and remedy of the only problem, or of the only error beside warnings."""
    problems = read_fleet(Snapshot(REVISION, Memory(files)), drivers).problems
    (problem,) = [each for each in problems if each.severity is Severity.ERROR] or problems
    return problem.message, problem.remedy


__all__ = [
    "DRIVERS",
    "REVISION",
    "BellDriver",
    "LampDriver",
    "Memory",
    "fleet",
    "get_problem",
    "locate",
]
