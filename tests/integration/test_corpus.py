"""Every document of the management page is read as the page means it; every mistake is found at its place."""

from pathlib import Path

import pytest
from support.memory_files import snapshot_of
from support.schema_documents import validate_message

from reconciler.desired.validation import validate_files
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
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
    found = _message(path) if path.name.startswith("message") else _setting(path)
    return [str(problem) for problem in found if problem.severity is Severity.ERROR]


def _setting(path):
    files = {"fleet.yaml": FLEET.replace("NAME", path.name), path.name: path.read_bytes()}
    return validate_files(snapshot_of(files), DRIVERS).problems


def _message(path):
    """Of `message-KIND.json` or `message-KIND--VARIANT.json`; `message.json` is the form of all kinds."""
    try:
        document = parse_document(path.name, path.read_bytes())
    except InputError as error:
        return error.problems
    kind = path.stem.removeprefix("message").removeprefix("-").partition("--")[0]
    if kind:
        assert validate_message(kind, document.value)
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


@pytest.mark.parametrize("name", ["demo", "lone", "overlays", "medium", "polled", "realistic"])
def test_the_examples_are_valid_and_nothing_in_them_is_doubtful(name):
    folder = CORPUS.parents[2] / "examples" / name
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = validate_files(snapshot_of(files), DRIVERS)
    assert found.problems == ()
    assert found.nodes > 0
