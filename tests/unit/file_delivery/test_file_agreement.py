"""The real transport in a real folder and the simulated one agree, call by call, in any order of calls."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import make_file_transport

from reconciler.core.file_state import FilePlace, compute_file_digest
from reconciler.errors import NodeError
from reconciler.file_delivery.simulated_machines import SimulatedFiles
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine

PLACE = FilePlace("conf", "n")
CONTENTS = {"old": b"old\n", "new": b"new", "bad": b"", "none": None}
DIGESTS = {name: compute_file_digest(content) for name, content in CONTENTS.items()}

NAMES = st.sampled_from(["old", "new"])
CALLS = st.one_of(
    st.tuples(st.just("stage"), st.sampled_from(["old", "new", "bad"]), st.just("")),
    st.tuples(st.just("switch"), st.sampled_from(["old", "new", "none"]), NAMES),
    st.tuples(st.just("restore"), NAMES, st.sampled_from(["old", "new", "none"])),
    st.tuples(st.just("discard"), st.just(""), st.just("")),
    st.tuples(st.just("by hand"), st.sampled_from(["old", "new", "none"]), st.just("")),
    st.tuples(st.just("left"), st.just(""), st.just("")),
)


async def call(files, name, one, other):
    """Whether the call succeeded."""
    try:
        match name:
            case "stage":
                await files.stage(PLACE, CONTENTS[one])
            case "switch":
                await files.switch(PLACE, before=DIGESTS[one], after=DIGESTS[other])
            case "restore":
                await files.restore(PLACE, before=DIGESTS[one], after=DIGESTS[other])
            case "discard":
                await files.discard(PLACE)
    except NodeError:
        return False
    return True


async def compare(folder, calls):
    path, simulated = Path(folder) / "x.conf", SimulatedFile(b"old\n")
    path.write_bytes(b"old\n")
    machines = {"n": SimulatedMachine({"conf": simulated})}
    real = make_file_transport(path, check=["test", "-s", "{file}"])
    other = SimulatedFiles(machines, check=lambda place, content: "" if content else "empty")
    for name, *arguments in calls:
        match name:
            case "by hand":
                content = CONTENTS[arguments[0]]
                simulated.content = content
                path.unlink(missing_ok=True)  # as editors do: another file of the name
                if content is not None:
                    path.write_bytes(content)
            case "left":
                path.with_name(f".{path.name}.reconciler-part").write_bytes(b"x")
                simulated.leftover = b"x"
            case _:
                assert await call(real, name, *arguments) == await call(other, name, *arguments), name
        assert await real.read(PLACE) == await other.read(PLACE), name


@given(st.lists(CALLS, max_size=7))
@settings(max_examples=40)
def test_both_transports_do_the_same(calls):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(folder, calls))
