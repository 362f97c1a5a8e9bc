"""Files with very many of one thing take as long as they are large, not the square of it."""

from __future__ import annotations

import json
import time

import pytest
from support.memory_files import snapshot_of

from reconciler.desired.validation import validate_files
from reconciler.drivers.registry import DRIVERS

SMALL, LARGE = 300, 1_800
NODE = {"name": "edge-01", "address": "edge-01.example.com"}


def files(setting, name="setting.json", **cluster):
    fleet = {"clusters": [{"name": "edge", "kind": "m2", "setting": name, "nodes": [NODE], **cluster}]}
    text = setting if isinstance(setting, str) else json.dumps(setting)
    return {"fleet.json": json.dumps(fleet), name: text}


def management(**parts):
    return files({"env": {"management": parts}})


def addr(index):
    return f"10.0.{index // 250}.{index % 250}"


def unknown_aliases(count):
    known = "".join(f"a{index}: &abcdefgh{index} 1\n" for index in range(count))
    return files(known + "".join(f"k{index}: *abcdefgx{index}\n" for index in range(count)), "setting.yaml")


def unused_roles(count):
    roles = [{"name": f"r{index}", "permissions": {"enableInstall": True}} for index in range(count)]
    return management(
        roles=roles, api={"allowList": [{"addr": addr(each), "role": "r0"} for each in range(count)]}
    )


def unknown_roles(count):
    entries = [{"addr": addr(index), "role": f"rolx{index}"} for index in range(count)]
    return management(roles=[{"name": f"role{index}"} for index in range(count)], api={"allowList": entries})


def overlapping_entries(count):
    return management(api={"allowList": [{"addr": "10.0.0.0/8", "role": "user"}] * count})


def cluster_aliases(count):
    cluster = f"&a {{name: e, kind: m2, setting: setting.json, nodes: [{json.dumps(NODE)}]}}"
    return {"fleet.yaml": f"clusters:\n- {cluster}\n" + "- *a\n" * count, "setting.json": "{}"}


def patched(operations, value):
    return files(value, overlays=["patch.json"]) | {"patch.json": json.dumps(operations)}


def moves_in_a_list(count):
    move = {"op": "move", "from": "/l/0", "path": f"/l/{count - 1}"}
    return patched([move] * count, {"l": list(range(count))})


def additions_to_a_list(count):
    return patched([{"op": "add", "path": "/l/-", "value": 1}] * count, {"l": []})


def copies_of_a_list(count):
    copies = [{"op": "copy", "from": "/l/0", "path": f"/x/{index}"} for index in range(count)]
    return patched(copies, {"l": list(range(count)), "x": {}})


def seconds(made):
    snapshot = snapshot_of(made)
    began = time.process_time()
    validate_files(snapshot, DRIVERS)
    return time.process_time() - began


@pytest.mark.parametrize(
    "made",
    [
        unknown_aliases,
        unused_roles,
        unknown_roles,
        overlapping_entries,
        cluster_aliases,
        moves_in_a_list,
        additions_to_a_list,
        copies_of_a_list,
    ],
)
def test_six_times_as_many_take_far_less_than_thirty_six_times_as_long(made):
    seconds(made(10))  # what is loaded once is loaded
    assert any(grows_slowly(made) for _ in range(4)), "each of four attempts took far longer"


def grows_slowly(made):
    """One attempt: other processes can spoil it, but cannot make quadratic work look linear."""
    small = max(seconds(made(SMALL)), 0.04)
    return seconds(made(LARGE)) < 16 * small
