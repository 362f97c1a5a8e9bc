"""JSON Merge Patch and JSON Patch by the examples of their RFCs, and where each value came from."""

import json

import pytest

from reconciler.core.secret import Secret
from reconciler.desired.json_patch import BadPatch, patched
from reconciler.desired.merge_patch import Grown, Origin, merged
from reconciler.documents.document import parse


def grown(value, name="base.json"):
    document = parse(name, json.dumps(value).encode())
    return Grown(document.value, Origin(document))


# RFC 7396, appendix A
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGES)
def test_merge_patch_by_the_examples_of_its_rfc(target, patch, result):
    before = json.dumps(target)
    assert merged(grown(target), grown(patch)).value == result
    assert json.dumps(target) == before


# RFC 6902, appendix A
PATCHES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    (
        {"a": {"b": 1}},
        [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "remove", "path": "/a/b"}],
        {"a": {}, "c": {"b": 1}},
    ),
    ({"a": 1.0}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1.0}),
]


@pytest.mark.parametrize(("target", "patch", "result"), PATCHES)
def test_patch_by_the_examples_of_its_rfc(target, patch, result):
    before = json.dumps(target)
    assert patched(grown(target), grown(patch)).value == result
    assert json.dumps(target) == before


WRONG = [
    ({"baz": "qux"}, {"op": "test", "path": "/baz", "value": "bar"}, "patch-test-failed", "/1"),
    ({"foo": "bar"}, {"op": "add", "path": "/baz/bat", "value": "qux"}, "patch-path", "/1/path"),
    ({"/": 9, "~1": 10}, {"op": "test", "path": "/~01", "value": "10"}, "patch-test-failed", "/1"),
    ({"a": 1}, {"op": "test", "path": "/a", "value": True}, "patch-test-failed", "/1"),
    ({"a": 1}, {"op": "remove", "path": "/b"}, "patch-path", "/1/path"),
    ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}, "patch-path", "/1/path"),
    ({"a": 1}, {"op": "move", "path": "/b", "from": "/c"}, "patch-path", "/1/from"),
    ({"a": [1]}, {"op": "add", "path": "/a/2", "value": 1}, "patch-path", "/1/path"),
    ({"a": [1]}, {"op": "remove", "path": "/a/00"}, "patch-path", "/1/path"),
    ({"a": [1]}, {"op": "remove", "path": "/a/-"}, "patch-path", "/1/path"),
    ({"a": {"b": 1}}, {"op": "move", "from": "/a", "path": "/a/b"}, "bad-patch", "/1/path"),
    ({"a": 1}, {"op": "remove", "path": ""}, "bad-patch", "/1/path"),
    ({"a": 1}, {"op": "spam", "path": "/a"}, "bad-patch", "/1/op"),
    ({"a": 1}, {"op": "add", "path": "/b"}, "bad-patch", "/1"),
    ({"a": 1}, {"op": "add", "path": "b", "value": 1}, "bad-patch", "/1/path"),
    ({"a": 1}, {"op": "copy", "path": "/b"}, "bad-patch", "/1"),
    ({"a": 1}, 7, "bad-patch", "/1"),
]


@pytest.mark.parametrize(("target", "operation", "code", "place"), WRONG)
def test_a_wrong_operation_says_where_it_is_wrong(target, operation, code, place):
    with pytest.raises(BadPatch) as caught:
        patched(grown(target), grown([{"op": "test", "path": "", "value": target}, operation]))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == (code, place)


def test_copies_of_copies_come_to_an_end():
    doubling = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(64)]
    with pytest.raises(BadPatch) as caught:
        patched(grown({"a": 1}), grown(doubling))
    assert caught.value.diagnostic.code == "too-large"


def test_a_failed_test_does_not_show_a_secret():
    held = Grown({"a": Secret("clear-text", "${env:A}")}, grown({"a": ""}).origin)
    with pytest.raises(BadPatch) as caught:
        patched(held, grown([{"op": "test", "path": "/a", "value": "x"}]))
    assert "clear-text" not in caught.value.diagnostic.message
    assert "${env:A}" in caught.value.diagnostic.message


def test_every_value_knows_the_file_and_line_it_came_from():
    base = parse("base.json", b'{\n "a": {"x": 1,\n  "y": [1,\n   2]},\n "gone": 3}')
    over = parse("over.yaml", b"a:\n  x: 5\n  new: {deep: 1}\ngone: null\n")
    patch = parse(
        "patch.json", b'[{"op":"add","path":"/a/y/1","value":9},\n {"op":"move","from":"/a/x","path":"/k"}]'
    )
    one = merged(Grown(base.value, Origin(base)), Grown(over.value, Origin(over)))
    document = patched(one, Grown(patch.value, Origin(patch))).named("base.json")
    assert document.value == {"a": {"y": [1, 9, 2], "new": {"deep": 1}}, "k": 5}
    places = {
        "": "base.json:1:1",
        "/a": "base.json:2:7",
        "/a/y/0": "base.json:3:9",
        "/a/y/1": "patch.json:1:38",
        "/a/y/2": "base.json:4:4",
        "/a/new/deep": "over.yaml:3:15",
        "/k": "over.yaml:2:6",
        "/gone": "base.json:1:1",
        "/a/x": "base.json:2:7",
    }
    assert {pointer: str(document.position(pointer)) for pointer in places} == places
    assert str(document.position("/a/new", key=True)) == "over.yaml:3:3"


@pytest.mark.parametrize("guess", ["right", "wrong", {"deep": 1}])
def test_a_test_tells_nothing_of_a_secret_but_its_reference(guess):
    base = grown({"key": "x"})
    held = Grown({"key": Secret("right", "${env:A}")}, base.origin)
    with pytest.raises(BadPatch) as bad:
        patched(held, grown([{"op": "test", "path": "/key", "value": guess}]))
    assert "not its value" not in bad.value.diagnostic.message
    assert "reference" in bad.value.diagnostic.remedy
    for reference, fits in (("${env:A}", True), ("${env:B}", False)):
        asked = grown([{"op": "test", "path": "/key", "value": "x"}])
        asked.value[0]["value"] = Secret("right" if not fits else "", reference)
        if fits:
            patched(held, asked)
        else:
            with pytest.raises(BadPatch, match=r"is \$\{env:A\}|\$\{env:A\}"):
                patched(held, asked)
