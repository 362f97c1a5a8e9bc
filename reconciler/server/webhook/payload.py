"""The content of a verified webhook call: a ping, a push to a ref, or an event to ignore."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs

from reconciler.sources.git.refs import list_full_names

EVENT_HEADERS = ("x-forgejo-event", "x-gitea-event", "x-github-event", "x-gitlab-event")
LONGEST = 200
"""Characters of a ref or event name; a longer one cannot be a watched one."""

PUSHES = frozenset({"push", "tag_push", "push hook", "tag push hook", "create", "delete"})

_DEFAULT_REFS = frozenset({"", "HEAD"})
"""Refs that mean the default branch."""


class CallKind(StrEnum):
    """What a call reports."""

    PING = "ping"
    """The forge tests the connection."""

    PUSH = "push"
    """The watched ref may have changed."""

    ELSEWHERE = "elsewhere"
    """A push to a ref that is not watched."""

    OTHER = "other"
    """An event of another kind."""


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One verified call: its kind and a sentence about it."""

    kind: CallKind
    message: str


class UnreadableCall(ValueError):
    """The body is not of a form that the forges document."""


def parse_payload(headers: Mapping[str, str], body: bytes, *, ref: str) -> WebhookCall:
    """What a call means for a watch of `ref`.

    Args:
        headers: names in lower case.
        body: JSON, or a form whose `payload` is JSON.
        ref: the watched branch, tag or commit; empty for the repository's default branch.

    Raises:
        UnreadableCall: the body is neither JSON nor a form with JSON in `payload`.
    """
    event = next((_get_short_text(headers[name]).lower() for name in EVENT_HEADERS if name in headers), "")
    if event == "ping":
        return WebhookCall(CallKind.PING, "pong")
    payload = _parse_body(headers, body)
    if event in {"", "system hook"}:  # GitLab's system hooks and bare senders name the event in the body
        event = (_get_short_text(payload.get("object_kind") or payload.get("event_name")) or "push").lower()
    if event not in PUSHES:
        return WebhookCall(CallKind.OTHER, f"events of kind {event!r} are ignored")
    return _judge_push(payload, event, ref)


def _judge_push(payload: Mapping[str, Any], event: str, ref: str) -> WebhookCall:
    pushed = _expand_ref(_get_short_text(payload.get("ref")), event, _get_short_text(payload.get("ref_type")))
    watched = _list_watched_refs(ref, payload)
    # An unknown ref counts as watched: an unneeded read is cheap, a missed push costs a poll interval.
    if pushed and watched and pushed not in watched:
        watched_ref = ref if ref not in _DEFAULT_REFS else " or ".join(sorted(watched))
        return WebhookCall(CallKind.ELSEWHERE, f"{pushed} was pushed; this watch follows {watched_ref}")
    return WebhookCall(CallKind.PUSH, f"{pushed or 'something'} was pushed; the watch reads the source")


def _list_watched_refs(ref: str, payload: Mapping[str, Any]) -> frozenset[str]:
    """The full names that `ref` may mean; empty if the call does not name the default branch."""
    if ref in _DEFAULT_REFS:
        # `repository` is GitHub's and Gitea's key, `project` is GitLab's.
        parts = [payload.get(key) for key in ("repository", "project")]
        branches = [_get_short_text(one.get("default_branch")) for one in parts if isinstance(one, Mapping)]
        return frozenset(f"refs/heads/{branch}" for branch in branches if branch)
    return frozenset(list_full_names(ref))


def _expand_ref(ref: str, event: str, ref_type: str) -> str:
    if not ref or ref.startswith("refs/"):
        return ref
    return f"refs/{'tags' if 'tag' in (ref_type or event) else 'heads'}/{ref}"


def _get_short_text(value: object) -> str:
    """A short text unchanged; empty for any other value."""
    return value if isinstance(value, str) and len(value) <= LONGEST else ""


def _parse_body(headers: Mapping[str, str], body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode()
        if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            # The forges send one field; without the limit a form of many fields would cost time.
            text = parse_qs(text, max_num_fields=16).get("payload", [""])[0]
        # The signature is good and the size limited, but not the depth: hence RecursionError.
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableCall("the body is not JSON") from error
    if not isinstance(value, Mapping):
        raise UnreadableCall("the body is not a JSON object")
    return value
