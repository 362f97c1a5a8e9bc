"""Liveness and readiness, from the watch state."""

import json
from dataclasses import replace

from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.server.health import check_liveness, check_readiness
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchedSource, WatchState

REVISION = Revision(source="s", id="1" * 40, short="1111111", title="Open port 8080")
CONVERGED = WatchedCluster(
    "edge",
    REVISION,
    REVISION,
    pass_summary=PassSummary(PassResult.CONVERGED),
    ended=100.0,
    success=100.0,
    due=400.0,
)


def good_state():
    source = WatchedSource(SourceState.GOOD, REVISION, read_at=99.0, since=50.0)
    return WatchState(
        source=source, clusters={"edge": CONVERGED}, heartbeats={"source": 10.0, "cluster edge": 20.0}
    )


def test_live_while_every_loop_reports_in_time():
    assert check_liveness(good_state(), now=10.0)[0]


def test_a_late_loop_is_named():
    good, detail = check_liveness(good_state(), now=15.0)
    assert not good
    assert detail["late"] == {"source": 5.0}


def test_ready_if_nothing_fails():
    good, detail = check_readiness(good_state(), dry_run=False)
    assert good
    assert detail["reasons"] == []
    (cluster,) = detail["clusters"]
    assert cluster["state"] == "converged"
    assert cluster["revision"]["short"] == "1111111"
    assert cluster["last_pass"] == "1970-01-01T00:01:40+00:00"
    assert cluster["pending"] == 0
    json.dumps(detail)


def test_each_reason_alone_makes_it_unready():
    unread = WatchState()
    assert "not been read yet" in check_readiness(unread, dry_run=False)[1]["reasons"][0]
    changes = [
        {"stopping": True},
        {"store": "disk full"},
        {"source": WatchedSource(SourceState.UNREACHABLE, REVISION, "timeout")},
        {"source": WatchedSource(SourceState.INVALID, None, "fleet.yaml:1:1: error")},
        {"clusters": {"edge": replace(CONVERGED, pass_summary=None)}},
    ]
    for change in changes:
        good, detail = check_readiness(replace(good_state(), **change), dry_run=False)
        assert not good, change
        assert len(detail["reasons"]) == 1, change


def test_a_bad_commit_or_a_refusal_is_shown_but_does_not_make_it_unready():
    refused = PassSummary(
        PassResult.REFUSED,
        steps=1,
        pending=1,
        violations=(Diagnostic(Severity.ERROR, "quorum", "no", "wait", target="live"),),
    )
    watch_state = replace(
        good_state(),
        source=WatchedSource(
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
        clusters={"edge": replace(CONVERGED, pass_summary=refused)},
    )
    good, detail = check_readiness(watch_state, dry_run=False)
    assert good
    assert detail["source"]["problem"] == "fleet.yaml:3:1: unknown key"
    (problem,) = detail["source"]["problems"]
    assert (problem["file"], problem["line"], problem["pointer"]) == ("fleet.yaml", 3, "/x")
    assert detail["source"]["rejected"] == "2" * 40
    assert detail["clusters"][0]["violations"][0]["code"] == "quorum"
