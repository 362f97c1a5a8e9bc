"""Every guard's code has a page, and the page names the override that sets it aside."""

import re
from pathlib import Path

import pytest

from reconciler.explanations import codes, guards, page

PACKAGE = Path(__file__).parents[3] / "reconciler"
FILES = sorted(PACKAGE.rglob("*.py"))
FOUND = sorted(
    {
        code
        for path in FILES
        for code in re.findall(r'Violation\(\s*"([a-z-]+)"', path.read_text(encoding="utf-8"))
    }
)


def test_the_search_finds_the_guards():
    assert {"quorum", "lock-out", "budget"} <= set(FOUND)


@pytest.mark.parametrize("code", FOUND)
def test_a_guards_page_names_its_override(code):
    assert code in codes()
    assert f"guard: {code}," in page(code)


def test_the_table_of_guards_names_every_one():
    table = (PACKAGE.parent / "docs/guards.md").read_text(encoding="utf-8")
    assert [code for code in guards() if f"`{code}`" not in table] == []
