"""JSON held as laws: same value as the standard reader, true positions, one problem for one slip."""

import json
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from support.plain_values import walk

from reconciler.documents import json_parser
from reconciler.documents.document import parse_document
from reconciler.documents.json_parser import scan_json
from reconciler.documents.text_lines import LineIndex
from reconciler.errors import InputError
from reconciler.text.json_pointer import make_pointer

QUICK = settings(max_examples=150, deadline=timedelta(seconds=5))

texts = st.text(st.characters(codec="utf-8"), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.text('"\\/{}[],:\n\u2028é', max_size=6)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
indents = st.sampled_from([None, 0, 2, "\t"])
escapes = st.booleans()

words = st.sampled_from(["a", "edge-01", "x y"])
plain_leaves = st.none() | st.booleans() | st.integers(0, 99) | words
names = st.integers(0, 10**9).map(lambda number: f"n{number}")
tidy = st.recursive(
    plain_leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
documents = st.dictionaries(names, tidy, min_size=1, max_size=3)


def spot(found):
    place, exact = found
    return place.start, place.key, exact


@QUICK
@given(values, indents, escapes, st.lists(texts | st.integers(-1, 5), max_size=2))
def test_one_place_alone_is_the_place_among_all(value, indent, escape, astray):
    text = f" {json.dumps(value, indent=indent, ensure_ascii=escape)}\n"
    tree = json_parser.locate_values("a.json", text)
    for path, _ in walk(json_parser.parse_json("a.json", text)):
        for wanted in (path, (*path, *astray)):
            names = [str(part) for part in wanted]
            assert spot(json_parser.locate_value(text, names)) == spot(tree.nearest(names))


def same(left, right):
    """Equality that tells 1 from 1.0 and from true."""
    return json.dumps(left) == json.dumps(right)


def offset_of(text, position):
    """The offset that a line and a column name, by splitting the text the plain way."""
    lines = text.replace("\r\n", "\n").split("\n")
    return sum(len(line) + 1 for line in lines[: position.line - 1]) + position.column - 1


@QUICK
@given(values, indents, escapes)
def test_the_scanner_and_the_fast_reader_agree_with_the_standard_reader(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    scanned = scan_json("f", text)
    assert scanned.problems == ()
    assert same(scanned.value, json.loads(text))
    assert same(json_parser.parse_json("f", text), json.loads(text))


@QUICK
@given(values, indents, escapes)
def test_every_pointer_leads_to_the_text_of_its_value(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    document = parse_document("f.json", text.encode())
    decoder = json.JSONDecoder()
    for path, expected in walk(json.loads(text)):
        offset = offset_of(text, document.position(make_pointer(path)))
        assert same(decoder.raw_decode(text, offset)[0], expected)
        if path and isinstance(path[-1], str):
            offset = offset_of(text, document.position(make_pointer(path), key=True))
            assert decoder.raw_decode(text, offset)[0] == path[-1]


@QUICK
@given(
    st.binary(max_size=60)
    | st.text("{}[],:;\"'\\/*#= \n\r\tnulltrueE0-1.ax\x00", max_size=40).map(str.encode)
)
def test_arbitrary_bytes_are_read_as_the_standard_reader_reads_them_or_refused(data):
    document, problems = outcome("f.json", data)
    assert [
        problem for problem in problems if not (problem.position.file == "f.json" and problem.message)
    ] == []
    assert (document is None) == bool(problems)
    assert document is None or same(document.value, json.loads(data))


@QUICK
@given(values, st.data())
def test_a_scanner_without_a_complaint_and_the_fast_reader_take_the_same_texts(value, data):
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    inserted = data.draw(st.sampled_from(["", '"', ",", "}", "]", "{", "1", "\\", "e", " ", ":"]))
    changed = text[:at] + inserted + text[at + data.draw(st.integers(0, 1)) :]
    scanned = scan_json("f", changed)
    try:
        expected = json.loads(changed, object_pairs_hook=unique)
        json.dumps(expected, ensure_ascii=False, allow_nan=False).encode()  # half characters, infinities
    except ValueError:
        assert scanned.problems
    else:
        assert scanned.problems == ()
        assert same(scanned.value, expected)


def outcome(name, data):
    """The document and no problems, or no document and its problems."""
    try:
        return parse_document(name, data), ()
    except InputError as error:
        return None, error.problems


def unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def marks(text, wanted):
    """The offsets of marks outside of text; the words used here hold none."""
    return [offset for offset, char in enumerate(text) if char in wanted]


def list_problems(text):
    return [(offset_of(text, each.position), each.code) for each in scan_json("f", text).problems]


@QUICK
@given(documents, st.sampled_from([None, 2]), st.data())
def test_a_missing_or_mistyped_comma_is_the_only_problem_and_has_its_position(value, indent, data):
    text = json.dumps(value, indent=indent)
    commas = marks(text, ",")
    if not commas:
        return
    at = data.draw(st.sampled_from(commas))
    assert list_problems(text[:at] + text[at + 1 :]) == [(at, "missing-comma")]
    assert list_problems(text[:at] + ";" + text[at + 1 :]) == [(at, "semicolon")]
    assert list_problems(text[:at] + "," + text[at:]) == [(at + 1, "extra-comma")]


@QUICK
@given(documents, st.sampled_from([None, 2]), st.data())
def test_a_trailing_comma_is_reported_at_its_position(value, indent, data):
    text = json.dumps(value, indent=indent)
    closers = [at for at in marks(text, "]}") if text[:at].rstrip()[-1] not in "[{"]
    at = data.draw(st.sampled_from(closers))
    assert list_problems(text[:at] + "," + text[at:]) == [(at, "trailing-comma")]


@QUICK
@given(documents, st.sampled_from([None, 2]), st.data())
def test_a_missing_colon_is_reported_at_its_position(value, indent, data):
    text = json.dumps(value, indent=indent)
    at = data.draw(st.sampled_from(marks(text, ":")))
    assert list_problems(text[:at] + text[at + 1 :]) == [(at, "missing-colon")]
    assert list_problems(text[:at] + "=" + text[at + 1 :]) == [(at, "wrong-colon")]


@QUICK
@given(documents, st.data())
def test_a_comment_is_reported_at_its_position(value, data):
    text = json.dumps(value, indent=2)
    ends = marks(text, "\n")
    at = data.draw(st.sampled_from(ends))
    assert list_problems(text[:at] + " // why, it's so" + text[at:]) == [(at + 1, "comment")]
    assert list_problems(text[:at] + " /* {[, */" + text[at:]) == [(at + 1, "comment")]


@QUICK
@given(documents, st.sampled_from([None, 2]), st.data())
def test_a_quote_or_closing_bracket_left_out_is_one_problem(value, indent, data):
    text = json.dumps(value, indent=indent)
    at = data.draw(st.sampled_from(marks(text, '"}]')))
    assert len(list_problems(text[:at] + text[at + 1 :])) == 1


@QUICK
@given(st.text("a\r\né\U0001f600", max_size=30), st.data())
def test_lines_and_columns_are_those_of_an_editor(text, data):
    offset = data.draw(st.integers(0, len(text)))
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if text[offset - 1 : offset + 1] == "\r\n":
        return  # between the two characters of one line end
    position = LineIndex("f", text).at(offset)
    assert (position.line, position.column) == (len(before), len(before[-1]) + 1)
