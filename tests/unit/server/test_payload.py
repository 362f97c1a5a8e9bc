"""What the calls of each forge mean for a watch of a ref."""

import json
from urllib.parse import urlencode

import pytest

from reconciler.server.webhook.payload import CallKind, UnreadableCall, parse_payload

GITHUB = {"x-github-event": "push", "content-type": "application/json"}
MAIN = {"default_branch": "main"}
DEVELOP = {"default_branch": "develop"}
GITLAB = {"x-gitlab-event": "Push Hook", "content-type": "application/json"}
GITEA = {"x-gitea-event": "push", "x-github-event": "push", "content-type": "application/json"}


def call(headers, payload, ref=""):
    return parse_payload(headers, json.dumps(payload).encode(), ref=ref)


@pytest.mark.parametrize(
    ("headers", "payload", "ref", "kind"),
    [
        (GITHUB, {"ref": "refs/heads/main", "repository": MAIN}, "", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/main", "repository": MAIN}, "HEAD", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/wip", "repository": MAIN}, "", CallKind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/live", "repository": MAIN}, "live", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/main", "repository": MAIN}, "live", CallKind.ELSEWHERE),
        (GITHUB, {"ref": "refs/tags/v2", "repository": MAIN}, "v2", CallKind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "refs/heads/v2", CallKind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/main"}, "heads/main", CallKind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "tags/v2", CallKind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "heads/v2", CallKind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/heads/main"}, "heads/main", CallKind.PUSH),
        (GITHUB, {"ref": "refs/environments/live"}, "environments/live", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "refs/heads/main", CallKind.PUSH),
        ({"x-gitea-event": "create"}, {"ref": "main", "ref_type": "branch"}, "heads/main", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "", CallKind.PUSH),
        (GITHUB, {}, "main", CallKind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "5f1c0de", CallKind.ELSEWHERE),
        ({"x-github-event": "create"}, {"ref": "v2", "ref_type": "tag"}, "v2", CallKind.PUSH),
        ({"x-github-event": "issues"}, {"action": "opened"}, "", CallKind.OTHER),
        (GITLAB, {"object_kind": "push", "ref": "refs/heads/main", "project": MAIN}, "", CallKind.PUSH),
        (GITLAB, {"ref": "refs/heads/x", "project": MAIN}, "", CallKind.ELSEWHERE),
        ({"x-gitlab-event": "Tag Push Hook"}, {"ref": "refs/tags/v1"}, "v1", CallKind.PUSH),
        (
            {"x-gitlab-event": "System Hook"},
            {"event_name": "push", "ref": "refs/heads/a"},
            "a",
            CallKind.PUSH,
        ),
        ({"x-gitlab-event": "System Hook"}, {"event_name": "user_create"}, "a", CallKind.OTHER),
        ({"x-gitlab-event": "Merge Request Hook"}, {"object_kind": "merge_request"}, "", CallKind.OTHER),
        (GITEA, {"ref": "refs/heads/develop", "repository": DEVELOP}, "", CallKind.PUSH),
        (GITEA, {"ref": "refs/heads/x", "repository": DEVELOP}, "", CallKind.ELSEWHERE),
        ({}, {"ref": "refs/heads/main"}, "main", CallKind.PUSH),
    ],
)
def test_kinds(headers, payload, ref, kind):
    assert call(headers, payload, ref).kind is kind


def test_a_push_elsewhere_names_both_refs():
    found = call(GITHUB, {"ref": "refs/heads/wip"}, "live")
    assert "refs/heads/wip was pushed" in found.message
    assert "; this watch follows live" in found.message


@pytest.mark.parametrize("header", ["x-github-event", "x-gitea-event"])
def test_a_ping_needs_no_readable_body(header):
    assert parse_payload({header: "ping"}, b"zen", ref="").kind is CallKind.PING


def test_a_form_carries_the_same_payload():
    body = urlencode({"payload": json.dumps({"ref": "refs/heads/wip"})}).encode()
    headers = {"x-github-event": "push", "content-type": "application/x-www-form-urlencoded"}
    assert parse_payload(headers, body, ref="main").kind is CallKind.ELSEWHERE


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"push"', b"[" * 100_000])
def test_a_body_that_is_not_a_json_object_is_unreadable(body):
    with pytest.raises(UnreadableCall):
        parse_payload(GITHUB, body, ref="")
