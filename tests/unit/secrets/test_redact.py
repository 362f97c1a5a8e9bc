"""What is shown of values and quoted texts: masked by key, by shape, by place and by value, on both sides."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from binascii import hexlify
from dataclasses import replace
from urllib.parse import quote

import pytest
from support import m2_wire as m2

from reconciler.core.observation import Observed, Present
from reconciler.core.secret import MASK, Secret, find_secrets, mask
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2 import undo
from reconciler.drivers.m2.changes import find_changes
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.judge import judge_delivery
from reconciler.drivers.m2.planner import plan
from reconciler.secrets.patterns import should_mask_key
from reconciler.secrets.redaction import RedactionMask, Redactor, hide_by_key, mask_content

PEM = "-----BEGIN PRIVATE KEY-----\nMIIEexample0line0one\nMIIEexample0line0two\n-----END PRIVATE KEY-----"
TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "word",
    ["hmac key", "encryption key", "license key", "signing key", "private key", "api key", "x api key",
     "client secret", "authorization", "cookie", "set cookie", "token", "db pass"],
)  # fmt: skip
@pytest.mark.parametrize("plural", ["", "s"])
def test_a_key_is_secret_in_any_spelling(word, plural):
    words = f"{word}{plural if not word.endswith('pass') else ''}".split()
    spellings = ["_".join(words), "-".join(words), "".join([words[0], *(one.title() for one in words[1:])])]
    spellings += ["-".join(words).title(), "_".join(words).upper()]
    assert [one for one in spellings if not should_mask_key(one)] == []


@pytest.mark.parametrize(
    "value",
    [
        {"note": TOKEN},
        {"note": PEM},
        {"note": JWT},
        {"note": "postgres://u:example-pass@h/x"},
        {"note": "postgres://u:exam/ple-pass@h/x"},
        {"note": "see postgres://u:example-pass@h/x"},
        {"note": "Basic ZXhhbXBsZTpleGFtcGxl"},
        {"note": "host=h;Password=example;x=1"},
        {"note": "/login?user=u&access_token=example"},
        {"headers": {"Authorization": "ZXhhbXBsZTpleGFtcGxl"}},
        {"headers": {"Cookie": "sid=example"}},
        {"env": [{"name": "DB_PASSWORD", "value": "example"}]},
        {"headers": [["X-Api-Key", "example"]]},
        {"credentials": {"user": "bob", "deep": ["x"]}},
        {"patch": [{"op": "add", "path": "/apiKeys/0", "value": "example"}]},
        {"pin": 1234},
    ],
    ids=lambda value: json.dumps(value)[:30],
)
def test_a_value_that_sounds_or_looks_secret_is_hidden(value):
    assert len(list(find_secrets(hide_by_key("", value)))) >= 1


@pytest.mark.parametrize(
    "value",
    [{"cacheKey": "$uri"}, {"url": "https://h.org:8080/a@b"}, {"publicKey": "abc"},
     {"note": "Basic settings"}, {"env": [{"name": "REGION", "value": "eu-1"}]},
     {"note": "the token: was refused"}, {"bypass": "x"},
     {"tokens": ["", None, True]}],
)  # fmt: skip
def test_a_value_that_is_no_secret_is_shown(value):
    assert hide_by_key("", value) is value


def shown(before, after, more=None):
    contents = ContentCache()
    found = find_changes(contents.of(before), contents.of(after), *([more] if more else []))
    return json.dumps([[one.pointer, mask(one.old), mask(one.new)] for one in found], ensure_ascii=False)


def hosting(**more):
    return {"hosting": [{"name": "h", **more}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (hosting(note=TOKEN), hosting()),
        (hosting(password="planted-value"), hosting()),
        (hosting(apiKey="planted-value"), hosting(note="planted-value")),
        (hosting(note="planted-value"), hosting(apiKey="planted-value")),
        (hosting(h=[{"name": "password", "value": "plant"}]), hosting(h=[{"name": "x", "value": "y"}])),
        (hosting(note="plant"), hosting(note=Secret("other", "${env:X}"))),
        (hosting(note=Secret("planted-value", "${env:X}")), hosting(text="see planted-value, please")),
        (hosting(list=[{"note": "plant"}]), hosting(list=[{"note": Secret("s", "${env:X}")}, {"note": "t"}])),
        (hosting(apiKey="planted-value", extra={"planted-value": 1}), hosting()),
    ],
    ids=range(9),
)  # fmt: skip
@pytest.mark.parametrize("back", [False, True])
def test_a_change_shows_no_secret_of_either_side(before, after, back):
    text = shown(after, before) if back else shown(before, after)
    assert "plant" not in text
    assert TOKEN not in text
    assert text != "[]", "it is a change all the same"


def test_what_was_a_secret_in_an_earlier_revision_is_hidden_by_its_place():
    more = RedactionMask(frozenset({("hosting", "note")}))
    assert "planted" not in shown(hosting(note="planted"), hosting(), more)
    assert "planted" not in shown(hosting(note="planted"), hosting(note="in clear now"), more)
    assert "planted" not in shown(hosting(note={"deep": ["planted"]}), hosting(), more)
    assert "planted" in shown(hosting(note="planted"), hosting())


SECRET = 'correct "horse"\nbattery & staple\nseventeen more'


@pytest.mark.parametrize(
    "quoted",
    [
        SECRET,
        " ".join(SECRET.split()),
        json.dumps(SECRET),
        repr(SECRET),
        "in line 2: battery & staple",
        "battery &amp; staple",
        f"cannot use {SECRET[:12]}…",
        f"cannot use {json.dumps(SECRET)[1:20]}… (9 more)",
        f"…{SECRET[-20:]}",
        f"…{' '.join(SECRET.split())[4:26]}…",
        "\n  ".join(SECRET[at : at + 10] for at in range(0, len(SECRET), 10)),
        "\u200b".join(SECRET),
        SECRET.upper(),
        json.dumps(json.dumps(SECRET)),
        quote(SECRET),
        quote(SECRET)[7:40],
    ],
    ids=range(16),
)
def test_a_quoted_value_is_masked_whole_by_lines_escaped_collapsed_or_cut(quoted):
    text = Redactor([SECRET]).redact_text(f"no: {quoted} at h")
    assert MASK in text
    words = ("correct", "horse", "battery", "staple", "seventeen")
    assert not [word for word in words if word in text.casefold()]


@pytest.mark.parametrize("ahead", range(4))
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode, hexlify])
def test_a_value_that_is_encoded_in_base64_or_hexadecimal_is_masked_wherever_it_begins(encode, ahead):
    whole = encode(b"user:"[:ahead] + b"planted??secret>>value" + b"!").decode()
    text = Redactor(["planted??secret>>value"]).redact_text(f"it got {whole} from h")
    assert len(text.replace(MASK, "")) <= len("it got  from h") + 8
    assert text.startswith("it got ")


def test_armour_of_keys_and_schemes_of_tokens_are_shown():
    shown = "-----BEGIN CERTIFICATE----- of h.example/path/x; no Bearer was sent; "
    redactor = Redactor([PEM, "Bearer planted-token-1", "https://u:planted-pass@h.example/path/x"])
    text = redactor.redact_text(f"{shown}planted-t and anted-pass and 0line0tw")
    assert text == f"{shown}{MASK} and {MASK} and {MASK}"


def test_a_short_value_is_masked_as_a_separate_word_and_a_scheme_is_not():
    assert Redactor(["four"]).redact_text("four fourteen") == f"{MASK} fourteen"
    text = Redactor(["https://u:planted@h.example/x"]).redact_text("https://other.example refused")
    assert text == "https://other.example refused"


@pytest.mark.parametrize(
    ("text", "secret"),
    [(TOKEN, "abcdefghij"), (JWT, "c2lnb"), (PEM, "MIIE"), ("password=hunter2", "hunter2"),
     ("Authorization: Basic ZXhhbXBsZTpleGFtcGxl", "ZXhh"), ("Cookie: a=b; c=d", "c=d"),
     (r"{\"apiKey\": \"hunter two\"}", "hunter")],
)  # fmt: skip
def test_what_looks_secret_in_a_quoted_text_is_masked_even_if_unknown(text, secret):
    text = Redactor(()).redact_text(f"no: {text}")
    assert MASK in text
    assert secret not in text


@pytest.mark.parametrize("version", [Secret("planted-v2", "${env:X}"), "plain", JWT])
def test_a_version_that_is_or_was_a_secret_is_in_no_message(version):
    node = "planted-v1" if isinstance(version, Secret) else JWT
    cluster_input = m2.cluster_input(m2.setting(hosting=[]))
    document = replace(
        cluster_input.documents["edge-01"], value=m2.setting(meta__version=version, hosting=[])
    )
    wanted = m2.desired(replace(cluster_input, documents={"edge-01": document}))
    seen = Observed({"edge-01": Present(m2.loaded(m2.setting(meta__version=node)))})
    (step,) = plan(wanted, seen).steps
    text = repr(step.plain())
    assert "version" in step.reason
    assert not [clear for clear in ("planted", JWT[:12]) if clear in text]
    back, _ = undo.undo_delivery(step, seen.nodes["edge-01"].value, wanted.payloads)
    assert not [clear for clear in ("planted", JWT[:12]) if clear in repr(back.plain())]
    verdict = judge_delivery(step, Present(m2.loaded(m2.setting(meta__version=node, custom={"x": 1}))))
    assert verdict.status is StepStatus.CHANGED
    assert not [clear for clear in ("planted", JWT[:12]) if clear in verdict.reason]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.json", '{"password": "SECRET", "x": "MORE"}'),
        ("s.yaml", "note: https://u:SECRET@h.example/x\nx: MORE\n"),
        ("s.yaml", "h:\n- {name: authorization, value: SECRET}  # SECRET\n"),
        ("bad.json", '{"a": "postgres://u:SECRET@h/x'),
        ("key.pem", "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"),
        ("notes.txt", "password=SECRET\n"),
    ],
)
def test_a_file_with_plain_secrets_is_identified_by_the_rest_of_its_content(name, text):
    one, two, other = (
        mask_content(name, text.replace("SECRET", value).replace("MORE", more).encode())
        for value, more in (("planted-one", "x"), ("planted-two", "x"), ("planted-one", "y"))
    )
    assert one == two
    assert b"planted" not in one
    assert (one != other) == ("MORE" in text)


def test_a_file_without_secrets_is_known_by_its_bytes():
    for data in (b'{"publicKeyFile":  1}', b"\xff\x00 password=x", b"{'a': b"):
        assert mask_content("s.json", data) == data
