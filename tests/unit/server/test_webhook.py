"""The answers to webhook calls."""

import hashlib
import hmac
import json

from reconciler.server.webhook.answer import answer_call

SECRET = "s3cret"


def signed(payload, event="push", secret=SECRET):
    body = json.dumps(payload).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-github-event": event, "x-hub-signature-256": f"sha256={digest}"}, body


def answer(headers, body, secret=SECRET, ref="main"):
    reply = answer_call(headers, body, secret=secret, ref=ref, now=0)
    return int(reply.status), reply.code, reply.is_push


def test_a_push_to_the_watched_ref_triggers_a_read():
    assert answer(*signed({"ref": "refs/heads/main"})) == (202, "push", True)


def test_a_push_to_another_ref_is_acknowledged_and_triggers_nothing():
    headers, body = signed({"ref": "refs/heads/wip"})
    assert answer(headers, body) == (200, "elsewhere", False)
    assert (
        "refs/heads/wip was pushed; this watch follows main"
        in answer_call(headers, body, secret=SECRET, ref="main", now=0).message
    )


def test_a_ping_and_an_event_of_another_kind():
    assert answer(*signed({"zen": "…"}, "ping")) == (200, "ping", False)
    assert answer(*signed({}, "issues")) == (200, "other", False)


def test_a_call_without_the_secret_is_rejected():
    headers, body = signed({"ref": "refs/heads/main"}, secret="wrong")
    assert answer(headers, body) == (401, "bad-signature", False)
    assert answer({"x-github-event": "push"}, body) == (401, "no-signature", False)
    assert answer({"x-github-event": "ping"}, b"{}") == (401, "no-signature", False)


def test_without_a_secret_of_the_watch_every_call_is_rejected():
    headers, body = signed({"ref": "refs/heads/main"}, secret="")
    assert answer(headers, body, secret="") == (503, "no-secret", False)
    assert answer({"x-gitlab-token": ""}, body, secret="") == (503, "no-secret", False)


def test_a_signed_body_that_cannot_be_read():
    body = b"\xff\x00"
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert answer({"x-gitea-signature": digest, "x-gitea-event": "push"}, body) == (400, "unreadable", False)
