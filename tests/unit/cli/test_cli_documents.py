"""The references in docs/ are what the program says now; `make` them with the command in their test."""

from pathlib import Path

import pytest

from reconciler.cli.fleet_reference import fleet_reference
from reconciler.cli.reference import reference

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("name", "made", "module"),
    [("cli.md", reference, "reference"), ("fleet-file.md", fleet_reference, "fleet_reference")],
)
def test_a_reference_is_what_the_program_says(name, made, module):
    command = f"python -m reconciler.cli.{module} > docs/{name}"
    assert (DOCS / name).read_text(encoding="utf-8") == made(), f"make it anew: {command}"
