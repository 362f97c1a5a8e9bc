"""What calls of each forge mean for someone who watches a ref."""

import json
from urllib.parse import urlencode

import pytest

from reconciler.server.webhook.payload import Kind, UnreadableCall, read

GITHUB = {"x-github-event": "push", "content-type": "application/json"}
GITLAB = {"x-gitlab-event": "Push Hook", "content-type": "application/json"}
GITEA = {"x-gitea-event": "push", "x-github-event": "push", "content-type": "application/json"}


def call(headers, payload, ref=""):
    return read(headers, json.dumps(payload).encode(), ref=ref)


@pytest.mark.parametrize(
    ("headers", "payload", "ref", "kind"),
    [
        (GITHUB, {"ref": "refs/heads/main", "repository": {"default_branch": "main"}}, "", Kind.PUSH),
        (GITHUB, {"ref": "refs/heads/main", "repository": {"default_branch": "main"}}, "HEAD", Kind.PUSH),
        (GITHUB, {"ref": "refs/heads/wip", "repository": {"default_branch": "main"}}, "", Kind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/live", "repository": {"default_branch": "main"}}, "live", Kind.PUSH),
        (
            GITHUB,
            {"ref": "refs/heads/main", "repository": {"default_branch": "main"}},
            "live",
            Kind.ELSEWHERE,
        ),
        (GITHUB, {"ref": "refs/tags/v2", "repository": {"default_branch": "main"}}, "v2", Kind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "refs/heads/v2", Kind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/main"}, "heads/main", Kind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "tags/v2", Kind.PUSH),
        (GITHUB, {"ref": "refs/tags/v2"}, "heads/v2", Kind.ELSEWHERE),
        (GITHUB, {"ref": "refs/heads/heads/main"}, "heads/main", Kind.PUSH),
        (GITHUB, {"ref": "refs/environments/live"}, "environments/live", Kind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "refs/heads/main", Kind.PUSH),
        ({"x-gitea-event": "create"}, {"ref": "main", "ref_type": "branch"}, "heads/main", Kind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "", Kind.PUSH),
        (GITHUB, {}, "main", Kind.PUSH),
        (GITHUB, {"ref": "refs/heads/main"}, "5f1c0de", Kind.ELSEWHERE),
        ({"x-github-event": "create"}, {"ref": "v2", "ref_type": "tag"}, "v2", Kind.PUSH),
        ({"x-github-event": "issues"}, {"action": "opened"}, "", Kind.OTHER),
        (
            GITLAB,
            {"object_kind": "push", "ref": "refs/heads/main", "project": {"default_branch": "main"}},
            "",
            Kind.PUSH,
        ),
        (GITLAB, {"ref": "refs/heads/x", "project": {"default_branch": "main"}}, "", Kind.ELSEWHERE),
        ({"x-gitlab-event": "Tag Push Hook"}, {"ref": "refs/tags/v1"}, "v1", Kind.PUSH),
        ({"x-gitlab-event": "System Hook"}, {"event_name": "push", "ref": "refs/heads/a"}, "a", Kind.PUSH),
        ({"x-gitlab-event": "System Hook"}, {"event_name": "user_create"}, "a", Kind.OTHER),
        ({"x-gitlab-event": "Merge Request Hook"}, {"object_kind": "merge_request"}, "", Kind.OTHER),
        (GITEA, {"ref": "refs/heads/develop", "repository": {"default_branch": "develop"}}, "", Kind.PUSH),
        (GITEA, {"ref": "refs/heads/x", "repository": {"default_branch": "develop"}}, "", Kind.ELSEWHERE),
        ({}, {"ref": "refs/heads/main"}, "main", Kind.PUSH),
    ],
)
def test_kinds(headers, payload, ref, kind):
    assert call(headers, payload, ref).kind is kind


def test_a_push_elsewhere_names_both_refs():
    found = call(GITHUB, {"ref": "refs/heads/wip"}, "live")
    assert "refs/heads/wip was pushed" in found.words
    assert "; live is watched here" in found.words


@pytest.mark.parametrize("header", ["x-github-event", "x-gitea-event"])
def test_a_ping_is_answered_whatever_its_body(header):
    assert read({header: "ping"}, b"zen", ref="").kind is Kind.PING


def test_a_form_carries_the_same_payload():
    body = urlencode({"payload": json.dumps({"ref": "refs/heads/wip"})}).encode()
    headers = {"x-github-event": "push", "content-type": "application/x-www-form-urlencoded"}
    assert read(headers, body, ref="main").kind is Kind.ELSEWHERE


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"push"', b"[" * 100_000])
def test_what_is_no_json_object_is_said_to_be_unreadable(body):
    with pytest.raises(UnreadableCall):
        read(GITHUB, body, ref="")
