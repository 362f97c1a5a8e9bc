"""How long diff and plan take over recorded observations, and how time and memory grow.

    python benchmarks/plan.py [NODES]

Every size runs in a process of its own, so that its peak memory is its own. `alike`: all nodes have one
version and a tenth has drifted, so that two settings are shown; all get the same. `different`: each has a
version of its own, so that no two answers are equal. Every node gets a step in both.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples/demo/edge/setting.json"


def recorded(count: int, *, alike: bool) -> list[bytes]:
    """One answer a node: every tenth has drifted; with one version, or each with a version of its own."""
    setting = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    answers = []
    for index in range(count):
        setting["meta"]["version"] = "former" if alike else f"node-{index}"
        setting["env"]["management"]["cluster"]["balance"]["mode"] = "hash" if index % 10 == 0 else "rr"
        answers.append(json.dumps(setting).encode())
    return answers


def measure(count: int, *, alike: bool) -> dict[str, float]:
    """Seconds, of which CPU, and megabytes for one size."""
    from reconciler.host.interpreter import prepare_interpreter  # noqa: PLC0415

    prepare_interpreter()  # as the command does
    from reconciler.core.observation import Observed, Present  # noqa: PLC0415
    from reconciler.core.plan import Revision  # noqa: PLC0415
    from reconciler.documents.document import parse_document  # noqa: PLC0415
    from reconciler.drivers.m2.content import ContentCache  # noqa: PLC0415
    from reconciler.drivers.m2.product import DRIVER  # noqa: PLC0415
    from reconciler.drivers.m2.schema import LoadedSetting, M2Cluster  # noqa: PLC0415
    from reconciler.ports.cluster_input import ClusterInput  # noqa: PLC0415

    nodes = [
        {"name": f"edge-{index}", "address": f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"}
        for index in range(count)
    ]
    entry = M2Cluster.model_validate({"name": "edge", "kind": "m2", "setting": "s.json", "nodes": nodes})
    document = parse_document("setting.json", EXAMPLE.read_bytes())
    revision = Revision("benchmark", "0" * 40, "0000000")
    cluster_input = ClusterInput(entry, document, "", revision, {node["name"]: document for node in nodes})
    answers = recorded(count, alike=alike)
    began = time.perf_counter()
    desired = DRIVER.desire(cluster_input)
    contents = ContentCache()
    seen = {
        node["name"]: Present(LoadedSetting(contents.read(body)))
        for node, body in zip(nodes, answers, strict=True)
    }
    read, used = time.perf_counter(), time.process_time()
    plan = DRIVER.plan(desired, Observed(seen))
    planned, cpu = time.perf_counter(), time.process_time() - used
    assert len(plan.steps) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"read": read - began, "plan": planned - read, "cpu": cpu, "peak": peak}


def main() -> None:
    """Three sizes of both kinds, each in its own process; a row each."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]), alike=sys.argv[3] == "alike")))
        return
    # As an installed program: each module is compiled once, and not again by every process.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print("   nodes  answers    parse answers   diff and plan       CPU   peak memory")
    for count, kind in product((most // 4, most // 2, most), ("alike", "different")):
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(count), kind], capture_output=True, text=True, check=True
        )
        row = json.loads(done.stdout)
        print(
            f"{count:8}  {kind:9}  {row['read']:11.2f} s  {row['plan']:12.2f} s  {row['cpu']:6.2f} s"
            f"  {row['peak']:9.0f} MB"
        )


if __name__ == "__main__":
    main()
