"""Alive and ready, told from the board."""

import json
from dataclasses import replace

from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.server.health import live, ready
from reconciler.server.pass_result import Result, Turn
from reconciler.server.state import Board, ClusterStatus, SourceState, SourceStatus

REVISION = Revision(source="s", id="1" * 40, short="1111111", title="Open port 8080")
CONVERGED = ClusterStatus(
    "edge", REVISION, REVISION, turn=Turn(Result.CONVERGED), ended=100.0, success=100.0, due=400.0
)


def good_board():
    source = SourceStatus(SourceState.GOOD, REVISION, looked=99.0, since=50.0)
    return Board(source=source, clusters={"edge": CONVERGED}, pulses={"source": 10.0, "cluster edge": 20.0})


def test_alive_while_every_loop_is_within_its_time():
    assert live(good_board(), now=10.0)[0]


def test_a_late_loop_is_named():
    good, detail = live(good_board(), now=15.0)
    assert not good
    assert detail["late"] == {"source": 5.0}


def test_ready_when_all_is_well():
    good, detail = ready(good_board(), dry_run=False)
    assert good
    assert detail["because"] == []
    (cluster,) = detail["clusters"]
    assert cluster["state"] == "converged"
    assert cluster["revision"]["short"] == "1111111"
    assert cluster["last_pass"] == "1970-01-01T00:01:40+00:00"
    assert cluster["pending"] == 0
    json.dumps(detail)


def test_each_reason_alone_makes_it_unready():
    unread = Board()
    assert "not read yet" in ready(unread, dry_run=False)[1]["because"][0]
    changes = [
        {"stopping": True},
        {"store": "disk full"},
        {"source": SourceStatus(SourceState.UNREACHABLE, REVISION, "timeout")},
        {"source": SourceStatus(SourceState.INVALID, None, "fleet.yaml:1:1: error")},
        {"clusters": {"edge": replace(CONVERGED, turn=None)}},
    ]
    for change in changes:
        good, detail = ready(replace(good_board(), **change), dry_run=False)
        assert not good, change
        assert len(detail["because"]) == 1, change


def test_a_bad_commit_or_a_refusal_is_shown_but_does_not_shut_the_webhook_out():
    refused = Turn(
        Result.REFUSED,
        steps=1,
        pending=1,
        violations=(Diagnostic(Severity.ERROR, "quorum", "no", "wait", target="live"),),
    )
    board = replace(
        good_board(),
        source=SourceStatus(
            SourceState.INVALID,
            REVISION,
            "fleet.yaml:3:1: unknown key",
            (
                Diagnostic(
                    Severity.ERROR, "unknown-key", "no", position=Position("fleet.yaml", 3, 1), pointer="/x"
                ),
            ),
            rejected="2" * 40,
        ),
        clusters={"edge": replace(CONVERGED, turn=refused)},
    )
    good, detail = ready(board, dry_run=False)
    assert good
    assert detail["source"]["problem"] == "fleet.yaml:3:1: unknown key"
    (problem,) = detail["source"]["problems"]
    assert (problem["file"], problem["line"], problem["pointer"]) == ("fleet.yaml", 3, "/x")
    assert detail["source"]["rejected"] == "2" * 40
    assert detail["clusters"][0]["violations"][0]["code"] == "quorum"
