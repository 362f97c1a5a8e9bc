"""Libraries that the package imports are its dependencies, so that a fresh machine has them."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]

BROUGHT = {
    "aiohappyeyeballs": "aiohttp",
    "h11": "uvicorn",
    "markupsafe": "jinja2",
    "pydantic-core": "pydantic",
    "typing-extensions": "pydantic",
}
"""Library -> the dependency that always brings it, and whose versions fit."""


def imported_packages(folder: Path) -> set[str]:
    """Top-level packages that the modules of a folder import, also late and for types alone."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"reconciler"}


def test_every_imported_library_is_a_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {one.partition(">")[0].partition("[")[0].lower() for one in project["dependencies"]}
    providers = packages_distributions()
    for package in imported_packages(ROOT / "reconciler"):
        names = {one.lower().replace("_", "-") for one in providers.get(package, [package])}
        assert {BROUGHT.get(name, name) for name in names} & named, f"{package} is no dependency"
