"""The words of a message: one sentence first, quotes stay plain words, nothing is left out silently."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.alerts import (
    LONGEST_DETAIL,
    MOST_DETAILS,
    AlertEvent,
    AlertSeverity,
    Notice,
    load_notice,
)
from reconciler.notifications.message_text import (
    LONGEST_BODY,
    LONGEST_SUBJECT,
    MOST_LISTED,
    compose_message,
    neutralise,
)
from reconciler.text.one_line import UNSEEN

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def notice(title="edge: not read: n1", severity=AlertSeverity.WARNING, **more):
    return Notice(AlertEvent.NODES_UNREAD, severity, title, NOON, "edge", **more)


def test_a_message_says_what_why_what_to_do_and_where():
    message = compose_message(
        [notice(details=("n1: refused the connection",), remedy="look at n1")],
        url="https://reconciler.example.com",
    )
    assert message.subject == "(warning) edge: not read: n1"
    assert message.body.splitlines() == [
        "(warning) edge: not read: n1",
        "  n1: refused the connection",
        "  What to do: look at n1",
        "  2026-11-21 12:00 UTC, https://reconciler.example.com/clusters/edge",
    ]


def test_the_most_urgent_is_first_and_the_end_of_something_last():
    message = compose_message(
        [
            notice("edge: fine again", AlertSeverity.CRITICAL, is_over=True),
            notice("a warning"),
            notice("a disaster", AlertSeverity.CRITICAL),
        ]
    )
    assert message.subject == "(critical) a disaster (and 2 more)"
    marks = [line.split()[0] for line in message.body.splitlines() if line.startswith("(")]
    assert marks == ["(critical)", "(warning)", "(recovered)"]


def test_what_has_no_room_is_counted():
    many = [notice(f"number {number}") for number in range(MOST_LISTED + 5)]
    message = compose_message(many, dropped=3, limit_end=NOON + timedelta(hours=1))
    assert message.subject.endswith(f" (and {MOST_LISTED + 7} more)")
    assert "And 5 more: 5 nodes-unread." in message.body
    assert "3 older notices had no room" in message.body
    assert "after 2026-11-21 13:00 UTC" in message.body


@pytest.mark.parametrize(
    "planted",
    [
        "<!channel> <!here>",
        "@channel @here @everyone",
        "<@U123>",
        "<at>all</at>",
        "<img src=x>",
        "&lt;!here&gt;",
        "[click](http://evil.example)",
        "<https://evil.example|login>",
        "`code` *bold*",
        "http://evil.example/x",
    ],
)
def test_what_a_node_says_calls_nobody_and_links_nowhere(planted):
    text = compose_message([notice(planted, details=(planted,), remedy=planted)])
    shown = f"{text.subject}\n{text.body}"
    assert not set("<>@&[]`*") & set(shown)
    assert "://" not in shown


def test_a_control_character_does_not_reach_a_message():
    message = compose_message([notice("a\x1b[2Jb\r\nBcc: x\u202e", details=("\x00\x07",))])
    assert not UNSEEN.search(message.subject)
    assert not UNSEEN.search(message.body.replace("\n", ""))
    assert len(message.subject.splitlines()) == 1


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=40))
def test_a_message_of_any_text_is_bounded(texts):
    found = compose_message([notice(text, details=(text, *texts), remedy=text) for text in texts])
    assert len(found.subject) <= LONGEST_SUBJECT
    assert len(found.body) <= LONGEST_BODY + 200
    assert neutralise(found.subject) == found.subject


def test_a_notice_is_bounded_and_survives_the_outbox():
    long = notice("t" * 10_000, details=tuple("d" * 10_000 for _ in range(99)), remedy="r" * 10_000)
    assert len(long.details) == MOST_DETAILS + 1
    assert max(map(len, long.details)) <= LONGEST_DETAIL
    assert long.details[-1] == "and 94 more"
    short = notice(details=("a", "b"), is_over=True)
    assert load_notice(short.encode()) == short
