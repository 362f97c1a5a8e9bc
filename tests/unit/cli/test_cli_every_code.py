"""Every code that the program uses has a page, and every page has a code: found by walking the source."""

import pytest
from support.code_search import used

from reconciler.cli.explanations import list_codes, read_page, read_title
from reconciler.cli.main import main


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
        ("duplicate-api", "drivers/sora/product.py"),
        ("quorum", "drivers/sora/guards.py"),
    ],
)
def test_the_search_finds_codes_wherever_they_stand(code, file):
    assert file in used()[code]


def test_every_code_has_a_page():
    assert {code: files for code, files in used().items() if code not in list_codes()} == {}


def test_every_page_has_a_code():
    assert [code for code in list_codes() if code not in used()] == []


def test_no_two_pages_have_one_title():
    titles = [read_title(code) for code in list_codes()]
    assert sorted({each for each in titles if titles.count(each) > 1}) == []


@pytest.mark.parametrize("code", list_codes())
def test_a_page_says_what_to_do(code):
    assert "What to do:" in read_page(code)
    assert max(map(len, read_page(code).splitlines())) <= 130


def test_explain_lists_all_with_their_titles(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in lines} == {
        code: read_title(code) for code in list_codes()
    }
