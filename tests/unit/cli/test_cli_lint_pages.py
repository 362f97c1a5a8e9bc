"""Every lint has a page that says how it is silenced, and the examples are free of them."""

import json
import re
from pathlib import Path

import pytest

from reconciler.cli.demo_fixtures import find_examples
from reconciler.cli.explanations import list_codes, read_page
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.desired.lints import list_lint_codes
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot

PACKAGE = Path(__file__).parents[3] / "reconciler"
LINTS = sorted(list_lint_codes(DRIVERS))
EXAMPLES = sorted(
    folder.name
    for folder in find_examples().iterdir()
    if any((folder / name).is_file() for name in ("fleet.yaml", "setting.json"))
)


class Folder:
    """The files of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def names(self):
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    def read(self, path):
        return (self.folder / path).read_bytes()


@pytest.mark.parametrize("code", LINTS)
def test_a_lint_s_page_says_how_it_is_silenced(code):
    assert code in list_codes()
    assert f"- {{code: {code}, target: " in read_page(code)


@pytest.mark.parametrize("code", ["unknown-lint", "unused-ignore", "temporary-alone"])
def test_what_cannot_be_silenced_says_so(code):
    assert "Not possible" in read_page(code)


def test_every_code_that_a_lint_module_uses_is_declared():
    files = [*PACKAGE.glob("drivers/*/lints/*.py"), *PACKAGE.glob("drivers/*/lints.py")]
    used = {code for file in files for code in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', file.read_text("utf-8"))}
    assert used == {code for driver in DRIVERS.values() for code in driver.lint_codes}


def test_the_example_s_folders_are_found():
    assert {"demo", "lone", "overlays"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_free_of_them(name):
    revision = Revision(name, "0" * 40, "0000000")
    found = load_fleet(Snapshot(revision, Folder(find_examples() / name)), DRIVERS)
    assert [str(warning) for warning in found.warnings] == []


def test_the_example_of_every_field_is_free_of_them():
    text = (PACKAGE.parent / "setting.json.example").read_text("utf-8")
    nodes = [{"name": "n", "address": "10.10.10.1"}]
    entry = {"name": "a", "kind": "m2", "setting": "setting.json", "nodes": nodes}
    fleet = json.dumps({"clusters": [entry]})

    class Files:
        def names(self):
            return ["fleet.json", "setting.json"]

        def read(self, path):
            return (fleet if path == "fleet.json" else text).encode()

    found = read_fleet(Snapshot(Revision("m", "0", "0"), Files()), DRIVERS)
    assert [str(problem) for problem in found.problems] == []
