"""JSON Merge Patch and JSON Patch by the examples of their RFCs, and where each value came from."""

import json

import pytest

from reconciler.core.secret import Secret
from reconciler.desired import json_patch
from reconciler.desired.json_patch import InvalidPatch, apply_json_patch
from reconciler.desired.merge_patch import TracedValue, ValueOrigin, apply_merge_patch
from reconciler.documents.document import parse_document
from reconciler.documents.json_stack import DEEPEST


def grown(value, name="base.json"):
    document = parse_document(name, json.dumps(value).encode())
    return TracedValue(document.value, ValueOrigin(document))


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
    assert apply_merge_patch(grown(target), grown(patch)).value == result
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
    assert apply_json_patch(grown(target), grown(patch)).value == result
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
def test_a_wrong_operation_is_reported_at_its_place(target, operation, code, place):
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(grown(target), grown([{"op": "test", "path": "", "value": target}, operation]))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == (code, place)


def test_copies_of_copies_come_to_an_end():
    doubling = [{"op": "copy", "from": "", "path": f"/{number}"} for number in range(64)]
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(grown({"a": 1}), grown(doubling))
    assert caught.value.diagnostic.code == "too-large"


def nested(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def bottom(levels):
    return "/a" * levels


SINKING = {
    "add": lambda levels: {"op": "add", "path": f"{bottom(150)}/b", "value": nested(levels)},
    "replace": lambda levels: {"op": "replace", "path": f"{bottom(151)}", "value": nested(levels)},
    "move": lambda levels: {"op": "move", "from": f"/{levels}", "path": f"{bottom(150)}/b"},
    "copy": lambda levels: {"op": "copy", "from": f"/{levels}", "path": f"{bottom(150)}/b"},
}


@pytest.mark.parametrize("name", SINKING)
def test_no_operation_makes_a_document_deeper_than_one_that_may_be_read(name):
    fits, over = DEEPEST - 151, DEEPEST - 150
    target = grown({**nested(151), str(fits): nested(fits), str(over): nested(over)})
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(target, grown([SINKING[name](over)]))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == ("too-large", "/0")
    assert apply_json_patch(target, grown([SINKING[name](fits)]))


def test_values_moved_below_each_other_come_to_an_end_before_python_does():
    target = grown({str(number): nested(150) for number in range(12)})
    moves = [
        {"op": "move", "from": f"/{number}", "path": f"/{number + 1}{bottom(149)}/b"} for number in range(11)
    ]
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(target, grown([*moves, {"op": "test", "path": "", "value": {}}]))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == ("too-large", "/0")


def test_a_path_of_more_parts_than_a_document_has_levels_is_no_pointer():
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(grown(nested(1)), grown([{"op": "add", "path": bottom(DEEPEST + 1), "value": 1}]))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == ("bad-patch", "/0/path")


def test_a_patch_may_not_move_a_large_value_again_and_again(monkeypatch):
    monkeypatch.setattr(json_patch, "MOST_VALUES", 50)
    down, up = {"op": "move", "from": "/a", "path": "/b/a"}, {"op": "move", "from": "/b/a", "path": "/a"}
    target = grown({"a": list(range(20)), "b": {}})
    assert apply_json_patch(target, grown([down, up] * 2)).value == target.value
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(target, grown([down, up] * 3))
    assert (caught.value.diagnostic.code, caught.value.diagnostic.pointer) == ("too-large", "/4")


def test_a_failed_test_does_not_show_a_secret():
    held = TracedValue({"a": Secret("clear-text", "${env:A}")}, grown({"a": ""}).origin)
    with pytest.raises(InvalidPatch) as caught:
        apply_json_patch(held, grown([{"op": "test", "path": "/a", "value": "x"}]))
    assert "clear-text" not in caught.value.diagnostic.message
    assert "${env:A}" in caught.value.diagnostic.message


def test_every_value_knows_the_file_and_line_it_came_from():
    base = parse_document("base.json", b'{\n "a": {"x": 1,\n  "y": [1,\n   2]},\n "gone": 3}')
    over = parse_document("over.yaml", b"a:\n  x: 5\n  new: {deep: 1}\ngone: null\n")
    patch = parse_document(
        "patch.json", b'[{"op":"add","path":"/a/y/1","value":9},\n {"op":"move","from":"/a/x","path":"/k"}]'
    )
    one = apply_merge_patch(
        TracedValue(base.value, ValueOrigin(base)), TracedValue(over.value, ValueOrigin(over))
    )
    document = apply_json_patch(one, TracedValue(patch.value, ValueOrigin(patch))).named("base.json")
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
def test_a_test_reveals_only_the_reference_of_a_secret(guess):
    base = grown({"key": "x"})
    held = TracedValue({"key": Secret("right", "${env:A}")}, base.origin)
    with pytest.raises(InvalidPatch) as bad:
        apply_json_patch(held, grown([{"op": "test", "path": "/key", "value": guess}]))
    assert "not its value" not in bad.value.diagnostic.message
    assert "reference" in bad.value.diagnostic.remedy
    for reference, fits in (("${env:A}", True), ("${env:B}", False)):
        asked = grown([{"op": "test", "path": "/key", "value": "x"}])
        asked.value[0]["value"] = Secret("right" if not fits else "", reference)
        if fits:
            apply_json_patch(held, asked)
        else:
            with pytest.raises(InvalidPatch, match=r"is \$\{env:A\}|\$\{env:A\}"):
                apply_json_patch(held, asked)
