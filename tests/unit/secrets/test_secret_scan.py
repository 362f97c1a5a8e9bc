"""Secrets in plain text: what is taken for one, what is not, and where it is reported."""

from __future__ import annotations

import json

import pytest

from reconciler.core.secret import Secret
from reconciler.diagnostic import Severity
from reconciler.documents.document import parse_document
from reconciler.secrets import scan

RANDOM = "q8ZtR2vLx0Kd7WmYb4NcE9sHu3PjGfAa"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s5Vb2Yx1kQ"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n"


def find(value):
    document = parse_document("setting.json", json.dumps(value, indent=1).encode())
    found = list(scan.scan_document(document))
    for problem in found:
        assert problem.code == scan.CODE
        assert problem.severity is Severity.WARNING
        assert problem.position == document.position(problem.pointer)
    return [(problem.pointer, problem.message) for problem in found]


@pytest.mark.parametrize(
    "key",
    ["secretAccessKey", "accessKeyId", "apiKey", "privateKey", "password", "db_password", "Client-Secret",
     "authToken", "tokens", "credentials", "passphrase", "Signing_Key", "requirepass", "masterauth"],
)  # fmt: skip
def test_keys_that_sound_secret(key):
    assert find({"info": {key: "hunter2"}}) == [(f"/info/{key}", f"the value of `{key}` is in plain text")]
    assert find({key: ["", "hunter2"]}) == [(f"/{key}/1", f"the value of `{key}` is in plain text")]


@pytest.mark.parametrize(
    "key",
    ["secretName", "tokenizer", "publicKey", "key", "fingerprint", "passwordFile", "keyId", "accessLog"],
)
def test_keys_that_only_look_like_it(key):
    assert find({key: "hunter2"}) == []


@pytest.mark.parametrize(
    "value",
    ["", " ", "...", "••••••", "<your key>", "xxxx", "key.pem", "/etc/keys/m2.key", "./key", "certs/site.pem",
     "${env:AWS_KEY}", "Bearer ${file:token}", True, 7, None, {}, []],
)  # fmt: skip
def test_values_that_are_no_secret(value):
    assert find({"privateKey": value}) == []


def test_a_reference_that_was_looked_up_is_no_literal():
    document = parse_document("setting.json", b"{}")
    document.value = {"password": Secret("hunter2", "${env:X}")}
    assert list(scan.scan_document(document)) == []


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (KEY, "a private key"),
        ("AKIAIOSFODNN7EXAMPLE", "a probable access token"),
        (f"ghp_{RANDOM}Abcd", "a probable access token"),
        (f"Bearer {JWT}", "a probable access token"),
        (f"AGE-SECRET-KEY-1{RANDOM.upper()}{'Q' * 26}", "a probable access token"),
        ("https://m2:hunter2@example.com/feed", "a password in an address"),
    ],
)
def test_values_that_are_secret_under_any_key(value, what):
    assert find({"note": value}) == [("/note", f"{what} is in plain text")]


@pytest.mark.parametrize(
    "start",
    [
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "rcl_",
        "xoxb-",
        "AIza",
        "sk_live_",
        "rk_live_",
    ],
)
def test_tokens_of_known_forms(start):
    assert find({"note": f"{start}{RANDOM}{RANDOM}"}) == [
        ("/note", "a probable access token is in plain text")
    ]
    assert find({"note": f"x{start}{RANDOM}{RANDOM}"}) == []
    assert find({"note": f"{start}Abcd"}) == []


@pytest.mark.parametrize(
    "value",
    [
        "https://example.com/a:b@c", "https://m2@example.com/", "https://m2:${env:PW}@example.com/",
        "ocid1.tenancy.oc1..aaaaaaa", "1:370817000000:web:d8546f78b2330000000000", "MAKIAIOSFODNN7EXAMPLE",
        "-----BEGIN CERTIFICATE-----", RANDOM,
        "b-1.msk-prod-seoul-so.kafka.ap-northeast-2.amazonaws.com:9092",
    ],
)  # fmt: skip
def test_values_that_only_look_like_it(value):
    assert find({"note": value}) == []


def test_long_random_text_under_a_key_of_that_name():
    assert [place for place, _ in find({"urlKey": RANDOM})] == ["/urlKey"]
    assert find({"urlKey": "abcabcabcabcabcabcabcabcabcabcabcabc"}) == []


def test_what_a_json_patch_puts_under_a_secret_key():
    put = {"op": "add", "path": "/env/info/secretAccessKey", "value": "hunter2"}
    assert [place for place, _ in find([put])] == ["/0/value"]
    assert find([{**put, "path": "/env/info/region"}]) == []
    assert [place for place, _ in find([{**put, "path": "/env/tokens/-"}])] == ["/0/value"]
    whole = {**put, "path": "/env/info", "value": {"password": "hunter2"}}
    assert [place for place, _ in find([whole])] == ["/0/value/password"]


def test_a_warning_does_not_contain_the_secret():
    value = {"password": "hunter2", "note": KEY, "url": "https://m2:hunter2@example.com/"}
    assert len(find(value)) == 3
    assert [message for _, message in find(value) if "hunter2" in message or "MIIE" in message] == []


def test_a_private_key_among_the_resources():
    (problem,) = scan.scan_resource("certs/site.pem", b"subject\n  " + KEY.encode())
    assert (str(problem.position), problem.code) == ("certs/site.pem:2:3", scan.CODE)
    assert list(scan.scan_resource("certs/site.pem", b"-----BEGIN CERTIFICATE-----\nPRIVATE KEY")) == []
    assert list(scan.scan_resource("logo.png", b"\x89PNG\xff\x00")) == []
