"""The commands of the README run with the status that it gives, and every link of a document has a target.

The commands of the other pages run in `tests/end_to_end/test_documents.py`.
"""

import re
from pathlib import Path

import pytest
from support.documents import PAGES, README, ROOT, run_commands

from tools.documentation_site import stage_pages

DOCUMENTS = [*ROOT.glob("*.md"), *PAGES]


def test_the_commands_of_the_readme_run(tmp_path: Path):
    run_commands(README, tmp_path)


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages if f"docs/{page}" not in readme] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_says_for_whom_it_is(page: Path):
    assert re.match(r"# .+\n\n\*\*For\*\* \S.*\.\n\n", page.read_text(encoding="utf-8"))


def test_the_site_has_every_page_once():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r": (docs/\S+\.md)$", site, re.MULTILINE)
    assert sorted(named) == [f"docs/{page.name}" for page in PAGES]


def test_what_the_site_links_to_is_copied_and_folders_are_listed(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one.json").write_text("{}", encoding="utf-8")
    (tmp_path / "README.md").write_text("[page](docs/page.md#top) [data](data) [web](https://example.com)")
    (tmp_path / "docs/page.md").write_text("[one](../data/one.json) [all](../data)", encoding="utf-8")
    stage_pages(tmp_path, tmp_path / "staged")
    staged = {
        str(path.relative_to(tmp_path / "staged")): path.read_text(encoding="utf-8")
        for path in (tmp_path / "staged").rglob("*.*")
    }
    assert staged["README.md"] == "[page](docs/page.md#top) [data](data/index.md) [web](https://example.com)"
    assert staged["docs/page.md"] == "[one](../data/one.json) [all](../data/index.md)"
    assert staged["data/one.json"] == "{}"
    assert "[`one.json`](one.json)" in staged["data/index.md"]


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_has_a_target(document: Path):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", document.read_text(encoding="utf-8"))
    pages = [(document.parent / path if path else document, anchor) for path, anchor in links]
    missing = [page for page, _ in pages if not page.exists()]
    missing += [(page, anchor) for page, anchor in pages if anchor and anchor not in anchors(page)]
    assert missing == []
