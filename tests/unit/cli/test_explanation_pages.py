"""Every code has a page and every page a code; pages of guards and lints say how to override them."""

import json
import re
from pathlib import Path

import pytest
from support.code_search import literals, used

from reconciler.cli.demo_fixtures import find_examples
from reconciler.cli.explanations import list_codes, read_page, read_title
from reconciler.cli.main import main
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet, read_fleet
from reconciler.desired.lints import list_lint_codes
from reconciler.drivers.registry import DRIVERS
from reconciler.guards import registry
from reconciler.ports.source import Snapshot

PACKAGE = Path(__file__).parents[3] / "reconciler"

GUARD_FILES = [*PACKAGE.glob("guards/*.py"), *PACKAGE.glob("drivers/*/guards.py")]
VIOLATION = re.compile(
    r'(?:Diagnostic\(\s*Severity\.ERROR,|\.violation\(|_refuse\(\s*context,\s*target,)\s*"([a-z-]+)"'
)
REFUSALS = sorted(
    {code for path in GUARD_FILES for code in VIOLATION.findall(path.read_text(encoding="utf-8"))}
)
GUARD_CODES = registry.list_guard_codes(guard for driver in DRIVERS.values() for guard in driver.guards)
LINTS = sorted(list_lint_codes(DRIVERS))
EXAMPLES = sorted(
    folder.name
    for folder in find_examples().iterdir()
    if any((folder / name).is_file() for name in ("fleet.yaml", "setting.json"))
)


@pytest.mark.parametrize(
    ("code", "file"),
    [
        ("trailing-comma", "documents/json_repair.py"),  # an argument of a method
        ("missing-value", "documents/json_repair.py"),  # of a name for one of two methods
        ("unexpected-colon", "documents/yaml_errors.py"),  # a column of a table
        ("line-break-in-text", "documents/json_tokens.py"),  # one of several names that are set together
        ("path-outside", "desired/file_loader.py"),  # one of three texts that are returned
        ("node-unauthorized", "drivers/m2/findings.py"),  # one of two
        ("revoked-key", "sources/signatures/trust.py"),  # a constant, in a table
        ("plan-edited", "planning/plan_file.py"),  # a constant, in brackets behind a message
        ("quorum", "drivers/sora/guards.py"),
    ],
)
def test_the_search_finds_every_form_of_a_code(code, file):
    assert file in used()[code]


def test_every_code_has_a_page():
    assert {code: files for code, files in used().items() if code not in list_codes()} == {}


def test_every_page_has_a_code():
    assert [code for code in list_codes() if code not in literals()] == []


def test_no_two_pages_have_one_title():
    titles = [read_title(code) for code in list_codes()]
    assert sorted({each for each in titles if titles.count(each) > 1}) == []


@pytest.mark.parametrize("code", list_codes())
def test_a_page_has_a_title_and_a_remedy_and_is_short(code):
    page = read_page(code)
    assert page.startswith("# ")
    assert read_title(code)
    assert "What to do:" in page
    assert len(page.splitlines()) <= 40
    assert max(map(len, page.splitlines())) <= 130
    assert page.endswith("\n")


def test_explain_lists_all_with_their_titles(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in lines} == {
        code: read_title(code) for code in list_codes()
    }


def test_the_search_finds_the_guards():
    assert {"quorum", "lock-out", "budget"} <= set(REFUSALS)


def test_every_code_of_a_violation_is_declared_by_its_guard():
    assert [code for code in REFUSALS if code not in GUARD_CODES] == []


def test_exactly_the_declared_codes_have_a_page_with_an_override():
    assert tuple(code for code in list_codes() if f"{{guard: {code}," in read_page(code)) == GUARD_CODES


@pytest.mark.parametrize("code", REFUSALS)
def test_a_guards_page_names_its_override(code):
    assert code in list_codes()
    assert f"guard: {code}," in read_page(code)


def test_the_table_of_guards_has_every_code():
    table = (PACKAGE.parent / "docs/guards.md").read_text(encoding="utf-8")
    assert [code for code in GUARD_CODES if f"`{code}`" not in table] == []


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
def test_the_page_of_a_lint_shows_how_to_silence_it(code):
    assert code in list_codes()
    assert f"- {{code: {code}, target: " in read_page(code)


@pytest.mark.parametrize("code", ["unknown-lint", "unused-ignore", "temporary-alone"])
def test_the_page_of_a_warning_shows_that_it_cannot_be_silenced(code):
    assert "Not possible" in read_page(code)


def test_every_code_that_a_lint_module_uses_is_declared():
    files = [*PACKAGE.glob("drivers/*/lints/*.py"), *PACKAGE.glob("drivers/*/lints.py")]
    in_use = {
        code for file in files for code in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', file.read_text("utf-8"))
    }
    assert in_use == {code for driver in DRIVERS.values() for code in driver.lint_codes}


def test_the_folders_of_examples_are_found():
    assert {"demo", "lone", "overlays"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_no_warnings(name):
    revision = Revision(name, "0" * 40, "0000000")
    found = load_fleet(Snapshot(revision, Folder(find_examples() / name)), DRIVERS)
    assert [str(warning) for warning in found.warnings] == []


def test_the_example_of_every_field_has_no_warnings():
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
