"""What is said of broken JSON: where exactly, under which code, and what would be right."""

import pytest

from reconciler.documents.document import parse_document
from reconciler.documents.json_parser import scan_json
from reconciler.errors import InputError

ONE_BROKEN_PLACE = {
    "comma missing between members": ('{"a": 1 "b": 2}', "1:8", "missing-comma", "insert `,` here"),
    "comma missing at a line's end": ('{"a": true\n "b": 2}', "1:11", "missing-comma", "insert `,` here"),
    "comma missing between items": ("[1 2]", "1:3", "missing-comma", "insert `,` here"),
    "comma missing between texts": ('["a""b"]', "1:5", "missing-comma", "insert `,` here"),
    "comma missing before an object": ('[{"a": 1} {"b": 2}]', "1:10", "missing-comma", "insert `,` here"),
    "comma behind the last member": ('{"a": 1,}', "1:8", "trailing-comma", "remove it"),
    "comma behind the last item": ("[1,\n 2,\n]", "2:3", "trailing-comma", "remove it"),
    "two commas": ("[1,,2]", "1:4", "extra-comma", "remove it"),
    "many commas": ('{"a": 1,,,, "b": 2}', "1:9", "extra-comma", "remove it"),
    "comma in an empty array": ("[,]", "1:2", "extra-comma", "put `]` before it"),
    "semicolon between members": ('{"a": [1]; "b": 2}', "1:10", "semicolon", "write `,`"),
    "semicolon between items": ("[1; 2]", "1:3", "semicolon", "write `,`"),
    "semicolon at the end": ('{"a": 1;}', "1:8", "semicolon", "remove it"),
    "line comment": ('{"a": 1 // one\n}', "1:9", "comment", "remove it"),
    "block comment": ('{/* one\n two */ "a": 1}', "1:2", "comment", "remove it"),
    "hash comments": ("# one\n# two\n{}", "1:1", "comment", "remove it"),
    "comment without an end": ('{"a": /* one', "1:7", "comment", "remove it"),
    "single quotes around a name": ("{'a': 1}", "1:2", "single-quotes", 'use `"`'),
    "single quotes around a value": ("{\"a\": 'it\\'s'}", "1:7", "single-quotes", 'use `"`'),
    "typographic quotes": ('{"a": \u201cb\u201d}', "1:7", "typographic-quotes", 'use `"`'),
    "name without quotes": ("{a: 1}", "1:2", "unquoted-name", 'write `"a"`'),
    "name of two words": ("{a b: 1}", "1:2", "unquoted-name", 'write `"a b"`'),
    "number as a name": ("{1: 2}", "1:2", "unquoted-name", 'write `"1"`'),
    "True": ('{"a": True}', "1:7", "bare-word", "write `true`"),
    "None": ('{"a": None}', "1:7", "bare-word", "write `null`"),
    "yes": ("[yes]", "1:2", "bare-word", "write `true`"),
    "half a word": ('{"a": fals}', "1:7", "bare-word", "write `false`"),
    "address without quotes": ("[127.0.0.1:80]", "1:2", "bare-word", 'write `"127.0.0.1:80"`'),
    "url without quotes": ('{"a": http://x/y, "b": 1}', "1:7", "bare-word", 'write `"http://x/y"`'),
    "words without quotes": (
        '{"a": hello big world, "b": 1}',
        "1:7",
        "bare-word",
        'write `"hello big world"`',
    ),
    "NaN": ("[NaN]", "1:2", "not-a-number", "`null`"),
    "minus infinity": ('{"a": -Infinity}', "1:7", "not-a-number", "`null`"),
    "leading zero": ("[012]", "1:2", "bad-number", "write `12`"),
    "plus": ("[+1]", "1:2", "bad-number", "write `1`"),
    "point first": ("[-.5]", "1:2", "bad-number", "write `-0.5`"),
    "point last": ("[1.]", "1:2", "bad-number", "write `1`"),
    "hexadecimal": ("[0x1F]", "1:2", "bad-number", "write `31`"),
    "underscores": ("[1_000]", "1:2", "bad-number", "write `1000`"),
    "beyond a float": ("[1e999]", "1:2", "bad-number", "smaller"),
    "beyond Python's integers": (f"[{'9' * 5000}]", "1:2", "bad-number", "smaller"),
    "text without an end": ('{"a": "b,\n "c": 1}', "1:7", "unterminated-text", "probably at 1:9"),
    "text without end and comma": ('{"a": "b\n "c": 1}', "1:7", "unterminated-text", "probably at 1:9"),
    "text without an end in an array": ('["a", "b]', "1:7", "unterminated-text", "probably at 1:9"),
    "name without an end": ('{"a: 1,\n "b": 2}', "1:2", "unterminated-text", "probably at 1:4"),
    "text over two lines": ('{"a": "b\nc", "d": 1}', "1:9", "line-break-in-text", "write `\\n`"),
    "name without a first quote": ('{a": 1}', "1:2", "unopened-text", 'insert `"` here'),
    "text without a first quote": ('{"a": b c", "d": 1}', "1:7", "unopened-text", 'insert `"` here'),
    "quote within text": ('{"a": "say "hi" there", "b": 1}', "1:12", "stray-quote", '`\\"`'),
    "bad escape": ('{"a": "C:\\dir"}', "1:10", "bad-escape", "write `\\\\`"),
    "short escape": ('["\\u12"]', "1:3", "bad-escape", "write `\\\\`"),
    "half a character": ('["x\\ud800"]', "1:4", "bad-escape", "both halves"),
    "tab in text": ('["a\tb"]', "1:4", "control-character", "write `\\t`"),
    "zero byte in text": ('["a\x00b"]', "1:4", "control-character", "write `\\u0000`"),
    "object without an end": ('{"a": 1', "1:1", "unclosed", "add `}`"),
    "array without an end": ('{"a": [1, 2', "1:7", "unclosed", "add `]}`"),
    "inner object without an end": (
        '{\n  "a": {\n    "b": 1,\n  "c": 2\n}\n',
        "2:8",
        "unclosed",
        "missing before 5:1",
    ),
    "array left open before a name": (
        '{\n  "a": [\n    1\n  ,\n  "b": 2\n}',
        "2:8",
        "unclosed",
        "put `]` before 5:3",
    ),
    "object left open before another": ('[{"a": 1, {"b": 2}]', "1:2", "unclosed", "put `}` before 1:9"),
    "object closed as an array": ('[{"a": 1]', "1:9", "wrong-bracket", "put `}` before it, or replace it"),
    "array closed as an object": ('{"a": [1}', "1:9", "wrong-bracket", "put `]` before it, or replace it"),
    "colon missing": ('{"a" 1}', "1:5", "missing-colon", "insert `:` here"),
    "equals sign": ('{"a" = 1}', "1:6", "wrong-colon", "write `:`"),
    "arrow": ('{"a" => 1}', "1:6", "wrong-colon", "write `:`"),
    "two colons": ('{"a":: 1}', "1:6", "unexpected", ""),
    "value missing": ('{"a":, "b": 1}', "1:6", "missing-value", "or `null`"),
    "colon and value missing": ('{"a", "b": 1}', "1:5", "missing-value", "write `:`"),
    "name missing": ('{: 1, "b": 2}', "1:2", "missing-name", 'write `"name":`'),
    "value without a name": ('{"a": 1, {"b": 2}}', "1:10", "missing-name", 'write `"name":`'),
    "member in an array": ('{"x": ["a": 1]}', "1:11", "stray-colon", "into `{` and `}`"),
    "two colons in a member": ('{"a": "b": 1}', "1:10", "stray-colon", "between members"),
    "two values": ('{"a": 1 2}', "1:9", "unexpected", ""),
    "same name twice": ('{"a": 1,\n "b": 2,\n "a": 3}', "3:2", "duplicate-key", "keep one"),
    "second document": ("{}\n{}", "2:1", "after-the-end", "remove it"),
    "bracket too many": ('{"a": {}}, "b": 1}', "1:10", "after-the-end", "closes too early"),
    "odd blank": ('{"a":\u00a01}', "1:6", "odd-blank", "normal space"),
    "byte order mark": ('\ufeff{"a": 1}', "1:1", "byte-order-mark", "without a byte order mark"),
    "nothing": ("", "1:1", "empty-file", "write a JSON document"),
    "only blanks": ("\n \n", "3:1", "empty-file", "write a JSON document"),
    "only a bracket": ("}", "1:1", "unexpected", ""),
    "too deep": ("[" * 201, "1:201", "too-deep", "nesting"),
    "far too deep": ('{"a":' * 100_000, "1:1001", "too-deep", "nesting"),
    "later lines end with CR LF": ('{"a": 1,\r\n"b" 2}', "2:4", "missing-colon", "insert `:` here"),
    "later lines end with CR": ('{"a": 1,\r"b" 2}', "2:4", "missing-colon", "insert `:` here"),
    "characters, not bytes, are counted": ('{"\u00e9\U0001f600": 1,}', "1:9", "trailing-comma", "remove it"),
}


@pytest.mark.parametrize(
    ("text", "where", "code", "remedy"), ONE_BROKEN_PLACE.values(), ids=ONE_BROKEN_PLACE.keys()
)
def test_one_broken_place_is_one_problem_at_its_place(text, where, code, remedy):
    with pytest.raises(InputError) as raised:
        parse_document("s.json", text.encode())
    assert [(str(each.position), each.code) for each in raised.value.problems] == [(f"s.json:{where}", code)]
    assert remedy in raised.value.problems[0].remedy


def test_all_problems_are_reported_in_order():
    text = '{\n  "a": 1\n  "b": [1, 2,],\n  c: True; // x\n  "d": {"e": NaN, "e": 2}\n}\n'
    found = [(each.position.line, each.position.column, each.code) for each in scan_json("f", text).problems]
    assert found == [
        (2, 9, "missing-comma"),
        (3, 13, "trailing-comma"),
        (4, 3, "unquoted-name"),
        (4, 6, "bare-word"),
        (4, 10, "semicolon"),
        (4, 12, "comment"),
        (5, 14, "not-a-number"),
        (5, 19, "duplicate-key"),
    ]


def test_a_duplicate_key_names_its_first_position():
    (problem,) = scan_json("f", '{"a": {"version": 1,\n  "version": 2}}').problems
    assert problem.message == "duplicate key `version` in this object, first at 1:8"
    assert problem.pointer == "/a/version"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ('{"a": [1, {"b/c": tru}]}', "/a/1/b~1c"),
        ('{"a": [1, {"b": 1,}]}', "/a/1"),
        ('{"a": [1, 2,]}', "/a"),
        ('{"a": [x1]}', "/a/0"),
        ('{"a": {"b" 1}}', "/a/b"),
    ],
)
def test_a_problem_names_the_pointer_of_its_place(text, pointer):
    assert [each.pointer for each in scan_json("f", text).problems] == [pointer]


def test_the_last_of_too_many_problems_says_that_there_are_more():
    problems = scan_json("f", "[" + "nope," * 1000 + "1]").problems
    assert len(problems) == 101
    assert problems[-1].code == "too-many"


@pytest.mark.parametrize(
    "text",
    [
        '{"a' * 30_000,
        '"\\"' * 30_000,
        "[1 " * 30_000,
        "x " * 30_000,
        "{" + '"a":' * 30_000,
        "[" + "{}\n" * 30_000,
        "/*" * 30_000,
        '["' + "\\" * 30_001,
        ";" * 30_000,
        "'" * 30_001,
    ],
)
def test_large_invalid_files_are_reported_quickly(text):
    with pytest.raises(InputError):
        parse_document("f.json", text.encode())
