"""Files as they may be shown: every secret in plain text is masked, however it is written."""

import pytest

from reconciler.secrets.redaction import mask_text

SECRET = "correct horse/battery"


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("a.json", '{"password": "correct horse/battery"}', '{"password": "••••••"}'),
        ("a.json", r'{"password": "correct\u0020horse\/battery"}', '{"password": "••••••"}'),
        ("a.json", r'{"password": "a\"b", "c": 1}', '{"password": "••••••", "c": 1}'),
        ("a.yaml", "password: correct horse/battery # why\n", "password: •••••• # why\n"),
        ("a.yaml", "password: 'it''s'\nb: 1\n", 'password: "••••••"\nb: 1\n'),
        ("a.yaml", "password: >-\n  correct\n  horse\nb: 1\n", "password: ••••••\n\n\nb: 1\n"),
        ("a.yaml", "a: 1\npassword: correct\n  horse\n", "a: 1\npassword: ••••••\n\n"),
        (
            "a.json",
            '[{"op": "add", "path": "/x/apiKey", "value": "k-1234"}]',
            '[{"op": "add", "path": "/x/apiKey", "value": "••••••"}]',
        ),
    ],
)
def test_what_looks_secret_is_masked_and_nothing_else(name, text, shown):
    assert mask_text(name, text) == shown


def test_a_secret_is_masked_at_every_place():
    text = f"password: {SECRET}\nother: {SECRET}  # not {SECRET}\n"
    assert SECRET not in mask_text("a.yaml", text)


def test_references_and_what_is_no_secret_stay():
    text = '{"password": "${env:NAME}", "region": "r"}\n'
    assert mask_text("a.json", text) == text
