"""Every example names its schema where an editor looks for it, and fits it."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from reconciler.documents.document import YAML_SUFFIXES, parse_document

ROOT = Path(__file__).parents[3]
MODELINE = re.compile(r"\A# yaml-language-server: \$schema=(\S+)\n")
OTHERS = {"ci", "faults", "grafana", "prometheus"}
"""Folders with files of other programs, and of other kinds."""

DELIVERED = {"config.json", "redis.yaml", "values.yaml"}
"""Files whose keys are delivered to nodes, so that the name of a schema in them would be, too."""

FILES = [
    ROOT / "setting.json.example",
    *(
        path
        for path in sorted((ROOT / "examples").rglob("*.*"))
        if path.suffix in {*YAML_SUFFIXES, ".json"}
        and not OTHERS & set(path.relative_to(ROOT).parts)
        and path.name not in DELIVERED
    ),
]


def output(path):
    """The schema that a file names, and the content of the file."""
    name = path.name.removesuffix(".example")
    document = parse_document(name, path.read_bytes())
    if Path(name).suffix in YAML_SUFFIXES:
        line = MODELINE.match(path.read_text(encoding="utf-8"))
        return line and line[1], document.value
    return isinstance(document.value, dict) and document.value.get("$schema"), document.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_example_fits_its_schema(path):
    schema, value = output(path)
    if isinstance(value, list):  # a JSON Patch, which has no place for the name of a schema
        assert [operation for operation in value if "op" not in operation] == []
        return
    assert schema, f"{path} names no schema"
    judge = Draft202012Validator(json.loads((path.parent / schema).read_text(encoding="utf-8")))
    assert [error.message for error in judge.iter_errors(value)] == []
