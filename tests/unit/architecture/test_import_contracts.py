"""The import contracts: each one fails for an import that it forbids, and none is about nothing."""

import ast
import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.program_source import all_nodes

ROOT = Path(__file__).parents[3]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "reconciler").rglob("*.py")
}

DOWN = "Imports point down only"
PLANTED = {
    "core/planted_upwards.py": ("from reconciler.cli import main", DOWN),
    "guards/planted_sideways.py": ("from reconciler.ports import store", DOWN),
    "text/planted_for_types.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reconciler.core import plan",
        DOWN,
    ),
    "drivers/m2/planted_product.py": (
        "from reconciler.drivers.sora import machine",
        "Products do not know each other",
    ),
    "sources/planted_product.py": (
        "from reconciler.drivers.m2 import planner",
        "A product is reached through the registry and the driver's hooks only",
    ),
    "server/planted_database.py": (
        "from reconciler.store.sqlite import store",
        "A database is reached through the factory only",
    ),
    "planning/planted_writer.py": (
        "from reconciler.rollout import step_executor",
        "The reading half reaches nothing that writes",
    ),
    "api/reader.py": (
        "from reconciler.rollout import recovery",
        "The reading half reaches nothing that writes",
    ),
    "server/planted_pass.py": (
        "from reconciler.rollout import apply_pass",
        "The pass is driven through the API only",
    ),
    "core/planted_output.py": ("import asyncio", "What is pure does no input or output"),
    "modelcheck/planted_reader.py": (
        "from reconciler.host import clock",
        "What judges a plan reads neither this machine nor a store",
    ),
    "drivers/sora/machine.py": (
        "from reconciler.drivers.sora import client",
        "What is pure in a product reaches no client",
    ),
    "drivers/m2/lints/planted_circle.py": (
        "from reconciler.drivers.m2 import product",
        "No circle between neighbours, at any depth",
    ),
}
"""File -> what is written there, and the contract that it breaks."""


TABLES = {
    "reconciler/drivers/registry.py": "reconciler.drivers",
    "reconciler/cli/command_table.py": "reconciler.cli.commands.",
    "reconciler/server/nodes/node_server_process.py": "reconciler.server.nodes.node_server_main",
}
"""The files that import modules by name, or start them as a program, and where those are."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What the linter says of a copy of the package into which wrong imports were written."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(
        ROOT / "reconciler", folder / "reconciler", ignore=shutil.ignore_patterns("__pycache__", "*.md")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, (line, _) in PLANTED.items():
        with (folder / "reconciler" / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    (folder / "reconciler/planted_package").mkdir()
    (folder / "reconciler/planted_package/__init__.py").touch()
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("file", "contract"), [(file, contract) for file, (_, contract) in PLANTED.items()])
def test_a_wrong_import_breaks_its_contract(report, file, contract):
    module = ".".join(("reconciler", *Path(file).with_suffix("").parts))
    part = _part(report, contract)
    if contract.startswith("No circle"):
        assert "reconciler.drivers.m2" in part
    else:
        assert module in part


def test_a_package_without_a_place_is_refused(report):
    assert "planted_package" in report


def _part(report, contract):
    """What the report says of one broken contract."""
    parts = re.split(r"\n([^\n]+)\n-{4,}\n", report[report.index("Broken contracts") :])
    return dict(zip(parts[1::2], parts[2::2], strict=True))[contract]


@pytest.mark.parametrize("contract", OPTIONS["contracts"], ids=lambda contract: contract["name"])
def test_every_module_of_a_contract_is_there(contract):
    named = [
        name
        for key in (
            "source_modules",
            "forbidden_modules",
            "modules",
            "protected_modules",
            "allowed_importers",
        )
        for name in contract.get(key, ())
        if name.startswith("reconciler.")
    ]
    for name in named:
        pattern = name.replace(".**", ".*")
        assert any(fnmatch.fnmatchcase(module, pattern) for module in MODULES), name


def test_every_package_has_its_place():
    placed = {name for row in OPTIONS["contracts"][0]["layers"] for name in re.split(r"[ |]+", row)}
    assert placed == {module.split(".")[1] for module in MODULES if module.count(".") == 1}


def test_modules_imported_by_name_are_those_of_the_tables():
    """A name in a text is an import that the linter does not see."""
    for file, node in all_nodes(ast.Constant):
        name = f"reconciler/{file}"
        own = name.removesuffix(".py").replace("/", ".")
        if isinstance(node.value, str) and node.value in MODULES - {"reconciler", own}:
            assert node.value.startswith(TABLES.get(name, "nowhere")), f"{name}:{node.lineno}"
