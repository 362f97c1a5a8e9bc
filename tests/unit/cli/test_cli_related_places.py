"""Further positions of a problem are data in every output for programs."""

import json

import pytest

from reconciler.cli.render.problems import render_problems_github, render_problems_json, render_problems_text
from reconciler.cli.render.sarif import render_sarif
from reconciler.desired.validation import ValidationResult
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import parse_document
from reconciler.errors import InputError


def problems(read, name, text):
    with pytest.raises(InputError) as caught:
        read(name, text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("read", "name", "text", "there"),
    [
        (parse_document, "a.json", b'{"a": 1,\n "a": 2}', ["a.json:1:2"]),
        (parse_document, "a.yaml", b"a: 1\na: 2\n", ["a.yaml:1:1"]),
        (parse_document, "a.json", b'{"a": [1}', ["a.json:1:7"]),
        (parse_document, "a.yaml", b"a: [1,\n 2}\n", ["a.yaml:1:4"]),
        (parse_document, "a.json", b"{} {}", ["a.json:1:3"]),
        (parse_document, "sora.conf", b"a = 1\na = 2\n", ["sora.conf:1:5"]),
    ],
)
def test_the_related_place_is_a_position(read, name, text, there):
    found = problems(read, name, text)
    assert [str(place) for place in found[0].related] == there


def test_sarif_and_json_have_the_related_place():
    found = problems(parse_document, "a.json", b'{"a": 1,\n "a": 2}')
    (result,) = json.loads(render_sarif(found, "below/"))["runs"][0]["results"]
    assert result["relatedLocations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "below/a.json"},
                "region": {"startLine": 1, "startColumn": 2},
            }
        }
    ]
    (plain,) = json.loads(render_problems_json(found))
    assert plain["related"] == [{"file": "a.json", "line": 1, "column": 2}]


def test_a_problem_of_a_node_has_its_target_in_every_output():
    silent = Diagnostic(Severity.ERROR, "node-unreachable", "no answer", "start it", target="edge/edge-01")
    (result,) = json.loads(render_sarif([silent], "below/"))["runs"][0]["results"]
    assert result["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "edge/edge-01"}]}]
    found = ValidationResult((silent,), 1, 1)
    assert render_problems_text(found).startswith("edge/edge-01: error: no answer [node-unreachable]\n")
    assert render_problems_github(found).startswith("::error title=node-unreachable::no answer; start it\n")
