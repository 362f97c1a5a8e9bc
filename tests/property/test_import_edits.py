"""Bases, patches and edits of files, held against what they are to give."""

import copy
import io
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.adopt.drift_edits import find_drift_edits
from reconciler.adopt.factor_overlays import find_common_base, make_patch
from reconciler.core.secret import Secret
from reconciler.desired.json_patch import apply_json_patch
from reconciler.desired.merge_patch import TracedValue, ValueOrigin, apply_merge_patch
from reconciler.documents.document import parse_document
from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.editor import apply_text_edits

KEYS = st.sampled_from(["a", "b", "c", "name", "", "a/b", "~", "é", "0"])
LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 0.5, "", "x", "1", "a: b", "#"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def laid(base, patch):
    if not isinstance(patch, list):
        return apply_merge_patch(
            TracedValue(base, ValueOrigin(None)), TracedValue(patch, ValueOrigin(None))
        ).value
    return apply_json_patch(
        TracedValue(copy.deepcopy(base), ValueOrigin(None)), TracedValue(patch, ValueOrigin(None))
    ).value


def exact(value):
    """As text, so that 1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True)


@settings(deadline=None)
@given(st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_a_base_with_a_documents_difference_is_the_document(documents):
    base = find_common_base(documents)
    for document in documents:
        assert exact(laid(base, make_patch(base, document))) == exact(document)


@settings(deadline=None)
@given(DOCUMENTS)
def test_documents_that_are_alike_differ_in_nothing_from_their_base(document):
    base = find_common_base([document, document, {"other": 1}])
    assert exact(base) == exact(document)
    assert make_patch(base, document) == {}


def done(value, edits):
    """The value after edits, by the plainest way there is."""
    value = copy.deepcopy(value)
    for edit in edits:
        if not edit.path:
            value = edit.value
            continue
        *way, last = edit.path
        part = value
        for key in way:
            part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
        if edit.value is REMOVED:
            part.pop(last) if isinstance(part, list) else part.pop(last, None)
        elif isinstance(part, list) and last == len(part):
            part.append(edit.value)
        else:
            part[last] = edit.value
    return value


@settings(deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_drift_leads_from_what_is_rendered_to_what_is_shown(rendered, shown):
    assert exact(done(rendered, find_drift_edits(rendered, shown))) == exact(shown)


@settings(deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.sampled_from([None, 2, "\t"]))
def test_a_json_file_has_the_wanted_value_after_its_edits(rendered, shown, indent):
    text = json.dumps(rendered, indent=indent, ensure_ascii=False) + "\n"
    after = apply_text_edits("s.json", text, list(find_drift_edits(rendered, shown)))
    assert exact(parse_document("s.json", after.encode()).value) == exact(shown)


@settings(deadline=None)
@given(DOCUMENTS)
def test_without_a_difference_no_character_changes(document):
    text = json.dumps(document, indent=3) + "\n\n"
    assert apply_text_edits("s.json", text, list(find_drift_edits(document, document))) == text


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS.filter(bool), DOCUMENTS)
def test_a_yaml_file_has_the_wanted_value_after_its_edits(rendered, shown):
    before = json.dumps(rendered, indent=2)  # JSON is YAML
    after = apply_text_edits("s.yaml", before, list(find_drift_edits(rendered, shown)))
    assert exact(parse_document("s.yaml", after.encode()).value) == exact(shown)


def in_blocks(value, mapping, sequence, offset):
    yaml = YAML()
    yaml.indent(mapping=mapping, sequence=max(sequence, offset + 2), offset=offset)
    out = io.StringIO()
    yaml.dump(value, out)
    return out.getvalue()


def commented(text):
    """The same with a comment line above every line that begins a member or an item, and one behind it."""
    rows = []
    for number, row in enumerate(text.splitlines()):
        if re.match(r" *[a-z]+:| *- *[a-z0-9{\[]", row):
            rows.append(f"{row[: len(row) - len(row.lstrip())]}# above {number}")
        rows.append(row)
    return "\n".join(rows) + "\n"


@settings(max_examples=60, deadline=None)
@given(
    DOCUMENTS.filter(bool),
    DOCUMENTS,
    st.tuples(st.integers(2, 4), st.integers(2, 4), st.integers(0, 3)),
    st.booleans(),
)
def test_a_yaml_file_in_blocks_has_the_wanted_value_after_its_edits(rendered, shown, wide, crlf):
    before = commented(in_blocks(rendered, *wide))
    before = before.replace("\n", "\r\n") if crlf else before
    assert exact(parse_document("s.yaml", before.encode()).value) == exact(rendered)
    after = apply_text_edits("s.yaml", before, list(find_drift_edits(rendered, shown)))
    assert exact(parse_document("s.yaml", after.encode()).value) == exact(shown)
    assert not crlf or "\n" not in after.replace("\r\n", "")


def test_comments_quotes_and_order_stay_in_yaml():
    text = (
        "# the fleet\nclusters:\n  - name: live  # the one\n    kind: 'sora'\n    nodes:\n"
        "      - {name: a@x.y, api: \"http://127.0.0.1:1/\"}\n      # spare\n      - {name: b@x.y, api: 'http://h/'}\n"
    )
    place = ("clusters", 0, "nodes")
    edits = [
        Edit((*place, 2), {"name": "c@x.y", "api": "http://127.0.0.1:3/"}),
        Edit((*place, 1, "temporary"), True),
    ]
    assert apply_text_edits("s.yaml", text, edits) == text.replace(
        "api: 'http://h/'}", "api: 'http://h/', temporary: true}"
    ) + ('      - {name: c@x.y, api: "http://127.0.0.1:3/"}\n')


def test_a_secret_that_is_the_same_stays():
    rendered = {"a": [{"name": "x", "key": Secret("s3cret", "${env:K}")}, {"name": "y"}]}
    shown = {"a": [{"name": "x", "key": "s3cret"}]}
    assert list(find_drift_edits(rendered, shown)) == [Edit(("a", 1), REMOVED)]
