"""The table of JSON Schemas that the program writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from reconciler.cli.host_loader import make_config_model
from reconciler.cli.render.doctor import make_doctor_schema
from reconciler.cli.render.json import make_plan_schema
from reconciler.cli.render.operation_schema import make_operations_schema
from reconciler.cli.render.reservation_schema import make_answer_schema
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.desired.fleet_schema import make_fleet_schema
from reconciler.drivers.registry import DRIVERS, load_installed
from reconciler.planning.plan_file import PlanFile

SUFFIX = ".schema.json"

PLAN_FILE = SchemaTitle(
    "plan-file",
    "Plan file",
    "What `reconcile --dry-run --out FILE` writes and `reconcile apply FILE` reads; only as it was written.",
)

HOST = SchemaTitle(
    "host",
    "Host configuration",
    "What a management host decides, whatever a tree of desired state says.",
    beyond=(
        "a network begins with its first address",
        "a path has no `..`, and no secret folder lies in /proc, /dev or /sys",
        "the program of a command has no placeholder, and `ssh` passes no variables on",
        "a way of `ssh` has a key or an agent, and what `ssh` and `jump` name is an entry",
        "a jump host has a fixed `host`, and does not lead back to the way that uses it",
        "a prefix of variables is not that of the program's own",
        "a duration is at most 366 days",
    ),
)

SCHEMAS: Mapping[str, Callable[[], Schema]] = MappingProxyType(
    {
        "fleet": partial(make_fleet_schema, DRIVERS),
        "host": lambda: make_schema(make_config_model(), HOST),
        **{name: make for driver in load_installed().values() for name, make in driver.schemas().items()},
        "allow-stop": make_answer_schema,
        "doctor": make_doctor_schema,
        "operations": make_operations_schema,
        "plan": make_plan_schema,
        "plan-file": partial(make_schema, PlanFile, PLAN_FILE),
    }
)
"""Name -> function that makes the schema; its file is the name with `.schema.json`."""


def format_schema(name: str) -> str:
    """The text of a schema's file."""
    return json.dumps(SCHEMAS[name](), indent=2, ensure_ascii=False) + "\n"
