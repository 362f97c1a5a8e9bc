"""YAML as the fleet file is written in: scalars of YAML 1.2, strict names, and plain words for breaks."""

import pytest
import yaml

from reconciler.documents import yaml_parser
from reconciler.documents.document import parse_document
from reconciler.errors import InputError


def value(text):
    return parse_document("f.yaml", text.encode()).value


def list_problems(text):
    with pytest.raises(InputError) as raised:
        parse_document("f.yaml", text.encode())
    return [(str(each.position).removeprefix("f.yaml:"), each.code) for each in raised.value.problems]


SCALARS = {
    # null
    "": None, "~": None, "null": None, "Null": None, "NULL": None, "nULL": "nULL", "none": "none",
    # booleans, and what YAML 1.1 took for them
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "yes": "yes", "no": "no", "on": "on", "off": "off", "y": "y", "N": "N", "tRUE": "tRUE",
    # integers
    "0": 0, "-0": 0, "12": 12, "+12": 12, "-12": -12, "012": 12, "0o14": 12, "0xC": 12, "0xc": 12,
    "-0o14": "-0o14", "0b1100": "0b1100", "1_000": "1_000", "0o8": "0o8",
    "123456789012345678901234567890": 123456789012345678901234567890,
    # numbers
    "1.5": 1.5, ".5": 0.5, "1.": 1.0, "-1.5e3": -1500.0, "1e3": 1000.0, "+.5E-1": 0.05, "1.10": 1.1,
    ".": ".", "1.2.3": "1.2.3", "1e": "1e", "e3": "e3", "+": "+",
    # what other readers take for numbers and dates
    "1:30": "1:30", "2026-11-21": "2026-11-21", "12:30:45": "12:30:45", "0.0.0.0": "0.0.0.0",
    "127.0.0.1:10040": "127.0.0.1:10040", "http://x:1/": "http://x:1/", "a@b": "a@b",
    # quotes and tags
    "'12'": "12", '"true"': "true", "!!str 12": "12", "!!int '12'": 12, "!!float 3": 3.0, "! 12": "12",
    "!!bool true": True, "!!null ''": None, '"\\x41\\u00e9\\n"': "Aé\n", "'it''s'": "it's",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SCALARS.items())
def test_scalars_have_the_values_of_the_core_schema(text, expected):
    found = value(f"a: {text}\n")["a"]
    assert (found, type(found)) == (expected, type(expected))


def test_the_places_of_scalars_do_not_change_them():
    assert value("[12, '12', yes, {a: ~, b: }]") == [12, "12", "yes", {"a": None, "b": None}]
    assert value("- |\n  x\n  y\n- >-\n  x\n  y\n- a\n  b\n") == ["x\ny\n", "x y", "a b"]


BROKEN = {
    "number as a name": ("a: 1\n2: b", "2:1", "name-not-text"),
    "word as a name": ("true: b", "1:1", "name-not-text"),
    "nothing as a name": ("~: b", "1:1", "name-not-text"),
    "not a number as a name": (".nan: 1", "1:1", "not-a-number"),
    "no name at all": ("a: 1\n? \n: b", "2:2", "name-not-text"),
    "list as a name": ("? [a]\n: b", "1:3", "name-not-text"),
    "merge key": ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2", "3:3", "merge-key"),
    "tag of a program": ("a: !!python/object:os.system x", "1:4", "yaml-tag"),
    "binary": ("a: !!binary aGk=", "1:4", "yaml-tag"),
    "set": ("!!set {a, b}", "1:1", "yaml-tag"),
    "tag that does not fit": ("a: !!int x", "1:4", "yaml-tag"),
    "boolean as a number": ("a: !!int true", "1:4", "yaml-tag"),
    "undefined handle": ("a: !e!x b", "1:4", "yaml-tag"),
    "not a number": ("a: .NaN", "1:4", "not-a-number"),
    "infinity": ("a: [1, -.inf]", "1:8", "not-a-number"),
    "too large": ("a: 1e999", "1:4", "bad-number"),
    "too many digits": (f"a: {'9' * 5000}", "1:4", "bad-number"),
    "unknown alias": ("a: *x", "1:4", "unknown-alias"),
    "unknown alias as a name": ("*x : 1", "1:1", "unknown-alias"),
    "alias of itself": ("a: &x [*x]", "1:8", "alias-loop"),
    "second document": ("a: 1\n---\nb: 2", "2:1", "second-document"),
    "nothing": ("# nothing\n", "1:1", "empty-file"),
    "too deep": ("[" * 201, "1:201", "too-deep"),
    "tab": ("a:\n\tb: 1", "2:1", "tab"),
    "control character": ("a: x\x07y", "1:5", "control-character"),
    "line hidden in a comment": ("a: 1\n# a note\u2028b: 2\n", "2:9", "hidden-line"),
    "line hidden by an old control": ("a: 1 # a note\x85b: 2\n", "1:14", "hidden-line"),
    "line hidden in a plain text": ("a: x\u2029b: 2\n", "1:5", "hidden-line"),
    "line hidden in quotes": ('a: "x\u2028y"\n', "1:6", "hidden-line"),
    "colon within a value": ("a: b: c", "1:5", "unexpected-colon"),
    "value that starts with @": ("a: @x", "1:4", "unexpected"),
    "question mark as text": ("a: [?x]", "1:6", "question-mark"),
    "question mark as a name": ("a: {?x: 1}", "1:6", "question-mark"),
    "quote never closed": ("a: 'x\nb: 1\n", "1:4", "unterminated-text"),
    "quote within text": ("a: 'it's'", "1:8", "stray-quote"),
    "bad escape": ('a: "C:\\dir"', "1:7", "bad-escape"),
    "half a character": ('a: "\\ud800"', "1:7", "bad-escape"),
    "braces never closed": ("a: {b: 1\nc: 2\n", "1:4", "unclosed"),
    "brackets never closed": ("a: [1, 2", "1:4", "unclosed"),
    "comma missing": ("{a: 1 b: 2}", "1:7", "missing-comma"),
    "wrong bracket": ("a: {b: [1, 2}", "1:13", "wrong-bracket"),
    "indentation": ("a:\n    b: 1\n  c: 2\n", "3:3", "indentation"),
    "list and mapping mixed": ("- a\nb: c\n", "2:1", "indentation"),
    "colon missing": ("a: 1\nb\nc: 2\n", "3:1", "missing-colon"),
}


@pytest.mark.parametrize(("text", "where", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_each_problem_is_reported_at_its_position(text, where, code):
    assert list_problems(text) == [(where, code)]


def test_the_characters_that_ended_lines_may_be_written_as_escapes():
    assert value(r'a: "x\Ly\Pz\N"') == {"a": "x\u2028y\u2029z\x85"}


def test_all_problems_are_reported_not_only_the_first():
    text = "a: 1\na: 2\nb:\n  - {c: .inf, c: 1}\n  - !x y\n"
    assert list_problems(text) == [
        ("2:1", "duplicate-key"),
        ("4:9", "not-a-number"),
        ("4:15", "duplicate-key"),
        ("5:5", "yaml-tag"),
    ]


def test_a_duplicate_key_names_its_first_position():
    with pytest.raises(InputError, match=r"^f:3:3: error: duplicate key `b` in this mapping, first at 2:3;"):
        yaml_parser.parse_yaml("f", "a:\n  b: 1\n  b: 2\n")


def test_any_text_in_quotes_may_be_a_name():
    assert value('{"1": a, \'true\': b, "<<": c, "": d}') == {"1": "a", "true": "b", "<<": "c", "": "d"}


def test_a_question_mark_marks_a_name_where_a_blank_follows_and_is_text_elsewhere():
    assert value("? a\n: b\nc: ?d\ne: {? f : g}\n") == {"a": "b", "c": "?d", "e": {"f": "g"}}


def test_an_anchored_name_may_be_used_as_a_name():
    assert value("&n a: 1\nb: {*n : 2}\n") == {"a": 1, "b": {"a": 2}}


def test_an_alias_refers_to_the_latest_anchor_of_its_name():
    assert value("[&x 1, *x, &x 2, *x]") == [1, 1, 2, 2]


def test_aliases_that_multiply_are_refused_before_they_are_expanded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    ((where, code),) = list_problems("\n".join(lines))
    assert (where.partition(":")[0], code) == ("6", "too-large")


def test_a_mapping_given_by_alias_is_one_object_for_all():
    both = value("a: &x {b: 1}\nc: *x\n")
    assert both["a"] is both["c"]


def test_the_parser_in_python_is_used_if_libyaml_is_missing(monkeypatch):
    monkeypatch.setattr(yaml_parser, "_LOADER", yaml.SafeLoader)
    assert value("a: [1, yes, 'é']\nb: {c: 1.5}\n") == {"a": [1, "yes", "é"], "b": {"c": 1.5}}
    assert list_problems("a: 1\na: 2\n") == [("2:1", "duplicate-key")]
    assert list_problems('a: "\\ud800"')[0][1] == "bad-escape"
    assert list_problems('a: "\\UFFFFFFFF"')[0][1] == "yaml"
    assert list_problems("a: 'x") == [("1:4", "unterminated-text")]
