"""What of a pass people are told: each state by its own alert, and none by a pass that found nothing out."""

from datetime import timedelta

import pytest
from support.driver import NOON, REVISION

from reconciler.core.alerts import AlertEvent, AlertSeverity
from reconciler.core.drift import Drift
from reconciler.core.expiry import Expiry, ExpiryKind
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.guards.change_control import APPROVAL_NEEDED
from reconciler.planning.withheld_findings import STALLED
from reconciler.server.alert_service import OUTAGE_SECONDS, StoreOutage
from reconciler.server.pass_alerts import list_host_alerts, list_pass_alerts, list_source_alerts
from reconciler.server.pass_reading import PassReading
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.watch_state import SourceState, WatchedSource

READING = object.__new__(PassReading)


def violation(code, target="edge", **more):
    return Diagnostic(Severity.ERROR, code, f"{target}: refused by {code}", "do this", target=target, **more)


def summary(result=PassResult.REFUSED, **more):
    return PassSummary(result, **{"reading": READING, **more})


@pytest.mark.parametrize(
    ("found", "event", "members"),
    [
        ({"violations": (violation("quorum"),)}, AlertEvent.PLAN_REFUSED, ("quorum edge",)),
        (
            {"violations": (violation(APPROVAL_NEEDED, hold=True),)},
            AlertEvent.APPROVAL_NEEDED,
            (f"{APPROVAL_NEEDED} edge",),
        ),
        (
            {"findings": (violation(STALLED, "edge/n2"), violation(STALLED, "edge/n1"))},
            AlertEvent.NODE_STALLED,
            ("n1", "n2"),
        ),
        ({"drift": (Drift("n1"),)}, AlertEvent.DRIFT, ("n1",)),
        ({"unread_nodes": ("n1", "n2")}, AlertEvent.NODES_UNREAD, ("n1", "n2")),
        (
            {"expiries": (Expiry(ExpiryKind.LICENCE, "of Sora", "edge/n1", NOON + timedelta(days=3)),)},
            AlertEvent.EXPIRY,
            ("licence of Sora edge/n1",),
        ),
        ({"result": PassResult.DEFECT, "reading": None}, AlertEvent.PASS_FAILED, ("",)),
    ],
)
def test_each_state_has_its_alert(found, event, members):
    _, alerts = list_pass_alerts("edge", summary(**found), NOON)
    (alert,) = alerts
    assert (alert.event, alert.members, alert.cluster) == (event, members, "edge")
    assert alert.title.startswith("edge: ")
    assert alert.end_title.startswith("edge: ")


@pytest.mark.parametrize(
    "found",
    [
        {"violations": (violation("window", hold=True),)},  # it ends by itself
        {"violations": (violation("quorum", "core"),)},  # told with the pass of that cluster
        {"result": PassResult.CONVERGED},
    ],
)
def test_what_needs_nobody_is_not_told(found):
    _, alerts = list_pass_alerts("edge", summary(**found), NOON)
    assert alerts == ()


@pytest.mark.parametrize("result", [PassResult.BUSY, PassResult.STOPPED, PassResult.CHANGED])
def test_an_unfinished_pass_says_nothing(result):
    assert list_pass_alerts("edge", summary(result), NOON) is None


def test_a_failed_run_is_over_with_a_good_pass_only():
    good, _ = list_pass_alerts("edge", summary(PassResult.CONVERGED), NOON)
    bad, _ = list_pass_alerts("edge", summary(PassResult.STALLED), NOON)
    assert AlertEvent.RUN_FAILED not in good.kept
    assert AlertEvent.RUN_FAILED in bad.kept


def test_a_pass_that_read_nothing_ends_nothing_but_its_own_failure():
    scope, _ = list_pass_alerts("edge", summary(PassResult.INVALID, reading=None), NOON)
    assert frozenset(AlertEvent) - scope.kept == {AlertEvent.PASS_FAILED, AlertEvent.REVISION_REJECTED}


def test_what_has_expired_is_worse_than_what_will():
    expiry = Expiry(ExpiryKind.TOKEN, "ci", "", NOON)
    for now, severity in ((NOON - timedelta(1), "warning"), (NOON, "error")):
        _, (alert,) = list_pass_alerts("edge", summary(PassResult.CONVERGED, expiries=(expiry,)), now)
        assert alert.severity.value == severity


def test_the_source_is_told_by_state():
    def ask(state, **more):
        found = list_source_alerts(WatchedSource(state, REVISION, **more), "https://git/x", "host-a")
        return [alert.event for _, alerts in found for alert in alerts], len(found)

    assert ask(SourceState.UNREAD) == ([], 0)
    assert ask(SourceState.GOOD) == ([], 2)
    assert ask(SourceState.UNREACHABLE, message="no route") == ([AlertEvent.SOURCE_UNREACHABLE], 1)
    assert ask(SourceState.INVALID, rejected="f" * 40) == ([AlertEvent.FILES_INVALID], 2)


def test_silent_hosts_are_members_of_one_alert():
    assert list_host_alerts(())[1] == ()
    (alert,) = list_host_alerts(("a", "b"))[1]
    assert (alert.members, alert.severity) == (("a", "b"), AlertSeverity.CRITICAL)


def tell(outage, problem, now):
    notice = outage.choose_notice(problem, "host-a", now)
    return notice and (notice.is_over, notice.title.startswith("host-a"))


def test_an_outage_of_the_store_is_told_once_when_it_lasts_and_once_when_it_is_over():
    outage = StoreOutage()
    assert tell(outage, "away", 0.0) is None
    assert tell(outage, "away", OUTAGE_SECONDS - 1) is None
    assert tell(outage, "away", OUTAGE_SECONDS) == (False, True)
    assert tell(outage, "away", OUTAGE_SECONDS + 1) is None, "only later again, if it was not delivered"
    assert tell(outage, "away", 10 * OUTAGE_SECONDS) == (False, True)
    outage.end_telling()
    assert tell(outage, "away", 99 * OUTAGE_SECONDS) is None
    assert tell(outage, "", 100 * OUTAGE_SECONDS) == (True, True)
    outage.end_telling()
    assert tell(outage, "", 999 * OUTAGE_SECONDS) is None


def test_a_short_outage_and_one_that_could_not_be_told_are_not_told_as_over():
    outage = StoreOutage()
    assert tell(outage, "away", 0.0) is None
    assert tell(outage, "", 1.0) is None
    for hour in range(1, 100):
        tell(outage, "away", hour * 3600.0)
    assert tell(outage, "away", 1e6) is None, "it is given up after a few attempts"
    assert tell(outage, "", 1e6 + 1) is None
