"""The one list of words that sound secret: what it finds in a key, and that there is no second one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler.core.secret import MASK, Secret
from reconciler.secrets.patterns import (
    _ENDINGS,
    _STEMS,
    assess_prospect,
    get_userinfo,
    is_secret_key,
    should_mask_key,
)
from reconciler.secrets.redaction import Redactor, hide_by_key

TOP = Path(reconciler.__file__).parent


@pytest.mark.parametrize(
    ("key", "sounds", "may_be"),
    [
        ("password", True, True),
        ("Client-Secret", True, True),
        ("tokens", True, True),
        ("signing_key", True, True),
        ("db_pass", False, True),
        ("secretName", False, True),
        ("x-api-key-v2", False, True),
        ("tokenizer", False, False),
        ("bypass", False, False),
        ("fingerprint", False, False),
    ],
)
def test_a_key_sounds_secret_to_a_lint_by_its_end_and_to_a_plan_by_any_part(key, sounds, may_be):
    assert (is_secret_key(key), should_mask_key(key)) == (sounds, may_be)


def test_a_file_without_the_stems_of_the_words_has_none_of_them():
    assert all(any(stem in word for stem in _STEMS) for word in _ENDINGS)
    assert not assess_prospect('{"region": "r", "url": "https://example.com/"}').keys
    assert not assess_prospect('{"region": "r", "url": "https://example.com/"}').shapes
    assert assess_prospect('{"url": "https://m2:pw@example.com/"}').shapes


def test_what_a_list_under_a_secret_key_holds_is_hidden_and_nothing_is_copied_elsewhere():
    value = {"tokens": ["a", ""], "note": {"deep": [1, 2]}}
    hidden = hide_by_key("", value)
    assert hidden == {"tokens": [Secret("a"), ""], "note": {"deep": [1, 2]}}
    assert hidden["note"] is value["note"]
    assert hide_by_key("note", value["note"]) is value["note"]


def test_known_values_and_credentials_in_urls_are_masked():
    text = "no: https://ada:p@ss@h.org/x?hunter2 of hunter2 at node@h.org"
    assert Redactor(["hunter2"]).redact_text(text) == f"no: https://h.org/x?{MASK} of {MASK} at node@h.org"
    assert Redactor(["abc"], shortest=1).redact_text("abc") == MASK
    assert get_userinfo("https://h.org/a@b") is None


def test_no_second_list_of_secret_sounding_words_exists():
    commands = TOP / "cli/command_table.py"  # names of commands are no keys of a setting
    modules = [path for path in TOP.rglob("*.py") if path.parent != TOP / "secrets" and path != commands]
    assert len(modules) > 100
    found = [f"{path.relative_to(TOP)}: {words}" for path in modules for words in _lists(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        'KEYS = {"accessKeyId", "region", "apiKey"}',
        'KEYS = ("password", "token")',
        'KEYS = {"password": 1, "credentials": 2}',
        'import re\n_SECRET = re.compile("(?i)password|secret|token$")',
    ],
)
def test_a_second_list_would_be_found(planted):
    assert list(_lists(planted))


def _lists(source: str) -> Iterator[list[str]]:
    """Groups of at least two words that sound secret: of one collection, or alternatives in one pattern."""
    plain = source.lower().replace("_", "")
    if sum(plain.count(word) for word in _ENDINGS) < 2:
        return  # most modules have no such word, and to parse them all takes a second
    for node in ast.walk(ast.parse(source)):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = [*node.elts]
        elif isinstance(node, ast.Dict):
            parts = node.keys
        words = [
            part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            words = node.value.split("|")
        # the program's own variables are no keys of a setting
        found = [word for word in words if is_secret_key(word) and not word.startswith("RECONCILE_")]
        if len(found) > 1:
            yield found
