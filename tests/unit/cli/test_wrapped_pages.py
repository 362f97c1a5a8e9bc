"""Explanation pages in terminals of every width."""

import pytest

from reconciler.cli.explanations import list_codes, read_page
from reconciler.cli.render.pages import wrap_page
from reconciler.cli.render.text import TerminalLayout


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_page_fits_and_loses_no_word(width):
    wide = []
    for code in list_codes():
        page = read_page(code)
        shown = wrap_page(page, TerminalLayout(width=width))
        assert shown.split() == page.split()
        is_code = False
        for line in shown.splitlines():
            is_code ^= line.startswith("```")
            is_free = not (is_code or line.startswith(("    ", "#", "|", "```"))) and " " in line.strip(" -")
            if is_free and len(line) > width and max(map(len, line.split())) < width - 10:
                wide.append((code, line))
    assert wide == []


def test_a_page_that_fits_stays_as_it_is():
    for code in list_codes():
        page = read_page(code)
        assert wrap_page(page, TerminalLayout(width=300)) == page.rstrip("\n") + "\n"


def test_code_tables_and_headings_stay_and_lists_hang():
    page = (
        "# Title of a page that is long\n\n- one two three four\n  five six\n- seven\n\n```yaml\n" + "x" * 50
    )
    page += "\n```\n\n| a | b | cccccccccccccccccccc |\n"
    assert wrap_page(page, TerminalLayout(width=22)) == (
        "# Title of a page that is long\n\n- one two three four\n  five six\n- seven\n\n```yaml\n"
        + "x" * 50
        + "\n```\n\n| a | b | cccccccccccccccccccc |\n"
    )
    assert wrap_page("- one two three four five\n  six\n", TerminalLayout(width=20)) == (
        "- one two three four\n  five six\n"
    )
