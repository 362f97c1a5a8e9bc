"""Whatever a schema of the user holds, validating ends soon, with problems and never with an exception."""

import json
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_files import snapshot_of

from reconciler.cli.explanations import list_codes
from reconciler.desired.validation import validate_files
from reconciler.drivers.registry import DRIVERS

NAMES = st.sampled_from(["a", "hosting", "env", "~/", "%41", ""])
REFERENCES = st.sampled_from(
    [
        "#",
        "#/$defs/a",
        "#/properties/a",
        "#a",
        "b.json",
        "b.json#/$defs/a",
        "a.json#",
        "http://127.0.0.1:1/",
        "#/allOf/0",
    ]
)
PATTERNS = st.sampled_from(["^a+$", "(a+)+$", "(", "(?=a)", "\\p{L}", "[", "a{2,9}", "\\d"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | REFERENCES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def extend(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(NAMES, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "$ref": REFERENCES,
            "type": st.sampled_from(["object", "array", "string", "integer", "x"]),
            "properties": named,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner | several,
            "prefixItems": several,
            "anyOf": several,
            "oneOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "$defs": named,
            "pattern": PATTERNS,
            "enum": st.lists(PLAIN, max_size=2),
            "minimum": st.integers() | st.floats() | st.text(max_size=2),
            "required": st.lists(NAMES, max_size=2) | PLAIN,
            "$anchor": NAMES,
            "$id": NAMES | REFERENCES,
            "$schema": st.sampled_from(["http://json-schema.org/draft-07/schema#", "x"]),
            "format": st.sampled_from(["ipv4", "regex", "uri", "date-time", "x"]),
            "description": PLAIN,
        },
    )


SCHEMAS = st.recursive(st.booleans() | PLAIN, extend, max_leaves=12)


@settings(max_examples=150, deadline=timedelta(seconds=10), suppress_health_check=list(HealthCheck))
@given(SCHEMAS, SCHEMAS, PLAIN, st.sampled_from(['""', "/a", "/*", "/hosting/*"]))
def test_any_schema_and_any_setting(first, second, value, at):
    fleet = (
        f'schemas: [{{files: "*", at: {at}, schema: a.json}}]\n'
        "clusters: [{name: e, kind: m2, setting: s.json, nodes: [{name: n, address: 10.0.0.1}]}]\n"
    )
    files = {"fleet.yaml": fleet, "a.json": json.dumps(first), "b.json": json.dumps(second)}
    files["s.json"] = json.dumps({"a": value, "hosting": [{"name": "x"}]})
    found = validate_files(snapshot_of(files), DRIVERS)
    codes = list_codes()
    for problem in found.problems:
        assert problem.position.file in files
        assert problem.code in codes
