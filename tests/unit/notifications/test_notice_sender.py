"""The outbox is delivered whatever a service does: again after pauses, and given up visibly."""

import asyncio
import threading
from datetime import timedelta

import pytest
from support.driver import NOON
from support.waiting import wait_until

from reconciler.core.alerts import Alert, AlertEvent, AlertSeverity, Notice
from reconciler.host.notification_rules import NotificationRules
from reconciler.notifications import notice_sender
from reconciler.notifications.notice_sender import AddressCalls, NoticeSender, try_recipient
from reconciler.notifications.routing import list_addresses, make_router
from reconciler.ports.notification_store import AlertScope, TellingRules
from reconciler.store.factory import open_store

RULES = NotificationRules.model_validate(
    {
        "recipients": {
            "ops": {"addresses": ["$RECONCILE_NOTIFY_A", "$RECONCILE_NOTIFY_B"], "group": 1, "limit": 2}
        },
        "rules": [{"recipients": ["ops"]}],
        "give_up": 3600,
    }
)
ENVIRONMENT = {"RECONCILE_NOTIFY_A": "json://a", "RECONCILE_NOTIFY_B": "json://b"}
A, B = "ops $RECONCILE_NOTIFY_A", "ops $RECONCILE_NOTIFY_B"
TELLING = TellingRules(make_router(RULES), timedelta(minutes=5))


class Site:
    """A store with a clock of its own, a sender, and what it sent."""

    def __init__(self, folder, monkeypatch):
        self.now = NOON
        self.store = open_store(folder, clock=lambda: self.now)
        monkeypatch.setattr(notice_sender, "utc_now", lambda: self.now)
        self.sent, self.reports = [], []
        self.answers = {}
        self.sender = self.make_sender()

    def make_sender(self):
        return NoticeSender(RULES, ENVIRONMENT, self.store, self.reports.append, send=self.send)

    def send(self, url, message):
        self.sent.append((url, message))
        answer = self.answers.get(url, "")
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    async def tell(self, *nodes, severity=AlertSeverity.CRITICAL):
        alerts = [
            Alert(AlertEvent.DRIFT, severity, f"{node} drifted", cluster="edge", subject=node)
            for node in nodes
        ]
        await self.store.record_alerts(
            AlertScope("edge", kept=frozenset({AlertEvent.DRIFT})), alerts, TELLING
        )

    async def look(self):
        """One look, and the end of all that it began."""
        before = len(self.reports)
        states = await self.sender.look()
        await self.sender.aclose()
        return states, self.reports[before:]


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = Site(tmp_path, monkeypatch)
    yield site
    site.store.close()


async def test_each_address_gets_the_message_once(site):
    await site.tell("n1", "n2")
    await site.look()
    assert sorted(url for url, _ in site.sent) == ["json://a", "json://b"]
    assert "n1 drifted" in site.sent[0][1].body
    assert "n2 drifted" in site.sent[0][1].body
    site.now += timedelta(hours=1)
    await site.look()
    assert len(site.sent) == 2


async def test_a_failing_address_is_tried_again_with_pauses_and_does_not_hold_back_the_other(site):
    site.answers["json://a"] = "the service answered 500"
    await site.tell("n1")
    _, reports = await site.look()
    assert {(one.address, one.problem) for one in reports} == {(A, "the service answered 500"), (B, "")}
    attempts = []
    for second in range(1, 300):
        site.now += timedelta(seconds=1)
        if (await site.look())[1]:
            attempts.append(second)
    assert attempts == [30, 90, 210]
    site.answers.clear()
    site.now += timedelta(hours=1)
    states, (report,) = await site.look()
    assert (states[A].failures, report.problem, report.failures) == (4, "", 4)
    assert (await site.sender.look())[A].problem == ""


async def test_what_cannot_be_delivered_is_given_up_and_counted(site):
    site.answers["json://a"] = "the service answered 404"
    await site.tell("n1")
    for _ in range(9):
        await site.look()
        site.now += timedelta(hours=1)
    states, _ = await site.look()
    assert (states[A].waiting, states[A].given_up) == (0, 1)
    assert [one.given_up for one in site.reports if one.given_up] == [1]


async def test_the_limit_gathers_what_follows_into_one_message(site):
    for number in range(6):
        await site.tell(f"n{number}")
        await site.look()
        site.now += timedelta(seconds=2)
    assert len(site.sent) == 4, "two messages to each of two addresses"
    assert "The limit of messages is reached" in site.sent[-1][1].body
    site.now += timedelta(hours=1)
    await site.look()
    last = site.sent[-1][1]
    assert last.subject.endswith("(and 3 more)")
    assert all(f"n{number} drifted" in last.body for number in range(2, 6))


async def test_notices_that_are_not_critical_wait_for_others(site):
    await site.tell("n1", severity=AlertSeverity.WARNING)
    await site.look()
    assert site.sent == []
    site.now += timedelta(seconds=1)
    await site.look()
    assert len(site.sent) == 2


async def test_an_error_of_a_service_shows_nothing_of_its_text(site):
    site.answers["json://a"] = RuntimeError("json://a is secret")
    await site.tell("n1")
    _, reports = await site.look()
    assert {one.problem for one in reports} == {"an unexpected error (RuntimeError)", ""}


async def test_a_call_that_hangs_is_not_joined_by_a_second_one(site, monkeypatch):
    monkeypatch.setattr(notice_sender, "SEND_SECONDS", 0.05)
    gate = threading.Event()
    calls = AddressCalls(ENVIRONMENT, lambda *_call: "late" if gate.wait(10) else "")
    address = list_addresses(RULES)[A]
    message = notice_sender.NoticeMessage("s", "b")
    try:
        assert await calls.send(address, message) == "it took longer than 0.05 s"
        assert await calls.send(address, message) == "an earlier attempt has not ended"
    finally:
        gate.set()
    await wait_until(lambda: not calls.is_busy(A))


async def test_a_cancelled_delivery_is_sent_again_by_another_process(site):
    gate = threading.Event()
    site.answers["json://a"] = site.answers["json://b"] = lambda: gate.wait(10) and ""
    await site.tell("n1")
    await site.sender.look()
    await wait_until(lambda: len(site.sent) == 2)
    for task in site.sender._tasks.values():
        task.cancel()  # as a kill in the middle
    await asyncio.sleep(0)
    gate.set()
    other = site.make_sender()
    await other.look()
    assert len(site.sent) == 2, "its turn has not ended"
    site.now += timedelta(seconds=91)
    await other.look()
    await wait_until(lambda: len(site.sent) == 4)
    await other.aclose()


async def test_an_outage_of_the_store_is_told_past_the_outbox(site):
    site.answers["json://b"] = "the service answered 500"
    notice = Notice(AlertEvent.STORE_FAILED, AlertSeverity.CRITICAL, "it is away", NOON)
    assert await site.sender.send_directly([notice]) == {A: "", B: "the service answered 500"}


async def test_a_test_message_says_what_came_of_each_address(monkeypatch):
    calls = []
    monkeypatch.setattr(
        notice_sender.AddressCalls.__init__, "__defaults__", (lambda url, _message: calls.append(url) or "",)
    )
    assert await try_recipient(RULES, {"RECONCILE_NOTIFY_A": "json://a"}, "ops") == {
        A: "",
        B: "the variable RECONCILE_NOTIFY_B is not set; set it to the address",
    }
    assert calls == ["json://a"]
