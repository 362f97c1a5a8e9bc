"""One number for all readers: file, overlay, node, plan, plan file, import; exact, or refused."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.m2_wire import BASE, WorldWire, world
from support.memory_files import snapshot_of

from reconciler.adopt.importer import import_live_state
from reconciler.core.canonical import encode_canonical
from reconciler.core.plan import Plan, load_plan
from reconciler.desired.fleet import load_fleet
from reconciler.documents.document import parse_document
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import InputError
from reconciler.ports.simulator import NodeRequest
from reconciler.ports.transport import Transports
from reconciler.text.numbers import LONGEST

M2 = DRIVERS["m2"]
EXACT = [
    "0", "-0", "-0.0", "0.1", "1.10", "1E5", "1e-7", "5e-324", "9007199254740991", "9007199254740992",
    "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "100000000000000000000", "-100000000000000000001", "1e20", "1e22", "1e23",
    "1E+308", "1.7976931348623157e308", "0.30000000000000004", "123456789.12345679", "1" + "0" * 1_000,
]  # fmt: skip
INEXACT = [
    "123456789.123456789", "0.1000000000000000055511151231257827", "1e400", "-1e309", "1e-400", "3e-324",
    "9007199254740993.5", "1.00000000000000000001", "1" * (LONGEST + 1),
]  # fmt: skip
NUMBERS = (
    st.sampled_from(EXACT)
    | st.integers(-(2**70), 2**70).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(
        str
    )
)


def setting_text(number):
    """The base setting with a number in it, as it stands in the file."""
    return json.dumps({**BASE, "custom": {"n": "NUMBER", "list": ["NUMBER"]}}).replace('"NUMBER"', number)


def files_of(setting, suffix="json", **cluster):
    entry = {
        "name": "edge", "kind": "m2", "setting": f"setting.{suffix}",
        "nodes": [{"name": "edge-01", "address": "edge-01.example.com"}], **cluster,
    }  # fmt: skip
    return {"fleet.json": json.dumps({"clusters": [entry]}), f"setting.{suffix}": setting}


async def observed_plan(files, wire):
    (cluster_input,) = load_fleet(snapshot_of(files), DRIVERS, None).cluster_inputs
    desired = M2.desire(cluster_input)
    return M2.plan(desired, await M2.observe(desired, Transports(wire)))


async def applied_and_planned_again(files):
    """The step that delivers the file, what the node was sent, and the plan that follows."""
    wire = WorldWire(world(BASE))
    first = await observed_plan(files, wire)
    written = json.loads(Plan(load_fleet(snapshot_of(files), DRIVERS, None).revision, "0", (first,)).encode())
    (step,) = load_plan(written).clusters[0].steps
    await M2.act(step, Transports(wire), first.payloads)
    return step, await observed_plan(files, wire)


def same(text, value):
    return Decimal(text) == Decimal(json.dumps(value))


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@given(NUMBERS)
@settings(deadline=None, max_examples=25)
@example("100000000000000000000")
def test_a_number_of_a_file_reaches_the_node_as_it_is_and_is_found_there(suffix, number):
    files = files_of(setting_text(number), suffix)
    step, again = asyncio.run(applied_and_planned_again(files))
    assert again.steps == ()
    (change,) = [change for change in step.changes if change.pointer == "/custom"]
    assert same(number, change.new["n"])


@given(NUMBERS)
@settings(deadline=None, max_examples=25)
@example("100000000000000000000")
def test_import_writes_the_number_that_a_node_shows(number):
    wire = WorldWire(world(BASE))
    shown = setting_text(number).encode()
    headers = {"content-type": "application/json", "content-length": str(len(shown))}
    request = NodeRequest("POST", "/setting/upload", headers, shown, "127.0.0.1")
    assert wire.nodes.answer("edge-01", request)[0] == 200

    async def imported():
        entry = await M2.read_cluster_entry("edge", ["edge-01.example.com"], Transports(wire))
        first = await import_live_state(
            None, [entry], drivers=DRIVERS, transports=Transports(wire), resolver=None
        )
        files = dict(first.after)
        assert (await observed_plan(files, wire)).steps == ()
        assert (
            await import_live_state(
                snapshot_of(files), [], drivers=DRIVERS, transports=Transports(wire), resolver=None
            )
        ).after == {}
        drifted = files_of(json.dumps(BASE))
        second = await import_live_state(
            snapshot_of(drifted), [], drivers=DRIVERS, transports=Transports(wire), resolver=None
        )
        assert (await observed_plan(drifted | second.after, wire)).steps == ()

    asyncio.run(imported())


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("number", INEXACT)
def test_a_number_that_would_lose_digits_is_refused_with_its_place(suffix, number):
    with pytest.raises(InputError) as caught:
        parse_document(f"setting.{suffix}", f'{{"a": {number}}}'.encode())
    (problem,) = caught.value.problems
    assert (problem.code, problem.position.line, problem.position.column) == ("bad-number", 1, 7)
    assert problem.remedy


@given(NUMBERS)
@settings(deadline=None)
def test_json_and_yaml_read_the_same_number(number):
    one, other = (
        parse_document(f"a.{suffix}", f'{{"a": {number}}}'.encode()).value for suffix in ("json", "yaml")
    )
    assert encode_canonical(one) == encode_canonical(other)
    assert same(number, one["a"])


@pytest.mark.parametrize(
    ("tag", "value"),
    [("!!float 100000000000000000000", 1e20), ("!!float 1", 1.0), ("!!int 18446744073709551617", 2**64 + 1)],
)
def test_a_tag_of_yaml_loses_no_digits(tag, value):
    assert parse_document("a.yaml", f"a: {tag}".encode()).value == {"a": value}


@pytest.mark.parametrize("number", ["18446744073709551617", "9" * 400])
def test_a_tag_of_yaml_that_would_lose_digits_is_refused(number):
    with pytest.raises(InputError, match="cannot be stored exactly"):
        parse_document("a.yaml", f"a: !!float {number}".encode())


def test_numbers_in_base_16_and_8_are_exact_and_bounded():
    assert parse_document("a.yaml", b"a: 0x10000000000000001\nb: 0o7").value == {"a": 2**64 + 1, "b": 7}
    with pytest.raises(InputError):
        parse_document("a.yaml", b"a: 0x" + b"f" * 4_000)
