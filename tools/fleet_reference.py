"""The reference of the fleet file in Markdown, generated from the models that read it.

`python -m tools.fleet_reference` prints it.
"""

from __future__ import annotations

import sys

from pydantic import BaseModel

from reconciler.cli.render.model_table import render_model_table
from reconciler.core.entries import InventoryItem
from reconciler.desired.fleet_file import make_fleet_file_model, make_joint_policy_model
from reconciler.drivers.registry import DRIVERS

_INTRODUCTION = """# Fleet file

**For** committers who look up a key of the fleet file.

Generated from the program. A `fleet.yaml` (or `.yml`, `.json`) describes the clusters of a fleet. Its paths are
relative to it. Unknown keys are errors with line and column. Without a fleet file, one `setting.json` describes a
cluster of the nodes that it names itself."""


def fleet_reference() -> str:
    """Every field of the fleet file, of each product's clusters and nodes, with defaults and meaning."""
    seen: set[type[BaseModel]] = set()
    model = make_fleet_file_model(make_joint_policy_model(DRIVERS.values()))
    parts = [_INTRODUCTION, *render_model_table("Top level", model, seen)]
    for kind in sorted(DRIVERS):
        parts += render_model_table(f"A cluster of kind `{kind}`", DRIVERS[kind].entry, seen)
        if DRIVERS[kind].entry.takes_inventory:
            parts += render_model_table(
                f"An item of `nodes` of kind `{kind}` that stands for instances", InventoryItem, seen
            )
            parts.append(
                "Its other keys are those of a node, for each of its nodes; see [inventory](inventory.md)."
            )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(fleet_reference())
