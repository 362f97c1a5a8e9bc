"""Every document of the management page is read as the page means it; every mistake is found at its place."""

from pathlib import Path

import pytest
from memory_files import fleet_of

from reconciler.core.problem import Severity
from reconciler.desired.document import parse
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import InputError

CORPUS = Path(__file__).parents[1] / "cases/corpus"
VALID = sorted((CORPUS / "valid").glob("*.json"))
INVALID = sorted((CORPUS / "invalid").glob("*.json"))
FLEET = """
clusters:
  - {name: edge, kind: m2, setting: NAME, nodes: [{name: edge-01, address: "192.0.2.11:10040"}]}
"""


def errors_of(path):
    """What a reader of the file is told, one line each."""
    if path.name.startswith("message"):
        try:
            parse(path.name, path.read_bytes())
        except InputError as error:
            return [str(problem) for problem in error.problems]
        return []
    return [str(problem) for problem in _found(path) if problem.severity is Severity.ERROR]


def _found(path):
    files = {"fleet.yaml": FLEET.replace("NAME", path.name), path.name: path.read_bytes()}
    try:
        (desk,) = fleet_of(files).desks
        DRIVERS["m2"].desire(desk)
    except InputError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_corrected_documents_of_the_page_have_no_error(path):
    assert errors_of(path) == []


def test_documents_with_mistakes_have_them_at_their_places(golden):
    found = {path.name: errors_of(path) for path in INVALID}
    assert [name for name, errors in found.items() if not errors] == []
    golden("corpus/invalid.txt", "\n".join(f"# {name}\n" + _lines(errors) for name, errors in found.items()))


def _lines(texts):
    return "".join(f"{text}\n" for text in texts)
