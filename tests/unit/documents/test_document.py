"""Documents: which reader a name gets, where values stand, and bytes that are no text."""

import pytest

from reconciler.documents.document import parse_document
from reconciler.errors import InputError

JSON = b'{\n  "a": {"b~/c": [10, {"d": null}]},\n  "e": "f"\n}\n'
YAML = b"# fleet\na:\n  b~/c:\n    - 10\n    - {d: null}\ne: 'f'\n"


def problems(name, data):
    with pytest.raises(InputError) as raised:
        parse_document(name, data)
    return [(str(each.position), each.code) for each in raised.value.problems]


@pytest.mark.parametrize(
    ("name", "data"), [("x.json", JSON), ("x.yaml", YAML), ("x.YML", YAML), ("setting", JSON)]
)
def test_the_suffix_decides_the_grammar_and_other_files_are_json(name, data):
    assert parse_document(name, data).value == {"a": {"b~/c": [10, {"d": None}]}, "e": "f"}


def test_yaml_is_not_read_as_json_nor_json_as_loosely_as_yaml():
    with pytest.raises(InputError):
        parse_document("x.json", YAML)


@pytest.mark.parametrize(
    ("pointer", "key", "where"),
    [
        ("", False, "x.json:1:1"),
        ("/a", False, "x.json:2:8"),
        ("/a", True, "x.json:2:3"),
        ("/a/b~0~1c/0", False, "x.json:2:18"),
        ("/a/b~0~1c/1/d", False, "x.json:2:28"),
        ("/a/b~0~1c/1/d", True, "x.json:2:23"),
        ("/a/b~0~1c/2", False, "x.json:2:17"),
        ("/a/b~0~1c/01", False, "x.json:2:17"),
        ("/a/b~0~1c/x/y", True, "x.json:2:17"),
        ("/a/nope", True, "x.json:2:8"),
        ("/e/0", False, "x.json:3:8"),
    ],
)
def test_positions_of_values_keys_and_nearest_parents(pointer, key, where):
    assert str(parse_document("x.json", JSON).position(pointer, key=key)) == where


@pytest.mark.parametrize(
    ("pointer", "key", "where"),
    [
        ("", False, "x.yaml:2:1"),
        ("/a/b~0~1c", True, "x.yaml:3:3"),
        ("/a/b~0~1c/0", False, "x.yaml:4:7"),
        ("/a/b~0~1c/1/d", False, "x.yaml:5:11"),
        ("/e", False, "x.yaml:6:4"),
        ("/a/x", False, "x.yaml:3:3"),
    ],
)
def test_positions_in_yaml(pointer, key, where):
    assert str(parse_document("x.yaml", YAML).position(pointer, key=key)) == where


def test_the_value_of_an_alias_is_at_its_anchor_and_the_alias_at_its_own_position():
    document = parse_document("x.yaml", b"a: &x {k: 1}\nb: *x\n")
    assert document.value == {"a": {"k": 1}, "b": {"k": 1}}
    assert str(document.position("/b")) == "x.yaml:2:4"
    assert str(document.position("/b", key=True)) == "x.yaml:2:1"
    assert str(document.position("/b/k")) == "x.yaml:1:11"
    assert str(document.position("/a")) == "x.yaml:1:4"


def test_a_byte_order_mark_in_yaml_is_not_a_column():
    document = parse_document("x.yaml", b"\xef\xbb\xbfa: 1\n")
    assert document.value == {"a": 1}
    assert str(document.position("/a")) == "x.yaml:1:4"


def test_bytes_that_are_not_text_are_reported_with_the_other_problems():
    data = b'{"a": "x\xff\xfe",\n "b": "\xe9", "c": 1,}'
    assert problems("x.json", data) == [
        ("x.json:1:9", "not-utf8"),
        ("x.json:2:8", "not-utf8"),
        ("x.json:2:18", "trailing-comma"),
    ]
    with pytest.raises(InputError, match=r"byte 0xff is not valid UTF-8 \(byte 9 of the file\)"):
        parse_document("x.json", data)


def test_half_of_a_surrogate_pair_in_bytes_is_not_text():
    assert problems("x.json", b'["\xed\xa0\x80"]') == [("x.json:1:3", "not-utf8")]


@pytest.mark.parametrize("name", ["x.json", "x.yaml"])
def test_utf16_and_binary_are_one_problem(name):
    assert problems(name, '{"a": 1}'.encode("utf-16")) == [(f"{name}:1:1", "not-utf8")]
    assert problems(name, b"a: " + bytes(range(128, 256)) * 40) == [(f"{name}:1:4", "not-utf8")]


def test_documents_of_equal_content_are_two():
    assert parse_document("x.json", JSON) != parse_document("x.json", JSON)
