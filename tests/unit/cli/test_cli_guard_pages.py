"""Every guard's code has a page, and the page names the override that sets it aside."""

import re
from pathlib import Path

import pytest

from reconciler.cli.explanations import list_codes, read_page
from reconciler.drivers.registry import DRIVERS
from reconciler.guards import registry

PACKAGE = Path(__file__).parents[3] / "reconciler"
FILES = [*PACKAGE.glob("guards/*.py"), *PACKAGE.glob("drivers/*/guards.py")]
VIOLATION = re.compile(r'(?:Diagnostic\(\s*Severity\.ERROR|_refuse\(\s*context,\s*target),\s*"([a-z-]+)"')
FOUND = sorted({code for path in FILES for code in VIOLATION.findall(path.read_text(encoding="utf-8"))})
KNOWN = registry.list_guard_codes(guard for driver in DRIVERS.values() for guard in driver.guards)


def test_the_search_finds_the_guards():
    assert {"quorum", "lock-out", "budget"} <= set(FOUND)


def test_every_code_of_a_violation_is_declared_by_its_guard():
    assert [code for code in FOUND if code not in KNOWN] == []


def test_the_pages_that_show_an_override_are_those_of_the_declared_codes():
    assert tuple(code for code in list_codes() if f"{{guard: {code}," in read_page(code)) == KNOWN


@pytest.mark.parametrize("code", FOUND)
def test_a_guards_page_names_its_override(code):
    assert code in list_codes()
    assert f"guard: {code}," in read_page(code)


def test_the_table_of_guards_names_every_one():
    table = (PACKAGE.parent / "docs/guards.md").read_text(encoding="utf-8")
    assert [code for code in KNOWN if f"`{code}`" not in table] == []
