"""Edits of a file's text: what is wanted changes, and not one character more."""

from __future__ import annotations

import pytest

from reconciler.documents.edit import REMOVED, Edit
from reconciler.documents.editor import apply_text_edits
from reconciler.errors import UsageError


def yaml(text, *edits):
    return apply_text_edits("f.yaml", text, [Edit(tuple(path), value) for path, value in edits])


WIDE = """\
---
# do not sort
hosting:
    -   name: api.example.com    # first
        listen: "*:81"
        # kept apart
        origin:
            address: [ 198.51.100.10 ]

    -   name: b.example.com      # second
        listen: 'off'
# the end
...
"""


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        ((("hosting", 0, "listen"), "*:82"), '"*:81"', '"*:82"'),
        ((("hosting", 1, "listen"), "it's"), "'off'", "'it''s'"),
        ((("hosting", 0, "name"), "c.example.com"), "api.example.com ", "c.example.com "),
        ((("hosting", 0, "name"), "yes"), "api.example.com ", '"yes" '),
        ((("hosting", 0, "name"), "x: y\u2028"), "api.example.com ", '"x: y\\u2028" '),
        ((("hosting", 0, "name"), "07"), "api.example.com ", '"07" '),
        ((("hosting", 0, "name"), 7), "api.example.com ", "7 "),
        ((("hosting", 0, "origin", "address", 1), "h"), ".10 ]", ".10, h ]"),
        ((("hosting", 0, "origin", "address", 0), REMOVED), "[ 198.51.100.10 ]", "[]"),
        (
            (("hosting", 0, "origin", "port"), 80),
            "10 ]\n",
            "10 ]\n            port: 80\n",
        ),
        (
            (("hosting", 1, "mode", "volatile"), True),
            "'off'\n",
            "'off'\n        mode:\n            volatile: true\n",
        ),
        ((("hosting", 2), {"name": "c"}), "'off'\n", "'off'\n    - name: c\n"),
        ((("hosting", 0, "name"), REMOVED), "name: api.example.com    # first\n        ", ""),
        (
            (("hosting", 0, "origin"), REMOVED),
            "        # kept apart\n        origin:\n            address: [ 198.51.100.10 ]\n",
            "",
        ),
        ((("hosting", 1), REMOVED), WIDE[WIDE.index("    -   name: b") : WIDE.index("# the end")], ""),
        ((("hosting",), "off"), WIDE[WIDE.index(":\n    -") : WIDE.index("\n# the end")], ': "off"'),
    ],
)
def test_one_edit_changes_one_place(edit, old, new):
    assert WIDE.count(old) == 1
    for end in ("\n", "\r\n"):
        wide, after = (one.replace("\n", end) for one in (WIDE, WIDE.replace(old, new)))
        assert yaml(wide, edit) == after
        assert yaml("\ufeff" + wide, edit) == "\ufeff" + after


@pytest.mark.parametrize(
    ("text", "edits", "after"),
    [
        ("a: &x 1\nb: *x\nc: *x\n", [(("a",), 2), (("b",), 2), (("c",), 2)], "a: &x 2\nb: *x\nc: *x\n"),
        ("a: &x 1\nb: *x\nc: *x\n", [(("b",), 2)], "a: &x 1\nb: 2\nc: *x\n"),
        ("a: &x 1\nb: *x\n", [(("a",), 2)], "a: &x 2\nb: 1\n"),
        ("a: &x 1\nb: *x\n", [(("a",), REMOVED)], "b: 1\n"),
        ("a: &x {p: 1}\nb: *x\n", [(("b", "p"), 2)], "a: &x {p: 1}\nb: {p: 2}\n"),
        ("a: &x {p: 1}\nb: *x\n", [(("a", "p"), 2), (("b", "p"), 2)], "a: &x {p: 2}\nb: *x\n"),
        ("a: &x\n  p: 1\nb: *x\n", [(("a", "q"), 2)], "a: &x\n  p: 1\n  q: 2\nb: {p: 1}\n"),
        ("a: {p: 1, q: 2}  # c\n", [(("a", "p"), REMOVED)], "a: {q: 2}  # c\n"),
        ("a: [1, 2,\n  3]\n", [(("a", 2), REMOVED), (("a", 1), REMOVED)], "a: [1]\n"),
        ("a: [\n  1,  # one\n  2   # two\n]\n", [(("a", 2), 3)], "a: [\n  1,  # one\n  2,   # two\n  3\n]\n"),
        ("a: [\n  1,\n  2,\n]\n", [(("a", 2), 3)], "a: [\n  1,\n  2,\n  3\n]\n"),
        ("a: |\n  text\nb: 1\n", [(("a",), "new")], 'a: "new"\nb: 1\n'),
        ("a:\nb: 1\n", [(("a",), "x")], "a: x\nb: 1\n"),
        ("a:\n- 1\n-\n- - 2\n  - 3\n", [(("a", 1), "x"), (("a", 2, 1), 4)], "a:\n- 1\n- x\n- - 2\n  - 4\n"),
        ("a:  # why\n  b: 1\nc: 2", [(("a", "b"), REMOVED), (("c",), REMOVED)], "a: {}  # why"),
        ("a:\n- b: 1\n  c: 2\n- d: 3\n", [(("a", 0, "b"), REMOVED)], "a:\n- c: 2\n- d: 3\n"),
        ("{}\n", [(("a", "b"), [1])], "{a: {b: [1]}}\n"),
        (
            "a:\n  b:\n  - 1\n  - 2\nd: 1\n",
            [(("a", "b", 1), REMOVED), (("a", "c"), 3)],
            "a:\n  b:\n  - 1\n  c: 3\nd: 1\n",
        ),
        (
            "a:\n  b:\n  - 1\n  - c: 2\n    d: 3",
            [(("a", "b", 1, "d"), REMOVED), (("e",), 4)],
            "a:\n  b:\n  - 1\n  - c: 2\ne: 4",
        ),
        ("a:\n  b:\n  - 1\n", [(("a", "b", 0), REMOVED), (("a", "c"), 3)], "a:\n  b: []\n  c: 3\n"),
        ("a: !!str 8\n", [(("a",), "x")], "a: !!str x\n"),
        ("? a\n: 1\n", [(("a",), 2)], "? a\n: 2\n"),
        ("a: x y z  # c\n", [(("a",), "x y w")], "a: x y w  # c\n"),
        ("# head\na: 1\n# of b\nb: 2\n", [(("b",), REMOVED)], "# head\na: 1\n"),
        ("# head\na: 1\nb: 2\n", [(("a",), REMOVED)], "# head\nb: 2\n"),
        ('{"a": [\n  {"n": 1}\n]}\n', [(("a", 1), {"n": 2})], '{"a": [\n  {"n": 1},\n  {"n": 2}\n]}\n'),
    ],
)
def test_anchors_brackets_and_odd_places(text, edits, after):
    assert yaml(text, *edits) == after


def test_an_item_beside_others_is_written_as_they_are():
    text = "n:\n  - {name: a, api: 'x'}\n"
    assert (
        yaml(text, (("n", 1), {"name": "b", "api": "http://h/"}))
        == text + '  - {name: b, api: "http://h/"}\n'
    )
    text = "n:\n- name: a\n  tags: [x]\n"
    more = {"name": "b", "nodes": [{"k": 1}, {"k": 2}], "o": {}, "p": {"q": {"r": "s t"}}}
    assert yaml(text, (("n", 1), more)) == text + (
        '- name: b\n  nodes:\n  - {k: 1}\n  - {k: 2}\n  o: {}\n  p:\n    q:\n      r: "s t"\n'
    )


@pytest.mark.parametrize(
    ("text", "edits", "after"),
    [
        ('{\r\n\t"a": 1\r\n}', [(("b",), {"c": 1})], '{\r\n\t"a": 1,\r\n\t"b": {\r\n\t\t"c": 1\r\n\t}\r\n}'),
        ('{"a":1,"b":[]}', [(("b", 0), 2), (("a",), "x")], '{"a":"x","b":[\n  2\n]}'),
        ('{"a": [1, 2]}', [(("a", 0), REMOVED), (("a", 1), {"b": [1]})], '{"a": [2, {"b": [1]}]}'),
    ],
)
def test_json_keeps_its_line_ends_and_indentation(text, edits, after):
    assert apply_text_edits("f.json", text, [Edit(path, value) for path, value in edits]) == after


def test_an_impossible_edit_is_refused_with_its_position():
    with pytest.raises(UsageError, match=r"cannot change /a in f.yaml without changing other text"):
        yaml("a: !!int 8\n", (("a",), "x"))
    with pytest.raises(UsageError, match="cannot change /0/b"):
        yaml("[a: 1]\n", ((0, "b"), 1))
