"""Signatures against the examples that the forges and the standards publish."""

import hashlib
import hmac

import pytest

from reconciler.server.webhook.signature import TOLERANCE, check_signature

# GitHub's page "Validating webhook deliveries", "Testing the webhook payload validation"
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

# RFC 4231, test case 2: HMAC-SHA-256 in hexadecimal, which is Gitea's whole scheme
RFC_SECRET = "Jefe"
RFC_BODY = b"what do ya want for nothing?"
RFC_DIGEST = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

# Standard Webhooks, the example of its reference libraries; GitLab's signing tokens follow it
TOKEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN_NOW = 1_614_265_330
TOKEN_BODY = b'{"test": 2432232314}'
TOKEN_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def code(headers, body=b"{}", secret="s3cret", now=0.0):
    found = check_signature(headers, body, secret, now=now)
    return found.code if found else ""


def test_github_published_example():
    assert code({"x-hub-signature-256": GITHUB_SIGNATURE}, GITHUB_BODY, GITHUB_SECRET) == ""


@pytest.mark.parametrize(
    ("signature", "body", "secret"),
    [
        (GITHUB_SIGNATURE, b"Hello, World?", GITHUB_SECRET),
        (GITHUB_SIGNATURE, GITHUB_BODY, "another"),
        (GITHUB_SIGNATURE[:-1], GITHUB_BODY, GITHUB_SECRET),
        (GITHUB_SIGNATURE.replace("sha256", "sha1"), GITHUB_BODY, GITHUB_SECRET),
        ("", GITHUB_BODY, GITHUB_SECRET),
        ("sha256=", GITHUB_BODY, GITHUB_SECRET),
        ("sha256=é", GITHUB_BODY, GITHUB_SECRET),
    ],
)
def test_github_wrong_in_any_part(signature, body, secret):
    assert code({"x-hub-signature-256": signature}, body, secret) == "bad-signature"


@pytest.mark.parametrize("header", ["x-gitea-signature", "x-forgejo-signature"])
def test_gitea_signs_with_bare_hexadecimal(header):
    assert code({header: RFC_DIGEST}, RFC_BODY, RFC_SECRET) == ""
    assert code({header: RFC_DIGEST.upper()}, RFC_BODY, RFC_SECRET) == ""
    assert code({header: RFC_DIGEST}, RFC_BODY + b" ", RFC_SECRET) == "bad-signature"
    assert code({header: f"sha256={RFC_DIGEST}"}, RFC_BODY, RFC_SECRET) == "bad-signature"


def test_a_good_signature_of_another_scheme_does_not_make_up_for_a_bad_one():
    good = hmac.new(b"s3cret", b"{}", hashlib.sha256).hexdigest()
    assert code({"x-gitea-signature": "0" * 64, "x-hub-signature-256": f"sha256={good}"}) == "bad-signature"
    assert code({"x-gitea-signature": "0" * 64, "x-gitlab-token": "s3cret"}) == "bad-signature"
    assert code({"x-gitea-signature": good, "x-hub-signature-256": f"sha256={good}"}) == ""


def test_gitlab_token_is_the_secret_itself():
    assert code({"x-gitlab-token": "s3cret"}) == ""
    assert code({"x-gitlab-token": "s3cre"}) == "bad-signature"
    assert code({"x-gitlab-token": ""}) == "bad-signature"


def test_gitlab_signing_token_published_example():
    assert code(TOKEN_HEADERS, TOKEN_BODY, TOKEN, TOKEN_NOW) == ""


def test_gitlab_signing_token_accepts_any_of_several_signatures():
    several = "v1a,AAAA v1,BBBB " + TOKEN_HEADERS["webhook-signature"]
    assert code({**TOKEN_HEADERS, "webhook-signature": several}, TOKEN_BODY, TOKEN, TOKEN_NOW) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"webhook-id": "msg_other"}, "bad-signature"),
        ({"webhook-timestamp": str(TOKEN_NOW + 1)}, "bad-signature"),
        ({"webhook-timestamp": "soon"}, "bad-signature"),
        ({"webhook-timestamp": "²"}, "bad-signature"),
        ({"webhook-signature": TOKEN_HEADERS["webhook-signature"].replace("v1,", "v2,")}, "bad-signature"),
        ({"webhook-signature": ""}, "bad-signature"),
        ({"webhook-timestamp": str(TOKEN_NOW - TOLERANCE - 1)}, "too-old"),
        ({"webhook-timestamp": str(TOKEN_NOW + TOLERANCE + 1)}, "too-old"),
    ],
)
def test_gitlab_signing_token_wrong_in_any_part(change, expected):
    assert code({**TOKEN_HEADERS, **change}, TOKEN_BODY, TOKEN, TOKEN_NOW) == expected


def test_gitlab_with_both_schemes_is_judged_by_the_kind_of_secret_here():
    both = {**TOKEN_HEADERS, "x-gitlab-token": "s3cret"}
    assert code(both, TOKEN_BODY, "s3cret", TOKEN_NOW) == ""
    assert code({**both, "x-gitlab-token": TOKEN}, b"forged", TOKEN, TOKEN_NOW) == "bad-signature"


def test_a_scheme_that_the_secret_here_cannot_check_is_named():
    assert code(TOKEN_HEADERS, TOKEN_BODY, "s3cret", TOKEN_NOW) == "other-scheme"
    assert code(TOKEN_HEADERS, TOKEN_BODY, "whsec_no base64!", TOKEN_NOW) == "bad-secret"


def test_no_signature_at_all():
    assert code({"content-type": "application/json"}) == "no-signature"
    assert code({"x-hub-signature": "sha1=0"}) == "no-signature"


def test_no_refusal_quotes_the_secret_or_the_right_signature():
    right = hmac.new(b"s3cret", b"{}", hashlib.sha256).hexdigest()
    for headers in (
        {},
        {"x-gitea-signature": "0"},
        {"x-hub-signature-256": "sha256=0"},
        {"x-gitlab-token": "0"},
    ):
        found = check_signature(headers, b"{}", "s3cret", now=0)
        assert found is not None
        assert "s3cret" not in found.message
        assert right not in found.message
