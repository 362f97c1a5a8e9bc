"""The commands of the README run with the status that it gives, and every link of a document has a target.

The commands of the other pages run in `tests/end_to_end/test_documents.py`.
"""

import re
from pathlib import Path

import pytest
from support.documents import PAGES, README, ROOT, run_commands

DOCUMENTS = [README, *PAGES]


def test_the_commands_of_the_readme_run(tmp_path: Path):
    run_commands(README, tmp_path)


def test_the_readme_names_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages if f"docs/{page}" not in readme] == []


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
