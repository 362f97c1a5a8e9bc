"""One name, one thing: no public name is defined twice, and the pages name only what the code has."""

import ast
import fnmatch
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from support.program_source import trees

ROOT = Path(__file__).parents[3]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
TERM = re.compile(r"`([\w…./*]+)`")
"""A name in backquotes. References (`${env:…}`) and commands are no names of the code."""
PRODUCT_FILES = {"setting.json"}


def repeated_names(modules):
    """Name -> its files, for each public class or function that two modules define.

    Two products may have the same name: that is the shape which they share. One product may have it once.
    """
    found = defaultdict(list)
    for file, module in modules.items():
        for node in module.body:
            if isinstance(node, DEFINITIONS) and not node.name.startswith("_"):
                found[node.name].append(file)
    return {name: files for name, files in found.items() if _clash(files)}


def _clash(files):
    owners = Counter(file.split("/")[1] if re.match("drivers/[^/]+/", file) else "" for file in files)
    return max(owners.values()) > 1 or ("" in owners and len(owners) > 1)


def known_names(modules):
    """Modules, packages, classes, functions, constants and methods; every member also as `Class.member`."""
    known = set()
    for file, module in modules.items():
        known |= {Path(file).name, *Path(file).with_suffix("").parts}
        for name, node in _defined(module):
            known.add(name)
            if isinstance(node, ast.ClassDef):
                known |= {f"{node.name}.{member}" for member, _ in _defined(node)}
                known |= {member for member, part in _defined(node) if isinstance(part, DEFINITIONS)}
    return known


def _defined(scope):
    for node in scope.body:
        if isinstance(node, DEFINITIONS):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), node
        elif isinstance(node, ast.Assign):
            yield from ((ast.unparse(target), node) for target in node.targets)


def unknown_terms(page, known):
    """The names of a page that the code does not have; `…` stands for any letters."""
    terms = {term for term in TERM.findall(page) if not _is_path(term)}
    return sorted(
        term
        for term in terms - PRODUCT_FILES
        if not fnmatch.filter(known, term.replace("…", "?*")) and not _is_module_member(term, known)
    )


def _is_module_member(term, known):
    module, _, name = term.partition(".")
    return module.islower() and {module, name} <= known


def missing_paths(page):
    """The paths of a page that are neither in the repository nor in the package; NAME is for any name."""
    paths = {path for path in TERM.findall(page) if _is_path(path)}
    patterns = {path: path.replace("NAME", "*").rstrip("/") for path in paths}
    return sorted(
        path
        for path, pattern in patterns.items()
        if not any(True for base in (ROOT, ROOT / "reconciler") for _ in base.glob(pattern))
    )


def _is_path(term):
    return "/" in term


def test_a_public_name_has_one_definition():
    assert repeated_names(trees()) == {}


@pytest.mark.parametrize("planted", ["core/plan.py", "drivers/sora/plan.py", "drivers/m2/second.py"])
def test_a_second_definition_is_found(planted):
    modules = {
        "core/first.py": "class Step: ...",
        "drivers/m2/first.py": "def judge(): ...\ndef _private(): ...",
        "drivers/sora/first.py": "async def judge(): ...\ndef _private(): ...",
    }
    repeated = "judge" if "m2" in planted else "Step"
    modules[planted] = f"def {repeated}(): ..."
    found = repeated_names({file: ast.parse(text) for file, text in modules.items()})
    assert [*found] == [repeated]
    assert planted in found[repeated]


def test_the_code_has_every_name_of_the_glossary():
    assert unknown_terms(GLOSSARY, known_names(trees())) == []
    assert missing_paths(GLOSSARY) == []


def test_the_glossary_explains_each_term_once():
    terms = Counter(re.findall(r"^\| ([^|]+?) \|", GLOSSARY, re.MULTILINE)) - Counter({"term": 99, "---": 99})
    assert [term for term, count in terms.items() if count > 1] == []


def test_the_code_has_every_name_and_path_of_the_architecture_page():
    assert unknown_terms(ARCHITECTURE, known_names(trees())) == []
    assert missing_paths(ARCHITECTURE) == []


def test_names_and_paths_that_are_gone_are_found():
    known = known_names({"core/plan.py": ast.parse("class Plan:\n    digest: str\ndef write_plan(): ...")})
    page = "`Plan` `Plan.digest` `write_…` `plan.py` `plan.Plan` `setting.json` `${env:NAME}` `core/plan.py`"
    assert unknown_terms(page, known) == []
    gone = "`Plans` `Plan.digests` `read_…` `plans.py` `plans.Plan` `plan.Plans`"
    assert unknown_terms(gone, known) == sorted(gone.replace("`", "").split())
    paths = "`core/plan.py` `drivers/NAME/guards.py` `tests/unit/core/` `tests/integration/test_cli_*`"
    assert missing_paths(paths) == []
    gone = "`core/plans.py` `drivers/NAME/gone.py` `tests/unit/gone/` `tests/integration/gone_*`"
    assert missing_paths(gone) == sorted(gone.replace("`", "").split())


def test_the_layers_of_the_architecture_page_are_those_that_imports_are_held_to():
    table = ARCHITECTURE.split("## Layers")[1].split("\n## ")[0]
    rows = [set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in table.splitlines() if "| `" in row]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [set(re.findall(r"\w+", layer)) for layer in contract["contracts"][0]["layers"]]
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    listed = [name for row in rows for name in sorted(row, key=rank.get)]
    assert sorted(listed) == sorted(rank)
    assert listed == sorted(listed, key=rank.get)
