"""YAML held as laws: what two other writers write is read back, positions are true, bytes do no harm."""

import io
import json
import re
from datetime import timedelta

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.plain_values import walk

from reconciler.documents.document import parse_document
from reconciler.documents.yaml_scalars import InvalidScalar, read_plain_scalar
from reconciler.errors import InputError
from reconciler.text.json_pointer import make_pointer

QUICK = settings(max_examples=80, deadline=timedelta(seconds=5))

texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029\ufeff", exclude_categories=["Cc"]),
    max_size=8,
) | st.sampled_from(
    ["yes", "on", "1", "012", "1:30", "2026-01-01", "~", "null", "<<", "- a", "a: b", "#", "!x"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | texts
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def same(left, right):
    return json.dumps(left) == json.dumps(right)


def all_texts(value):
    for _, inner in walk(value):
        yield from inner if isinstance(inner, dict) else [inner] if isinstance(inner, str) else []


def by_ruamel(value, *, flow):
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.allow_unicode = True
    out = io.StringIO()
    writer.dump(value, out)
    return out.getvalue()


@QUICK
@given(values, st.booleans())
def test_what_ruamel_writes_is_read_back(value, flow):
    """ruamel writes YAML 1.2; text that only YAML 1.1 takes for something else comes without quotes."""
    assume(
        not (flow and any(text.startswith(("?", ":")) for text in all_texts(value)))
    )  # libyaml wants quotes
    text = by_ruamel(value, flow=flow)
    assert same(sorted_keys(parse_document("f.yaml", text.encode()).value), sorted_keys(value))


@QUICK
@given(values, st.booleans(), st.booleans())
def test_what_pyyaml_writes_is_read_back(value, flow, ascii_only):
    assume(not any(kind_of(text) is float for text in all_texts(value)))  # PyYAML writes `1e3` without quotes
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=not ascii_only, sort_keys=False)
    assert same(parse_document("f.yaml", text.encode()).value, value)


@QUICK
@given(values, st.sampled_from([None, 2]))
def test_json_is_yaml_with_the_same_value_and_the_same_places(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    by_yaml, by_json = parse_document("f.yaml", text.encode()), parse_document("f.json", text.encode())
    assert same(by_yaml.value, by_json.value)
    for path, _ in walk(value):
        at = make_pointer(path)
        assert where(by_yaml.position(at)) == where(by_json.position(at))
        assert where(by_yaml.position(at, key=True)) == where(by_json.position(at, key=True))


@QUICK
@given(
    st.binary(max_size=60)
    | st.text("{}[],:;&*!|>'\"%@`-? #\n\r\tab<1.~\x00\ufeff", max_size=40).map(str.encode)
)
def test_arbitrary_bytes_are_read_as_what_json_can_say_or_refused(data):
    document, problems = outcome(data)
    assert [
        problem for problem in problems if not (problem.position.file == "f.yaml" and problem.message)
    ] == []
    assert (document is None) == bool(problems)
    assert document is None or json.dumps(document.value, allow_nan=False, ensure_ascii=False).encode()


@QUICK
@given(st.text("0123456789+-._exob:TrueNlfasninFA~ ", max_size=6).map(str.strip))
def test_plain_scalars_follow_the_table_of_the_core_schema(words):
    """The specification's own expressions (YAML 1.2.2, 10.3.2), tried in its order, by a second hand."""
    if re.fullmatch(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN", words) or is_infinite(words):
        with pytest.raises(InvalidScalar):
            read_plain_scalar(words)
    else:
        assert type(read_plain_scalar(words)) is kind_of(words)


def is_infinite(words):
    return kind_of(words) is float and float(words) in {float("inf"), float("-inf")}


def kind_of(words):
    table = [
        (type(None), r"(null|Null|NULL|~)?"),
        (bool, r"true|True|TRUE|false|False|FALSE"),
        (int, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
        (float, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    ]
    return next((kind for kind, pattern in table if re.fullmatch(pattern, words)), str)


def outcome(data):
    """The document and no problems, or no document and its problems."""
    try:
        return parse_document("f.yaml", data), ()
    except InputError as error:
        return None, error.problems


def sorted_keys(value):
    return json.loads(json.dumps(value, sort_keys=True))


def where(position):
    return position.line, position.column
