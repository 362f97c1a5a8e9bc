"""The user's own schemas: where violations are, what a schema may refer to, and bounds on its work."""

from __future__ import annotations

import builtins
import json
import os
import socket
import time
import urllib.request

import pytest
from support.memory_files import fleet_of, problems_of

from reconciler.diagnostic import Severity

FLEET = """\
schemas:
  - {files: "*.json", at: AT, schema: rules/a.json}
clusters:
  - name: edge
    kind: m2
    setting: base.json
    overlays: [cluster.yaml]
    nodes:
      - {name: n-1, address: 10.0.0.1}
      - {name: n-2, address: 10.0.0.2, overlays: [{merge: {level: 7, "password": "hunter2hunter2"}}]}
"""
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
FILES = {"base.json": '{\n "level": 1,\n "names": ["a", "b"]\n}', "cluster.yaml": "size:\n  all: 3\n"}


def check(schema, at='""', **more):
    files = {"fleet.yaml": FLEET.replace("AT", at), "rules/a.json": json.dumps(schema), **FILES, **more}
    return [one for one in problems_of(files) if one.severity is Severity.ERROR]


def found(schema, at='""', **more):
    return {(str(one.position), one.pointer) for one in check(schema, at, **more)}


@pytest.mark.parametrize(
    ("schema", "at", "expected"),
    [
        (
            {"properties": {"level": {"maximum": 0}}},
            '""',
            {("base.json:2:11", "/level"), ("fleet.yaml:10:67", "/level")},
        ),
        ({"properties": {"level": {"maximum": 5}}}, '""', {("fleet.yaml:10:67", "/level")}),
        ({"maximum": 2}, "/size/all", {("cluster.yaml:2:8", "/size/all")}),
        ({"const": "b"}, "/names/*", {("base.json:3:12", "/names/0")}),
        ({"maxLength": 0}, "/names/1", {("base.json:3:17", "/names/1")}),
        ({"type": "object"}, "/nowhere", set()),
        (False, "/size", {("rules/a.json:1:1", "")}),
    ],
)
def test_a_violation_is_where_the_value_came_from(schema, at, expected):
    assert found(schema, at) == expected


def test_keys_that_are_missing_or_do_not_belong():
    schema = {
        "required": ["owner"],
        "properties": {"level": {}, "names": {}, "size": {}},
        "additionalProperties": False,
    }
    problems = check(schema)
    assert {one.code for one in problems} == {"schema-violated"}
    told = {(str(one.position), one.message.split(" (")[0]) for one in problems}
    assert told == {
        ("base.json:1:1", "the key `owner` is missing"),
        ("fleet.yaml:10:82", "the key `password` does not belong here"),
    }


def test_a_message_says_what_belongs_there_and_shows_no_secret():
    schema = {
        "properties": {
            "level": {"anyOf": [{"type": "string"}, {"maximum": 5}], "description": "Our levels."},
            "password": {"maxLength": 3},
        }
    }
    level, password = sorted(check(schema), key=lambda one: one.pointer)
    assert "fits none" in level.message or "anyOf" in level.message
    assert ("got `7`" in level.message, level.remedy) == (True, "what belongs here: Our levels.")
    assert "greater than the maximum of 5" in level.message
    assert "hunter2" not in f"{password.message}{password.remedy}"


def test_rules_about_the_value_of_a_secret_are_not_judged_but_its_type_is():
    base = {"base.json": '{"level": 1, "key": "${env:RECONCILE_SECRET_A}"}'}
    assert check({"properties": {"key": {"maxLength": 1, "pattern": "^x", "enum": ["a"]}}}, **base) == []
    assert check({"anyOf": [{"properties": {"key": {"maxLength": 1}}}]}, **base) == []
    (problem,) = check({"properties": {"key": {"type": "integer"}}}, **base)
    assert problem.pointer == "/key"
    assert 'not of type "integer"' in problem.message


def test_the_key_for_editors_is_not_judged():
    schema = {
        "properties": {"level": {}, "names": {}, "size": {}, "password": {}},
        "additionalProperties": False,
    }
    assert check(schema, **{"base.json": '{"$schema": "x", "level": 1}'}) == []


def test_a_schema_that_judges_nothing_is_told():
    fleet = FLEET.replace('"*.json"', '"settings/*.json"').replace("AT", '""')
    problems = problems_of({"fleet.yaml": fleet, "rules/a.json": "{}", **FILES})
    (problem,) = [one for one in problems if one.code == "unused-schema"]
    assert (str(problem.position), problem.severity) == ("fleet.yaml:2:13", Severity.WARNING)
    fleet_of({"fleet.yaml": FLEET.replace("AT", '""'), "rules/a.json": "{}", **FILES})


@pytest.mark.parametrize("at", ["hosting", "/a~2", "/a~", "/a/**", "#/a", '"/' + "a/" * 33 + '"'])
def test_an_invalid_place_is_refused(at):
    (problem,) = check({}, f'"{at}"' if '"' not in at else at)
    assert (problem.position.file, problem.pointer) == ("fleet.yaml", "/schemas/0/at")


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "strin"}, "/type"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
        ({"required": "a"}, "/required"),
        ({"$schema": "http://127.0.0.1:1/own"}, "/$schema"),
        ({"$schema": 7}, "/$schema"),
        ([], ""),
        ({"$ref": "http://127.0.0.1:1/a.json"}, "/$ref"),
        ({"$ref": "file:///etc/passwd"}, "/$ref"),
        ({"$ref": "http://json-schema.org/draft-07/schema#"}, "/$ref"),
        ({"$ref": "//127.0.0.1/a.json"}, "/$ref"),
        ({"$ref": "/etc/passwd"}, "/$ref"),
        ({"$ref": "../../etc/passwd"}, "/$ref"),
        ({"$ref": "..%2f..%2fetc/passwd"}, "/$ref"),
        ({"$ref": "a\\b.json"}, "/$ref"),
        ({"$ref": "nowhere.json"}, "/$ref"),
        ({"$ref": "#/$defs/x"}, "/$ref"),
        ({"$ref": "#name"}, "/$ref"),
        ({"$ref": "http://["}, "/$ref"),
        ({"$dynamicRef": "http://127.0.0.1:1/x"}, "/$dynamicRef"),
        ({"$defs": {"a": {"$id": "http://127.0.0.1:1/"}}}, "/$defs/a/$id"),
        ({"$id": "http://127.0.0.1:1/x/", "$ref": "y.json"}, "/$ref"),
        ({"pattern": "(?=a)b"}, "/pattern"),
        ({"pattern": "(a)\\1"}, "/pattern"),
        ({"pattern": "a{1000}{1000}{1000}"}, "/pattern"),
        ({"patternProperties": {"(": {}}}, "/patternProperties/("),
        ({"allOf": [{"$ref": "#"}]}, ""),
    ],
)
def test_what_is_wrong_in_a_schema_is_told_where_it_is(schema, pointer):
    problems = check(schema)
    assert [(one.position.file, one.pointer) for one in problems] == [("rules/a.json", pointer)]
    assert problems[0].code == "bad-schema"
    assert problems[0].position.line == 1


HOSTS = {"components": {"host": {"type": "object", "properties": {"a": {"$ref": "more/b.yaml#small"}}}}}


@pytest.mark.parametrize("name", ["http://example.com/rules/a.json", "x.json", None])
def test_references_within_the_tree_are_followed(name):
    schema = {"properties": {"size": {"$ref": "hosts.json#/components/host"}, "level": {"$ref": "#/$defs/l"}}}
    schema |= {"$defs": {"l": {"maximum": 5}}} | ({"$id": name} if name else {})
    more = {
        "rules/hosts.json": json.dumps(HOSTS),
        "rules/more/b.yaml": "$schema: http://json-schema.org/draft-07/schema#\n"
        "definitions: {s: {$ref: '#/definitions/t'}, t: {type: string}}\n"
        "$defs: {x: {$anchor: small, type: string}}\n",
        "cluster.yaml": "size: {a: 3}\n",
    }
    assert found(schema, **more) == {("cluster.yaml:1:11", "/size/a"), ("fleet.yaml:10:67", "/level")}


def test_a_schema_may_refer_to_its_own_name():
    own = {"$id": "https://example.com/a.json", "$ref": "https://example.com/a.json#/$defs/l"}
    assert found({**own, "$defs": {"l": {"required": ["x"]}}}) == {("base.json:1:1", "/x")}


def test_nothing_outside_the_tree_is_touched(monkeypatch):
    """Neither library fetches an address or opens a file, also for references that it would follow."""

    def refuse(*words, **more):
        raise AssertionError(words)

    check({"$ref": "#/$defs/a", "$defs": {"a": {"type": "strin"}}})  # libraries are loaded
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    server.setblocking(False)
    there = f"http://127.0.0.1:{server.getsockname()[1]}/x.json"
    opened = []
    with monkeypatch.context() as inner:
        for module, name in ((builtins, "open"), (os, "open")):
            real = getattr(module, name)
            inner.setattr(
                module,
                name,
                lambda path, *a, _real=real, **k: opened.append(str(path)) or _real(path, *a, **k),
            )
        for text in (
            there,
            "file:///etc/passwd",
            f"{there}#/a",
            "http://json-schema.org/draft-07/schema#/a/b",
        ):
            for schema in (
                {"$ref": text},
                {"$schema": text},
                {"$id": text, "$ref": "b.json"},
                {"$dynamicRef": text},
                {"$recursiveRef": text},
                {"examples": [{"$ref": text}], "$ref": "#/examples/0"},
                {"$schema": "http://json-schema.org/draft-04/schema#", "id": text, "$ref": "b"},
                {"const": {"$ref": text}, "x-own": {"$ref": text}},
                {"$vocabulary": {text: True}, "$ref": text},
            ):
                check(schema)
    with pytest.raises(BlockingIOError):
        server.accept()
    assert not [path for path in opened if "passwd" in path]
    server.close()


def nested(count, leaf):
    steps = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(count)}
    return {"$ref": "#/$defs/a0", "$defs": {**steps, f"a{count}": leaf}}


TREE = {
    "$ref": "#/$defs/t",
    "$defs": {"t": {"properties": {"l": {"$ref": "#/$defs/t"}, "r": {"$ref": "#/$defs/t"}}}},
}
BOTH = {"properties": {"l": {"$ref": "#"}}}


@pytest.mark.parametrize(
    "schema",
    [nested(40, {}), {"anyOf": [{**BOTH, "required": ["y"]}, {**BOTH, "required": ["z"]}]},
     {"allOf": [{"items": {"$ref": "#"}}, {"contains": {"$ref": "#"}}]},
     {"additionalProperties": {"$ref": "#"}, "patternProperties": {".": {"$ref": "#"}}}],
)  # fmt: skip
def test_a_schema_that_would_take_for_ever_is_refused(schema):
    before = time.perf_counter()
    (problem,) = check(schema)
    assert "too much work" in problem.message
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize("schema", [TREE, BOTH, nested(5, {"minimum": 0}), {"items": {"$ref": "#"}}])
def test_a_schema_of_a_tree_is_used(schema):
    assert check(schema, at="/size") == []


def test_a_pattern_takes_no_time():
    base = {"base.json": json.dumps({"names": ["a" * 100_000 + "!"]})}
    before = time.perf_counter()
    assert len(check({"pattern": "^(a+)+$"}, "/names/*", **base)) == 1
    assert time.perf_counter() - before < 5


def test_files_violations_and_schemas_are_bounded():
    base = {"base.json": json.dumps({"names": ["a"] * 5000})}
    problems = check({"type": "integer"}, "/names/*", **base)
    assert len(problems) == 51
    assert "the first 50" in problems[-1].message
    chain = {f"rules/{i}.json": json.dumps({"$ref": f"{i + 1}.json"}) for i in range(60)}
    assert any("more than 50 files" in one.message for one in check({"$ref": "0.json"}, **chain))
    (large,) = check({"description": "x" * 300_000})
    assert "256 KiB" in large.message
    (many,) = check({"properties": {str(i): {} for i in range(6000)}})
    assert "2,000 schemas" in many.message
    (large,) = check({"properties": {str(i): {"pattern": "^\\S{1,200}$"} for i in range(70)}})
    assert "too large together" in large.message
    assert check({"pattern": "^.{1,1000}$"}) == []
    deep = {}
    for _ in range(150):
        deep = {"properties": {"size": deep}}
    check(deep)


LONG = {"items": {"type": "string"}}
FORMS = {"items": {"anyOf": [{"const": -number} for number in range(1, 900)]}}
EXACT = {"items": {"enum": [number + 0.5 for number in range(9000)]}}
MATCHED = {"allOf": [{"pattern": f"a+b{number}|[a-z]*c"} for number in range(300)]}


@pytest.mark.parametrize(
    ("schema", "names", "words"),
    [
        (LONG, list(range(100_000)), "only the first place is shown"),
        (FORMS, list(range(2_000)), "only the first place is shown"),
        (EXACT, [0.5] * 20_000, "too much work"),
        ({"items": {"const": list(range(9000))}}, [[1]] * 20_000, "too much work"),
        (MATCHED, "a" * 1_000_000, "too much work"),
    ],
)
def test_a_large_document_is_judged_in_bounded_time(schema, names, words):
    base = {"base.json": json.dumps({"names": names})}
    before = time.perf_counter()
    problems = check({"properties": {"names": schema}}, **base)
    assert time.perf_counter() - before < 10
    assert words in problems[0].message
    assert len(problems) <= 3


def test_many_documents_are_judged_in_bounded_time():
    base = {"base.json": json.dumps({"names": list(range(20_000))})}
    entry = '  - {files: "*.json", at: "", schema: rules/a.json}\n'
    fleet = FLEET.replace("AT", '""').replace("clusters:", f"{entry * 40}clusters:")
    schema = json.dumps({"properties": {"names": {"items": {"anyOf": [{"const": -1}] * 20 + [{}]}}}})
    before = time.perf_counter()
    problems = problems_of({"fleet.yaml": fleet, "rules/a.json": schema, **FILES, **base})
    assert time.perf_counter() - before < 30  # some five seconds on a quiet machine
    assert any("too much work" in one.message for one in problems)


def test_a_large_document_that_follows_its_rules_is_judged_whole():
    base = {"base.json": json.dumps({"names": ["a"] * 100_000, "level": 1})}
    listed = {"enum": [f"x{number}" for number in range(2000)] + ["a"]}
    assert check({"properties": {"names": {"items": listed}}}, **base) == []


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"level": False}}, "`level` does not belong here"),
        ({"properties": {"level": {"not": {"type": "integer"}}}}, "`level` is what it must not be"),
        ({"properties": {"names": {"contains": {"const": "z"}}}}, "no item of `names` is as it must be"),
        ({"properties": {"names": {"items": {"format": "ipv4"}}}}, "`names` is no valid ipv4, got `a`"),
        ({"properties": {"level": {"oneOf": [{}, {}]}}}, "`level` fits more than one of the forms"),
    ],
)
def test_a_violation_is_told_in_words_about_the_value(schema, words):
    problems = check(schema)
    assert words in problems[0].message
    assert not [one for one in problems if "schema" in one.message.partition(" (")[0]]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minLength": -1}, "it must be at least 0"),
        ({"maximum": True}, "it must be a number"),
        ({"items": [{"type": "string"}]}, "it must be an object or true or false"),
        ({"required": ["a", "a"]}, "it must not list anything twice"),
        ({"type": "strin"}, "it has a form that does not belong here"),
    ],
)
def test_what_a_dialect_refuses_is_not_told_in_words_of_python(schema, words):
    assert words in check(schema)[0].message


@pytest.mark.parametrize(
    ("schema", "pointer", "remedy"),
    [
        ({"propertis": {"level": False}}, "/propertis", "did you mean `properties`?"),
        ({"properties": {"level": {"maxmum": 1}}}, "/properties/level/maxmum", "did you mean `maximum`?"),
        ({"$schema": DRAFT_7, "prefixItems": [{}]}, "/prefixItems", "it is a keyword of 2020-12"),
        (
            {"$schema": DRAFT_7, "$ref": "#/definitions/a", "maximum": 1, "definitions": {"a": {}}},
            "/maximum",
            "put both into `allOf`",
        ),
    ],
)
def test_a_keyword_without_effect_is_a_warning(schema, pointer, remedy):
    fleet = FLEET.replace("AT", '""')
    problems = problems_of({"fleet.yaml": fleet, "rules/a.json": json.dumps(schema), **FILES})
    (found,) = [one for one in problems if one.code == "idle-keyword"]
    assert (found.pointer, found.severity) == (pointer, Severity.WARNING)
    assert remedy in found.remedy


def test_words_of_your_own_in_a_schema_are_no_warning():
    schema = {"x-owner": "me", "$comment": "x", "owner": 1, "$defs": {"a": {"$ref": "#", "title": "x"}}}
    fleet = FLEET.replace("AT", '""')
    problems = problems_of({"fleet.yaml": fleet, "rules/a.json": json.dumps(schema), **FILES})
    assert not [one for one in problems if one.code == "idle-keyword"]


def test_a_schema_that_is_encrypted_or_outside_is_refused():
    for path, code in (
        ("a.json.age", "no-such-file"),
        ("../a.json", "no-such-file"),
        ("rules", "no-such-file"),
    ):
        fleet = FLEET.replace("AT", '""').replace("rules/a.json", path)
        problems = problems_of({"fleet.yaml": fleet, "rules/a.json": "{}", "a.json.age": "x", **FILES})
        (problem,) = [one for one in problems if one.severity is Severity.ERROR]
        assert (problem.code, problem.pointer) == (code, "/schemas/0/schema")


def test_a_schema_with_a_syntax_error_is_reported_in_its_file():
    fleet = {"fleet.yaml": FLEET.replace("AT", '""'), "rules/a.json": '{"type": }', **FILES}
    files = {one.position.file for one in problems_of(fleet) if one.severity is Severity.ERROR}
    assert files == {"rules/a.json", "fleet.yaml"}
