"""Nodes that ask by themselves: a step is offered, outlives its pass, and a report settles it."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from support.driver import NOON, FakeDriver, FakeNode, Killed, World, cluster, fleet
from support.offers import make_draft

from reconciler.core.observation import Liveness, Observed, Present, Stale, Unreachable, classify_by_age
from reconciler.core.outcome import State
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.errors import MissingTransport
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.driver import Capabilities, StepAnswer
from reconciler.ports.transport import Mailbox, MailItem, NodeMail, TransportKind, Transports
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

FRESH = 60
"""Seconds up to which a report counts as what the node shows."""

LASTS = 3600
"""Seconds for which an offer lies ready."""

WANTED = cluster("barn", {"a": FakeNode(name="a", value="new")}, settle=30.0, in_flight=LASTS)


@dataclass
class FakeMailbox(Mailbox):
    """Offers and reports in memory, by a clock that the test sets; `is_pending` keeps every offer."""

    now: object
    offers: dict[str, str] = field(default_factory=dict)
    reports: dict[str, tuple[str, object]] = field(default_factory=dict)
    offered: list[tuple[str, str]] = field(default_factory=list)

    async def offer(self, draft):
        text = draft.parts[0].decode()
        self.offers[draft.node] = text
        self.offered.append((draft.node, text))
        return f"it is ready for {draft.seconds:g} s"

    async def read_mail(self, cluster, node):
        if node not in self.reports:
            return NodeMail()
        text, at = self.reports[node]
        age = (self.now() - at).total_seconds()
        return NodeMail({"value": MailItem(text.encode(), age)}, heard=age)

    def polls(self, node):
        """The node asks, takes what lies ready, and reports what it has."""
        self.reports[node] = (self.offers.pop(node, self.reports.get(node, ("old",))[0]), self.now())


class Polled(FakeDriver):
    """A product whose nodes cannot be called."""

    capabilities = Capabilities(single_node=True, transports=frozenset({TransportKind.MAILBOX}))

    def __init__(self, world):
        super().__init__(world)
        self.failures = {}

    async def observe(self, desired, transports):
        return Observed({node.name: await self._read(node.name, transports) for node in desired.entry.nodes})

    async def observe_step(self, step, transports):
        return Observed({step.node: await self._read(step.node, transports)})

    async def _read(self, node, transports):
        mail = await transports.mailbox.read_mail("barn", node)
        if mail.heard is None:
            return Unreachable("it never reported", Liveness.SILENT)
        value = mail.items["value"]
        return classify_by_age(value.body.decode(), value.age, FRESH)

    def judge(self, step, seen):
        if step.node in self.failures:
            return StepVerdict(StepStatus.READY, self.failures[step.node], is_final=True)
        return super().judge(step, seen)

    async def act(self, step, transports, payloads):
        body = str(payloads[step.payload].document).encode()
        draft = make_draft(step.node, body, seconds=step.in_flight)
        return StepAnswer(await transports.mailbox.offer(draft), is_pending=True)


class Site:
    """A store, a mailbox, and passes whose clock the test sets."""

    def __init__(self, store):
        self.store, self.time = store, NOON
        self.mailbox = FakeMailbox(self.clock)
        self.drivers = {"fake": Polled(World())}
        self.transports = Transports(mailbox=self.mailbox)

    def clock(self):
        return self.time

    def later(self, seconds, *polls):
        self.time += timedelta(seconds=seconds)
        for node in polls:
            self.mailbox.polls(node)

    async def settle(self):
        return await settle_open_runs(self.store, self.drivers, self.transports, clock=self.clock)

    async def look(self):
        recalled = await self.store.read_memory()
        return await run_plan_pass(
            fleet(WANTED), drivers=self.drivers, transports=self.transports, recalled=recalled
        )

    async def apply(self):
        return await run_apply_pass(
            await self.look(),
            drivers=self.drivers,
            transports=self.transports,
            journal=self.store,
            run_context=RunContext(clock=self.clock),
        )


@pytest.fixture
def site(tmp_path):
    times = []
    with open_store(tmp_path, clock=lambda: times[0].time) as store:
        times.append(Site(store))
        times[0].mailbox.polls("a")
        yield times[0]


async def test_a_step_that_is_offered_outlives_its_pass_and_is_settled_by_a_report(site):
    report = await site.apply()
    (outcome,) = report.outcomes
    assert (outcome.state, outcome.sent) == (State.OFFERED, True)
    assert outcome.reason == "it is ready for 3600 s; the node has not taken it yet"
    assert outcome.seconds < 5, "it was waited for under the cluster's lock"
    assert (report.is_success, report.exit_status) == (False, 5)
    assert await site.store.is_open("barn")

    site.later(50)
    assert await site.settle() == ()
    seen = await site.look()
    assert seen.plan.is_empty
    assert [finding.code for finding in seen.plan.findings()] == ["offer-open"]

    site.later(10, "a")
    (settled,) = await site.settle()
    assert (settled.state, settled.reason) == (
        State.DONE,
        "settled by reading: the effect is visible: a holds new",
    )
    assert (await site.look()).plan.is_empty
    assert not await site.store.is_open("barn")
    assert site.mailbox.offered == [("a", "new")]


async def test_an_offer_that_was_not_taken_in_time_has_failed_and_is_made_again(site):
    await site.apply()
    site.later(LASTS + 1)
    site.mailbox.offers.clear()
    site.mailbox.polls("a")
    (settled,) = await site.settle()
    assert settled.state is State.FAILED
    site.later(FRESH)
    await site.apply()
    assert site.mailbox.offered == [("a", "new")] * 2


async def test_a_node_that_reports_its_failure_is_not_waited_for_and_the_content_is_not_sent_again(site):
    await site.apply()
    site.drivers["fake"].failures["a"] = "it has no room"
    (settled,) = await site.settle()
    assert (settled.state, settled.refused) == (State.FAILED, True)
    assert settled.reason == "the node reported that it failed: it has no room"
    site.mailbox.offers.clear()
    site.later(30, "a")
    seen = await site.look()
    assert [finding.code for finding in seen.plan.findings()] == ["node-stalled"]
    assert seen.plan.is_empty


async def test_nothing_is_sent_where_the_last_report_is_old_and_the_offer_stays_open(site):
    await site.apply()
    site.later(FRESH + 40)
    assert await site.settle() == ()
    assert await site.store.is_open("barn")
    answer = (await site.look()).guard_contexts[0].observed.nodes["a"]
    assert answer == Stale("old", "its last report is 100 s old, and 60 s count as fresh")
    assert answer.age == FRESH + 40


async def test_nothing_is_planned_on_an_old_report(site):
    site.later(FRESH + 1)
    seen = await site.look()
    assert seen.plan.is_empty
    assert site.mailbox.offered == []


async def test_a_run_that_is_killed_after_its_offer_does_not_offer_again(site):
    class Dying(Polled):
        async def act(self, step, transports, payloads):
            await super().act(step, transports, payloads)
            raise Killed

    site.drivers = {"fake": Dying(World())}
    with pytest.raises(Killed):
        await site.apply()
    site.drivers = {"fake": Polled(World())}
    site.later(40)
    assert [one.state for one in await site.settle()] == [State.UNKNOWN]
    assert (await site.look()).plan.is_empty
    site.later(10, "a")
    assert [one.state for one in await site.settle()] == [State.DONE]
    assert site.mailbox.offered == [("a", "new")]


def test_the_age_of_a_reading_is_no_part_of_what_it_says():
    assert classify_by_age("x", 10, 60) == Present("x") == Present("x", 3)
    assert (classify_by_age("x", 60, 60).age, classify_by_age("x", 61, 60).age) == (60, 61)
    assert isinstance(classify_by_age("x", 61, 60), Stale)


async def test_without_a_mailbox_nothing_is_asked(site):
    site.transports = Transports()
    with pytest.raises(MissingTransport, match="barn: this program has no transport 'mailbox'"):
        await site.look()
