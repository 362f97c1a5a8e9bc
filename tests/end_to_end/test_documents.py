"""Every command in the pages of the documentation runs with the exit status that the page gives."""

from pathlib import Path

import pytest
from support.documents import PAGES, run_commands


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_the_commands_of_a_page_run(document: Path, tmp_path: Path):
    run_commands(document, tmp_path)
